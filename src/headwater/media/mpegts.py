"""MPEG transport stream: packs H.264 or HEVC video with AAC or MP3 audio (ISO/IEC 13818-1), as HLS wants it (RFC 8216, 3.2)."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Sequence

from headwater.media import codecs, nal
from headwater.media.codecs import AudioConfig, VideoConfig
from headwater.media.errors import MediaError
from headwater.media.nal import AVC_AUD, AVC_PPS, AVC_SPS, HEVC_AUD
from headwater.media.tag import AUDIO, VIDEO, Tag

PACKET_BYTES = 188

PMT_PID, VIDEO_PID, AUDIO_PID = 0x1000, 0x100, 0x101
PROGRAM = 1

CLOCK_PER_MS = 90
"""PTS and DTS count at 90 kHz (2.4.3.7)."""

START_TICKS = 1000 * CLOCK_PER_MS
"""The DTS of stream time 0: room for the PCR to be earlier without a wrap at the very start."""

PCR_LEAD_TICKS = 500 * CLOCK_PER_MS
"""So much earlier than the DTS is the PCR: a frame has that long to arrive, and gathered audio may follow video it precedes."""

AUDIO_PES_MS = 100
"""Audio frames gathered into one PES packet: at 10 packets a second headers and stuffing cost little."""

AUDIO_PES_BYTES_MAX = 16 * 1024
"""A gathered packet is closed at this size too: its length field has 16 bits."""

START_CODE = b"\0\0\0\1"

_AVC = AVC_AUD, 1 << AVC_SPS | 1 << AVC_PPS, START_CODE + bytes((AVC_AUD, 0xF0))
_HEVC = (
    HEVC_AUD,
    1 << codecs.HEVC_VPS | 1 << codecs.HEVC_SPS | 1 << codecs.HEVC_PPS,
    START_CODE + bytes((HEVC_AUD << 1, 0x01, 0x50)),
)
"""The type of access unit delimiters, the types of parameter sets as bits, and a delimiter that allows any slice type: HLS
wants one in front of every frame (HLS Authoring Specification 3.6)."""

_STREAM_TYPES = {"h264": 0x1B, "hevc": 0x24, "aac": 0x0F}
_MPEG1_AUDIO, _MPEG2_AUDIO = 0x03, 0x04
"""Stream types (table 2-34); MP3 is MPEG-1 audio at 32 kHz and more, MPEG-2 audio below."""

_HEVC_DESCRIPTOR = b"\x05\x04HEVC"
"""Registration descriptor (2.6.8), without which some demultiplexers do not know HEVC."""

_NO_PID = 0x1FFF
_TICKS_MASK = (1 << 33) - 1
_BODY_BYTES = PACKET_BYTES - 4

_HEADER = bytearray((0x47, 0, 0, 0))
"""Stands between the bodies of packets when they are joined; a bytearray, so that what comes out can be written over."""

_PIDS = 0, PMT_PID, VIDEO_PID, AUDIO_PID
_PID_HIGH, _PID_LOW = {pid: bytes((pid >> 8,)) for pid in _PIDS}, {pid: bytes((pid & 0xFF,)) for pid in _PIDS}
_PAYLOAD_BEGINS = {pid: bytes((0x40 | pid >> 8,)) for pid in _PIDS}
"""The second byte of a packet in which a PES packet or a table begins (payload_unit_start_indicator)."""

_TOGETHER = 512
"""So many packets are joined at once, or a few more: 94 KiB, which stay in the processor's cache."""

_SPLIT_MAX = 256
"""Bodies that are cut out at once: frames of more are cut in several steps."""

_COUNTERS = bytes(0x10 | count & 15 for count in range(_SPLIT_MAX + 16))
"""The fourth byte of packets without adaptation field, one after the other, from continuity counter 0 on."""


