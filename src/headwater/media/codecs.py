"""Looks into the tags of audio and video: what a tag is, and what a codec's configuration says.

Layouts: Flash Video File Format 10.1 (E.4.2, E.4.3) with codec ids 12 (HEVC) and 13 (AV1) as Chinese encoders and CDNs use
them, and Enhanced RTMP v1 and v2 with FourCC codecs.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from headwater.media.bits import BitReader
from headwater.media.errors import MediaError
from headwater.media.tag import AUDIO, SCRIPT, VIDEO, Flags

NONE, KEY, CONFIG, METADATA = int(Flags.NONE), int(Flags.KEY), int(Flags.CONFIG), int(Flags.METADATA)

FRAME_KEY = 1
"""Video frame type of a key frame (E.4.3.1)."""
FRAME_COMMAND = 5
"""Video frame type of a message to the player, without a picture."""

CODEC_AVC, CODEC_HEVC, CODEC_AV1 = 7, 12, 13
"""Video codec ids whose tags have a packet type and a composition time (E.4.3.1, and the Chinese extension)."""

SOUND_MP3, SOUND_EX, SOUND_AAC, SOUND_MP3_8K = 2, 9, 10, 14
"""Sound formats (E.4.2.1); 9 announces an enhanced tag."""

SEQUENCE_START, CODED_FRAMES, SEQUENCE_END, CODED_FRAMES_X, EX_METADATA, MPEG2_TS_SEQUENCE_START = range(6)
"""Packet types; the first three are those of AVCPACKETTYPE too."""
VIDEO_MULTITRACK, AUDIO_MULTITRACK, MOD_EX = 6, 5, 7
"""Enhanced RTMP v2: tags that wrap another packet type."""

ONE_TRACK = 0
"""Multitrack type of a tag with one track; the others state each track's size."""

MOD_EX_MAX = 8
"""Modifiers in front of one packet. One exists (a nanosecond offset); without a bound a tag of nothing else costs seconds."""

VIDEO_CODECS = {CODEC_AVC: "h264", CODEC_HEVC: "hevc", CODEC_AV1: "av1"}
VIDEO_FOURCCS = {b"avc1": "h264", b"hvc1": "hevc", b"av01": "av1", b"vp09": "vp9", b"vp08": "vp8", b"vvc1": "vvc"}
AUDIO_CODECS = {SOUND_AAC: "aac", SOUND_MP3: "mp3", SOUND_MP3_8K: "mp3"}
AUDIO_FOURCCS = {b"mp4a": "aac", b".mp3": "mp3", b"Opus": "opus", b"fLaC": "flac", b"ac-3": "ac3", b"ec-3": "eac3"}

VIDEO_CODEC_IDS = {"h264": CODEC_AVC, "hevc": CODEC_HEVC, "av1": CODEC_AV1}

_FRAME_PACKETS = frozenset({CODED_FRAMES, CODED_FRAMES_X})

_COMPOSITION_FOURCCS = (b"avc1", b"hvc1", b"vvc1")
"""Codecs whose CodedFrames carry a composition time."""

_ON_METADATA = b"\x02\x00\x0aonMetaData"
"""The AMF0 string with which the metadata tag begins (E.5)."""


def classify(kind: int, payload: bytes) -> int:
    """`Flags` of a tag, as a plain int. Never raises: what is not understood has only its frame type, or nothing.

    In a multitrack tag only what concerns the first track counts: a configuration or a key frame of another track must not
    stand for the stream's own.
    """
    if kind == VIDEO:
        if len(payload) < 2:
            return NONE
        head = payload[0]
        if head & 0x80:
            packet_type = head & 0x0F
            if packet_type in _FRAME_PACKETS:
                return KEY if head & 0x70 == 0x10 else NONE
            return _classify_ex(kind, payload)
        codec_id = head & 0x0F
        if codec_id in VIDEO_CODECS:
            packet_type = payload[1]
            if packet_type == CODED_FRAMES:
                return KEY if head >> 4 == FRAME_KEY else NONE
            return CONFIG if packet_type == SEQUENCE_START and head >> 4 != FRAME_COMMAND else NONE
        return KEY if head >> 4 == FRAME_KEY else NONE
    if kind == AUDIO:
        if len(payload) < 2:
            return NONE
        sound_format = payload[0] >> 4
        if sound_format == SOUND_AAC:
            return NONE if payload[1] else CONFIG
        return _classify_ex(kind, payload) if sound_format == SOUND_EX else NONE
    return METADATA if kind == SCRIPT and payload.startswith(_ON_METADATA) else NONE


