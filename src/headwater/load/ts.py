"""Checks MPEG transport stream segments of one viewer (ISO/IEC 13818-1): counters, tables, timestamps, and how each begins.

Independent of the house's own muxer on purpose: it would not find its own mistakes.
"""

from __future__ import annotations

import struct

from headwater.load import clock
from headwater.load.faults import Fault, Kind
from headwater.load.walk import Report

PACKET_BYTES = 188
SYNC = 0x47

LEAP_S = 3
"""Timestamps that go on so much later were set anew: encoders drop frames for less."""

_TICKS_PER_S = 90_000
_TICKS = 1 << 33
_NULL_PID = 0x1FFF
_PAT_PID, _PAT_TABLE, _PMT_TABLE = 0, 0, 2
_H264, _HEVC = 0x1B, 0x24
_VIDEO_TYPES = frozenset({0x01, 0x02, 0x10, _H264, _HEVC, 0x33})
"""Stream types of video (table 2-34)."""

_H264_SPS, _H264_PPS, _H264_IDR = 7, 8, 5
_HEVC_SPS, _HEVC_PPS, _HEVC_IRAP = 33, 34, range(16, 24)
_u32 = struct.Struct(">I").unpack_from


class Phase:
    """Where the sync bytes of a segment lie, over pieces of any size: what every viewer checks."""

    def __init__(self) -> None:
        self._received = 0

    def feed(self, data: memoryview) -> None:
        """Raises Fault if a packet does not begin with the sync byte."""
        first = -self._received % PACKET_BYTES
        self._received += len(data)
        heads = data[first::PACKET_BYTES].tobytes()
        if heads.count(SYNC) != len(heads):
            raise Fault("torn", "a transport packet without its sync byte")

    def end(self) -> None:
        """Raises Fault if the segment ended inside a packet, or has none."""
        if self._received % PACKET_BYTES or not self._received:
            raise Fault("torn", f"a segment of {self._received} bytes is not made of whole transport packets")


