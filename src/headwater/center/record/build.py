"""Makes slices and files of a recording's pieces: MPEG-TS, fragmented MP4, FLV, MP4 and playlists. Frames are copied.

Everything is a function of the pieces and the journal, so what a crash has interrupted is simply made again. A file appears
under its name when it is complete and safe on disk.
"""

from __future__ import annotations

import hashlib
import operator
import os
import posixpath
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec
import structlog

from headwater.center.record import names
from headwater.center.record.spec import EXTENSIONS, SLICE_EXTENSIONS, Failed, File, PieceLine, RecordSpec, Slice
from headwater.center.record.spool import TAG_HEADER_BYTES, TAG_TAIL_BYTES, Folder, Span, frames, write_all
from headwater.media import codecs, flv, hls, mp4, mpegts
from headwater.media.codecs import AudioConfig, VideoConfig
from headwater.media.errors import MediaError
from headwater.media.tag import AUDIO, SCRIPT, VIDEO, Flags
from headwater.media.timeline import FRAME_MS
from headwater.protocols.rtmp import amf
from headwater.store.objects import check_key

INTERLEAVE_MS = 1000
"""In an MP4 file video and audio of so long stand together, in turns, so that a player reads it from front to back."""

MAP_SUFFIX = "_init.mp4"
"""The object that players need before the slices of fragmented MP4 is named after the first of these."""

CLASSIFIED_BYTES = 64
"""So much of a frame says whether it is a key frame, whatever wraps it."""

METADATA_VALUES_MAX = 10_000_000
"""Two for each key frame of an FLV file."""

_pack_stamp = struct.Struct(">I").pack_into
_TIME_MS = operator.itemgetter(1)
"""Of a tag, as `frames` tells them."""

log = structlog.get_logger()


class NothingThere(Exception):
    """There is no frame to make it of."""


Frame = tuple[int, int, int, int, bool, int]
"""Kind and time of a frame in a piece, start and end of what a decoder gets of it, whether it is a key frame, and its
composition time in ms. A plain tuple: there are hundreds of thousands of them in an hour."""