def _classify_ex(kind: int, payload: bytes) -> int:
    try:
        packet_type, start = _skip_mod_ex(payload)
        if packet_type == (VIDEO_MULTITRACK if kind == VIDEO else AUDIO_MULTITRACK):
            packet_type, _, track, _, _ = _multitrack(payload, start)
            if track:
                return NONE
    except MediaError:
        return NONE
    if kind == AUDIO:
        return CONFIG if packet_type == SEQUENCE_START else NONE
    frame_type = payload[0] >> 4 & 7
    if packet_type in (SEQUENCE_START, MPEG2_TS_SEQUENCE_START):
        return NONE if frame_type == FRAME_COMMAND else CONFIG
    return KEY if packet_type in _FRAME_PACKETS and frame_type == FRAME_KEY else NONE


def _skip_mod_ex(payload: bytes) -> tuple[int, int]:
    """The packet type behind all modifiers, and where what follows it begins. Raises MediaError."""
    packet_type, position = payload[0] & 0x0F, 1
    for _ in range(MOD_EX_MAX):
        if packet_type != MOD_EX:
            break
        size = _byte(payload, position) + 1
        position += 1
        if size == 256:
            size = (_byte(payload, position) << 8 | _byte(payload, position + 1)) + 1
            position += 2
        position += size
        packet_type = _byte(payload, position) & 0x0F
        position += 1
    return packet_type, position


def _multitrack(payload: bytes, position: int) -> tuple[int, bytes, int, int, int]:
    """Packet type, FourCC, number, start and end of the first track in a multitrack tag. Raises MediaError.

    One FourCC for all tracks and one for each look alike up to here. Tags of several tracks have the size of each in front.
    """
    head = _byte(payload, position)
    fourcc = payload[position + 1 : position + 5]
    track = _byte(payload, position + 5)
    start, end = position + 6, len(payload)
    if head >> 4 != ONE_TRACK:
        start += 3
        end = start + int.from_bytes(payload[start - 3 : start], "big")
        if end > len(payload):
            raise MediaError("a track of a tag is cut off")
    return head & 0x0F, fourcc, track, start, end


def _byte(payload: bytes, position: int) -> int:
    if position >= len(payload):
        raise MediaError("a tag's header ends too early")
    return payload[position]


class VideoPacket(NamedTuple):
    """A video tag taken apart.

    codec: as in `VideoConfig`; None if unknown.
    packet_type: SEQUENCE_START, CODED_FRAMES, SEQUENCE_END or another. CodedFramesX, which only lacks a composition time, is
    CODED_FRAMES here.
    composition_ms: presentation time less decode time, may be negative. data: a configuration record, or a frame.
    """

    codec: str | None
    packet_type: int
    key: bool
    composition_ms: int
    data: bytes


class AudioPacket(NamedTuple):
    """An audio tag taken apart; as VideoPacket. Codecs without configuration have CODED_FRAMES only."""

    codec: str | None
    packet_type: int
    data: bytes