@functools.cache
def _split(bodies: int) -> Callable[[bytes | bytearray, int], tuple[bytes, ...]]:
    """Cuts so many bodies of transport packets out of a frame, from an offset on."""
    return struct.Struct(f"{_BODY_BYTES}s" * bodies).unpack_from


def supported(video: VideoConfig | None, audio: AudioConfig | None) -> str | None:
    """Why HLS with MPEG-TS cannot carry these codecs; None if it can."""
    if video is not None and video.codec not in ("h264", "hevc"):
        return f"MPEG-TS segments cannot carry {video.codec} video"
    if audio is None:
        return None
    if audio.codec not in ("aac", "mp3"):
        return f"MPEG-TS segments cannot carry {audio.codec} audio"
    if audio.codec == "aac" and not _has_adts(audio):
        return f"ADTS cannot say AAC object type {audio.object_type}, channels {audio.channel_configuration}, this sample rate"
    return None


def _has_adts(audio: AudioConfig) -> bool:
    """Whether the ADTS header's narrow fields can hold the configuration (ISO/IEC 14496-3, 1.A.2.2)."""
    return 1 <= audio.object_type <= 4 and audio.frequency_index < 13 and 1 <= audio.channel_configuration <= 7


class TsMuxer:
    """Packs the tags of one stream into transport packets; continuity counters run on for as long as it lives.

    Bodies of packets are cut out of the frames, and many of them joined at once, with a header in front of each. What differs
    between the headers is written over the joined packets then, so nothing is done for each packet but in C.

    counters: the `counters` of the muxer whose packets these follow, if there is one.
    """

    def __init__(self, counters: Sequence[int] = ()) -> None:
        self._video: VideoConfig | None = None
        self._audio: AudioConfig | None = None
        self._counters = dict(zip(_PIDS, counters or (0, 0, 0, 0), strict=True))
        self._version = 0
        self._tables: tuple[bytes, bytes] | None = None
        self._tables_due = True
        self._units_prefix = self._key_prefix = b""
        self._adts = 0
        self._first_audio = True
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._gathered_ms = 0
        # of packets that wait to be joined: the bodies, behind an empty one, and the headers' second, third and fourth bytes
        self._bodies: list[bytes] = [b""]
        self._seconds, self._thirds, self._fourths = bytearray(), bytearray(), bytearray()

    @property
    def counters(self) -> tuple[int, ...]:
        """The continuity counters of what comes next: of PAT, PMT, video and audio."""
        return tuple(self._counters.values())

    def set_video(self, config: VideoConfig | None) -> None:
        """The video's configuration from here on; None for a stream without video, or with video that cannot be carried."""
        if config is not None and supported(config, None) is not None:
            config = None
        if _stream(config) != _stream(self._video):
            self._change_tables()
        self._video = config
        if config is not None:
            delimiter = (_AVC if config.codec == "h264" else _HEVC)[2]
            self._units_prefix = delimiter + START_CODE
            self._key_prefix = START_CODE.join((delimiter, *config.parameter_sets, b""))

    def set_audio(self, config: AudioConfig | None) -> None:
        """As `set_video`; call `flush` before a change of codec. MP3 needs no call: its frames say what they are."""
        if config is not None and supported(None, config) is not None:
            config = None
        if _stream(config) != _stream(self._audio):
            self._change_tables()
            self._gathered, self._gathered_bytes = [], 0
        self._audio = config
        self._adts = _adts_header(config) if config is not None and config.codec == "aac" else 0

    def start_segment(self) -> bytes:
        """The tables with which every segment begins (RFC 8216, 3.2), behind what is not taken yet."""
        self._first_audio = True
        if self._video is not None or self._audio is not None:  # else they come with the first frame
            self._add_tables()
        return bytes(self.take())

    def mux(self, tag: Tag) -> bytes:
        """The packets that are ready with this tag: none for what is no frame, for unset tracks, and while audio is gathered.

        Raises MediaError for a broken frame; the muxer goes on with the next one.
        """
        packets = self.add(tag.kind, tag.timestamp_ms, tag.payload, 0, len(tag.payload))
        return bytes(packets + self.take())

    def add(self, kind: int, timestamp_ms: int, data: bytes, start: int, end: int) -> bytes | bytearray:
        """As `mux`, of a tag whose payload stands from `start` to `end` in `data`; the packets come once they are many."""
        if kind == VIDEO:
            self._add_video(timestamp_ms, data, start, end)
        elif kind == AUDIO:
            self._add_audio(timestamp_ms, data, start, end)
        return self.take() if len(self._bodies) > _TOGETHER else b""

    def take(self) -> bytes | bytearray:
        """The packets that `add` has kept."""
        bodies = self._bodies
        if len(bodies) == 1:
            return b""
        packets = _HEADER.join(bodies)
        packets[1::PACKET_BYTES] = self._seconds
        packets[2::PACKET_BYTES] = self._thirds
        packets[3::PACKET_BYTES] = self._fourths
        self._bodies = [b""]
        self._seconds, self._thirds, self._fourths = bytearray(), bytearray(), bytearray()
        return packets

    def flush(self) -> bytes:
        """All that is not taken yet, gathered audio too; to be called at the end of a segment."""
        self._end_audio()
        return bytes(self.take())

    def _add_video(self, timestamp_ms: int, data: bytes, start: int, end: int) -> None:
        config = self._video
        if config is None or end <= start:
            return
        head = data[start]
        if head & 0x8F == config.codec_id and head >> 4 != codecs.FRAME_COMMAND and end - start > 5:  # as nearly all streams
            if data[start + 1] != codecs.CODED_FRAMES:
                return
            key = head < codecs.FRAME_KEY + 1 << 4
            composition_ms = data[start + 2] << 16 | data[start + 3] << 8 | data[start + 4]
            composition_ms -= (composition_ms & 0x800000) << 1
            prefix, frame, at, end = self._annex_b(data, start + 5, end, config, key)
        else:
            packet = codecs.split_video(data[start:end])
            if packet is None or packet.packet_type != codecs.CODED_FRAMES or packet.codec != config.codec:
                return
            key, composition_ms = packet.key, packet.composition_ms
            prefix, frame, at, end = self._annex_b(packet.data, 0, len(packet.data), config, key)
        if not prefix:
            return
        if self._gathered and timestamp_ms - self._gathered_ms >= AUDIO_PES_MS:
            self._end_audio()
        dts = timestamp_ms * CLOCK_PER_MS + START_TICKS
        if composition_ms <= 0:
            header = _VIDEO_DTS + _pack_ticks(2, dts) + prefix
        else:
            header = _VIDEO_PTS_DTS + _pack_two_ticks(dts + composition_ms * CLOCK_PER_MS, dts) + prefix
        self._add_packets(VIDEO_PID, _adaptation(dts, random_access=key), header, frame, at, end)

    def _add_audio(self, timestamp_ms: int, data: bytes, start: int, end: int) -> None:
        if self._adts and end - start > 2 and data[start] >> 4 == codecs.SOUND_AAC:  # as nearly all streams
            if data[start + 1] != codecs.CODED_FRAMES:
                return
            size = self._gathered_bytes + end - start + ADTS_BYTES - 2
            if size <= ADTS_FRAME_BYTES_MAX and self._gathered and timestamp_ms - self._gathered_ms < AUDIO_PES_MS:
                header = self._adts | size - self._gathered_bytes << 13
                self._gathered += header.to_bytes(ADTS_BYTES, "big"), data[start + 2 : end]
                self._gathered_bytes = size
                return
            codec, frame = "aac", data[start + 2 : end]
        else:
            packet = codecs.split_audio(data[start:end])
            if packet is None or packet.packet_type != codecs.CODED_FRAMES or not packet.data:
                return
            codec, frame = packet.codec or "", packet.data
        size = len(frame)
        if codec == "mp3":
            if size > AUDIO_PES_BYTES_MAX:
                raise MediaError(f"an MP3 frame of {size} bytes is too long")
            if self._audio is None or self._audio.codec != "mp3":
                self.set_audio(codecs.parse_audio_config(data[start:end]))
        elif self._audio is None or codec != self._audio.codec:
            return
        adts = b""
        if codec == "aac":
            size += ADTS_BYTES
            if size > ADTS_FRAME_BYTES_MAX:
                raise MediaError(f"an AAC frame of {size} bytes is too long")
            adts = (self._adts | size << 13).to_bytes(ADTS_BYTES, "big")
        if self._gathered and (
            timestamp_ms - self._gathered_ms >= AUDIO_PES_MS or self._gathered_bytes + size > AUDIO_PES_BYTES_MAX
        ):
            self._end_audio()
        if not self._gathered:
            self._gathered_ms = timestamp_ms
        self._gathered += (adts, frame)
        self._gathered_bytes += size
        if self._first_audio:  # by itself: FFmpeg gives the second frame of a segment's first PES the time of the first
            self._first_audio = False
            self._end_audio()

    def _end_audio(self) -> None:
        """Nothing more is gathered with what is."""
        if not self._gathered:
            return
        frames = b"".join(self._gathered)
        size = len(frames)
        self._gathered, self._gathered_bytes = [], 0
        pts = self._gathered_ms * CLOCK_PER_MS + START_TICKS
        header = b"\0\0\1\xc0" + (size + 8).to_bytes(2, "big") + b"\x84\x80\x05" + _pack_ticks(2, pts)
        adaptation = _adaptation(pts, random_access=True) if self._video is None else _RANDOM_ACCESS
        self._add_packets(AUDIO_PID, adaptation, header, frames, 0, size)

    def _annex_b(
        self, data: bytes, start: int, end: int, config: VideoConfig, key: bool
    ) -> tuple[bytes, bytes | bytearray, int, int]:
        """A frame as a byte stream: what stands in front, and the rest as a part of some bytes, from where to where.

        A delimiter stands in front, then parameter sets if it is a key frame, and each unit has a start code. Parameter sets in
        the frame are newer than the configuration, so they replace it; delimiters in it are left out. Nothing stands in front
        of a frame without NAL units.
        """
        avc = config.codec == "h264"
        delimiter_type, set_types, _ = _AVC if avc else _HEVC
        types = 0
        if config.nal_length_bytes == 4 and end - start > 4:
            frame, at, until, types = _with_start_codes(data, start, end, _AVC_TYPES if avc else _HEVC_TYPES)
        if not types or types >> delimiter_type & 1:
            units: list[bytes] = []
            types = 0
            for unit in nal.units(data[start:end], config.nal_length_bytes):
                nal_type = nal.unit_type(config.codec, unit)
                if nal_type != delimiter_type:
                    types |= 1 << nal_type
                    units.append(unit)
            if not units:
                return b"", b"", 0, 0
            frame = START_CODE.join(units)
            at, until = 0, len(frame)
        return (self._key_prefix if key and not types & set_types else self._units_prefix), frame, at, until

    def _add_packets(self, pid: int, adaptation: bytes, head: bytes, data: bytes | bytearray, start: int, end: int) -> None:
        """A PES packet in transport packets (2.4.3.2), with the adaptation field in the first. It begins with `head`, the rest
        stands from `start` to `end` in `data`. New tables go in front of the first frame that they describe.
        """
        if self._tables_due:
            self._add_tables()
        room = _BODY_BYTES - len(adaptation) - len(head)
        if room < 0:  # parameter sets can be long
            head, data = b"", head + data[start:end]
            start, end = 0, len(data)
            room = _BODY_BYTES - len(adaptation)
        bodies, counter, count = self._bodies, self._counters[pid], 1
        left = end - start - room
        if left <= 0:
            bodies.append(_lengthened(adaptation, -left) + head + data[start:end])
        else:
            at = start + room
            bodies.append(adaptation + head + data[start:at])
            middle, tail = divmod(left, _BODY_BYTES)
            count += middle
            while middle > _SPLIT_MAX:
                bodies += _split(_SPLIT_MAX)(data, at)
                at += _SPLIT_MAX * _BODY_BYTES
                middle -= _SPLIT_MAX
            bodies += _split(middle)(data, at)
            if tail:
                bodies.append(_STUFFING[_BODY_BYTES - tail] + data[end - tail : end])
                count += 1
        first = len(self._fourths)
        self._seconds += _PAYLOAD_BEGINS[pid] + _PID_HIGH[pid] * (count - 1)
        self._thirds += _PID_LOW[pid] * count
        counters = _COUNTERS if count < _SPLIT_MAX else _COUNTERS * (count // _SPLIT_MAX + 1)
        self._fourths += counters[counter : counter + count]
        self._fourths[first] |= 0x20  # an adaptation field is there
        if left > 0 and tail:
            self._fourths[-1] |= 0x20
        self._counters[pid] = counter + count & 15

    def _change_tables(self) -> None:
        self._tables = None
        self._tables_due = True
        self._version = self._version + 1 & 31

    def _add_tables(self) -> None:
        if self._tables is None:
            streams = b""
            if self._video is not None:
                descriptor = _HEVC_DESCRIPTOR if self._video.codec == "hevc" else b""
                streams += _pmt_entry(_stream(self._video), VIDEO_PID, descriptor)
            if self._audio is not None:
                streams += _pmt_entry(_stream(self._audio), AUDIO_PID, b"")
            clock_pid = VIDEO_PID if self._video is not None else AUDIO_PID
            pat = struct.pack(">HH", PROGRAM, 0xE000 | PMT_PID)
            pmt = struct.pack(">HH", 0xE000 | clock_pid, 0xF000) + streams
            self._tables = _section(0x00, 1, 0, pat), _section(0x02, PROGRAM, self._version, pmt)
        self._tables_due = False
        for pid, table in zip((0, PMT_PID), self._tables, strict=True):
            self._bodies.append(b"\0" + table + b"\xff" * (_BODY_BYTES - 1 - len(table)))
            self._seconds += _PAYLOAD_BEGINS[pid]
            self._thirds += _PID_LOW[pid]
            counter = self._counters[pid]
            self._fourths.append(0x10 | counter)
            self._counters[pid] = counter + 1 & 15


_unpack_32 = struct.Struct(">I").unpack_from
_pack_adaptation = struct.Struct(">BBIH").pack
_pack_prefixed = struct.Struct(">BHH").pack


_AVC_TYPES = tuple(1 << (head & 0x1F) for head in range(256))
_HEVC_TYPES = tuple(1 << (head >> 1 & 0x3F) for head in range(256))
"""By a NAL unit's first byte, its type as a bit."""


def _with_start_codes(data: bytes, start: int, end: int, bits: tuple[int, ...]) -> tuple[bytes | bytearray, int, int, int]:
    """A frame with start codes where its units' lengths were: the bytes it is in, where it begins there, behind the first start
    code, where it ends, and the types of its units as bits. bits: the bit of each first byte of a unit.

    No types if it is not made of units alone, one after the other, none of them empty: for whoever looks at each of them.
    """
    size = _unpack_32(data, start)[0]
    if size == end - start - 4:  # one unit: nothing is to be written into it
        return data, start + 4, end, bits[data[start + 4]]
    frame = bytearray(data[start:end])
    types = position = 0
    end = len(frame)
    last = end - 4
    count = nal.UNITS_MAX
    while position < last and count:
        size = _unpack_32(frame, position)[0]
        if not size:
            return data, 0, 0, 0
        frame[position : position + 4] = START_CODE
        position += 4
        types |= bits[frame[position]]
        position += size
        count -= 1
    return frame, 4, end, types if position == end else 0


ADTS_BYTES = 7
ADTS_FRAME_BYTES_MAX = (1 << 13) - 1
"""The frame length of an ADTS header has 13 bits (ISO/IEC 14496-3, 1.A.2.2.2)."""


def _adts_header(config: AudioConfig) -> int:
    """The ADTS header as a number, with the frame length still 0 (ISO/IEC 14496-3, 1.A.2.2)."""
    header = 0xFFF1  # syncword, MPEG-4, no CRC
    header = header << 2 | config.object_type - 1
    header = header << 4 | config.frequency_index
    header = header << 4 | config.channel_configuration  # with the private bit in front, 0
    header = header << 4  # original, home, copyright
    header = header << 13  # frame length
    return header << 13 | 0x7FF << 2  # buffer fullness of variable rate, one block


def _stream(config: VideoConfig | AudioConfig | None) -> int:
    """The stream type by which a configuration stands in the PMT; 0 for none."""
    if config is None:
        return 0
    if isinstance(config, AudioConfig) and config.codec == "mp3":
        return _MPEG1_AUDIO if config.sample_rate_hz >= 32_000 else _MPEG2_AUDIO
    return _STREAM_TYPES[config.codec]


def _adaptation(dts: int, *, random_access: bool) -> bytes:
    """An adaptation field with the PCR (2.4.3.4)."""
    base = dts - PCR_LEAD_TICKS & _TICKS_MASK
    return _pack_adaptation(7, 0x50 if random_access else 0x10, base >> 1, (base & 1) << 15 | 0x7E00)


_RANDOM_ACCESS = b"\x01\x40"
"""An adaptation field that only says that a decoder can start here, which is so for every audio frame."""


def _lengthened(adaptation: bytes, size: int) -> bytes:
    """The adaptation field with so many bytes of stuffing."""
    return bytes((adaptation[0] + size,)) + adaptation[1:] + b"\xff" * size


_STUFFING = (b"", b"\0", *(bytes((size - 1, 0)) + b"\xff" * (size - 2) for size in range(2, _BODY_BYTES)))
"""By its size, an adaptation field that says nothing."""


def _pack_ticks(prefix: int, ticks: int) -> bytes:
    """A PTS or DTS field of a PES header (2.4.3.6): its 33 bits."""
    return _pack_prefixed(prefix << 4 | ticks >> 29 & 0x0E | 1, ticks >> 14 & 0xFFFE | 1, ticks << 1 & 0xFFFE | 1)


_VIDEO_DTS, _VIDEO_PTS_DTS = b"\0\0\1\xe0\0\0\x84\x80\x05", b"\0\0\1\xe0\0\0\x84\xc0\x0a"
"""The first bytes of a PES packet of video (2.4.3.6), without a length: with one time, and with two."""

_pack_two_prefixed = struct.Struct(">BHHBHH").pack


def _pack_two_ticks(pts: int, dts: int) -> bytes:
    """PTS and DTS of a PES header."""
    return _pack_two_prefixed(
        0x31 | pts >> 29 & 0x0E,
        pts >> 14 & 0xFFFE | 1,
        pts << 1 & 0xFFFE | 1,
        0x11 | dts >> 29 & 0x0E,
        dts >> 14 & 0xFFFE | 1,
        dts << 1 & 0xFFFE | 1,
    )


def _pmt_entry(stream_type: int, pid: int, descriptor: bytes) -> bytes:
    return struct.pack(">BHH", stream_type, 0xE000 | pid, 0xF000 | len(descriptor)) + descriptor


def _section(table_id: int, number: int, version: int, body: bytes) -> bytes:
    """A table section with its CRC (2.4.4.3, 2.4.4.8)."""
    section = struct.pack(">BHHBBB", table_id, 0xB000 | len(body) + 9, number, 0xC1 | version << 1, 0, 0) + body
    return section + _crc_32(section).to_bytes(4, "big")


def _crc_32(data: bytes) -> int:
    """Annex A's CRC; `zlib.crc32` runs the bits the other way."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc
