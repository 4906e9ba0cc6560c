"""What the main process tells a media worker at its start: one line of JSON on the worker's standard input."""

from __future__ import annotations

import msgspec

from headwater.settings import Settings


class WorkerConfig(msgspec.Struct, frozen=True):
    """Everything a worker needs. It is started as `python -m headwater.node`.

    index: 0 for the first worker of the node. workers: how many there are.
    cluster_socket: path of the Unix socket on which the main process serves the cluster's store.
    internal_socket: path of the Unix socket on which the worker answers its siblings and the main process (node.internal).
    tls_certificate, tls_key: PEM files of the RTMPS and HTTPS listeners.
    """

    node: str
    index: int
    workers: int
    settings: Settings
    cluster_socket: str
    internal_socket: str
    tls_certificate: str
    tls_key: str