def split_video(payload: bytes) -> VideoPacket | None:
    """The first track's packet in a video tag; None if it has none. Raises MediaError if the tag's header is cut off."""
    if not payload:
        return None
    head = payload[0]
    frame_type = head >> 4 & 7
    if frame_type == FRAME_COMMAND:
        return None
    if not head & 0x80:
        codec = VIDEO_CODECS.get(head & 0x0F)
        if codec is None:
            return VideoPacket(None, CODED_FRAMES, frame_type == FRAME_KEY, 0, payload[1:])
        if len(payload) < 5:
            raise MediaError("a video tag's header ends too early")
        return VideoPacket(codec, payload[1], frame_type == FRAME_KEY, _signed_24(payload, 2), payload[5:])
    packet_type, start = _skip_mod_ex(payload)
    if packet_type == VIDEO_MULTITRACK:
        packet_type, fourcc, track, start, end = _multitrack(payload, start)
        if track:
            return None
    else:
        fourcc, end = payload[start : start + 4], len(payload)
        start += 4
    composition_ms = 0
    if packet_type == CODED_FRAMES and fourcc in _COMPOSITION_FOURCCS:
        if end < start + 3:
            raise MediaError("a video tag's header ends too early")
        composition_ms = _signed_24(payload, start)
        start += 3
    elif packet_type == CODED_FRAMES_X:
        packet_type = CODED_FRAMES
    return VideoPacket(VIDEO_FOURCCS.get(fourcc), packet_type, frame_type == FRAME_KEY, composition_ms, payload[start:end])


def split_audio(payload: bytes) -> AudioPacket | None:
    """The first track's packet in an audio tag; None if it has none. Raises MediaError if the tag's header is cut off."""
    if not payload:
        return None
    sound_format = payload[0] >> 4
    if sound_format == SOUND_AAC:
        return AudioPacket("aac", _byte(payload, 1), payload[2:])
    if sound_format != SOUND_EX:
        return AudioPacket(AUDIO_CODECS.get(sound_format), CODED_FRAMES, payload[1:])
    packet_type, start = _skip_mod_ex(payload)
    if packet_type == AUDIO_MULTITRACK:
        packet_type, fourcc, track, start, end = _multitrack(payload, start)
        if track:
            return None
    else:
        fourcc, end = payload[start : start + 4], len(payload)
        start += 4
    return AudioPacket(AUDIO_FOURCCS.get(fourcc), packet_type, payload[start:end])


def _signed_24(payload: bytes, position: int) -> int:
    return int.from_bytes(payload[position : position + 3], "big", signed=True)


class VideoConfig(msgspec.Struct, frozen=True):
    """What a video sequence header says.

    codec: `h264`, `hevc`, `av1`, `vp8`, `vp9`, `vvc`. codec_id: FLV's number for it, 0 if there is none.
    width, height: of the picture as shown (cropped), 0 if the header does not say.
    profile, level: as the codec counts them (profile_idc and level_idc; general_...; seq_profile and seq_level_idx_0).
    nal_length_bytes: size of the length in front of each NAL unit; 0 for codecs without NAL units.
    parameter_sets: NAL units in the order in which a decoder wants them (VPS, SPS, PPS).
    """

    codec: str
    codec_id: int
    width: int = 0
    height: int = 0
    profile: int = 0
    level: int = 0
    nal_length_bytes: int = 0
    parameter_sets: tuple[bytes, ...] = ()


class AudioConfig(msgspec.Struct, frozen=True):
    """What an audio sequence header says, or an MP3 frame.

    codec: `aac`, `mp3`, `opus`, `flac`, `ac3`, `eac3`. codec_id: FLV's number for it, 0 if there is none.
    sample_rate_hz, channels: of the sound as heard, 0 if the header does not say.
    object_type, frequency_index, channel_configuration: AAC only, of the core coder, below any SBR (ISO/IEC 14496-3, 1.6.2.1).
    specific_config: the AudioSpecificConfig; for other codecs the record as it is.
    """

    codec: str
    codec_id: int
    sample_rate_hz: int = 0
    channels: int = 0
    object_type: int = 0
    frequency_index: int = 0
    channel_configuration: int = 0
    specific_config: bytes = b""


