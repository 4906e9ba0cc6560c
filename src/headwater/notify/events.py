"""What customers are told: each event with its exact wire form (reference media-plane 3.3, 4 and 5)."""

from __future__ import annotations

import hashlib
from typing import Literal, Protocol
from urllib.parse import quote, urlsplit

import msgspec

Family = Literal["stream", "exception", "switch", "record", "snapshot"]
"""Which setting says where an event goes: the first three are an ingest domain's, the others a streaming domain's."""

Storage = Literal["oss", "vod"]
"""Where a recording goes: to a bucket, or to the media library. It is told in no callback, but by the list of callbacks."""

RecordEvent = Literal["record_started", "record_paused", "record_resumed", "record_error"]
"""What a RecordStatus tells."""


class Event(Protocol):
    """Something to be told. domain: the one that has the setting. session: of the publisher, "" if it is none's affair."""

    @property
    def family(self) -> Family: ...
    @property
    def type(self) -> str: ...
    @property
    def domain(self) -> str: ...
    @property
    def app(self) -> str: ...
    @property
    def stream(self) -> str: ...
    @property
    def session(self) -> str: ...

    def request(self, url: str) -> tuple[str, str, str]:
        """Method, URL and body with which the customer's URL is called; the body is "" for GET."""


class StreamState(msgspec.Struct, frozen=True, kw_only=True):
    """A push has begun or ended (5.2). time_s: unix seconds. query: of the push URL. width, height: 0 if unknown."""

    type: Literal["publish", "publish_done"]
    domain: str
    app: str
    stream: str
    session: str
    ip: str
    node: str
    time_s: float
    query: str = ""
    width: int = 0
    height: int = 0

    @property
    def family(self) -> Family:
        """The stream's own."""
        return "stream"

    def request(self, url: str) -> tuple[str, str, str]:
        """GET with everything in the query, in the documented order."""
        fields = {
            "action": self.type,
            "ip": self.ip,
            "id": self.stream,
            "app": self.domain,
            "appname": self.app,
            "time": str(int(self.time_s)),
            "usrargs": self.query,
            "node": self.node,
        }
        if self.type == "publish" and self.width and self.height:
            fields |= {"height": str(self.height), "width": str(self.width)}
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in fields.items())
        return "GET", url + ("&" if "?" in url else "?") + query, ""


class StreamFault(msgspec.Struct, frozen=True, kw_only=True):
    """A push was refused or cut. code: as in DescribeLiveDomainPublishErrorCode (reference 9). The body's fields are ours."""

    domain: str
    app: str
    stream: str
    session: str
    ip: str
    code: int
    reason: str
    time_s: float

    @property
    def family(self) -> Family:
        """Exceptions have a URL of their own."""
        return "exception"

    @property
    def type(self) -> str:
        """There is one kind."""
        return "publish_exception"

    def request(self, url: str) -> tuple[str, str, str]:
        """POST of JSON."""
        body = {
            "event": self.type,
            "domain": self.domain,
            "app": self.app,
            "stream": self.stream,
            "ip": self.ip,
            "code": self.code,
            "reason": self.reason,
            "time": int(self.time_s),
        }
        return _post(url, body)


class MasterSwitch(msgspec.Struct, frozen=True, kw_only=True):
    """Another publisher of a stream has become its master (5.4). reason: as in the query API. The body's fields are ours."""

    domain: str
    app: str
    stream: str
    session: str
    upstream: int
    ip: str
    reason: str
    time_s: float

    @property
    def family(self) -> Family:
        """Switches have a URL of their own."""
        return "switch"

    @property
    def type(self) -> str:
        """There is one kind."""
        return "stream_switch"

    def request(self, url: str) -> tuple[str, str, str]:
        """POST of JSON."""
        body = {
            "event": self.type,
            "domain": self.domain,
            "app": self.app,
            "stream": self.stream,
            "upstream": str(self.upstream),
            "upstream_ip": self.ip,
            "reason": self.reason,
            "time": int(self.time_s),
        }
        return _post(url, body)


class RecordStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A recording goes on, rests or has failed (3.3). Told only with NeedStatusNotify."""

    type: RecordEvent
    domain: str
    app: str
    stream: str
    session: str = ""
    storage: Storage = "oss"

    @property
    def family(self) -> Family:
        """Recordings'."""
        return "record"

    def request(self, url: str) -> tuple[str, str, str]:
        """POST of JSON."""
        return _post(url, {"domain": self.domain, "app": self.app, "stream": self.stream, "event": self.type})


class FileCreated(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a recording is stored (3.3). uri: its key in the bucket. push_args: `callback_...` of the push."""

    domain: str
    app: str
    stream: str
    uri: str
    duration_s: float
    start_s: float
    stop_s: float
    push_args: dict[str, str] = {}
    session: str = ""
    storage: Storage = "oss"

    @property
    def family(self) -> Family:
        """Recordings'."""
        return "record"

    @property
    def type(self) -> str:
        """As the records of callbacks call it; the body has no such field."""
        return "file_created"

    def request(self, url: str) -> tuple[str, str, str]:
        """POST of JSON."""
        body: dict[str, object] = {
            "domain": self.domain,
            "app": self.app,
            "stream": self.stream,
            "uri": self.uri,
            "duration": round(self.duration_s, 3),
            "start_time": int(self.start_s),
            "stop_time": int(self.stop_s),
        }
        if self.push_args:
            body["push_args"] = self.push_args
        return _post(url, body)


class SnapshotTaken(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot is stored (4). The service's fields are not documented: these are those of LiveStreamSnapshotInfo.

    create_time: `yyyy-MM-ddTHH:mm:ssZ`. callback: the template's own URL, which goes before the domain's setting; "" for none.
    """

    domain: str
    app: str
    stream: str
    create_time: str
    create_timestamp: int
    is_overlay: bool
    endpoint: str
    bucket: str
    object: str
    callback: str = ""
    session: str = ""

    @property
    def family(self) -> Family:
        """Snapshots'."""
        return "snapshot"

    @property
    def type(self) -> str:
        """There is one kind."""
        return "snapshot"

    def request(self, url: str) -> tuple[str, str, str]:
        """POST of JSON."""
        body = {
            "DomainName": self.domain,
            "AppName": self.app,
            "StreamName": self.stream,
            "CreateTime": self.create_time,
            "CreateTimestamp": self.create_timestamp,
            "IsOverlay": self.is_overlay,
            "OssEndpoint": self.endpoint,
            "OssBucket": self.bucket,
            "OssObject": self.object,
        }
        return _post(url, body)


def signature(signer: str, key: str, timestamp_s: int) -> str:
    """The header ALI-LIVE-SIGNATURE (5.3)."""
    return hashlib.md5(f"{signer}|{timestamp_s}|{key}".encode(), usedforsecurity=False).hexdigest()


def signer_of(event: Event, url: str) -> str:
    """The domain in a signature: the ingest domain for what is told of pushes, else the host of the callback's URL (5.3)."""
    return event.domain if event.family in ("stream", "exception", "switch") else urlsplit(url).hostname or ""


def _post(url: str, body: object) -> tuple[str, str, str]:
    return "POST", url, msgspec.json.encode(body).decode()
