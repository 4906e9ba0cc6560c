"""What Prometheus reads is what the processes said, and a worker that does not answer is seen."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from headwater.cluster.embedded import EmbeddedCluster
from headwater.cluster.metrics import store_families
from headwater.observe import exposition
from headwater.observe.exposition import Source, WorkerSilent, create_app, worker_families, worker_source
from headwater.observe.families import Family, Sample

VIEWERS = Family(
    "headwater_viewers", "gauge", "Viewers, by protocol.", [Sample({"protocol": "rtmp"}, 3), Sample({"protocol": "flv"}, 4)]
)
SENT = Family("headwater_sent_bytes", "counter", "Media bytes sent.", [Sample({}, 2**40)])

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def said(*families: Family) -> Callable[[], Awaitable[list[Family]]]:
    async def read() -> list[Family]:
        return list(families)

    return read


async def silent() -> list[Family]:
    raise WorkerSilent("gone")


async def get(sources: list[Source], path: str = "/metrics", accept: str = "") -> httpx.Response:
    transport = httpx.ASGITransport(app=create_app(sources))
    async with httpx.AsyncClient(transport=transport, base_url="http://metrics") as client:
        return await client.get(path, headers={"Accept": accept})


def values(text: str) -> Values:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in read_prometheus(text)
        for sample in family.samples
    }


@asynccontextmanager
async def worker(answer: bytes, *, close: bool = True) -> AsyncIterator[str]:
    """A worker's internal socket on which each connection gets these bytes."""
    held = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if close:
            writer.close()

    with tempfile.TemporaryDirectory(prefix="hw-") as folder:
        path = str(Path(folder) / "internal.sock")
        server = await asyncio.start_unix_server(accept, path)
        yield path
        server.close()
        for writer in held:
            writer.close()


def http(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def test_families_of_several_workers_merge_with_a_label_for_each() -> None:
    sources = [Source(said(VIEWERS, SENT), {"worker": "0"}, 0), Source(said(VIEWERS), {"worker": "1"}, 1)]
    response = await get(sources)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    found = values(response.text)
    assert found["headwater_viewers", (("protocol", "rtmp"), ("worker", "0"))] == 3
    assert found["headwater_viewers", (("protocol", "flv"), ("worker", "1"))] == 4
    assert found["headwater_sent_bytes_total", (("worker", "0"),)] == 2**40
    assert found["headwater_worker_up", (("worker", "0"),)] == 1
    assert response.text.count("# HELP headwater_viewers ") == 1


async def test_a_worker_that_does_not_answer_is_shown_as_down_and_hides_nobody() -> None:
    response = await get([Source(said(SENT), {"worker": "0"}, 0), Source(silent, {"worker": "1"}, 1)])
    found = values(response.text)
    assert found["headwater_worker_up", (("worker", "1"),)] == 0
    assert found["headwater_sent_bytes_total", (("worker", "0"),)] == 2**40


async def test_the_main_process_shows_itself_and_its_store() -> None:
    store = EmbeddedCluster()
    await store.put("k", b"x")
    found = values((await get([Source(lambda: store_families(store))])).text)
    assert found["headwater_cluster_keys", ()] == 1
    assert found["process_resident_memory_bytes", ()] > 0
    assert not any(name == "headwater_worker_up" for name, _ in found)


async def test_openmetrics_is_spoken_to_who_asks_for_it() -> None:
    response = await get(
        [Source(said(VIEWERS, SENT), {"worker": "0"}, 0)], accept="application/openmetrics-text; version=1.0.0"
    )
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name: family for family in read_openmetrics(response.text)}  # type: ignore[no-untyped-call]
    assert families["headwater_viewers"].type == "gauge"
    assert families["headwater_sent_bytes"].type == "counter"
    assert families["headwater_sent_bytes"].samples[0].value == 2**40


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text; version=x",
        "application/openmetrics-text; version=1.0.0; escaping=x",
        "application/openmetrics-text; version=9.9.9",
        "text/plain; version=1.0.0; escaping=?",
        "text/plain; version=..",
        ";;,,=",
    ],
)
async def test_an_accept_header_of_any_kind_gets_metrics(accept: str) -> None:
    response = await get([Source(said(VIEWERS), {"worker": "0"}, 0)], accept=accept)
    assert response.status_code == 200
    assert "headwater_viewers{" in response.text