def video_name(config: VideoConfig) -> str:
    """The codec as playlists name it (RFC 6381; ISO/IEC 14496-15, annex E), "" for one that no HLS player takes."""
    sps = next((unit for unit in config.parameter_sets if _is_sps(config.codec, unit)), b"")
    if config.codec == "h264" and len(sps) >= 4:
        return f"avc1.{sps[1:4].hex()}"
    if config.codec == "hevc" and config.profile:
        # the compatibility flags name the profile itself, and Main 10 decoders take Main, too (ITU-T H.265, A.3)
        compatible = {1: "6", 2: "4"}.get(config.profile, "0")
        return f"hvc1.{config.profile}.{compatible}.L{config.level}.B0"
    return ""


def audio_name(config: AudioConfig) -> str:
    """The codec as playlists name it (RFC 6381), "" for one that no HLS player takes."""
    if config.codec == "aac":
        return f"mp4a.40.{config.object_type or 2}"
    return {"mp3": "mp4a.40.34", "ac3": "ac-3", "eac3": "ec-3"}.get(config.codec, "")


def _is_sps(codec: str, unit: bytes) -> bool:
    if not unit:
        return False
    return unit[0] & 0x1F == 7 if codec == "h264" else codec == "hevc" and unit[0] >> 1 & 0x3F == 33


def parse_video_config(payload: bytes) -> VideoConfig | None:
    """The configuration in a video tag; None if the tag has none or the codec is unknown. Raises MediaError if it is broken."""
    packet = split_video(payload)
    if packet is None or packet.codec is None or packet.packet_type != SEQUENCE_START:
        return None
    if packet.codec == "h264":
        return _parse_avc(packet.data)
    if packet.codec == "hevc":
        return _parse_hevc(packet.data)
    if packet.codec == "av1":
        return _parse_av1(packet.data)
    if packet.codec == "vp9" and len(packet.data) >= 6:
        # VP Codec ISO Media File Format Binding 2.2: version, flags, profile, level
        return VideoConfig("vp9", 0, profile=packet.data[4], level=packet.data[5])
    return VideoConfig(packet.codec, VIDEO_CODEC_IDS.get(packet.codec, 0))


def parse_audio_config(payload: bytes) -> AudioConfig | None:
    """The configuration in an audio tag, or in an MP3 frame, which is its own configuration.

    None if the tag has none or the codec is unknown. Raises MediaError if it is broken.
    """
    packet = split_audio(payload)
    if packet is None or packet.codec is None:
        return None
    if packet.codec == "mp3":
        return _parse_mp3(packet.data) if packet.packet_type == CODED_FRAMES else None
    if packet.packet_type != SEQUENCE_START:
        return None
    if packet.codec == "aac":
        return _parse_aac(packet.data)
    if packet.codec == "opus" and packet.data.startswith(b"OpusHead") and len(packet.data) >= 10:
        return AudioConfig("opus", 0, OPUS_RATE_HZ, packet.data[9], specific_config=packet.data)
    return AudioConfig(packet.codec, 0, specific_config=packet.data)


OPUS_RATE_HZ = 48_000
"""Opus always decodes to this (RFC 7845, 5.1)."""

SPS_BYTES_MAX = 1024
"""Only so much of a sequence parameter set is looked at: what we need comes after 768 short numbers at most."""

PARAMETER_SETS_BYTES_MAX = 64 * 1024
"""Encoders send some hundred bytes; they go in front of every key frame of a transport stream, to every viewer."""


def _parse_avc(record: bytes) -> VideoConfig:
    """AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1.2)."""
    reader = _Fields(record)
    reader.skip(4)
    nal_length_bytes = (reader.u8() & 3) + 1
    sps = [reader.take(reader.u16()) for _ in range(reader.u8() & 0x1F)]
    pps = [reader.take(reader.u16()) for _ in range(reader.u8())]
    if not sps or not pps:
        raise MediaError("an AVC configuration without parameter sets")
    width, height, profile, level = _parse_avc_sps(sps[0])
    return VideoConfig("h264", CODEC_AVC, width, height, profile, level, nal_length_bytes, _checked_sets(*sps, *pps))


_CHROMA_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
"""Profiles whose SPS has the chroma format and scaling lists (ITU-T H.264, 7.3.2.1.1)."""


def _parse_avc_sps(nal: bytes) -> tuple[int, int, int, int]:
    """Width, height, profile_idc, level_idc (ITU-T H.264, 7.3.2.1.1 and 7.4.2.1.1)."""
    bits = BitReader(_unescape(nal[1:SPS_BYTES_MAX]))
    profile = bits.u(8)
    bits.u(8)  # constraint flags
    level = bits.u(8)
    bits.ue()  # seq_parameter_set_id
    chroma_format, planes_apart = 1, False
    if profile in _CHROMA_PROFILES:
        chroma_format = bits.ue()
        if chroma_format == 3:
            planes_apart = bits.flag()
        bits.ue()  # bit_depth_luma_minus8
        bits.ue()  # bit_depth_chroma_minus8
        bits.u(1)  # qpprime_y_zero_transform_bypass_flag
        if bits.flag():
            for index in range(12 if chroma_format == 3 else 8):
                if bits.flag():
                    _skip_scaling_list(bits, 16 if index < 6 else 64)
    bits.ue()  # log2_max_frame_num_minus4
    order_count_type = bits.ue()
    if order_count_type == 0:
        bits.ue()  # log2_max_pic_order_cnt_lsb_minus4
    elif order_count_type == 1:
        bits.u(1)  # delta_pic_order_always_zero_flag
        bits.se()  # offset_for_non_ref_pic
        bits.se()  # offset_for_top_to_bottom_field
        cycle = bits.ue()
        if cycle > 255:
            raise MediaError(f"an SPS with {cycle} frames in its order cycle")
        for _ in range(cycle):
            bits.se()
    bits.ue()  # max_num_ref_frames
    bits.u(1)  # gaps_in_frame_num_value_allowed_flag
    width = (bits.ue() + 1) * 16
    map_height = (bits.ue() + 1) * 16
    frames_only = bits.flag()
    height = map_height * (1 if frames_only else 2)
    if not frames_only:
        bits.u(1)  # mb_adaptive_frame_field_flag
    bits.u(1)  # direct_8x8_inference_flag
    if bits.flag():
        unit_x = 2 if chroma_format in (1, 2) else 1
        unit_y = (2 if chroma_format == 1 else 1) * (1 if frames_only else 2)
        if planes_apart:
            unit_x, unit_y = 1, 1 if frames_only else 2
        width -= (bits.ue() + bits.ue()) * unit_x
        height -= (bits.ue() + bits.ue()) * unit_y
    return (*_checked_size(width, height), profile, level)


def _skip_scaling_list(bits: BitReader, size: int) -> None:
    """ITU-T H.264, 7.3.2.1.1.1."""
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _parse_hevc(record: bytes) -> VideoConfig:
    """HEVCDecoderConfigurationRecord (ISO/IEC 14496-15, 8.3.3.1.2)."""
    reader = _Fields(record)
    reader.skip(21)
    nal_length_bytes = (reader.u8() & 3) + 1
    units: dict[int, list[bytes]] = {HEVC_VPS: [], HEVC_SPS: [], HEVC_PPS: []}
    for _ in range(reader.u8()):
        nal_type = reader.u8() & 0x3F
        for _ in range(reader.u16()):
            nal = reader.take(reader.u16())
            if nal_type in units:
                units[nal_type].append(nal)
    if not units[HEVC_SPS] or not units[HEVC_PPS]:
        raise MediaError("an HEVC configuration without parameter sets")
    width, height, profile, level = _parse_hevc_sps(units[HEVC_SPS][0])
    sets = _checked_sets(*units[HEVC_VPS], *units[HEVC_SPS], *units[HEVC_PPS])
    return VideoConfig("hevc", CODEC_HEVC, width, height, profile, level, nal_length_bytes, sets)