class Builder:
    """Makes what is due, in its order. Not for two threads at once.

    `make` returns what is complete on disk; it is the caller who writes that into the journal. Raises OSError if the disk takes
    nothing, NothingThere, and MediaError or ObjectError for what can never be made.
    """

    def __init__(self, folder: Folder, spec: RecordSpec) -> None:
        self._folder = folder
        self._spec = spec
        self._prefixes: dict[str, tuple[str, str]] = {
            format_.format: (format_.object_prefix, format_.slice_object_prefix) for format_ in spec.formats
        }
        self._muxers: dict[str, tuple[int, mpegts.TsMuxer]] = {}
        self._clocks: dict[str, tuple[int, mp4.AudioClock]] = {}

    def attempt(self, span: Span, slices: list[Slice]) -> Slice | File | Failed:
        """As `make`, with what can never be made as `Failed`. Raises OSError."""
        try:
            return self.make(span, slices)
        except NothingThere:
            return Failed(span.format, "", span.number, span.slice)
        except OSError:
            raise
        except Exception as error:  # the top of a file: the others must come
            log.exception("a recorded file could not be made", span=span)
            return Failed(span.format, str(error) or type(error).__name__, span.number, span.slice)

    def make(self, span: Span, slices: list[Slice]) -> Slice | File:
        """Make a slice or file. slices: those of its file, as far as they are made."""
        if span.slice:
            return self._slice(span, slices)
        if span.format == "flv":
            return self._flv(span)
        if span.format == "mp4":
            return self._mp4(span)
        return self._playlist(span, slices)

    # slices

    def _slice(self, span: Span, slices: list[Slice]) -> Slice:
        first = self._folder.ledger.pieces[span.first]
        extension = SLICE_EXTENSIONS[span.format]
        number = span.number
        key = names.slice_key(
            self._prefixes[span.format][1],
            app=self._spec.app,
            stream=self._spec.stream,
            number=number,
            start_ms=first.unix_ms,
            extension=extension,
        )
        check_key(key)
        path = self._folder.path / f"{span.format}-{number:08}{extension}"
        scan = _Scan(self._folder, span)
        with _Output(path) as output:
            counters: tuple[int, ...] = ()
            init: bytes | None = None
            if span.format == "m3u8":
                counters = self._write_ts(span, scan, output, slices)
            else:
                init = self._write_fragment(span, scan, output)
        video = scan.video
        made = Slice(
            format=span.format,
            file=span.file,
            number=number,
            pieces=(span.first, span.last),
            path=path.name,
            key=key,
            start_ms=first.unix_ms,
            duration_ms=scan.end_ms - first.start_ms,
            width=video.width if video is not None else 0,
            height=video.height if video is not None else 0,
            bytes=output.bytes,
            sha256=output.sha256,
            broken=first.broken and bool(slices),
            counters=counters,
        )
        return made if init is None else self._with_init(made, init, slices)

    def _write_ts(self, span: Span, scan: _Scan, output: _Output, slices: list[Slice]) -> tuple[int, ...]:
        """Write a slice; returns the continuity counters of the next one. They run on from the slice before in the playlist,
        whichever process has made that: players take a jump for lost packets and throw away the frame in front of it.
        """
        following, muxer = self._muxers.pop(span.format, (0, mpegts.TsMuxer()))
        if following != span.first:
            muxer = mpegts.TsMuxer(slices[-1].counters if slices else ())
        started = False
        for data, tags in scan.tags():
            for kind, time_ms, start, end in tags:
                if not started:
                    muxer.set_video(scan.video)
                    muxer.set_audio(scan.audio)
                    output.write(muxer.start_segment())
                    started = True
                try:
                    packets = muxer.add(kind, time_ms, data, start, end)
                except MediaError as error:
                    log.info("a frame was left out of a slice", error=str(error))
                    continue
                if packets:
                    output.write(packets)
        if not started:
            raise NothingThere
        output.write(muxer.flush())
        self._muxers[span.format] = span.last + 1, muxer
        return muxer.counters

    def _write_fragment(self, span: Span, scan: _Scan, output: _Output) -> bytes:
        """Write the fragment of a slice; returns its initialization segment."""
        following, clock = self._clocks.pop(span.format, (0, None))
        layout = _Layout(0, clock if following == span.first else None)
        data = layout.add_all(scan)
        if not layout.tracks:
            raise NothingThere
        output.write(mp4.fragment_head(span.number + 1, layout.tracks, end_ms=scan.end_ms))
        for track in layout.tracks:
            for piece, ranges in data:
                output.write(b"".join([piece[start:end] for start, end in ranges.get(track.video, ())]))
        if layout.clock is not None:
            self._clocks[span.format] = span.last + 1, layout.clock
        return mp4.init_segment(layout.tracks)

    def _with_init(self, made: Slice, init: bytes, slices: list[Slice]) -> Slice:
        """With the object that must stand in front of it: that of the slice before, if it is the same."""
        sha256 = hashlib.sha256(init).hexdigest()
        if slices and slices[-1].init_sha256 == sha256:
            path, key = slices[-1].init_path, slices[-1].init_key
        else:
            path = made.path.removesuffix(SLICE_EXTENSIONS[made.format]) + MAP_SUFFIX
            key = made.key.removesuffix(SLICE_EXTENSIONS[made.format]) + MAP_SUFFIX
            with _Output(self._folder.path / path) as output:
                output.write(init)
        return msgspec.structs.replace(made, init_path=path, init_key=key, init_bytes=len(init), init_sha256=sha256)

    # files

    def _playlist(self, span: Span, slices: list[Slice]) -> File:
        if not slices:
            raise NothingThere
        last = slices[-1]
        key = self._file_key(span, slices[0].start_ms, last.start_ms + last.duration_ms)
        folder = posixpath.dirname(key)

        def address(object_key: str) -> str:
            return quote(posixpath.relpath(object_key, folder or "."), safe="/") if object_key else ""

        segments = [
            hls.Segment(
                sequence=index,
                duration_ms=each.duration_ms,
                uri=address(each.key),
                discontinuity=each.broken,
                program_time_ms=each.start_ms,
                map_uri=address(each.init_key),
            )
            for index, each in enumerate(slices)
        ]
        target_s = max(hls.rounded_s(each.duration_ms) for each in slices)
        version = 7 if span.format == "cmaf" else 3
        path = self._file_path(span)
        with _Output(path) as output:
            output.write(
                hls.media_playlist(
                    segments,
                    target_duration_s=target_s,
                    discontinuity_sequence=0,
                    independent=True,
                    ended=True,
                    version=version,
                )
            )
        duration_ms = sum(each.duration_ms for each in slices)
        end_ms = last.start_ms + last.duration_ms
        return self._file(span, path, key, output, slices[0].start_ms, end_ms, duration_ms, (last.width, last.height))

    def _flv(self, span: Span) -> File:
        scan = _Scan(self._folder, span)
        plan = _FlvPlan(scan)
        if not plan.parts:
            raise NothingThere
        key = self._file_key(span, scan.start_unix_ms, scan.end_unix_ms)
        path = self._file_path(span)
        with _Output(path) as output:
            output.write(plan.head())
            for number, start, end in plan.parts:
                for line, data in self._folder.pieces(number, number):
                    output.write(memoryview(_stamped(line, data, scan.start_ms))[start:end])
        duration_ms = scan.end_ms - scan.start_ms
        return self._file(span, path, key, output, scan.start_unix_ms, scan.end_unix_ms, duration_ms, scan.picture)

    def _mp4(self, span: Span) -> File:
        scan = _Scan(self._folder, span)
        layout = _Layout(scan.start_ms, None)
        windows = layout.plan(scan)
        if not layout.tracks:
            raise NothingThere
        key = self._file_key(span, scan.start_unix_ms, scan.end_unix_ms)
        path = self._file_path(span)
        duration_ms = scan.end_ms - scan.start_ms
        with _Output(path) as output:
            output.write(mp4.file_head(layout.tracks, duration_ms=duration_ms, payload_bytes=layout.payload_bytes))
            for number, parts in windows:
                for _, data in self._folder.pieces(number, number):
                    with memoryview(data) as view:
                        output.write(b"".join([view[start:end] for start, end in zip(parts[::2], parts[1::2], strict=True)]))
        return self._file(span, path, key, output, scan.start_unix_ms, scan.end_unix_ms, duration_ms, scan.picture)

    def _file_key(self, span: Span, start_ms: int, end_ms: int) -> str:
        key = names.file_key(
            self._prefixes[span.format][0],
            app=self._spec.app,
            stream=self._spec.stream,
            number=span.number,
            start_ms=start_ms,
            end_ms=end_ms,
            extension=EXTENSIONS[span.format],
        )
        check_key(key)
        return key

    def _file_path(self, span: Span) -> Path:
        return self._folder.path / f"{span.format}-file-{span.number:04}{EXTENSIONS[span.format]}"

    def _file(
        self,
        span: Span,
        path: Path,
        key: str,
        output: _Output,
        start_ms: int,
        end_ms: int,
        duration_ms: int,
        picture: tuple[int, int],
    ) -> File:
        return File(
            format=span.format,
            number=span.number,
            pieces=(span.first, span.last),
            path=path.name,
            key=key,
            start_ms=start_ms,
            end_ms=end_ms,
            duration_ms=duration_ms,
            width=picture[0],
            height=picture[1],
            bytes=output.bytes,
            sha256=output.sha256,
        )


