"""What the main process tells the live center at its start: one line of JSON on its standard input."""

from __future__ import annotations

from pathlib import Path

import msgspec

from headwater.settings import Settings


class CenterConfig(msgspec.Struct, frozen=True):
    """Everything the center needs. It is started as `python -m headwater.center`.

    cluster_socket, internal_socket: Unix sockets of the cluster's store, and on which the center answers (center.server).
    """

    node: str
    settings: Settings
    cluster_socket: str
    internal_socket: str

    @property
    def spool(self) -> Path:
        """The folder for files that are being made or wait to be uploaded."""
        return Path(self.settings.center.spool or Path(self.settings.data_dir) / "spool").absolute()
