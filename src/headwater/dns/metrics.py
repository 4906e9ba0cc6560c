"""The metrics of the DNS process, and the Unix socket on which the main process asks for them."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from headwater.observe.families import Family, Sample
from headwater.protocols.http import HttpError, RequestReader, Response, pack_response

if TYPE_CHECKING:
    from headwater.dns.server import DnsServer

REQUEST_MAX_BYTES = 16 * 1024
"""The main process asks with a few hundred."""

_RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 16: "BADVERS"}


def families(server: DnsServer) -> list[Family]:
    """Everything that the process knows of itself, as of now."""
    responder = server.responder
    udp, tcp = server.udp, server.tcp
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return [
        _by(
            "headwater_dns_queries",
            "counter",
            "Queries received, by transport.",
            "transport",
            {"udp": udp.received if udp else 0, "tcp": tcp.received if tcp else 0},
        ),
        _by(
            "headwater_dns_answers",
            "counter",
            "Answers packed anew, by code.",
            "rcode",
            {name: responder.rcodes.get(code, 0) for code, name in _RCODES.items()},
        ),
        _by(
            "headwater_dns_memory",
            "counter",
            "Queries by UDP whose answer was ready, and that were packed anew.",
            "result",
            {"hit": responder.hits, "miss": responder.misses},
        ),
        _by(
            "headwater_dns_limited",
            "counter",
            "Answers over the rate limit, by what became of them.",
            "result",
            {"cut": responder.limiter.cut, "dropped": responder.limiter.dropped},
        ),
        _one("headwater_dns_unsent", "counter", "Answers that the socket did not take.", udp.unsent if udp else 0),
        _one("headwater_dns_connections_open", "gauge", "TCP connections open now.", len(tcp.connections) if tcp else 0),
        _one("headwater_dns_names", "gauge", "Domains that the zone answers for.", len(responder.zone.targets)),
        _one("headwater_dns_nodes", "gauge", "Nodes that are there.", len(server.nodes.nodes)),
        _one("headwater_dns_cpu_seconds", "counter", "CPU time used by the process.", usage.ru_utime + usage.ru_stime),
        _one("headwater_dns_resident_bytes", "gauge", "Resident memory of the process.", _resident_bytes()),
    ]


async def serve(path: str, read: Callable[[], list[Family]]) -> asyncio.Server:
    """Answer `GET /metrics` on a Unix socket, one request a connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests, received = RequestReader(), 0
        try:
            while received < REQUEST_MAX_BYTES and (data := await reader.read(REQUEST_MAX_BYTES)):
                received += len(data)
                for request in requests.feed(data):
                    json = (("Content-Type", "application/json"),)
                    known = request.path == "/metrics"
                    response = Response(200, json, msgspec.json.encode(read())) if known else Response(404)
                    writer.write(pack_response(response, request, time.time(), keep_alive=False))
                    return
        except (HttpError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(answer, path)
    Path(path).chmod(0o600)  # noqa: ASYNC240 (a local file, once)
    return server


def _one(name: str, kind: Literal["counter", "gauge"], text: str, value: float) -> Family:
    return Family(name, kind, text, [Sample({}, value)])


def _by(name: str, kind: Literal["counter", "gauge"], text: str, label: str, values: Mapping[str, float]) -> Family:
    return Family(name, kind, text, [Sample({label: key}, value) for key, value in values.items()])


def _resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()
