"""Where the processes of one node meet: the folder of their sockets, and the store of a server that runs."""

from __future__ import annotations

import os
from pathlib import Path

from headwater.cluster.client import RemoteCluster
from headwater.cluster.interface import ClusterError, ClusterGone

SOCKET_PATH_MAX = 90
"""Unix socket paths end at 107 bytes (unix(7)); room is left for the file names."""

RUN_FOLDER, CLUSTER_SOCKET = "run", "cluster.sock"
"""Where in data_dir sockets stand, and which of them is that of the cluster's store."""


def socket_folder(data_dir: Path) -> Path | None:
    """The folder of sockets below the data, or None where its path is too long for sockets."""
    folder = data_dir.absolute() / RUN_FOLDER
    return folder if len(os.fsencode(folder)) <= SOCKET_PATH_MAX else None


async def running(data_dir: Path) -> RemoteCluster:
    """The store of the server that runs on this data. Raises ClusterError, with a text for people."""
    folder = socket_folder(data_dir)
    if folder is None:
        raise ClusterError(f"data_dir: the path {data_dir} is too long for sockets, so the server has them elsewhere")
    try:
        return await RemoteCluster.connect(str(folder / CLUSTER_SOCKET))
    except (OSError, ClusterGone) as error:
        raise ClusterGone(f"no server is running with the data in {data_dir}") from error
