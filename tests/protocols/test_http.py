"""Requests are read within bounds, and answers are what caches and players expect."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.protocols.http import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    HttpError,
    Request,
    RequestReader,
    Response,
    accepts_gzip,
    byte_range,
    etag_matches,
    pack_response,
)

PLAIN = b"GET /live/a.flv?auth_key=1-0-0-x HTTP/1.1\r\nHost: play.test:8080\r\nUser-Agent: x\r\n\r\n"


def read(data: bytes) -> list[Request]:
    return RequestReader().feed(data)


def test_a_request_is_read() -> None:
    [request] = read(PLAIN)
    assert (request.method, request.path, request.query, request.version) == ("GET", "/live/a.flv", "auth_key=1-0-0-x", "1.1")
    assert request.headers == {"host": "play.test:8080", "user-agent": "x"}
    assert request.keep_alive


@given(st.integers(1, len(PLAIN) * 2 - 1), st.integers(1, len(PLAIN) * 2 - 1))
def test_requests_split_anywhere_are_the_same_requests(one: int, other: int) -> None:
    first, second = sorted((one, other))
    data, reader = PLAIN * 2, RequestReader()
    parts = [data[:first], data[first:second], data[second:]]
    found = [msgspec.structs.replace(request, alone=b"") for part in parts if part for request in reader.feed(part)]
    assert found == read(PLAIN * 2)


@given(st.integers(1, len(PLAIN) - 1))
def test_a_request_knows_its_bytes_only_if_they_came_alone(at: int) -> None:
    reader = RequestReader()

    def alone(data: bytes) -> list[bytes]:
        return [request.alone for request in reader.feed(data)]

    assert alone(PLAIN) == alone(PLAIN) == [PLAIN]
    assert (alone(PLAIN[:at]), reader.idle) == ([], False)
    assert (alone(PLAIN[at:]), reader.idle) == ([b""], True)
    assert alone(PLAIN * 2) == [b""] * 2
    assert (alone(PLAIN + PLAIN[:at]), reader.idle) == ([b""], False)
    assert (alone(PLAIN[at:] + PLAIN), reader.idle) == ([b""] * 2, True)
    assert alone(PLAIN) == [PLAIN]


def test_http_1_0_and_connection_close_end_the_connection() -> None:
    assert not read(b"GET /a HTTP/1.0\r\n\r\n")[0].keep_alive
    assert not read(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")[0].keep_alive


def test_a_proxy_may_send_the_absolute_form() -> None:
    assert read(b"GET http://play.test/live/a.m3u8?x=1 HTTP/1.1\r\nHost: play.test\r\n\r\n")[0].path == "/live/a.m3u8"


def test_an_upgrade_is_a_request_like_any_other() -> None:
    [request] = read(b"GET /a.flv HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    assert request.headers["upgrade"] == "websocket"


@pytest.mark.parametrize(("data", "name"), [(b"\x03" + bytes(1536), "RTMP"), (b"\x16\x03\x01\x02\x00\x01", "TLS")])
def test_another_protocol_is_named(data: bytes, name: str) -> None:
    with pytest.raises(HttpError, match=f"looks like {name}"):
        read(data)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # a TLS hello on the plain port
        (b"\x03" + bytes(1536), 400),  # an RTMP handshake
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET ftp://x/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % index for index in range(MAX_HEADERS + 1)) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_HEAD_BYTES, 431),
        (b"GET /" + b"a" * (MAX_HEAD_BYTES + 1), 414),
        (PLAIN * 17, 400),
    ],
)
def test_what_cannot_be_served_says_why(data: bytes, status: int) -> None:
    with pytest.raises(HttpError) as caught:
        read(data)
    assert caught.value.status == status


@given(st.binary(max_size=400))
def test_garbage_never_raises_anything_else(data: bytes) -> None:
    with contextlib.suppress(HttpError):
        read(data)


@given(st.integers(0, len(PLAIN) - 1), st.integers(0, 255))
def test_a_damaged_request_never_raises_anything_else(at: int, byte: int) -> None:
    data = bytearray(PLAIN)
    data[at] = byte
    with contextlib.suppress(HttpError):
        read(bytes(data))


def test_a_response_counts_its_body_and_leaves_it_out_for_head() -> None:
    [get] = read(PLAIN)
    [head] = read(PLAIN.replace(b"GET", b"HEAD"))
    answer = Response(200, (("Content-Type", "text/plain"),), b"hello")
    full = pack_response(answer, get, 0.0, keep_alive=True)
    assert full.startswith(b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n")
    assert full.endswith(b"Content-Length: 5\r\nConnection: keep-alive\r\n\r\nhello")
    assert pack_response(answer, head, 0.0, keep_alive=True) == full.removesuffix(b"hello")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-99", (0, 99)),
        ("bytes=50-", (50, 199)),
        ("bytes=-10", (190, 199)),
        ("bytes=-500", (0, 199)),
        ("bytes=0-1000", (0, 199)),
        ("bytes=10-5", None),
        ("bytes=0-1,5-6", None),
        ("lines=1-2", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=²-3", None),
    ],
)
def test_ranges_follow_rfc_9110(header: str, expected: tuple[int, int] | None) -> None:
    assert byte_range(header, 200) == expected


@pytest.mark.parametrize("header", ["bytes=200-", "bytes=1000-2000", "bytes=-0"])
def test_a_range_beyond_the_end_cannot_be_satisfied(header: str) -> None:
    with pytest.raises(HttpError) as caught:
        byte_range(header, 200)
    assert caught.value.status == 416


@given(st.text(max_size=40), st.integers(1, 1000))
def test_any_range_header_is_ignored_satisfied_or_416(header: str, size: int) -> None:
    try:
        part = byte_range("bytes=" + header, size)
    except HttpError as error:
        assert error.status == 416
        return
    assert part is None or 0 <= part[0] <= part[1] < size


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("gzip, deflate", True),
        ("br", False),
        ("gzip;q=0", False),
        ("*", True),
        ("", False),
        ("*;q=0, gzip", True),
        ("*, gzip;q=0", False),
    ],
)
def test_gzip_only_for_who_takes_it(value: str, expected: bool) -> None:
    assert accepts_gzip({"accept-encoding": value}) is expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('"a"', True),
        ('W/"a"', True),
        ('"b", "a"', True),
        ('"b" , W/"a" ', True),
        (" * ", True),
        ("", False),
        ('"b"', False),
        ('"ab"', False),
        ("a", False),
        ('"A"', False),
    ],
)
def test_an_entity_tag_is_found_among_those_that_a_cache_has(header: str, expected: bool) -> None:
    assert etag_matches(header, '"a"') is expected
