"""The metrics of the store in the main process."""

from __future__ import annotations

from headwater.cluster.embedded import EmbeddedCluster
from headwater.observe.families import Family, Sample


async def store_families(store: EmbeddedCluster) -> list[Family]:
    """How much of everything the store holds."""
    return [
        Family(f"headwater_cluster_{name}", "gauge", f"{name.capitalize()} in the cluster's store.", [Sample({}, count)])
        for name, count in store.sizes().items()
    ]
