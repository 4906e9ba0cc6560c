"""What happens to a picture between decoder and encoders: deinterlaced, scaled and marked, once for all who want the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.error
import av.filter
import structlog
from av.video.format import VideoFormat
from av.video.reformatter import VideoReformatter
from PIL import Image, UnidentifiedImageError

from headwater.access.plan import Watermark
from headwater.center.transcode.decoding import BROKEN, MILLISECONDS
from headwater.center.transcode.spec import Mark

PICTURE_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")

MARK_EDGE_MAX = 4096
"""A wider or higher watermark is not read: nothing that we encode is as large."""

SIZES_MAX = 32
"""Sizes for which scalers and overlays are kept; a source that changes its own again and again makes ever new ones."""

BT709 = 1
"""Colour space of HD pictures (ITU-T H.273, table 4)."""

log = structlog.get_logger()

NOT_YET = (BlockingIOError, av.error.EOFError)
"""What a filter raises that has no frame ready."""


def placed(mark: Watermark, width: int, height: int, ratio: float) -> tuple[int, int, int, int]:
    """Left, top, width and height of a watermark on a picture of this size (reference media-plane 2.10).

    ratio: of the watermark's own width to its height. It keeps it, and grows with the picture's smaller growth; it is never
    larger than the picture, and never beside it.
    """
    grown_x, grown_y = width / mark.ref_width, height / mark.ref_height
    tall = mark.height * min(grown_x, grown_y)
    tall = max(2.0, min(tall, height, width / ratio))
    wide = max(2.0, tall * ratio)
    x, y = mark.x * grown_x, mark.y * grown_y
    left = x if mark.corner.endswith("Left") else width - wide - x
    top = y if mark.corner.startswith("Top") else height - tall - y
    left, top = min(max(0.0, left), width - wide), min(max(0.0, top), height - tall)
    return round(left), round(top), round(wide), round(tall)


def read_mark(mark: Mark) -> Image.Image:
    """Its picture with transparency. Raises OSError or ValueError, with a text for people."""
    try:
        with Image.open(mark.path, formats=PICTURE_FORMATS) as picture:
            if max(picture.size) > MARK_EDGE_MAX:
                raise ValueError(f"the watermark is larger than {MARK_EDGE_MAX} pixels")
            image = picture.convert("RGBA")
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise ValueError(f"the watermark is no picture: {error}") from error
    if mark.mark.transparency < 255:
        image.putalpha(image.getchannel("A").point([level * mark.mark.transparency // 255 for level in range(256)]))
    return image


class Overlay:
    """Lays watermarks over pictures of one size. They are scaled and converted once. Raises what is in BROKEN."""

    def __init__(self, marks: Sequence[tuple[Watermark, Image.Image]], width: int, height: int, like: av.VideoFrame) -> None:
        graph = av.filter.Graph()
        node = graph.add_buffer(width=width, height=height, format=VideoFormat("yuv420p"), time_base=MILLISECONDS)
        self._in, self._graph = node, graph
        fixed = []
        for mark, image in marks:
            left, top, wide, tall = placed(mark, width, height, image.width / image.height)
            scaled = image.resize((wide, tall), Image.Resampling.LANCZOS)
            frame = av.VideoFrame.from_bytes(scaled.tobytes(), wide, tall)
            space = "ITU709" if like.colorspace == BT709 else "ITU601"
            frame = frame.reformat(format="yuva420p", dst_colorspace=space, dst_color_range="MPEG")
            frame.pts, frame.time_base = 0, MILLISECONDS
            picture = graph.add_buffer(width=wide, height=tall, format=VideoFormat("yuva420p"), time_base=MILLISECONDS)
            fixed.append((picture, frame))
            over = graph.add("overlay", f"x={left}:y={top}:format=yuv420:eof_action=repeat")
            node.link_to(over, 0, 0)
            picture.link_to(over, 0, 1)
            node = over
        self._out = graph.add("buffersink")
        node.link_to(self._out)
        graph.configure(auto_buffer=False)
        for picture, frame in fixed:
            picture.push(frame)
            picture.push(None)

    def apply(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The picture with the watermarks on it; the one given stays as it is."""
        self._in.push(frame)
        marked = self._out.pull()
        assert isinstance(marked, av.VideoFrame)
        return marked


class Deinterlacer:
    """Makes whole pictures of interlaced ones, a picture later; others pass unchanged. Raises what is in BROKEN."""

    def __init__(self, like: av.VideoFrame) -> None:
        graph = av.filter.Graph()
        self._in = graph.add_buffer(width=like.width, height=like.height, format=like.format, time_base=MILLISECONDS)
        yadif = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
        self._out, self._graph = graph.add("buffersink"), graph
        self._in.link_to(yadif)
        yadif.link_to(self._out)
        graph.configure(auto_buffer=False)

    def feed(self, frame: av.VideoFrame | None) -> Iterator[tuple[int, av.VideoFrame]]:
        """The pictures that are ready, each with its time in milliseconds; None: the last ones."""
        self._in.push(frame)
        while True:
            try:
                ready = self._out.pull()
            except NOT_YET:
                return
            assert isinstance(ready, av.VideoFrame)
            yield round((ready.pts or 0) * (ready.time_base or MILLISECONDS) * 1000), ready


class Studio:
    """Scales and marks. `show` gives it a picture; `picture` returns it in a size, made once for all who ask.

    marks: the watermarks whose pictures could be read; a change holds from the next picture on. notes: what is wrong with the
    others, by their rules.
    """

    def __init__(self, threads: int) -> None:
        self.notes: dict[str, str] = {}
        self._threads = threads
        self._wanted: tuple[Mark, ...] = ()
        self._marks: list[tuple[Watermark, Image.Image]] = []
        self._scalers: dict[tuple[int, int], VideoReformatter] = {}
        self._overlays: dict[tuple[int, int], Overlay | None] = {}
        self._shown: av.VideoFrame | None = None
        self._made: dict[tuple[int, int], av.VideoFrame] = {}

    def mark(self, marks: tuple[Mark, ...]) -> None:
        """Use these watermarks from now on. One whose file is not there yet comes with a later `look_again`."""
        if marks != self._wanted:
            self._wanted = marks
            self._read()

    def look_again(self) -> None:
        """Read the pictures that were not there yet."""
        if len(self._marks) < len(self._wanted) and any(Path(mark.path).exists() for mark in self._wanted):
            self._read()

    def show(self, frame: av.VideoFrame) -> None:
        """The picture of which `picture` gives sizes."""
        self._shown = frame
        self._made = {}

    def picture(self, width: int, height: int) -> av.VideoFrame:
        """The picture in this size, with its watermarks, as 4:2:0 with 8 bits. Raises what is in BROKEN."""
        size = width, height
        made = self._made.get(size)
        if made is None:
            assert self._shown is not None
            if len(self._scalers) >= SIZES_MAX and size not in self._scalers:
                self._scalers.clear()
                self._overlays.clear()
            scaler = self._scalers.setdefault(size, VideoReformatter())
            made = scaler.reformat(
                self._shown, width, height, "yuv420p", interpolation="BICUBIC", dst_color_range="MPEG", threads=self._threads
            )
            overlay = self._overlay(size, made)
            if overlay is not None:
                made.time_base = MILLISECONDS
                made = overlay.apply(made)
            self._made[size] = made
        return made

    def _overlay(self, size: tuple[int, int], like: av.VideoFrame) -> Overlay | None:
        if not self._marks:
            return None
        if size not in self._overlays:
            try:
                self._overlays[size] = Overlay(self._marks, *size, like)
            except BROKEN as error:
                log.warning("watermarks cannot be laid over pictures", size=size, error=str(error))
                self.notes["overlay"] = str(error)
                self._overlays[size] = None
        return self._overlays[size]

    def _read(self) -> None:
        self._overlays.clear()
        self._marks = []
        self.notes = {}
        for mark in self._wanted:
            try:
                self._marks.append((mark.mark, read_mark(mark)))
            except FileNotFoundError:
                self.notes[mark.mark.rule] = "its picture is not there yet"
            except (OSError, ValueError) as error:
                log.warning("watermark cannot be read", rule=mark.mark.rule, error=str(error))
                self.notes[mark.mark.rule] = str(error)


def pixel_aspect(given: Fraction | None, source: tuple[int, int], size: tuple[int, int]) -> Fraction | None:
    """The shape of a pixel of a scaled picture; None if it is square as far as anybody says."""
    if not given or given == 1:
        return None
    return given * Fraction(source[0] * size[1], source[1] * size[0])