HEVC_VPS, HEVC_SPS, HEVC_PPS = 32, 33, 34
"""NAL unit types (ITU-T H.265, table 7-1)."""


def _parse_hevc_sps(nal: bytes) -> tuple[int, int, int, int]:
    """Width, height, general_profile_idc, general_level_idc (ITU-T H.265, 7.3.2.2.1 and 7.3.3)."""
    bits = BitReader(_unescape(nal[2:SPS_BYTES_MAX]))
    bits.u(4)  # sps_video_parameter_set_id
    sub_layers = bits.u(3)
    bits.u(1)  # sps_temporal_id_nesting_flag
    bits.u(3)  # general_profile_space, general_tier_flag
    profile = bits.u(5)
    bits.u(80)  # compatibility and constraint flags
    level = bits.u(8)
    present = [(bits.flag(), bits.flag()) for _ in range(sub_layers)]
    if sub_layers:
        bits.u(2 * (8 - sub_layers))
    for has_profile, has_level in present:
        bits.u(88 * has_profile + 8 * has_level)
    bits.ue()  # sps_seq_parameter_set_id
    chroma_format = bits.ue()
    planes_apart = chroma_format == 3 and bits.flag()
    width, height = bits.ue(), bits.ue()
    if bits.flag():
        unit_x = 2 if chroma_format in (1, 2) and not planes_apart else 1
        unit_y = 2 if chroma_format == 1 and not planes_apart else 1
        width -= (bits.ue() + bits.ue()) * unit_x
        height -= (bits.ue() + bits.ue()) * unit_y
    return (*_checked_size(width, height), profile, level)


def _parse_av1(record: bytes) -> VideoConfig:
    """AV1CodecConfigurationRecord (AV1 Codec ISO Media File Format Binding 2.3.3); its sequence header OBU is optional."""
    if len(record) < 4:
        raise MediaError("an AV1 configuration ends too early")
    profile, level = record[1] >> 5, record[1] & 0x1F
    width, height = _parse_av1_size(record[4:SPS_BYTES_MAX])
    return VideoConfig("av1", CODEC_AV1, width, height, profile, level)


def _parse_av1_size(obus: bytes) -> tuple[int, int]:
    """The largest frame size of the sequence header (AV1 specification 5.5), (0, 0) if it is not the first OBU."""
    if not obus or obus[0] >> 3 & 0x0F != 1:
        return 0, 0
    bits = BitReader(obus)
    bits.u(5)
    extended, sized = bits.flag(), bits.flag()
    bits.u(1 + 8 * extended)
    if sized:
        while bits.flag():
            bits.u(7)
        bits.u(7)
    bits.u(3)  # seq_profile
    bits.u(1)  # still_picture
    if bits.flag():  # reduced_still_picture_header
        bits.u(5)
    else:
        _skip_av1_operating_points(bits)
    width_bits, height_bits = bits.u(4) + 1, bits.u(4) + 1
    return _checked_size(bits.u(width_bits) + 1, bits.u(height_bits) + 1)


def _skip_av1_operating_points(bits: BitReader) -> None:
    decoder_model, delay_bits = False, 0
    if bits.flag():  # timing_info_present_flag
        bits.u(64)  # num_units_in_display_tick, time_scale
        if bits.flag():  # equal_picture_interval
            bits.ue()
        decoder_model = bits.flag()
        if decoder_model:
            delay_bits = bits.u(5) + 1
            bits.u(32 + 5 + 5)
    display_delay = bits.flag()
    for _ in range(bits.u(5) + 1):
        bits.u(12)  # operating_point_idc
        if bits.u(5) > 7:  # seq_level_idx
            bits.u(1)
        if decoder_model and bits.flag():
            bits.u(2 * delay_bits + 1)
        if display_delay and bits.flag():
            bits.u(4)


PICTURE_EDGE_MAX = 16_384
"""Wider or higher is no picture: H.264 ends at 16,880 in its highest level that nobody has, HEVC and AV1 decoders at 8K."""


