"""Asks the live center of this machine over its Unix socket."""

from __future__ import annotations

from urllib.parse import quote

import structlog

from headwater.cluster.centers import Centers
from headwater.cluster.interface import Cluster, ClusterError
from headwater.delivery.hls_cache import Fetched
from headwater.node import peers
from headwater.node.peers import PeerError

log = structlog.get_logger()


class CenterDoor:
    """The center of this node, or any other that can be reached."""

    def __init__(self, cluster: Cluster, node: str) -> None:
        self._centers = Centers(cluster)
        self._node = node

    async def ask(self, path: str, question: bytes) -> Fetched:
        """Its answer to a question, which is JSON; status 503 if there is none."""
        try:
            present = await self._centers.present()
            if not present:
                return Fetched(503, b"", "the live center is not running")
            center = present.get(self._node) or present[min(present)]
            said = await peers.ask(center.socket, f"{path}?{quote(question)}")
        except (ClusterError, PeerError) as error:
            log.warning("the live center does not answer", question=path, error=str(error))
            return Fetched(503, b"", "the live center does not answer")
        text = "" if said.status == 200 else said.body[:200].decode("utf-8", "replace")
        return Fetched(said.status, said.body, text)
