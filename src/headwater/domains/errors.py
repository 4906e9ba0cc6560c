"""What the domain product answers when it refuses: the service's own error codes, HTTP statuses and messages."""

from __future__ import annotations

from typing import Final, Literal

Code = Literal[
    "Certificate.Duplicated",
    "Certificate.InUse",
    "Certificate.MissMatch",
    "Certificate.NotFound",
    "CodeTaskNotExist",
    "CodeTaskNotStarted",
    "ConfigAlreadyExists",
    "ConfigConflict",
    "ConfigNotFound",
    "Domain.BeianInvalid",
    "DomainAlreadyExist",
    "DomainMapping.NotFound",
    "DomainNameOverLimit",
    "DomainOwnerConflict",
    "DomainOwnerVerifyFail",
    "DomainRegionMismatch",
    "DomainTraffic.ExceedThreshold",
    "Duplicate.TagKey",
    "EntityAlreadyExists.Account",
    "EntityAlreadyExists.Token",
    "EntityAlreadyExists.User",
    "EntityNotExist.AccessKey",
    "EntityNotExist.Account",
    "EntityNotExist.Claim",
    "EntityNotExist.Filing",
    "EntityNotExist.RootDomain",
    "EntityNotExist.Ticket",
    "EntityNotExist.Token",
    "EntityNotExist.User",
    "FreeCertificate.NotAvailable",
    "IllegalOperation",
    "InvalidAccountName.Malformed",
    "InvalidArgValue.Malformed",
    "InvalidCallback.Malformed",
    "InvalidConfig.Changed",
    "InvalidCsv.Malformed",
    "InvalidCertName.Malformed",
    "InvalidCertType.ValueNotSupported",
    "InvalidCycleDuration.Malformed",
    "InvalidDomain.NotFound",
    "InvalidDomainName.Malformed",
    "InvalidEndTime.Malformed",
    "InvalidEndTime.Mismatch",
    "InvalidFormat.Malformed",
    "InvalidFunctions.Malformed",
    "InvalidOperation",
    "InvalidOssBucket.Malformed",
    "InvalidOssBucket.NotFound",
    "InvalidOssEndpoint.Malformed",
    "InvalidOssObject.Malformed",
    "InvalidOssObjectPrefix.Malformed",
    "InvalidOverwriteOssObject.Malformed",
    "InvalidParam",
    "InvalidParameters",
    "InvalidPassword.Malformed",
    "InvalidPassword.Mismatch",
    "InvalidPassword.Unchanged",
    "InvalidPullDomain",
    "InvalidPushDomain",
    "InvalidRecordId.NotFound",
    "InvalidReleaseTime.Malformed",
    "InvalidResumeTime.Malformed",
    "InvalidSequenceOssObject.Malformed",
    "InvalidSnapshot.NotFound",
    "InvalidSSLPri.Malformed",
    "InvalidSSLProtocol.ValueNotSupported",
    "InvalidSSLPub.DomainMismatch",
    "InvalidSSLPub.Expired",
    "InvalidSSLPub.Malformed",
    "InvalidSSLPub.Weak",
    "InvalidSliceOssObjectPrefix.Malformed",
    "InvalidStartTime.Malformed",
    "InvalidStream.NotFound",
    "InvalidTagKey.Malformed",
    "InvalidTagValue.Malformed",
    "InvalidTicket.Closed",
    "InvalidTimeSpan",
    "InvalidUpstreamSequence.NotFound",
    "InvalidUserName.Malformed",
    "LastOperator",
    "NoRecordContent",
    "PushDomainAlreadyMapped",
    "QuotaExceeded.AccessKey",
    "QuotaExceeded.Blacklist",
    "QuotaExceeded.Certificate",
    "QuotaExceeded.DelayConfig",
    "QuotaExceeded.Domain",
    "QuotaExceeded.ManualStream",
    "QuotaExceeded.RecordConfig",
    "QuotaExceeded.ShiftConfig",
    "QuotaExceeded.SnapshotConfig",
    "QuotaExceeded.StreamBlock",
    "QuotaExceeded.Tag",
    "QuotaExceeded.Ticket",
    "QuotaIncrease.BandwidthTooLow",
    "Schedule.NotFound",
    "ServiceBusy",
    "ServiceUnavailable",
    "SignInFailed",
    "Snapshot.NotReadable",
    "Snapshot.NotTaken",
    "SSLPri.MissingParameter",
    "SSLPub.MissingParameter",
    "TaskAlreadyStarted",
]