class _Output:
    """A file that is written from front to back; it gets its name when it is complete and safe."""

    def __init__(self, path: Path) -> None:
        self.bytes = 0
        self.sha256 = ""
        self._path = path
        self._temporary = path.with_name(path.name + ".tmp")
        self._digest = hashlib.sha256()

    def __enter__(self) -> _Output:
        self._descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        return self

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add some bytes. Raises OSError."""
        write_all(self._descriptor, data)
        self._digest.update(data)
        self.bytes += len(data)

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        try:
            if failed is None:
                os.fdatasync(self._descriptor)
                self._temporary.replace(self._path)
                self.sha256 = self._digest.hexdigest()
            else:
                self._temporary.unlink(missing_ok=True)
        finally:
            os.close(self._descriptor)


class _Scan:
    """The pieces of a span one after the other, with the configuration in force.

    video, audio: the configuration; of a stream whose configuration changes, the one of the piece that was read last.
    end_ms, end_unix_ms: where the span ends, known once all pieces were read; that is when the next piece begins, or one frame
    after the last if it does not go on.
    """

    def __init__(self, folder: Folder, span: Span) -> None:
        self.video: VideoConfig | None = None
        self.video_record = b""
        self.audio: AudioConfig | None = None
        self.payloads: dict[int, bytes] = {}
        self._folder = folder
        self._span = span
        first = folder.ledger.pieces[span.first]
        self.start_ms = self.end_ms = first.start_ms
        self.start_unix_ms = self.end_unix_ms = first.unix_ms

    @property
    def picture(self) -> tuple[int, int]:
        """Width and height."""
        return (self.video.width, self.video.height) if self.video is not None else (0, 0)

    def pieces(self) -> Iterator[tuple[PieceLine, bytes, list[tuple[int, int, int, int]]]]:
        """Each piece, its bytes, and its tags but for the configuration in front."""
        last_ms = self.start_ms
        for line, data in self._folder.pieces(self._span.first, self._span.last):
            tags = frames(line, data)
            skipped, has_audio = 0, False
            for kind, _, start, end in tags[:2]:
                payload = data[start:end]
                if not codecs.classify(kind, payload) & Flags.CONFIG:
                    break
                self._configure(kind, payload)
                skipped += 1
                has_audio |= kind == AUDIO
            if tags[skipped:]:
                last_ms = max(last_ms, max(map(_TIME_MS, tags[skipped:])))
                if not has_audio:
                    self._mp3(data, tags[skipped:])
            yield line, data, tags[skipped:]
            self.end_ms = last_ms + FRAME_MS
            self.end_unix_ms = line.unix_ms + self.end_ms - line.start_ms
        following = self._folder.ledger.pieces.get(self._span.last + 1)
        if following is not None and not following.broken and following.start_ms > self.start_ms:
            self.end_ms, self.end_unix_ms = following.start_ms, following.unix_ms

    def tags(self) -> Iterator[tuple[bytes, list[tuple[int, int, int, int]]]]:
        """Each piece's bytes and tags."""
        for _, data, tags in self.pieces():
            yield data, tags

    def _configure(self, kind: int, payload: bytes) -> None:
        if self.payloads.get(kind) == payload:
            return
        self.payloads[kind] = payload
        if kind == VIDEO:
            self.video = codecs.parse_video_config(payload)
            packet = codecs.split_video(payload)
            self.video_record = packet.data if packet is not None else b""
        else:
            self.audio = codecs.parse_audio_config(payload)

    def _mp3(self, data: bytes, tags: list[tuple[int, int, int, int]]) -> None:
        """MP3 has no configuration: its frames say what they are. The sound of the piece before may have been AAC."""
        for kind, _, start, end in tags:
            if kind == AUDIO:
                if (audio := codecs.parse_audio_config(data[start:end])) is not None:
                    self.audio = audio
                    self.payloads.pop(AUDIO, None)
                return


