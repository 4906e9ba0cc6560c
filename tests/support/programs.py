"""Finds the programs that only tests need; without one a test is skipped with the reason, or fails under CI=true."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import NoReturn

import imageio_ffmpeg
import pytest


def program(name: str) -> str:
    """The path of a program. Ends the test if it is missing."""
    path = shutil.which(name)
    if path is None:
        missing(f"the program {name} is not installed (make programs)")
    return path


def gstreamer(*elements: str) -> str:
    """The path of gst-launch-1.0. Ends the test if it or one of the elements is missing."""
    launch, inspect = program("gst-launch-1.0"), program("gst-inspect-1.0")
    for element in elements:
        if subprocess.run([inspect, "--exists", element], check=False).returncode != 0:
            missing(f"the GStreamer element {element} is not installed (make programs)")
    return launch


def new_ffmpeg() -> str:
    """The FFmpeg of imageio-ffmpeg, which speaks enhanced RTMP; Debian's 5.1 does not."""
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def missing(reason: str) -> NoReturn:
    """Skip the running test, or fail it under CI=true, where everything must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