# Reference control-plane 1.7, 2.2, 3, 7.2 and 8. Ours, where the service's own code is not known: DomainMapping.NotFound,
# DomainRegionMismatch, PushDomainAlreadyMapped, QuotaExceeded.Domain, InvalidFunctions.*, InvalidStartTime.*, InvalidEndTime.*,
# InvalidTimeSpan, ConfigConflict, QuotaExceeded.StreamBlock, QuotaExceeded.ManualStream, QuotaExceeded.ShiftConfig,
# QuotaExceeded.DelayConfig, InvalidUpstreamSequence.*, DomainOwnerConflict, QuotaExceeded.Ticket, QuotaIncrease.*,
# InvalidCsv.*, InvalidTicket.*, EntityNotExist.* and what concerns accounts, their keys and the console's users, and tags; of
# recording InvalidRecordId.*, TaskAlreadyStarted's message and QuotaExceeded.RecordConfig; of
# certificates all but Certificate.Duplicated, Certificate.MissMatch, InvalidSSLProtocol.* and *.MissingParameter.
_CATALOG: Final[dict[Code, tuple[int, str]]] = {
    "Certificate.Duplicated": (400, "The certificate name is duplicated."),
    "Certificate.InUse": (400, "The certificate is in use."),
    "Certificate.MissMatch": (400, "The certificate is not match the private key."),
    "Certificate.NotFound": (404, "The specified certificate does not exist."),
    "CodeTaskNotExist": (400, "Task does not exist."),
    "CodeTaskNotStarted": (400, "Task not started, cannot operate."),
    "ConfigAlreadyExists": (400, "Config has already exist."),
    "ConfigConflict": (400, "The specified function conflicts with another function of the domain."),
    "ConfigNotFound": (404, "The specified configid does not exist."),
    "Domain.BeianInvalid": (
        400,
        "not allowed to do this operation because the domain registration record invalid in China main land",
    ),
    "DomainAlreadyExist": (400, "The specified domain already exists."),
    "DomainMapping.NotFound": (404, "The specified domain mapping does not exist."),
    "DomainNameOverLimit": (400, "A maximum of 50 domains are supported for each request."),
    "DomainOwnerConflict": (400, "The root domain belongs to another account."),
    "DomainOwnerVerifyFail": (400, "Owner verification of the root domain failed."),
    "DomainRegionMismatch": (400, "The PushDomain and the PullDomain should be in the same live center."),
    "DomainTraffic.ExceedThreshold": (
        400,
        "not allowed to do this operation because the last day traffic exceeds the threshold",
    ),
    "Duplicate.TagKey": (400, "A tag key is given more than once."),
    "EntityAlreadyExists.Account": (400, "The specified account already exists."),
    "EntityAlreadyExists.Token": (400, "The specified operator token already exists."),
    "EntityAlreadyExists.User": (400, "The specified console user already exists."),
    "EntityNotExist.AccessKey": (404, "The specified access key does not exist."),
    "EntityNotExist.Account": (404, "The specified account does not exist."),
    "EntityNotExist.Claim": (404, "The specified claim does not exist."),
    "EntityNotExist.Filing": (404, "The specified filing does not exist."),
    "EntityNotExist.RootDomain": (404, "Nobody has proved to own the specified root domain."),
    "EntityNotExist.Ticket": (404, "The specified ticket does not exist."),
    "EntityNotExist.Token": (404, "The specified operator token does not exist."),
    "EntityNotExist.User": (404, "The specified console user does not exist."),
    "FreeCertificate.NotAvailable": (400, "Free certificates are not available."),
    "IllegalOperation": (403, "Illegal domain operate is not permitted."),
    "InvalidAccountName.Malformed": (400, "Specified parameter AccountName is not valid."),
    "InvalidArgValue.Malformed": (400, "The specified ArgValue is not valid."),
    "InvalidCallback.Malformed": (400, "Specified parameter Callback is not valid."),
    "InvalidConfig.Changed": (400, "The oss bucket info between StartTime and EndTime has changed."),
    "InvalidCsv.Malformed": (400, "The CSV file is not valid."),
    "InvalidCertName.Malformed": (400, "Specified parameter CertName is not valid."),
    "InvalidCertType.ValueNotSupported": (400, "The specified value of parameter CertType is not supported."),
    "InvalidCycleDuration.Malformed": (400, "Specified CycleDuration Format is not valid."),
    "InvalidDomain.NotFound": (404, "The domain provided does not exist in our records."),
    "InvalidDomainName.Malformed": (400, "The specific value of parameter DomainName is malformed."),
    "InvalidEndTime.Malformed": (400, "Specified parameter EndTime is not valid."),
    "InvalidEndTime.Mismatch": (400, "The specified EndTime should be later than the StartTime."),
    "InvalidFormat.Malformed": (400, "Specified parameter Format is not valid."),
    "InvalidFunctions.Malformed": (400, "Specified parameter Functions is not valid."),
    "InvalidOperation": (400, "Delete domain until configure compete."),
    "InvalidOssBucket.Malformed": (400, "Specified parameter OssBucket is not valid."),
    "InvalidOssBucket.NotFound": (400, "The parameter OssBucket does not exist."),
    "InvalidOssEndpoint.Malformed": (400, "Specified parameter OssEndpoint is not valid."),
    "InvalidOssObject.Malformed": (400, "Specified OssObject is malformed."),
    "InvalidOssObjectPrefix.Malformed": (400, "Specified parameter OssObjectPrefix is not valid."),
    "InvalidOverwriteOssObject.Malformed": (400, "Specified parameter OverwriteOssObject is not valid."),
    "InvalidParam": (400, "Parameter invalid."),
    "InvalidParameters": (400, "The specified parameters are not valid."),
    "InvalidPassword.Malformed": (400, "A password has 10 to 256 characters."),
    "InvalidPassword.Mismatch": (403, "The current password is not right."),
    "InvalidPassword.Unchanged": (400, "The new password should differ from the current one."),
    "InvalidPullDomain": (400, "The PullDomain should be liveVideo type."),
    "InvalidPushDomain": (400, "The PushDomain should be liveEdge type."),
    "InvalidRecordId.NotFound": (404, "The specified index file does not exist."),
    "InvalidReleaseTime.Malformed": (400, "Specified ReleaseTime is malformed."),
    "InvalidResumeTime.Malformed": (400, "Specified parameter ResumeTime is not valid."),
    "InvalidSequenceOssObject.Malformed": (400, "Specified parameter SequenceOssObject is not valid."),
    "InvalidSnapshot.NotFound": (404, "The specified snapshot does not exist."),
    "InvalidSSLPri.Malformed": (400, "Specified parameter SSLPri is not valid."),
    "InvalidSSLProtocol.ValueNotSupported": (400, "The specified value of parameter SSLProtocol is not supported."),
    "InvalidSSLPub.DomainMismatch": (400, "The certificate does not match the domain."),
    "InvalidSSLPub.Expired": (400, "The certificate is not valid at this time."),
    "InvalidSSLPub.Malformed": (400, "Specified parameter SSLPub is not valid."),
    "InvalidSSLPub.Weak": (400, "The certificate is too weak to be used."),
    "InvalidSliceOssObjectPrefix.Malformed": (400, "Specified parameter SliceOssObjectPrefix is not valid."),
    "InvalidStartTime.Malformed": (400, "Specified parameter StartTime is not valid."),
    "InvalidStream.NotFound": (400, "Speicified stream does not exist."),
    "InvalidTicket.Closed": (400, "The specified ticket has been answered or withdrawn already."),
    "InvalidTagKey.Malformed": (400, "The specified tag key is not valid."),
    "InvalidTagValue.Malformed": (400, "The specified tag value is not valid."),
    "InvalidTimeSpan": (400, "The time span between StartTime and EndTime exceeds the limit."),
    "InvalidUpstreamSequence.NotFound": (404, "No publisher of the stream has the specified UpstreamSequence."),
    "InvalidUserName.Malformed": (
        400,
        "A user name has 1 to 64 letters, digits and . _ @ -, and begins with a letter or digit.",
    ),
    "LastOperator": (400, "The last operator cannot be disabled or deleted."),
    "NoRecordContent": (400, "The record content between StartTime and EndTime is empty."),
    "PushDomainAlreadyMapped": (400, "The PushDomain is already mapped to a PullDomain."),
    "QuotaExceeded.AccessKey": (400, "The number of access keys has reached the limit of the account."),
    "QuotaExceeded.Blacklist": (400, "Exceed max blacklist count limit"),
    "QuotaExceeded.Certificate": (400, "The number of certificates has reached the quota of the account."),
    "QuotaExceeded.ManualStream": (400, "OptimalMode can be off for 200 streams of a domain."),
    "QuotaExceeded.RecordConfig": (400, "A domain can have 100 recording templates."),
    "QuotaExceeded.SnapshotConfig": (400, "A domain can have 100 snapshot templates."),
    "QuotaExceeded.StreamBlock": (400, "Exceed max stream block count limit"),
    "QuotaExceeded.DelayConfig": (400, "A domain can have 100 rules of delayed streams."),
    "QuotaExceeded.Domain": (400, "The number of domains has reached the quota of the account."),
    "QuotaExceeded.ShiftConfig": (400, "A domain can have 100 rules of time shift."),
    "QuotaExceeded.Tag": (400, "A domain can have 20 tags."),
    "QuotaExceeded.Ticket": (400, "The number of open tickets has reached the limit of the account."),
    "QuotaIncrease.BandwidthTooLow": (
        400,
        "The average daily peak bandwidth of the domains is too low to ask for a higher quota.",
    ),
    "Schedule.NotFound": (400, "there is no schedule domain found by the targeted coverage value"),
    "ServiceBusy": (403, "The specified domain is being configured; please try again later."),
    "ServiceUnavailable": (503, "The request has failed due to a temporary failure of the server."),
    "SignInFailed": (403, "The user name or the password is not right."),
    "Snapshot.NotReadable": (503, "The snapshot cannot be read."),
    "Snapshot.NotTaken": (503, "No snapshot of the stream could be taken."),
    "SSLPri.MissingParameter": (
        400,
        'An input parameter "SSLPri" that is mandatory for processing the request is not supplied.',
    ),
    "SSLPub.MissingParameter": (
        400,
        'An input parameter "SSLPub" that is mandatory for processing the request is not supplied.',
    ),
    "TaskAlreadyStarted": (400, "The recording has been started already."),
}


