"""Shows the metrics of all processes of a node to Prometheus, and whether the node is well."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

import httpx
import msgspec
from prometheus_client import REGISTRY
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from headwater.observe.families import Family, Sample

log = logging.getLogger(__name__)

WORKER_TIMEOUT_S = 2.0
"""A worker that has not answered by then is not well: its loop turns thousands of times a second. Prometheus waits for 10 s."""

WORKER_ANSWER_MAX_BYTES = 4 * 1024 * 1024
"""Labels come from fixed vocabularies, so a worker's answer has some kilobytes; more is a fault."""

WORKER_UP = "headwater_worker_up"


class WorkerSilent(Exception):
    """A worker did not answer with its metrics; the message says why."""


class Source(msgspec.Struct, frozen=True):
    """Where families come from: `read` returns them, or raises WorkerSilent; `labels` are added to each of their samples.

    worker: its index if the source is a media worker, whose health is then shown; None for the main process itself.
    """

    read: Callable[[], Awaitable[list[Family]]]
    labels: dict[str, str] = {}
    worker: int | None = None


def worker_source(index: int, internal_socket: str) -> Source:
    """The metrics of a media worker, each with its label `worker`."""
    return Source(lambda: worker_families(internal_socket), {"worker": str(index)}, index)


async def worker_families(internal_socket: str) -> list[Family]:
    """Ask a worker for its metrics over its Unix socket. Raises WorkerSilent."""
    body = await ask_worker(internal_socket, "/metrics", WORKER_ANSWER_MAX_BYTES)
    try:
        return msgspec.json.decode(body, type=list[Family])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WorkerSilent(f"{type(error).__name__}: {error}") from error


async def ask_worker(internal_socket: str, path: str, bytes_max: int) -> bytes:
    """A worker's answer to a request at its Unix socket. Raises WorkerSilent."""
    transport = httpx.AsyncHTTPTransport(uds=internal_socket, verify=False)
    body = bytearray()
    try:
        async with (
            asyncio.timeout(WORKER_TIMEOUT_S),
            httpx.AsyncClient(transport=transport, trust_env=False, timeout=WORKER_TIMEOUT_S) as client,
            client.stream("GET", f"http://worker{path}") as response,
        ):
            response.raise_for_status()
            async for part in response.aiter_raw():
                body += part
                if len(body) > bytes_max:
                    raise WorkerSilent(f"its answer has more than {bytes_max} bytes")
        return bytes(body)
    except TimeoutError as error:
        raise WorkerSilent(f"no answer within {WORKER_TIMEOUT_S:g} s") from error
    except httpx.HTTPError as error:
        raise WorkerSilent(f"{type(error).__name__}: {error}") from error


def create_app(sources: Sequence[Source]) -> Starlette:
    """The web application of the `metrics` listener.

    `/metrics`: every source's families in the format that the client asks for (Prometheus text or OpenMetrics), those of one
    name merged, and the metrics of the main process itself. `/health`: 200 if every worker answers, otherwise 503.
    """

    async def metrics(request: Request) -> Response:
        answers = await _read_all(sources)
        families = [(family, source.labels) for source, answer in answers for family in answer or ()]
        families.append((_up(answers), {}))
        collected = _Collected([*_merge(families), *REGISTRY.collect()])
        # Not prometheus_client's `choose_encoder`: a version that is no number in the Accept header makes it raise.
        if "application/openmetrics-text" in request.headers.get("accept", ""):
            text = openmetrics.generate_latest(collected)  # type: ignore[no-untyped-call]
            return Response(text, headers={"Content-Type": openmetrics.CONTENT_TYPE_LATEST})
        return Response(generate_latest(collected), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def health(_: Request) -> Response:
        answers = await _read_all([source for source in sources if source.worker is not None])
        workers = {str(source.worker): "ok" if answer is not None else "silent" for source, answer in answers}
        well = all(answer is not None for _, answer in answers)
        return JSONResponse({"status": "ok" if well else "degraded", "workers": workers}, 200 if well else 503)

    return Starlette(routes=[Route("/metrics", metrics), Route("/health", health)])


Answers = list[tuple[Source, list[Family] | None]]


async def _read_all(sources: Sequence[Source]) -> Answers:
    """Every source with its families, None for a worker that is silent."""

    async def read(source: Source) -> list[Family] | None:
        try:
            return await source.read()
        except WorkerSilent as error:
            log.warning("worker does not answer: %s, %s", source.worker, error)
            return None

    return list(zip(sources, await asyncio.gather(*map(read, sources)), strict=True))


def _up(answers: Answers) -> Family:
    samples = [
        Sample({"worker": str(source.worker)}, float(answer is not None))
        for source, answer in answers
        if source.worker is not None
    ]
    return Family(WORKER_UP, "gauge", "Whether a media worker answers.", samples)


def _merge(families: Iterable[tuple[Family, dict[str, str]]]) -> list[Metric]:
    """Families with the labels of their sources as metrics: one for each name, with the samples of all."""
    metrics: dict[str, Metric] = {}
    for family, labels in families:
        metric = metrics.setdefault(family.name, Metric(family.name, family.help, family.kind))
        if metric.type != family.kind:
            log.warning("metric %s is a %s in one process and a %s in another", family.name, metric.type, family.kind)
            continue
        for sample in family.samples:
            name = f"{family.name}_total" if family.kind == "counter" else family.name
            metric.add_sample(name, sample.labels | labels, sample.value)
    return [metric for metric in metrics.values() if metric.samples]


class _Collected(Collector):
    """Metrics that are there already, as the encoders want them."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterator[Metric]:
        """The metrics."""
        return iter(self._metrics)
