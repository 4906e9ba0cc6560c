"""Fixtures of every test: the property tests' profile, the real program, its API, domains, and one stream that is always on."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest

import support.postgres
from support.api import Api, Pair, make_pair
from support.browser import Browser, Chromium
from support.browser import chromium as running_chromium
from support.encoders import clip as make_clip
from support.encoders import ffmpeg_push
from support.flv import FlvTag
from support.postgres import Postgres
from support.server import Server, running

hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("suite")

# No proxy stands between the tests and their own servers.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The real program with two media workers, one for each test process. Tests that stop it make their own."""
    with running({"workers": "2"}) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, one for each test process."""
    with support.postgres.running() as server:
        yield server


@pytest.fixture(scope="session")
def api(server: Server) -> Api:
    """The official SDK as the first account of the shared server."""
    return Api(server, server.account())


@pytest.fixture
def pair(server: Server, api: Api) -> Pair:
    """A new ingest domain bound to a new streaming domain."""
    return make_pair(server, api)


@pytest.fixture(scope="session")
def live(server: Server, api: Api) -> Iterator[Pair]:
    """A pair of domains whose stream `cam` is on air: H.264 and AAC from FFmpeg, a key frame each second."""
    pair = make_pair(server, api)
    with ffmpeg_push(pair.push_url()) as encoder:
        try:
            pair.wait_online()
        except AssertionError as error:
            raise AssertionError(f"{error}\n{encoder.said()}\n{server.said()}") from error
        yield pair


@pytest.fixture(scope="session")
def clip() -> list[FlvTag]:
    """Sixteen seconds of H.264 and AAC as tags, a key frame each second."""
    return make_clip(16)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """One browser for all tests, for its start costs more than most of them."""
    with running_chromium() as chromium:
        yield chromium


@pytest.fixture
def browser(chromium: Chromium) -> Iterator[Browser]:
    """Somebody who has never been here before."""
    with chromium.visitor() as visitor:
        yield visitor