async def test_a_name_that_is_of_two_kinds_keeps_the_first() -> None:
    other = Family("headwater_viewers", "counter", "Something else.", [Sample({}, 1)])
    found = values((await get([Source(said(VIEWERS)), Source(said(other))])).text)
    assert "headwater_viewers_total" not in {name for name, _ in found}
    assert found["headwater_viewers", (("protocol", "flv"),)] == 4


names = st.from_regex(r"headwater_[a-z]{1,8}", fullmatch=True)
labels = st.dictionaries(st.sampled_from(["protocol", "reason"]), st.text(st.characters(exclude_categories=["Cs"])), max_size=2)


@given(
    name=names,
    kind=st.sampled_from(["counter", "gauge"]),
    text=st.text(st.characters(exclude_categories=["Cs"])),
    label=labels,
    value=st.floats(min_value=0),
)
@settings(max_examples=50, deadline=None)
def test_whatever_a_worker_says_is_read_back_by_prometheus(
    name: str, kind: str, text: str, label: dict[str, str], value: float
) -> None:
    family = msgspec.convert({"name": name, "kind": kind, "help": text, "samples": [{"labels": label, "value": value}]}, Family)
    found = values(asyncio.run(get([Source(said(family), {"worker": "0"}, 0)])).text)
    key = name + ("_total" if kind == "counter" else ""), tuple(sorted({**label, "worker": "0"}.items()))
    assert math.isclose(found[key], value)


async def test_health_is_200_only_while_every_worker_answers() -> None:
    well = await get([Source(said(), {"worker": "0"}, 0), Source(said())], "/health")
    assert (well.status_code, well.json()) == (200, {"status": "ok", "workers": {"0": "ok"}})
    ill = await get([Source(said(), {"worker": "0"}, 0), Source(silent, {"worker": "1"}, 1)], "/health")
    assert (ill.status_code, ill.json()) == (503, {"status": "degraded", "workers": {"0": "ok", "1": "silent"}})


async def test_other_paths_are_not_found() -> None:
    assert (await get([], "/")).status_code == 404


async def test_a_worker_is_asked_over_its_socket() -> None:
    async with worker(http(msgspec.json.encode([VIEWERS, SENT]))) as path:
        assert await worker_families(path) == [VIEWERS, SENT]
        found = values((await get([worker_source(3, path)])).text)
    assert found["headwater_viewers", (("protocol", "rtmp"), ("worker", "3"))] == 3
    assert found["headwater_worker_up", (("worker", "3"),)] == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no HTTP at all\r\n\r\n",
        http(b"[]", "500 Internal Server Error"),
        http(b"[]", "302 Found"),
        http(b"{"),
        http(b'[{"name": 1}]'),
        http(b'["\xff\xff"]'),
        http(b"[" + b" " * exposition.WORKER_ANSWER_MAX_BYTES + b"]"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n[}",
    ],
    ids=["nothing", "no HTTP", "error", "redirect", "no JSON", "other JSON", "no UTF-8", "too long", "cut short", "gzip"],
)
async def test_a_worker_that_answers_nonsense_is_silent(answer: bytes) -> None:
    async with worker(answer) as path:
        with pytest.raises(WorkerSilent):
            await worker_families(path)


async def test_a_worker_that_hangs_is_silent_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "WORKER_TIMEOUT_S", 0.01)
    async with worker(b"HTTP/1.1 200 OK\r\n", close=False) as path:
        with pytest.raises(WorkerSilent):
            await worker_families(path)


async def test_a_worker_that_is_gone_is_silent(tmp_path: Path) -> None:
    with pytest.raises(WorkerSilent):
        await worker_families(str(tmp_path / "none.sock"))
