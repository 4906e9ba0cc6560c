"""Promises of the object store: a bucket is a folder or S3, what is stored is whole, and no name leads out of a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.settings import ObjectEndpoint, Objects, Settings, SettingsError, load
from headwater.store.objects import BucketError, ObjectError, ObjectStores, normal_endpoint
from support.ports import free_port

ENDPOINT, BUCKET = "oss-cn-shanghai.aliyuncs.com", "live-files"


@pytest.fixture
def stores(tmp_path: Path) -> ObjectStores:
    return ObjectStores(Settings(data_dir=str(tmp_path)))


async def test_a_file_is_stored_read_in_parts_and_removed_with_its_empty_folders(stores: ObjectStores, tmp_path: Path) -> None:
    source = tmp_path / "made.flv"
    source.write_bytes(bytes(range(256)) * 40)
    key = "app/stream/0_2026-11-22-20:00:00_2026-11-22-21:00:00.flv"
    assert (await stores.put_file(ENDPOINT, BUCKET, key, source, bytes_=10_240)).bytes == 10_240
    source.unlink()
    assert await stores.size(ENDPOINT, BUCKET, key) == 10_240
    assert await stores.get_range(ENDPOINT, BUCKET, key, 10, 3) == b"\x0a\x0b\x0c"
    assert b"".join([part async for part in stores.stream(ENDPOINT, BUCKET, key)]) == bytes(range(256)) * 40
    assert stores.local_path(ENDPOINT, BUCKET, key) == tmp_path / "objects" / BUCKET / key
    await stores.delete(ENDPOINT, BUCKET, key)
    await stores.delete(ENDPOINT, BUCKET, key)
    assert await stores.size(ENDPOINT, BUCKET, key) is None
    assert list((tmp_path / "objects" / BUCKET).iterdir()) == []


async def test_a_file_of_another_size_than_stated_is_not_taken(stores: ObjectStores, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1234")
    with pytest.raises(ObjectError, match="4 bytes in the store instead of 5"):
        await stores.put_file(ENDPOINT, BUCKET, "a", tmp_path / "a", bytes_=5)


async def test_a_check_leaves_nothing_behind(stores: ObjectStores, tmp_path: Path) -> None:
    await stores.check(ENDPOINT, BUCKET)
    assert list((tmp_path / "objects" / BUCKET).iterdir()) == []


async def test_a_bucket_that_cannot_be_written_to_is_said_to_be_so(stores: ObjectStores, tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / BUCKET).write_text("in the way")
    with pytest.raises(BucketError, match=r"bucket live-files at oss-cn-shanghai\.aliyuncs\.com cannot be written to"):
        await stores.check(ENDPOINT, BUCKET)


async def test_a_store_that_does_not_answer_is_said_to_be_so(tmp_path: Path) -> None:
    entry = ObjectEndpoint("*.store.test", f"http://127.0.0.1:{free_port()}", "id", "secret", allow_http=True)
    stores = ObjectStores(Settings(data_dir=str(tmp_path), objects=Objects((entry,))))
    assert stores.local_path("s3.store.test", BUCKET, "a") is None
    with pytest.raises(BucketError, match="cannot be written to"):
        await stores.check("s3.store.test", BUCKET)


@pytest.mark.parametrize("bucket", ["", "ab", "Live", "-a-", "a" * 64, "..", "a/b", "a_b", "é" * 4])
async def test_wrong_bucket_names_are_refused(stores: ObjectStores, bucket: str) -> None:
    with pytest.raises(BucketError, match="is no bucket name"):
        await stores.check(ENDPOINT, bucket)


@pytest.mark.parametrize("endpoint", ["", "a b", "../..", "http://host", "host/path", ".", "a" * 254])
async def test_wrong_endpoints_are_refused(stores: ObjectStores, endpoint: str) -> None:
    with pytest.raises(BucketError, match="is no endpoint"):
        await stores.check(endpoint, BUCKET)


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../a", "a/../../b", "a//b", "a/.", "a\\b", "a\0b", "a\nb", "é" * 600, "x" * 256]
)
async def test_no_key_leaves_its_bucket(stores: ObjectStores, key: str) -> None:
    with pytest.raises(ObjectError):
        await stores.put_bytes(ENDPOINT, BUCKET, key, b"data")


def test_endpoints_may_be_written_as_urls() -> None:
    assert normal_endpoint("https://OSS-cn-Shanghai.aliyuncs.com/") == ENDPOINT
    assert normal_endpoint(ENDPOINT) == ENDPOINT


def test_plain_http_to_a_store_must_be_allowed(tmp_path: Path) -> None:
    file = tmp_path / "h.toml"
    entry = '[[objects.endpoints]]\nendpoint="*"\nurl="http://s3.internal"\naccess_key_id="a"\nsecret_access_key="b"\n'
    file.write_text(entry)
    with pytest.raises(SettingsError, match="expected an https URL"):
        load(file, {})
    file.write_text(entry + "allow_http=true\n")
    assert load(file, {}).objects.endpoints[0].url == "http://s3.internal"
