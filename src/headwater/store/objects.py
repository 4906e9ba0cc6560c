"""Where files are kept for good: buckets, each a folder of this machine or one of an S3-compatible store (through obstore)."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import fnmatch
import os
import re
import secrets
import shutil
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from headwater.settings import ObjectEndpoint, Settings

BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,61}[a-z0-9])")
"""The service's rule for bucket names: 3 to 63 small letters, digits and hyphens, none of them at an end."""

ENDPOINT = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?")
"""A host name, as OssEndpoint has it, perhaps with a port."""

KEY_BYTES_MAX = 1023
"""Longest name of an object (the service's rule; S3 allows one byte more)."""

SEGMENT_BYTES_MAX = 255
"""Longest part of a name between slashes: in a folder it is the name of a file."""

PART_BYTES = 8 * 1024 * 1024
"""Longer files go up in parts of this size, some at a time; S3 allows 10,000 parts: 80 GB."""

PARTS_AT_ONCE = 4
"""Parts in memory for each upload: 32 MB."""

CALL_S, TRIES = 60, 2
"""Longest a request to a store may take, and how often obstore asks again: whoever calls us has longer breaths of its own."""

CLIENTS_MAX = 64
"""Clients of S3 that are kept: customers choose the names of buckets, and each client holds connections."""

TEMPORARY_PREFIX = ".headwater-"
"""How the names begin of what `check` writes and removes, and of files in folders that are not complete yet."""


class ObjectError(Exception):
    """A file could not be stored, read or removed; the message says which, and why. Trying again later may help."""


class BucketError(ObjectError):
    """A bucket that cannot be used, for a reason that the message tells a person."""


class Stored(msgspec.Struct, frozen=True):
    """What a store has confirmed. etag: its own name for this content, "" in a folder."""

    bytes: int
    etag: str = ""


