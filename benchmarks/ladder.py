"""What a ladder of three renditions costs, beside the ffmpeg command line with the same encoder settings on the same clip.

python -m benchmarks.ladder [--seconds 40] [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg

from headwater.access.plan import Rendition
from headwater.domains.presets import preset

CACHE = Path(__file__).parent / ".cache"

TEMPLATES = ("lsd540", "lsd", "lld")
SIZES = {"lsd540": (960, 540), "lsd": (768, 432), "lld": (640, 360)}

WANTED_RATIO = 1.05
"""The CPU of our job may be so many times the one of the ffmpeg command line."""

READ_BYTES = 256 * 1024


def ladder() -> tuple[Rendition, ...]:
    """The renditions, as the standard templates have them."""
    return tuple(preset("live", template, lazy=True) for template in TEMPLATES)


def clip(seconds: int) -> Path:
    """720p with 25 frames a second at 3 Mbit/s, moving and noisy, with B-frames, a key frame every 2 s, and AAC."""
    path = CACHE / f"ladder-{seconds}.flv"
    if not path.exists():
        CACHE.mkdir(exist_ok=True)
        picture = "testsrc2=size=1280x720:rate=25,noise=alls=12:allf=t"
        run(
            [
                imageio_ffmpeg.get_ffmpeg_exe(),
                *("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"),
                *(
                    "-t",
                    str(seconds),
                    "-c:v",
                    "libx264",
                    "-preset",
                    "veryfast",
                    "-b:v",
                    "3M",
                    "-maxrate",
                    "3M",
                    "-bufsize",
                    "6M",
                ),
                *(
                    "-g",
                    "50",
                    "-sc_threshold",
                    "0",
                    "-pix_fmt",
                    "yuv420p",
                    "-c:a",
                    "aac",
                    "-b:a",
                    "96k",
                    "-f",
                    "flv",
                    str(path),
                ),
            ]
        )
    return path


def run(command: Sequence[str]) -> float:
    """Run a program to its end; returns its CPU time, in user and kernel mode. Raises subprocess.CalledProcessError."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise subprocess.CalledProcessError(process.returncode, command, said.read().decode(errors="replace")[-2000:])
    return usage.ru_utime + usage.ru_stime


def ffmpeg(binary: str, source: Path, folder: Path) -> list[str]:
    """The command line that makes the same ladder: one decoder, three scalers, three encoders with one thread each."""
    names = [f"v{index}" for index in range(len(TEMPLATES))]
    graph = f"[0:v]split={len(names)}" + "".join(f"[s{name}]" for name in names)
    for name, template in zip(names, TEMPLATES, strict=True):
        width, height = SIZES[template]
        graph += f";[s{name}]scale={width}:{height}:flags=bicubic[{name}]"
    command = [binary, "-y", "-threads", "1", "-filter_complex_threads", "1", "-i", str(source), "-filter_complex", graph]
    for name, rendition in zip(names, ladder(), strict=True):
        assert rendition.video is not None
        rate = f"{rendition.video.kbps}k"
        command += [
            *("-map", f"[{name}]", "-map", "0:a", "-c:a", "copy", "-c:v", "libx264", "-preset", "veryfast", "-threads", "1"),
            *("-profile:v", "high", "-b:v", rate, "-maxrate", rate, "-bufsize", rate, "-g", "65536", "-sc_threshold", "0"),
            *("-forced-idr", "1", "-force_key_frames", "source", "-f", "flv", str(folder / f"{rendition.template}.flv")),
        ]
    return command


def work(source: Path, folder: Path) -> None:
    """What the job process does with a stream, without the sockets: FLV in, a FLV file for each rendition out."""
    from headwater.center.transcode.spec import Spec
    from headwater.center.transcode.transcoder import Transcoder
    from headwater.media import flv

    transcoder = Transcoder(Spec(ladder()))
    files = {template: (folder / f"{template}.flv").open("wb") for template in TEMPLATES}
    for file in files.values():
        file.write(flv.FILE_HEADER)

    def write() -> None:
        for template, tags in transcoder.take().items():
            files[template].write(b"".join([flv.pack_tag(tag.kind, tag.timestamp_ms, tag.payload) for tag in tags]))

    reader = flv.Reader()
    with source.open("rb") as data:
        while piece := data.read(READ_BYTES):
            for tag in reader.feed(piece):
                transcoder.feed(tag)
                write()
    transcoder.flush()
    write()
    for file in files.values():
        file.close()


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=40, help="of the clip")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(*args.work)
        return
    source = clip(args.seconds)
    found: dict[str, list[float]] = {}
    kbps: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        commands = {
            "Headwater": [sys.executable, "-m", "benchmarks.ladder", "--work", str(source), place],
            f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}": ffmpeg(imageio_ffmpeg.get_ffmpeg_exe(), source, folder),
            "ffmpeg of Debian": ffmpeg("ffmpeg", source, folder),
        }
        for _ in range(args.rounds):
            for name, command in commands.items():
                found.setdefault(name, []).append(run(command) * 1000 / args.seconds)
                sizes = {template: (folder / f"{template}.flv").stat().st_size for template in TEMPLATES}
                kbps[name] = {template: size * 8 / 1000 / args.seconds for template, size in sizes.items()}
    ours, theirs, *_ = (statistics.median(each) for each in found.values())
    print(f"{', '.join(TEMPLATES)} of 720p, {args.rounds} rounds; CPU in ms for a second of the stream\n")
    print(f"| | CPU | least, most | kbit/s of {', '.join(TEMPLATES)} |\n|---|---|---|---|")
    for name, each in found.items():
        rates = ", ".join(f"{kbps[name][template]:.0f}" for template in TEMPLATES)
        print(f"| {name} | {statistics.median(each):.0f} | {min(each):.0f}, {max(each):.0f} | {rates} |")
    print(f"\nHeadwater beside the newer ffmpeg: **{ours / theirs:.2f}** times (wanted: at most {WANTED_RATIO})")
    if args.json:
        args.json.write_text(json.dumps({"rounds": found, "ratio": ours / theirs}))


if __name__ == "__main__":
    main()