def _media(data: bytes, tags: list[tuple[int, int, int, int]]) -> Iterator[Frame]:
    """The frames of tags: what of them a decoder gets."""
    for kind, time_ms, start, end in tags:
        head = data[start]
        if kind == VIDEO and not head & 0x80:
            if data[start + 1] == codecs.CODED_FRAMES and end > start + 5:
                composition_ms = data[start + 2] << 16 | data[start + 3] << 8 | data[start + 4]
                composition_ms -= (composition_ms & 0x800000) << 1
                yield VIDEO, time_ms, start + 5, end, head < 0x20, composition_ms
        elif kind == AUDIO and head >> 4 == codecs.SOUND_AAC:
            if end > start + 2:
                yield AUDIO, time_ms, start + 2, end, False, 0
        elif kind == AUDIO and head >> 4 != codecs.SOUND_EX:
            if end > start + 1:
                yield AUDIO, time_ms, start + 1, end, False, 0
        else:
            payload = data[start:end]
            if kind == VIDEO:
                video = codecs.split_video(payload)
                if video is not None and video.data:
                    at = start + payload.index(video.data)
                    yield VIDEO, time_ms, at, at + len(video.data), video.key, video.composition_ms
            else:
                audio = codecs.split_audio(payload)
                if audio is not None and audio.data:
                    at = start + payload.index(audio.data)
                    yield AUDIO, time_ms, at, at + len(audio.data), False, 0