class ObjectStores:
    """All buckets. An endpoint that `objects.endpoints` of the settings names is S3-compatible; every other one is the folder
    `<data_dir>/objects/<bucket>`, so that recording works without any set-up.

    Every method raises BucketError for a bucket or endpoint that cannot be, ObjectError for a key that cannot be (empty, too
    long, or one that would leave the bucket) and for whatever goes wrong with the store.
    """

    def __init__(self, settings: Settings) -> None:
        self._folder = Path(settings.data_dir).absolute() / "objects"
        self._endpoints = settings.objects.endpoints
        self._remote: OrderedDict[tuple[str, str], S3Store] = OrderedDict()  # the one used last comes last

    async def check(self, endpoint: str, bucket: str) -> None:
        """Make sure that the bucket can be written to: a small object is really written, read and removed.

        Raises BucketError with a text that says what to do.
        """
        key = TEMPORARY_PREFIX + secrets.token_hex(8)
        try:
            await self.put_bytes(endpoint, bucket, key, b"headwater")
            if await self.get(endpoint, bucket, key) != b"headwater":
                raise ObjectError("what was written is not what is read back")
            await self.delete(endpoint, bucket, key)
        except BucketError:
            raise
        except ObjectError as error:
            raise BucketError(f"bucket {bucket} at {endpoint} cannot be written to: {error}") from error

    async def put_file(
        self, endpoint: str, bucket: str, key: str, path: Path, *, bytes_: int, content_type: str = "application/octet-stream"
    ) -> Stored:
        """Store a file of this machine under a key, whatever was there before; it appears as a whole or not at all.

        bytes_: its size, which the store must confirm. In S3 every request's signature covers the SHA-256 of what it carries,
        so a store takes nothing that the network has damaged; in a folder of the same file system the object is a link to the
        very same bytes. The local file stays.
        """
        place = self.local_path(endpoint, bucket, key)
        if place is not None:
            stored = await asyncio.to_thread(_link, path, place)
        else:
            with _said(f"{bucket}/{key}"):
                store = self._store(endpoint, bucket)
                await obstore.put_async(
                    store,
                    key,
                    path,
                    attributes={"Content-Type": content_type},
                    chunk_size=PART_BYTES,
                    max_concurrency=PARTS_AT_ONCE,
                )
                head = await obstore.head_async(store, key)
                stored = Stored(head["size"], head["e_tag"] or "")
        if stored.bytes != bytes_:
            raise ObjectError(f"{bucket}/{key} has {stored.bytes} bytes in the store instead of {bytes_}")
        return stored

    async def put_bytes(
        self, endpoint: str, bucket: str, key: str, data: bytes, *, content_type: str = "application/octet-stream"
    ) -> Stored:
        """Store some bytes under a key, as `put_file` does."""
        place = self.local_path(endpoint, bucket, key)
        if place is not None:
            return await asyncio.to_thread(_write, data, place)
        with _said(f"{bucket}/{key}"):
            attributes = {"Content-Type": content_type}
            result = await obstore.put_async(self._store(endpoint, bucket), key, data, attributes=attributes)
            return Stored(len(data), result["e_tag"] or "")

    async def get(self, endpoint: str, bucket: str, key: str) -> bytes:
        """A whole object, for small ones. Raises ObjectError if there is none."""
        place = self.local_path(endpoint, bucket, key)
        with _said(f"{bucket}/{key}"):
            if place is not None:
                return await asyncio.to_thread(place.read_bytes)
            result = await obstore.get_async(self._store(endpoint, bucket), key)
            return bytes(await result.bytes_async())

    async def get_range(self, endpoint: str, bucket: str, key: str, start: int, length: int) -> bytes:
        """So many bytes of an object from `start` on; fewer at its end."""
        place = self.local_path(endpoint, bucket, key)
        with _said(f"{bucket}/{key}"):
            if place is not None:
                return await asyncio.to_thread(_read, place, start, length)
            return bytes(await obstore.get_range_async(self._store(endpoint, bucket), key, start=start, length=length))

    async def stream(self, endpoint: str, bucket: str, key: str) -> AsyncIterator[bytes]:
        """A whole object bit by bit, however long it is."""
        size = await self.size(endpoint, bucket, key)
        if size is None:
            raise ObjectError(f"{bucket}/{key}: there is no such object")
        for start in range(0, size, PART_BYTES):
            yield await self.get_range(endpoint, bucket, key, start, min(PART_BYTES, size - start))

    async def size(self, endpoint: str, bucket: str, key: str) -> int | None:
        """How many bytes an object has, None if there is none."""
        place = self.local_path(endpoint, bucket, key)
        with _said(f"{bucket}/{key}"):
            if place is not None:
                return place.stat().st_size if place.is_file() else None
            try:
                return (await obstore.head_async(self._store(endpoint, bucket), key))["size"]
            except (NotFoundError, FileNotFoundError):
                return None

    async def is_empty(self, endpoint: str, bucket: str) -> bool:
        """Whether a bucket holds nothing; one that does not exist holds nothing either."""
        check_names(endpoint, bucket)
        with _said(f"bucket {bucket} at {endpoint}"):
            if not self.is_remote(endpoint):
                return await asyncio.to_thread(_holds_nothing, self._folder / bucket)
            async for page in obstore.list(self._store(endpoint, bucket), chunk_size=1):
                return not page
            return True

    async def delete(self, endpoint: str, bucket: str, key: str) -> None:
        """Remove an object; one that does not exist is removed already."""
        place = self.local_path(endpoint, bucket, key)
        with _said(f"{bucket}/{key}"):
            if place is not None:
                await asyncio.to_thread(_remove, place, self._folder / bucket)
                return
            with contextlib.suppress(NotFoundError, FileNotFoundError):
                await obstore.delete_async(self._store(endpoint, bucket), key)

    def local_path(self, endpoint: str, bucket: str, key: str) -> Path | None:
        """Where an object lies if the bucket is a folder of this machine, whether it exists or not; None if it is in S3."""
        check_names(endpoint, bucket)
        check_key(key)
        return None if self._entry(endpoint) is not None else self._folder / bucket / key

    def is_remote(self, endpoint: str) -> bool:
        """Whether the endpoint's buckets are in S3, not in folders of this machine."""
        return self._entry(endpoint) is not None

    def store_name(self, endpoint: str) -> str:
        """What tells stores apart that have buckets of the same names: the URL of one in S3, "" for folders of this machine."""
        entry = self._entry(endpoint)
        return "" if entry is None else entry.url

    def _entry(self, endpoint: str) -> ObjectEndpoint | None:
        return next((entry for entry in self._endpoints if fnmatch.fnmatchcase(endpoint.lower(), entry.endpoint.lower())), None)

    def _store(self, endpoint: str, bucket: str) -> S3Store:
        store = self._remote.get((endpoint, bucket))
        if store is None:
            entry = self._entry(endpoint)
            assert entry is not None  # asked by `local_path`
            store = S3Store(
                bucket,
                endpoint=entry.url,
                access_key_id=entry.access_key_id,
                secret_access_key=entry.secret_access_key,
                region=entry.region,
                virtual_hosted_style_request=entry.virtual_host,
                client_options={"timeout": datetime.timedelta(seconds=CALL_S), "allow_http": entry.allow_http},
                retry_config={"max_retries": TRIES, "retry_timeout": datetime.timedelta(seconds=CALL_S)},
            )
            self._remote[endpoint, bucket] = store
            if len(self._remote) > CLIENTS_MAX:
                self._remote.popitem(last=False)
        self._remote.move_to_end((endpoint, bucket))
        return store