class SegmentCheck:
    """Takes the segments of one viewer in order. clocks_us: the publisher's clocks in the last segment's frames."""

    def __init__(self, report: Report) -> None:
        self.clocks_us: list[int] = []
        self._report = report
        self._counters: dict[int, int] = {}
        self._types: dict[int, int] = {}
        self._last_dts: dict[int, int] = {}
        self._pmt_pid: int | None = None
        self._heads: dict[int, bytearray] = {}  # of the PES packet that each PID is in
        self._key_due = False
        self._listed = False
        self._noticed: set[str] = set()

    def segment(self, data: bytes, *, goes_on: bool, independent: bool) -> None:
        """All of one segment.

        goes_on: it follows the last one and the playlist has no mark between them. independent: it must begin with a key
        frame; the first one must in any case. Raises Fault if it is torn.
        """
        self.clocks_us = []
        self._noticed.clear()
        if not goes_on:
            self._counters.clear()
            self._last_dts.clear()
            self._types.clear()
        self._key_due = independent or not goes_on
        self._pmt_pid = None
        self._listed = False
        for at in range(0, len(data) - PACKET_BYTES + 1, PACKET_BYTES):
            self._packet(data, at, goes_on=goes_on)
        for pid in tuple(self._heads):
            self._finish(pid)

    def _packet(self, data: bytes, at: int, *, goes_on: bool) -> None:
        head = _u32(data, at)[0]
        pid = head >> 8 & 0x1FFF
        if head >> 24 != SYNC:
            raise Fault("torn", "a transport packet without its sync byte")
        if head & 0x8000C0:
            raise Fault("torn", f"PID {pid:#x}: a transport packet that is marked as wrong, or scrambled")
        if pid == _NULL_PID:
            return
        body, end = at + 4, at + PACKET_BYTES
        marked = False
        if head & 0x20:
            size = data[body]
            if size > PACKET_BYTES - 5:
                raise Fault("torn", f"PID {pid:#x}: an adaptation field of {size} bytes")
            marked = bool(size and data[body + 1] & 0x80)
            body += 1 + size
        self._count(pid, head & 15, payload=bool(head & 0x10), marked=marked)
        if not head & 0x10:
            return
        begins = bool(head & 0x400000)
        if pid == _PAT_PID:
            if begins:
                self._pat(data[body:end])
        elif pid == self._pmt_pid:
            if begins:
                self._pmt(data[body:end], goes_on=goes_on)
        elif not self._listed:
            self._notice("start", "a segment begins without PAT and PMT (RFC 8216, 3.2)")
        elif begins:
            self._finish(pid)
            self._begin(pid, data[body:end])
        elif (held := self._heads.get(pid)) is not None and len(held) < clock.SEARCHED_BYTES:
            held += data[body:end]

    def _count(self, pid: int, counter: int, *, payload: bool, marked: bool) -> None:
        before = self._counters.get(pid)
        self._counters[pid] = counter
        if before is None:
            return
        if marked:
            self._notice("discontinuity", f"PID {pid:#x} is marked as discontinuous, and the playlist has no mark")
        elif counter != (before + 1 & 15 if payload else before):
            self._report("continuity", f"PID {pid:#x}: a continuity counter did not go on")

    def _pat(self, body: bytes) -> None:
        section = _section(body, _PAT_TABLE)
        for at in range(0, len(section) - 3, 4):
            if section[at : at + 2] != b"\0\0":
                self._pmt_pid = (section[at + 2] & 0x1F) << 8 | section[at + 3]
                return
        raise Fault("torn", "a PAT without a program")

    def _pmt(self, body: bytes, *, goes_on: bool) -> None:
        section = _section(body, _PMT_TABLE)
        if len(section) < 4:
            raise Fault("torn", "a PMT that is too short")
        types: dict[int, int] = {}
        at = 4 + ((section[2] & 0x0F) << 8 | section[3])
        while at + 5 <= len(section):
            types[(section[at + 1] & 0x1F) << 8 | section[at + 2]] = section[at]
            at += 5 + ((section[at + 3] & 0x0F) << 8 | section[at + 4])
        if self._types and types != self._types and (goes_on or self._listed):
            self._notice("discontinuity", "the tracks changed, and the playlist has no mark")
        self._types = types
        self._listed = True

    def _begin(self, pid: int, data: bytes) -> None:
        if pid not in self._types:
            self._notice("torn", f"PID {pid:#x} is in no PMT")
            return
        if data[:3] != b"\0\0\1" or len(data) < 9:
            self._report("torn", f"PID {pid:#x}: a PES packet without its start code")
            return
        if data[7] & 0x80:
            dts = _ticks(data, 14 if data[7] & 0x40 else 9)
            if dts is None:
                self._report("torn", f"PID {pid:#x}: a PES packet with a broken timestamp")
                return
            self._check_time(pid, dts)
        if self._types[pid] in _VIDEO_TYPES:
            self._heads[pid] = bytearray(data[9 + data[8] :])

    def _check_time(self, pid: int, dts: int) -> None:
        before = self._last_dts.get(pid, dts)
        self._last_dts[pid] = dts
        step = (dts - before + _TICKS // 2) % _TICKS - _TICKS // 2
        if step < 0:
            self._report("backwards", f"PID {pid:#x}: timestamps ran back, and the playlist has no mark")
        elif step > LEAP_S * _TICKS_PER_S:
            self._report("discontinuity", f"PID {pid:#x}: timestamps leapt by {step / _TICKS_PER_S:.1f} s without a mark")

    def _finish(self, pid: int) -> None:
        """The beginning of a video frame is complete: look into it."""
        head = self._heads.pop(pid, None)
        if head is None:
            return
        frame = bytes(head)
        if self._key_due:
            self._key_due = False
            self._check_key(frame, self._types[pid])
        sent_us = clock.find(frame)
        if sent_us is not None:
            self.clocks_us.append(sent_us)

    def _check_key(self, frame: bytes, stream_type: int) -> None:
        units = _unit_types(frame, stream_type)
        if stream_type == _H264:
            wanted, sets = any(unit == _H264_IDR for unit in units), {_H264_SPS, _H264_PPS} <= set(units)
        elif stream_type == _HEVC:
            wanted, sets = any(unit in _HEVC_IRAP for unit in units), {_HEVC_SPS, _HEVC_PPS} <= set(units)
        else:
            return
        if not wanted:
            self._report("start", "the first video frame of a segment is no key frame")
        elif not sets:
            self._report("start", "a segment begins with a key frame without parameter sets")

    def _notice(self, kind: Kind, text: str) -> None:
        """Report a fault that every packet would show once for the segment."""
        if text not in self._noticed:
            self._noticed.add(text)
            self._report(kind, text)


def _section(body: bytes, table_id: int) -> bytes:
    """What a table says, between its header and its checksum. Raises Fault."""
    at = 1 + body[0] if body else 0
    size = int.from_bytes(body[at + 1 : at + 3], "big") & 0xFFF
    section = body[at : at + 3 + size]
    if len(section) != 3 + size or size < 9 or section[0] != table_id:
        raise Fault("torn", "a PAT or PMT that is cut off, or longer than a packet")
    if _crc_32(section):
        raise Fault("torn", "a PAT or PMT with a wrong checksum")
    return section[8:-4]


def _crc_32(data: bytes) -> int:
    """The remainder (annex A), 0 for data that ends with its checksum."""
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder ^= byte << 24
        for _ in range(8):
            remainder = (remainder << 1 ^ (0x104C11DB7 if remainder >> 31 else 0)) & 0xFFFFFFFF
    return remainder


def _ticks(data: bytes, at: int) -> int | None:
    """A PTS or DTS (2.4.3.6); None if it is cut off or lacks its marker bits."""
    field = data[at : at + 5]
    if len(field) < 5 or not field[0] & field[2] & field[4] & 1:
        return None
    return (field[0] >> 1 & 7) << 30 | field[1] << 22 | field[2] >> 1 << 15 | field[3] << 7 | field[4] >> 1


def _unit_types(frame: bytes, stream_type: int) -> list[int]:
    """The types of the NAL units that begin in these bytes."""
    types = []
    at = frame.find(b"\0\0\1")
    while 0 <= at < len(frame) - 3:
        types.append(frame[at + 3] & 0x1F if stream_type == _H264 else frame[at + 3] >> 1 & 0x3F)
        at = frame.find(b"\0\0\1", at + 3)
    return types
