"""The tables, by subject; this is where the rest of the house imports them from."""

from headwater.store.models.callbacks import Callback, RecordNotify, SnapshotAuth, SnapshotNotify, StreamNotify
from headwater.store.models.certificates import AcmeAccount, Certificate, CertificateOrder, DomainHttps
from headwater.store.models.cnames import CnameCheck
from headwater.store.models.configs import StagedFunction, StreamBlock
from headwater.store.models.console import ConsoleSession, ConsoleUser
from headwater.store.models.core import (
    AccessKey,
    Account,
    ApiNonce,
    AuditEntry,
    Base,
    Domain,
    DomainDelay,
    DomainFunction,
    DomainMapping,
    Publish,
    StreamBan,
)
from headwater.store.models.edge import EdgeJob
from headwater.store.models.files import MediaSlice, RecordedFile, Recording, Upload
from headwater.store.models.multi_stream import ManualStream, MasterChange, MultiStreamDomain
from headwater.store.models.product import (
    DomainCount,
    DomainRoot,
    IcpFiling,
    NameClaim,
    PlayMapping,
    Ticket,
    TicketMessage,
)
from headwater.store.models.recording import Bucket, RecordIndexFile, RecordLibraryTemplate, RecordTemplate
from headwater.store.models.shifts import DelayConfig, ShiftConfig, ShiftStream
from headwater.store.models.snapshots import Snapshot, SnapshotSequence, SnapshotTemplate
from headwater.store.models.tags import DomainTag
from headwater.store.models.tokens import OperatorToken
from headwater.store.models.transcoding import (
    BitrateGroup,
    MixTemplate,
    TranscodeTemplate,
    WatermarkPicture,
    WatermarkRule,
    WatermarkTemplate,
)
from headwater.store.models.usage import UsagePoint

__all__ = [
    "AccessKey",
    "Account",
    "AcmeAccount",
    "ApiNonce",
    "AuditEntry",
    "Base",
    "BitrateGroup",
    "Bucket",
    "Callback",
    "Certificate",
    "CertificateOrder",
    "CnameCheck",
    "ConsoleSession",
    "ConsoleUser",
    "DelayConfig",
    "Domain",
    "DomainCount",
    "DomainDelay",
    "DomainFunction",
    "DomainHttps",
    "DomainMapping",
    "DomainRoot",
    "DomainTag",
    "EdgeJob",
    "IcpFiling",
    "ManualStream",
    "MasterChange",
    "MediaSlice",
    "MixTemplate",
    "MultiStreamDomain",
    "NameClaim",
    "OperatorToken",
    "PlayMapping",
    "Publish",
    "RecordIndexFile",
    "RecordLibraryTemplate",
    "RecordNotify",
    "RecordTemplate",
    "RecordedFile",
    "Recording",
    "ShiftConfig",
    "ShiftStream",
    "Snapshot",
    "SnapshotAuth",
    "SnapshotNotify",
    "SnapshotSequence",
    "SnapshotTemplate",
    "StagedFunction",
    "StreamBan",
    "StreamBlock",
    "StreamNotify",
    "Ticket",
    "TicketMessage",
    "TranscodeTemplate",
    "Upload",
    "UsagePoint",
    "WatermarkPicture",
    "WatermarkRule",
    "WatermarkTemplate",
]