def check_names(endpoint: str, bucket: str) -> None:
    """Raises BucketError if these cannot be the names of an endpoint and a bucket."""
    if not ENDPOINT.fullmatch(endpoint):
        raise BucketError(f"`{endpoint[:80]}` is no endpoint: expected a host name such as oss-cn-shanghai.aliyuncs.com")
    if not BUCKET.fullmatch(bucket):
        raise BucketError(
            f"`{bucket[:80]}` is no bucket name: expected 3 to 63 small letters, digits and hyphens, no hyphen at an end"
        )


def check_key(key: str) -> None:
    """Raises ObjectError if this cannot be the name of an object: it must be a plain path below its bucket."""
    if not key or len(key.encode("utf-8", "surrogatepass")) > KEY_BYTES_MAX:
        raise ObjectError(f"an object's name has 1 to {KEY_BYTES_MAX} bytes")
    if "\\" in key or not key.isprintable():
        raise ObjectError("an object's name has no backslashes and no control characters")
    for segment in key.split("/"):
        if segment in ("", ".", ".."):
            raise ObjectError(f"`{key[:80]}` is no object name: between slashes there must be a name, neither empty nor dots")
        if len(segment.encode()) > SEGMENT_BYTES_MAX:
            raise ObjectError(f"`{key[:80]}…` is no object name: between slashes it may have {SEGMENT_BYTES_MAX} bytes")


def normal_endpoint(text: str) -> str:
    """An endpoint as people write it, perhaps as a URL, as a plain host name. It may still be wrong: see `check_names`."""
    return (urlsplit(text).netloc if "://" in text else text).rstrip("/").lower()


@contextlib.contextmanager
def _said(what: str) -> Iterator[None]:
    """What goes wrong with a store, as an ObjectError that a person understands."""
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise ObjectError(f"{what}: there is no such object or bucket") from error
    except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
        raise ObjectError(f"{what}: access is denied; check the store's access key and the bucket's rights") from error
    except OSError as error:
        raise ObjectError(f"{what}: {error.strerror or error}") from error
    except BaseError as error:
        raise ObjectError(f"{what}: {_first_line(error)}") from error


def _first_line(error: BaseError) -> str:
    """obstore's messages go on with a dump of the error for programmers."""
    return str(error).partition("\n")[0]


def _holds_nothing(folder: Path) -> bool:
    return not any(file.is_file() and not file.name.startswith(TEMPORARY_PREFIX) for file in folder.rglob("*"))


def _link(source: Path, place: Path) -> Stored:
    """The object as a second name of the file's bytes, or as a copy where it must be one."""

    def make(temporary: Path) -> None:
        try:
            os.link(source, temporary)
        except OSError:
            with source.open("rb") as reader, temporary.open("xb") as writer:
                shutil.copyfileobj(reader, writer, PART_BYTES)
                os.fsync(writer.fileno())

    return _place(place, make)


def _write(data: bytes, place: Path) -> Stored:
    def make(temporary: Path) -> None:
        with temporary.open("xb") as writer:
            writer.write(data)
            writer.flush()
            os.fsync(writer.fileno())

    return _place(place, make)


def _place(place: Path, make: Callable[[Path], None]) -> Stored:
    """Let `make` write a file beside the place, then give it the place's name, durably."""
    with _said(place.name):
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(TEMPORARY_PREFIX + secrets.token_hex(8))
        try:
            make(temporary)
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return Stored(place.stat().st_size)


def _read(place: Path, start: int, length: int) -> bytes:
    with place.open("rb") as reader:
        reader.seek(start)
        return reader.read(length)


def _remove(place: Path, bucket: Path) -> None:
    """The file, and the folders that are empty without it."""
    place.unlink(missing_ok=True)
    for folder in place.parents:
        if folder == bucket:
            break
        try:
            folder.rmdir()
        except OSError:
            break