class DomainError(Exception):
    """A request that was refused and changed nothing. `code`, `status` (HTTP) and `message` go to the caller as they are.

    detail: what the message says beyond the usual one of its code, "" if nothing.
    """

    def __init__(self, code: str, status: int, message: str, detail: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.status = status
        self.message = message
        self.detail = detail


def error(code: Code, detail: str = "") -> DomainError:
    """The error of a code, with its usual status and message; a detail follows the message as a sentence of its own."""
    status, message = _CATALOG[code]
    full = f"{message if message.endswith('.') else f'{message}.'} {detail}" if detail else message
    return DomainError(code, status, full, detail)


def invalid(parameter: str, detail: str = "") -> DomainError:
    """A parameter with a value that is not offered (gateway code `Invalid{Param}`, reference control-plane 1.7).

    detail: a sentence that says what is.
    """
    message = f"Specified parameter {parameter} is not valid."
    return DomainError(f"Invalid{parameter}", 400, f"{message} {detail}".rstrip(), detail)


def missing(parameter: str, detail: str = "") -> DomainError:
    """A parameter that is mandatory beside others that were given (gateway code `Missing{Param}`)."""
    return DomainError(f"Missing{parameter}", 400, f"{parameter} is mandatory for this action. {detail}".rstrip(), detail)
