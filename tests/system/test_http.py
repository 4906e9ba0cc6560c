"""What browsers and caches are promised by the HTTP listener."""

from __future__ import annotations

import gzip
import http.client
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

import httpx
import pytest

from support.api import Pair
from support.m3u8 import parse
from support.players import Hls, HttpViewer, get, insecure
from support.ports import free_port, wait_listening
from support.programs import program
from support.wait import until


@pytest.fixture
def playlist_url(live: Pair) -> str:
    """The playlist of the stream that is on air, with a segment in it."""
    with Hls(live.play_url("hls")) as hls:
        hls.wait(lambda playlist: playlist.segments, "a segment")
    return live.play_url("hls")


@pytest.fixture(scope="module")
def cache(live: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """nginx as a CDN would be: a cache in front, which keeps what the answers' headers allow and nothing else."""
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{name}_temp_path {folder}/{name};" for name in names)
    (folder / "nginx.conf").write_text(
        f"""daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
        events {{ worker_connections 64; }}
        http {{
            access_log off; {temporary}
            proxy_cache_path {folder}/cache keys_zone=cdn:1m;
            server {{
                listen 127.0.0.1:{port};
                location / {{
                    proxy_pass http://127.0.0.1:{live.server.ports["http"]};
                    proxy_http_version 1.1; proxy_set_header Connection "";
                    proxy_cache cdn; proxy_cache_lock on; proxy_cache_revalidate on;
                    add_header X-Cache $upstream_cache_status always;
                }}
            }}
        }}"""
    )
    process = subprocess.Popen(
        [program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL
    )
    try:
        wait_listening(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def test_any_page_may_play(live: Pair, playlist_url: str) -> None:
    playlist = get(playlist_url, Origin="https://page.example")
    segment = parse(playlist.text, playlist_url).segments[-1].url
    for url in (playlist_url, segment, live.play_url("flv", "nobody"), live.play_url("flv", signed=False)):
        answer = get(url, Origin="https://page.example")
        assert answer.headers["access-control-allow-origin"] in ("*", "https://page.example"), url
        assert "X-Tengine-Error" in answer.headers.get("access-control-expose-headers", ""), url
    with HttpViewer(live.play_url("flv"), {"Origin": "https://page.example"}) as viewer:
        viewer.wait_frames(1)
        assert viewer.headers["access-control-allow-origin"] in ("*", "https://page.example")


def test_preflight_is_answered(live: Pair) -> None:
    headers = {
        "Origin": "https://page.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "range, x-custom",
    }
    for kind in ("flv", "hls"):
        answer = httpx.options(live.play_url(kind), headers=headers)
        assert answer.status_code in (200, 204)
        assert "GET" in answer.headers["access-control-allow-methods"]
        allowed = answer.headers["access-control-allow-headers"].lower()
        assert allowed == "*" or {"range", "x-custom"} <= set(re.split(r"\s*,\s*", allowed))


def test_the_root_serves_crossdomain_xml(live: Pair) -> None:
    answer = get(f"http://127.0.0.1:{live.server.ports['http']}/crossdomain.xml", Host=live.streaming)
    assert answer.status_code == 200
    assert "xml" in answer.headers["content-type"]
    policy = ElementTree.fromstring(answer.text)
    assert policy.tag == "cross-domain-policy"
    assert [rule.get("domain") for rule in policy.iter("allow-access-from")] == ["*"]


def test_head_tells_the_same_without_a_body(live: Pair, playlist_url: str) -> None:
    segment = parse(get(playlist_url).text, playlist_url).segments[-1].url
    connection = http.client.HTTPConnection("127.0.0.1", live.server.ports["http"], timeout=5)
    for url, kind in ((playlist_url, "mpegurl"), (segment, "video/mp2t"), (live.play_url("flv"), "video/x-flv")):
        connection.request("HEAD", url.partition(connection.host + f":{connection.port}")[2])
        answer = connection.getresponse()
        assert answer.status == 200
        assert kind in str(answer.getheader("Content-Type"))
        assert answer.read() == b""
    connection.request("HEAD", "/live/nobody.flv?" + live.play_url("flv", "nobody").partition("?")[2])
    answer = connection.getresponse()
    assert answer.status == 404
    assert answer.read() == b""
    connection.close()


def test_one_connection_serves_many_requests(live: Pair, playlist_url: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", live.server.ports["http"], timeout=5)
    connection.connect()
    first = connection.sock
    target = playlist_url[playlist_url.index("/live/") :]
    for path, status in ((target, 200), ("/nothing", 404), (target, 200), ("/crossdomain.xml", 200), (target, 200)):
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == status
        body = answer.read()
        assert len(body) == int(answer.getheader("Content-Length") or -1)
        assert connection.sock is first, "the connection was closed"
    connection.close()


def test_requests_may_be_sent_ahead(live: Pair, playlist_url: str) -> None:
    target = playlist_url[playlist_url.index("/live/") :]
    with httpx.Client() as client, client.stream("GET", playlist_url) as answer:
        answer.read()
    connection = http.client.HTTPConnection("127.0.0.1", live.server.ports["http"], timeout=5)
    connection.connect()
    request = f"GET {target} HTTP/1.1\r\nHost: {live.streaming}\r\n\r\n".encode()
    connection.sock.sendall(request * 3)
    got = b""
    while got.count(b"HTTP/1.1 200") < 3 or got.count(b"#EXTM3U") < 3:
        data = connection.sock.recv(65536)
        assert data, got
        got += data
    connection.close()


def test_old_http_and_close_are_understood(live: Pair, playlist_url: str) -> None:
    target = playlist_url[playlist_url.index("/live/") :]
    for request in (
        f"GET {target} HTTP/1.0\r\n\r\n",
        f"GET {target} HTTP/1.1\r\nHost: {live.streaming}\r\nConnection: close\r\n\r\n",
    ):
        connection = http.client.HTTPConnection("127.0.0.1", live.server.ports["http"], timeout=5)
        connection.connect()
        connection.sock.sendall(request.encode())
        got = b""
        while data := connection.sock.recv(65536):
            got += data
        assert b" 200 " in got.splitlines()[0]
        assert b"#EXTM3U" in got
        connection.close()


def test_caches_may_keep_segments_and_not_streams(live: Pair, playlist_url: str) -> None:
    playlist = get(playlist_url)
    segment = get(parse(playlist.text, playlist_url).segments[-1].url)
    long = re.search(r"max-age=(\d+)", segment.headers["cache-control"])
    assert long is not None
    assert int(long[1]) >= 60
    cache = playlist.headers["cache-control"]
    short = re.search(r"max-age=(\d+)", cache)
    assert "no-cache" in cache or "no-store" in cache or (short is not None and int(short[1]) <= 1)
    assert "no-store" in get(live.play_url("flv", "nobody")).headers["cache-control"]
    with HttpViewer(live.play_url("flv")) as viewer:
        viewer.wait_frames(1)
        assert "no-" in viewer.headers["cache-control"]
        assert viewer.headers["content-type"] == "video/x-flv"
        assert "content-length" not in viewer.headers


def test_playlists_come_compressed_to_those_who_can(live: Pair, playlist_url: str) -> None:
    target = playlist_url[playlist_url.index("/live/") :]
    for encodings, zipped in (("gzip, br", True), ("identity", False), ("gzip;q=0", False), (None, False)):
        connection = http.client.HTTPConnection("127.0.0.1", live.server.ports["http"], timeout=5)
        connection.putrequest("GET", target, skip_accept_encoding=True)
        if encodings is not None:
            connection.putheader("Accept-Encoding", encodings)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        assert (answer.getheader("Content-Encoding") == "gzip") is zipped, encodings
        assert "accept-encoding" in str(answer.getheader("Vary")).lower()
        assert (gzip.decompress(body) if zipped else body).startswith(b"#EXTM3U\n")
        connection.close()


def test_segments_can_be_read_in_parts(live: Pair, playlist_url: str) -> None:
    url = parse(get(playlist_url).text, playlist_url).segments[-1].url
    whole = get(url).content
    part = get(url, Range="bytes=188-375")
    assert part.status_code == 206
    assert part.content == whole[188:376]
    assert part.headers["content-range"] == f"bytes 188-375/{len(whole)}"
    assert get(url, Range=f"bytes={len(whole)}-").status_code == 416


def test_what_a_cache_has_already_is_not_sent_again(live: Pair, playlist_url: str) -> None:
    url = parse(get(playlist_url).text, playlist_url).segments[-1].url
    segment = get(url)
    etag = segment.headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = get(url, **{"If-None-Match": known, "Range": "bytes=0-1"})
        assert again.status_code == 304, known
        assert again.content == b""
        assert again.headers["etag"] == etag
        assert again.headers["cache-control"] == segment.headers["cache-control"]
    assert get(url, **{"If-None-Match": '"other"'}).content == segment.content

    def unchanged(**headers: str) -> bool:
        """Ask twice in a row; false if a new playlist has come between the two."""
        first = get(playlist_url, **headers)
        second = get(playlist_url, **headers, **{"If-None-Match": first.headers["etag"]})
        assert second.status_code == (304 if second.headers["etag"] == first.headers["etag"] else 200)
        return second.status_code == 304

    for encoding in ("identity", "gzip"):
        until(lambda encoding=encoding: unchanged(**{"Accept-Encoding": encoding}), "an unchanged playlist")  # type: ignore[misc]
    plain, zipped = (get(playlist_url, **{"Accept-Encoding": encoding}).headers["etag"] for encoding in ("identity", "gzip"))
    assert plain != zipped, "two encodings are two entities"


def test_a_part_is_only_given_of_the_segment_that_is_meant(live: Pair, playlist_url: str) -> None:
    url = parse(get(playlist_url).text, playlist_url).segments[-1].url
    whole = get(url)
    etag = whole.headers["etag"]
    assert whole.headers["accept-ranges"] == "bytes"
    assert get(url, **{"Range": "bytes=-188", "If-Range": etag}).content == whole.content[-188:]
    for headers in (
        {"Range": "bytes=0-187", "If-Range": '"other"'},
        {"Range": "bytes=0-187", "If-Range": "Sun, 22 Nov 2026 10:00:00 GMT"},
        {"Range": "bytes=0-1,5-9"},
        {"Range": "packets=0-1"},
    ):
        answer = get(url, **headers)
        assert (answer.status_code, len(answer.content)) == (200, len(whole.content)), headers
    head = httpx.head(url, headers={"Range": "bytes=0-187"})
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(whole.content))), "a range is for GET"


def test_a_cache_in_front_serves_segments_without_asking_again(live: Pair, playlist_url: str, cache: str) -> None:
    def through(url: str) -> str:
        return cache + url[url.index("/live/") :]

    playlist = get(through(playlist_url))
    assert playlist.status_code == 200
    assert playlist.headers["x-cache"] in ("MISS", "EXPIRED")
    url = parse(playlist.text, through(playlist_url)).segments[-1].url
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(get, [url] * 8))
    assert sorted(answer.headers["x-cache"] for answer in answers) == ["HIT"] * 7 + ["MISS"]
    assert len({answer.content for answer in answers}) == 1
    part = get(url, Range="bytes=0-187")
    assert (part.status_code, part.headers["x-cache"], len(part.content)) == (206, "HIT", 188)
    assert get(url, **{"If-None-Match": answers[0].headers["etag"]}).status_code == 304
    later = through(live.play_url("hls", timestamp=1_999_999_999))
    assert url.partition("?")[0] in [segment.url.partition("?")[0] for segment in parse(get(later).text, later).segments]
    refused = [get(through(live.play_url("flv", "nobody"))) for _ in range(2)]
    assert [(answer.status_code, answer.headers["x-cache"]) for answer in refused] == [(404, "MISS")] * 2, "never kept"


@pytest.mark.parametrize("stream", ["cam", "nobody"])
@pytest.mark.parametrize(
    ("version", "key", "status"), [("13", "short", 400), ("13", None, 400), ("8", "AAAAAAAAAAAAAAAAAAAAAA==", 426)]
)
def test_a_broken_websocket_handshake_is_refused_before_anything_is_waited_for(
    live: Pair, stream: str, version: str, key: str | None, status: int
) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": version}
    answer = get(live.play_url("flv", stream), **headers, **({} if key is None else {"Sec-WebSocket-Key": key}))
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == "*"


def test_every_viewer_gets_the_same_segment_addresses(live: Pair, playlist_url: str) -> None:
    one = parse(get(playlist_url).text, playlist_url).segments[-1].url
    later = live.play_url("hls", timestamp=1_999_999_999)
    other = parse(get(later).text, later).segments
    assert one.partition("?")[0] in [segment.url.partition("?")[0] for segment in other]


def test_https_answers_as_http_does(live: Pair) -> None:
    port = live.server.ports["https"]
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=insecure())
    connection.request("GET", "/crossdomain.xml")
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_streams_are_only_read(live: Pair, method: str) -> None:
    answer = httpx.request(method, live.play_url("flv"))
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]