class _Layout:
    """The tracks of an MP4 file or fragment. from_ms: what is its time 0. payload_bytes: of all frames."""

    def __init__(self, from_ms: int, clock: mp4.AudioClock | None) -> None:
        self.tracks: list[mp4.Track] = []
        self.clock = clock
        self.payload_bytes = 0
        self._from_ms = from_ms
        self._video: mp4.Track | None = None
        self._audio: mp4.Track | None = None
        self._entries = {VIDEO: 0, AUDIO: 0}

    def add_all(self, scan: _Scan) -> list[tuple[bytes, dict[bool, list[tuple[int, int]]]]]:
        """Take all frames; returns each piece's bytes with the ranges of video (True) and audio (False) in it."""
        found = []
        for _, data, tags in scan.pieces():
            self._configure(scan)
            ranges: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
            for frame in _media(data, tags):
                if self._add(frame):
                    ranges[frame[0] == VIDEO].append(frame[2:4])
            found.append((data, ranges))
        return found

    def plan(self, scan: _Scan) -> list[tuple[int, array[int]]]:
        """Take all frames, in chunks that take turns; returns (piece, starts and ends in it) in the order of the file."""
        planned: list[tuple[int, array[int]]] = []
        for line, data, tags in scan.pieces():
            self._configure(scan)
            window: dict[int, array[int]] = {VIDEO: array("L"), AUDIO: array("L")}
            since_ms = line.start_ms
            for frame in _media(data, tags):
                if frame[1] - since_ms >= INTERLEAVE_MS:
                    self._close_window(line.number, window, planned)
                    window = {VIDEO: array("L"), AUDIO: array("L")}
                    since_ms = frame[1]
                if self._add(frame):
                    window[frame[0]].extend(frame[2:4])
            self._close_window(line.number, window, planned)
        return planned

    def _close_window(self, piece: int, window: dict[int, array[int]], planned: list[tuple[int, array[int]]]) -> None:
        for kind, parts in window.items():
            track = self._video if kind == VIDEO else self._audio
            if not parts or track is None:
                continue
            track.chunks.append((len(track.samples.sizes) - len(parts) // 2, self._entries[kind], self.payload_bytes))
            self.payload_bytes += sum(parts[1::2]) - sum(parts[::2])
            planned.append((piece, parts))

    def _configure(self, scan: _Scan) -> None:
        if scan.video is not None:
            if self._video is None:
                self._video = mp4.Track(True, mp4.VIDEO_TIMESCALE, scan.video.width, scan.video.height)
                self.tracks.insert(0, self._video)
            self._entries[VIDEO] = self._video.entry(mp4.video_entry(scan.video, scan.video_record))
        if scan.audio is not None:
            clock = mp4.audio_clock(scan.audio)
            if self.clock is None or (clock.rate_hz, clock.frame_samples) != (self.clock.rate_hz, self.clock.frame_samples):
                self.clock = clock
            if self._audio is None:
                self._audio = mp4.Track(False, clock.rate_hz)
                self.tracks.append(self._audio)
            self._entries[AUDIO] = self._audio.entry(mp4.audio_entry(scan.audio))

    def _add(self, frame: Frame) -> bool:
        """Whether there is a track for it."""
        kind, time_ms, start, end, key, composition_ms = frame
        track = self._video if kind == VIDEO else self._audio
        if track is None:
            return False
        samples = track.samples
        least = samples.dts[-1] if samples.dts else 0
        told_ms = time_ms - self._from_ms
        if kind == VIDEO:
            told = told_ms * mp4.VIDEO_TIMESCALE // 1000
            dts = told if told > least else least
            samples.add(dts, end - start, composition_ms * mp4.VIDEO_TIMESCALE // 1000 + told - dts, sync=key)
        else:
            assert self.clock is not None  # as the track
            dts = self.clock.ticks(told_ms if told_ms > 0 else 0) * track.timescale // self.clock.rate_hz
            samples.add(dts if dts > least else least, end - start)
        return True


class _FlvPlan:
    """What stands in front of an FLV file, and which parts of the pieces follow it.

    parts: (piece, start and end in it).
    """

    def __init__(self, scan: _Scan) -> None:
        self.parts: list[tuple[int, int, int]] = []
        self._scan = scan
        self._keys: list[tuple[int, int]] = []
        self._bytes = self._tracks = 0
        known: dict[int, bytes] = {}
        for line, data, tags in scan.pieces():
            if not tags:
                continue
            begin = tags[0][2] - TAG_HEADER_BYTES if known == scan.payloads else 0
            known = dict(scan.payloads)
            moved = self._bytes - begin - TAG_HEADER_BYTES
            for kind, time_ms, start, end in tags:
                if kind == AUDIO:
                    self._tracks |= flv.HAS_AUDIO
                    continue
                self._tracks |= flv.HAS_VIDEO
                if codecs.classify(kind, data[start : min(end, start + CLASSIFIED_BYTES)]) & Flags.KEY:
                    self._keys.append((time_ms - scan.start_ms, moved + start))
            self.parts.append((line.number, begin, tags[-1][3] + TAG_TAIL_BYTES))
            self._bytes += self.parts[-1][2] - begin

    def head(self) -> bytes:
        """The header and the metadata, as long as these are for any values."""
        head = flv.file_header(self._tracks)
        size = len(head) + len(self._metadata(0))
        return head + self._metadata(size)

    def _metadata(self, head_bytes: int) -> bytes:
        scan = self._scan
        seconds = (scan.end_ms - scan.start_ms) / 1000
        values: dict[str, object] = {
            "duration": seconds,
            "filesize": float(head_bytes + self._bytes),
            "hasVideo": scan.video is not None,
            "hasAudio": scan.audio is not None,
            "hasKeyframes": bool(self._keys),
            "canSeekToEnd": False,
            "lasttimestamp": seconds,
        }
        if scan.video is not None:
            values |= {
                "width": float(scan.video.width),
                "height": float(scan.video.height),
                "videocodecid": float(scan.video.codec_id),
            }
        if scan.audio is not None:
            values |= {
                "audiocodecid": float(scan.audio.codec_id),
                "audiosamplerate": float(scan.audio.sample_rate_hz),
                "stereo": scan.audio.channels > 1,
            }
        if self._keys:
            values["keyframes"] = {
                "times": [time_ms / 1000 for time_ms, _ in self._keys],
                "filepositions": [float(head_bytes + position) for _, position in self._keys],
            }
        payload = amf.encode("onMetaData", amf.EcmaArray(values), values_max=METADATA_VALUES_MAX)
        return flv.pack_tag(SCRIPT, 0, payload)


def _stamped(line: PieceLine, data: bytes, from_ms: int) -> bytes | bytearray:
    """A piece with times that count from another moment."""
    if from_ms == 0:
        return data
    changed = bytearray(data)
    for _, time_ms, start, _ in frames(line, data):
        stamp = max(time_ms - from_ms, 0)
        _pack_stamp(changed, start - 7, (stamp & 0xFFFFFF) << 8 | stamp >> 24)
    return changed
