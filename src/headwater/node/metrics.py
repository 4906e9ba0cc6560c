"""The metrics of a media worker. Labels come from fixed vocabularies, so the number of series never grows with traffic."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

from headwater.node.census import resident_bytes
from headwater.observe.families import Family, Sample

if TYPE_CHECKING:
    from headwater.node.worker import Node


def families(node: Node) -> list[Family]:
    """Everything that the worker knows of itself, as of now."""
    hub, counters = node.hub, node.counters
    streams = tuple(hub.streams.values())
    viewers: Counter[str] = Counter(dict.fromkeys((*hub.traffic, "hls"), 0))
    behind = 0
    for stream in streams:
        for name, output in stream.outputs.items():
            viewers[name] += output.viewers
            behind += sum(viewer.stalled_at is not None for viewer in output.behind)
    viewers["hls"] = len(node.http.hls_viewers)
    joins = {name: traffic.joins for name, traffic in hub.traffic.items()} | {"hls": node.http.hls_viewers.joins}
    sent = {name: traffic.bytes_out for name, traffic in hub.traffic.items()} | {"hls": node.http.hls_bytes_out}
    own = [stream for stream in streams if not stream.replica]
    live = sum(stream.publisher is not None for stream in own)
    corrections = hub.corrections + sum(stream.timeline.corrections for stream in streams)
    return [
        _one("headwater_streams", "gauge", "Streams that are being published.", live),
        _one("headwater_streams_waiting", "gauge", "Streams whose publisher dropped and may return.", len(own) - live),
        _one("headwater_standbys", "gauge", "Publishers that stand by for another one.", len(node.ingest.standing_by)),
        _one("headwater_relays", "gauge", "Streams that are pulled from another worker.", len(node.relay)),
        _one("headwater_waiting", "gauge", "Requests that wait for a stream's publisher.", node.relay.waiting),
        _one("headwater_relay_bytes", "counter", "Bytes of streams given to other workers.", hub.relay_traffic.bytes_out),
        _one(
            "headwater_ring_bytes",
            "gauge",
            "Media bytes held in the rings of all streams.",
            sum(s.ring.held_bytes for s in streams),
        ),
        _by("headwater_viewers", "gauge", "Viewers, by protocol.", "protocol", viewers),
        _one("headwater_viewers_stalled", "gauge", "Viewers whose socket takes nothing at the moment.", behind),
        _by("headwater_plays", "counter", "Plays started, by protocol.", "protocol", joins),
        _one("headwater_publishes", "counter", "Pushes started.", counters.publishes),
        _by("headwater_received_bytes", "counter", "Bytes received, by listener.", "listener", counters.bytes_in),
        _by("headwater_sent_bytes", "counter", "Media bytes sent, by protocol.", "protocol", sent),
        _by(
            "headwater_viewer_jumps",
            "counter",
            "Jumps of slow viewers to a newer key frame, by protocol.",
            "protocol",
            {name: traffic.jumps for name, traffic in hub.traffic.items()},
        ),
        _by(
            "headwater_viewers_jumped",
            "counter",
            "Viewers who jumped at least once, by protocol.",
            "protocol",
            {name: traffic.jumped for name, traffic in hub.traffic.items()},
        ),
        _by(
            "headwater_viewer_skipped_bytes",
            "counter",
            "Bytes that slow viewers missed by their jumps, by protocol.",
            "protocol",
            {name: traffic.skipped_bytes for name, traffic in hub.traffic.items()},
        ),
        _pairs("headwater_refused", "Refused pushes and plays, by reason.", ("action", "reason"), counters.refused),
        _pairs(
            "headwater_overload_refused",
            "Newcomers refused for want of room, by what was short.",
            ("action", "resource"),
            counters.overload,
        ),
        _by(
            "headwater_overloaded",
            "gauge",
            "Whether newcomers are refused for want of room.",
            "action",
            {action: float(bool(gate.shut_by)) for action, gate in node.admission.gates.items()},
        ),
        _by(
            "headwater_load",
            "gauge",
            "Load over three seconds: share of a core, seconds that the loop is late, share of open files, Mbit/s sent.",
            "resource",
            msgspec.structs.asdict(node.admission.load),
        ),
        _by("headwater_connections", "counter", "Connections accepted, by listener.", "listener", counters.connections),
        _one("headwater_connections_open", "gauge", "Connections open now.", len(node.connections)),
        _pairs("headwater_connection_faults", "Connections ended for a fault, by kind.", ("listener", "kind"), counters.faults),
        _one(
            "headwater_timestamp_corrections",
            "counter",
            "Jumps in publishers' timestamps that viewers did not see.",
            corrections,
        ),
        _one("headwater_cpu_seconds", "counter", "CPU time used by the worker.", _cpu_s()),
        _one("headwater_resident_bytes", "gauge", "Resident memory of the worker.", resident_bytes()),
    ]


def _one(name: str, kind: Literal["counter", "gauge"], text: str, value: float) -> Family:
    return Family(name, kind, text, [Sample({}, value)])


def _by(name: str, kind: Literal["counter", "gauge"], text: str, label: str, values: Mapping[str, float]) -> Family:
    return Family(name, kind, text, [Sample({label: key}, value) for key, value in values.items()])


def _pairs(name: str, text: str, labels: tuple[str, str], values: Mapping[tuple[str, str], int]) -> Family:
    samples = [Sample(dict(zip(labels, key, strict=True)), value) for key, value in values.items()]
    return Family(name, "counter", text, samples)


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
