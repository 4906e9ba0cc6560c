"""The errors that the API's envelope answers by itself (reference control-plane 1.7)."""

from __future__ import annotations


class ApiError(Exception):
    """A refusal with the service's own code, HTTP status and message.

    retry_after_ms: when the same call will be accepted; with it the SDK raises its ThrottlingException.
    """

    def __init__(self, code: str, status: int, message: str, retry_after_ms: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.status = status
        self.message = message
        self.retry_after_ms = retry_after_ms


def missing(parameter: str) -> ApiError:
    """A mandatory parameter, or header, is absent or empty."""
    return ApiError(f"Missing{_in_code(parameter)}", 400, f"{parameter} is mandatory for this action.")


def invalid(parameter: str, reason: str = "") -> ApiError:
    """A parameter's value cannot be accepted; `reason` is a sentence of ours that says what would be."""
    message = f"Specified parameter {parameter} is not valid."
    return ApiError(f"Invalid{_in_code(parameter)}", 400, f"{message} {reason}".rstrip())


def invalid_parameter(reason: str) -> ApiError:
    """The parameters as a whole cannot be accepted."""
    return ApiError("InvalidParameter", 400, reason)


def api_not_found() -> ApiError:
    """No operation of this name, or another path than `/`."""
    return ApiError("InvalidApi.NotFound", 404, "Specified api is not found, please check your url and method.")


def not_implemented(action: str) -> ApiError:
    """The service has this operation, Headwater does not have it yet; the code and the status are ours."""
    return ApiError("NotImplemented", 501, f"{action} is an operation of ApsaraVideo Live that this server does not offer yet.")


def parameter_not_implemented(parameter: str, advice: str = "") -> ApiError:
    """A parameter that the service acts on and Headwater does not: better no success than half of one."""
    return ApiError(
        "NotImplemented", 501, f"This server does not offer the parameter {parameter} of this action. {advice}".strip()
    )


def no_such_version() -> ApiError:
    """Another API version than ours."""
    return ApiError("NoSuchVersion", 400, "Specified version does not exist; this server speaks 2016-11-01.")


def unsupported_method() -> ApiError:
    """Neither GET nor POST."""
    return ApiError("UnsupportedHTTPMethod", 400, "Specified HTTP method is not supported, please use GET or POST.")


def request_too_large(limit_bytes: int) -> ApiError:
    """More query or body than any operation needs; the code is ours."""
    return ApiError("RequestTooLarge", 413, f"The request is larger than {limit_bytes} bytes.")


def request_timeout() -> ApiError:
    """The body came too slowly; the code is ours."""
    return ApiError("RequestTimeout", 408, "The body of the request was not received in time.")


def client_left() -> ApiError:
    """The client went away while it sent its body; nobody but the log reads this."""
    return ApiError("ClientLeft", 499, "The client closed the connection before its request was complete.")


def invalid_request() -> ApiError:
    """What came is not HTTP; the code is ours."""
    return ApiError("InvalidRequest", 400, "The request is not valid HTTP.")


def throttled(retry_after_ms: int) -> ApiError:
    """The account calls this operation more often than is documented for it."""
    return ApiError("Throttling.User", 400, "Request was denied due to user flow control.", retry_after_ms)


def access_key_not_found() -> ApiError:
    """Nobody has this access key."""
    return ApiError("InvalidAccessKeyId.NotFound", 404, "Specified access key is not found.")


def access_key_inactive() -> ApiError:
    """The access key is switched off."""
    return ApiError("InvalidAccessKeyId.Inactive", 400, "Specified access key is disabled.")


def security_token_mismatch() -> ApiError:
    """A token of a temporary access key: here every access key is a lasting one, to which no token belongs."""
    return ApiError(
        "InvalidSecurityToken.MismatchWithAccessKey", 400, "Specified SecurityToken does not belong to the access key."
    )


def nonce_used() -> ApiError:
    """The same signed request a second time."""
    return ApiError("SignatureNonceUsed", 400, "Specified signature nonce was used already.")


def internal_error() -> ApiError:
    """Something unforeseen; the request id leads to it in the log."""
    return ApiError("InternalError", 500, "The request processing has failed due to some unknown error.")


def _in_code(parameter: str) -> str:
    """`x-acs-date` is `XAcsDate` in a code; the name of a parameter stays as it is."""
    return "".join(part[:1].upper() + part[1:] for part in parameter.split("-"))