def _checked_size(width: int, height: int) -> tuple[int, int]:
    if not (0 < width <= PICTURE_EDGE_MAX and 0 < height <= PICTURE_EDGE_MAX):
        raise MediaError(f"a picture of {width}x{height}")
    return width, height


def _checked_sets(*sets: bytes) -> tuple[bytes, ...]:
    if sum(map(len, sets)) > PARAMETER_SETS_BYTES_MAX:
        raise MediaError("parameter sets are too long")
    return sets


def _unescape(nal: bytes) -> bytes:
    """Without the bytes that keep start codes out (ITU-T H.264, 7.4.1)."""
    return nal.replace(b"\x00\x00\x03", b"\x00\x00")


AAC_RATES_HZ = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
"""By samplingFrequencyIndex (ISO/IEC 14496-3, table 1.18)."""

AAC_RATE_EXPLICIT = 15
"""The samplingFrequencyIndex behind which the rate is written out."""

AAC_CHANNELS = (0, 1, 2, 3, 4, 5, 6, 8, 0, 0, 0, 7, 8, 0, 8, 0)
"""By channelConfiguration (ISO/IEC 14496-3, table 1.19); 0: defined elsewhere."""

AAC_SBR, AAC_PS = 5, 29
"""Object types that say: a core coder follows, whose sound is extended."""


def _parse_aac(record: bytes) -> AudioConfig:
    """AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1)."""
    bits = BitReader(record[:64])
    object_type = _aac_object_type(bits)
    index, rate_hz = _aac_rate(bits)
    channel_configuration = bits.u(4)
    channels = AAC_CHANNELS[channel_configuration]
    heard_hz = rate_hz
    if object_type in (AAC_SBR, AAC_PS):
        if object_type == AAC_PS:
            channels = 2
        _, heard_hz = _aac_rate(bits)
        object_type = _aac_object_type(bits)
    return AudioConfig("aac", SOUND_AAC, heard_hz, channels, object_type, index, channel_configuration, record)


def _aac_object_type(bits: BitReader) -> int:
    object_type = bits.u(5)
    return 32 + bits.u(6) if object_type == 31 else object_type


def _aac_rate(bits: BitReader) -> tuple[int, int]:
    """samplingFrequencyIndex and rate in Hz; a rate that is written out though it has an index gets that index."""
    index = bits.u(4)
    if index == AAC_RATE_EXPLICIT:
        rate_hz = bits.u(24)
        return (AAC_RATES_HZ.index(rate_hz) if rate_hz in AAC_RATES_HZ else index), rate_hz
    if index >= len(AAC_RATES_HZ):
        raise MediaError(f"an AAC configuration with sampling frequency {index}")
    return index, AAC_RATES_HZ[index]


MP3_RATES_HZ = (44100, 48000, 32000)
"""MPEG-1's rates by index (ISO/IEC 11172-3, 2.4.2.3); MPEG-2 halves them, MPEG-2.5 halves them again."""


def _parse_mp3(frame: bytes) -> AudioConfig:
    """The header of an MPEG audio frame (ISO/IEC 11172-3, 2.4.1.3)."""
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE0 != 0xE0:
        raise MediaError("an MP3 frame without its header")
    version, index = frame[1] >> 3 & 3, frame[2] >> 2 & 3
    if version == 1 or index == 3:
        raise MediaError("an MP3 frame with a reserved version or rate")
    rate_hz = MP3_RATES_HZ[index] >> {3: 0, 2: 1, 0: 2}[version]
    return AudioConfig("mp3", SOUND_MP3, rate_hz, 1 if frame[3] >> 6 == 3 else 2)


class _Fields:
    """Whole bytes of a configuration record, one field after the other."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, size: int) -> bytes:
        start = self._position
        self._position = end = start + size
        if end > len(self._data):
            raise MediaError("a codec configuration ends too early")
        return self._data[start:end]

    def skip(self, size: int) -> None:
        self.take(size)

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "big")
