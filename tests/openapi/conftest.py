"""The API's server for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.api_clients import close_connections
from support.api_server import ApiServer


@pytest.fixture(scope="module")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One server for a module; tests keep apart by their accounts and the names of their domains."""
    server = ApiServer(tmp_path_factory.mktemp("api"))
    yield server
    close_connections()
    server.close()
