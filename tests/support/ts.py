"""A strict MPEG transport stream reader of the tests' own: it raises AssertionError on whatever the standard forbids."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Pes:
    """One PES packet. pcr: in 90 kHz ticks, if its first transport packet has one. dts is pts where there is none."""

    pid: int
    pts: int
    dts: int
    data: bytes
    random_access: bool
    pcr: int | None


@dataclass
class TransportStream:
    """What a transport stream holds. types: stream type by PID. tables: how many PMTs there were."""

    pes: list[Pes] = field(default_factory=list)
    types: dict[int, int] = field(default_factory=dict)
    counters: dict[int, int] = field(default_factory=dict)
    pcr_pid: int | None = None
    tables: int = 0

    def of(self, pid: int) -> list[Pes]:
        """The PES packets of one PID."""
        return [pes for pes in self.pes if pes.pid == pid]


def read_ts(data: bytes, counters: dict[int, int] | None = None) -> TransportStream:
    """All of a transport stream. counters: where the continuity counters of the piece before ended; goes on from there."""
    assert len(data) % 188 == 0, "not whole packets"
    found = TransportStream(counters={} if counters is None else counters)
    pmt_pid: int | None = None
    open_pes: dict[int, tuple[bytearray, bool, int | None]] = {}
    order: list[tuple[int, tuple[bytearray, bool, int | None]]] = []
    for at in range(0, len(data), 188):
        packet = data[at : at + 188]
        assert packet[0] == 0x47, "no sync byte"
        assert not packet[1] & 0x80, "transport error"
        start, pid = bool(packet[1] & 0x40), (packet[1] & 0x1F) << 8 | packet[2]
        assert packet[3] & 0xD0 == 0x10, "scrambled, or no payload"
        expected = found.counters.get(pid, packet[3] - 1 & 15) + 1 & 15
        assert packet[3] & 15 == expected, f"PID {pid:#x}: continuity counter {packet[3] & 15}, not {expected}"
        found.counters[pid] = expected
        body, random_access, pcr = packet[4:], False, None
        if packet[3] & 0x20:
            size = body[0]
            assert size <= 182, "an adaptation field without payload"
            if size:
                random_access = bool(body[1] & 0x40)
                stuffing = 2
                if body[1] & 0x10:
                    pcr = int.from_bytes(body[2:6], "big") << 1 | body[6] >> 7
                    stuffing = 8
                assert body[stuffing : 1 + size].strip(b"\xff") == b"", "stuffing of other bytes than FF"
            body = body[1 + size :]
        if pid == 0:
            section = _section(body, 0)
            assert len(section) == 4, "one program"
            pmt_pid = (section[2] & 0x1F) << 8 | section[3]
        elif pid == pmt_pid:
            section = _section(body, 2)
            found.tables += 1
            found.pcr_pid = (section[0] & 0x1F) << 8 | section[1]
            found.types = {}
            position = 4
            while position < len(section):
                found.types[(section[position + 1] & 0x1F) << 8 | section[position + 2]] = section[position]
                position += 5 + section[position + 4]
        else:
            assert pid in found.types, f"PID {pid:#x} is not in the PMT"
            if start:
                open_pes[pid] = (bytearray(), random_access, pcr)
                order.append((pid, open_pes[pid]))
            else:
                assert not random_access
            open_pes[pid][0].extend(body)
    found.pes = [_pes(pid, *entry) for pid, entry in order]
    return found


def _section(body: bytes, table_id: int) -> bytes:
    assert body[0] == 0, "pointer field"
    size = (body[2] & 0x0F) << 8 | body[3]
    assert body[1] == table_id
    section, rest = body[1 : 4 + size], body[4 + size :]
    assert rest.strip(b"\xff") == b""
    crc = 0xFFFFFFFF
    for byte in section:
        for bit in range(7, -1, -1):
            carry = crc >> 31 ^ (byte >> bit & 1)
            crc = crc << 1 & 0xFFFFFFFF ^ (0x04C11DB7 if carry else 0)
    assert crc == 0, "CRC of a table"
    return section[8:-4]


def _pes(pid: int, data: bytearray, random_access: bool, pcr: int | None) -> Pes:
    assert data[:3] == b"\0\0\1", "PES start code"
    size = int.from_bytes(data[4:6], "big")
    assert size in (0, len(data) - 6), "PES length"
    assert size or data[3] == 0xE0, "only video may leave its length open"
    header = bytes(data[9 : 9 + data[8]])
    pts = _ticks(header[:5])
    dts = _ticks(header[5:10]) if data[7] & 0x40 else pts
    return Pes(pid, pts, dts, bytes(data[9 + data[8] :]), random_access, pcr)


def _ticks(data: bytes) -> int:
    assert data[0] & data[2] & data[4] & 1, "marker bits"
    return (data[0] >> 1 & 7) << 30 | data[1] << 22 | data[2] >> 1 << 15 | data[3] << 7 | data[4] >> 1
