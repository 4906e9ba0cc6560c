"""The nodes of the platform: a map and a list of those that are there now."""

from __future__ import annotations

from starlette.responses import Response

from headwater.console.visit import Visit

MAP_WIDTH, MAP_TOP_DEGREES, MAP_HEIGHT = 1000.0, 84.0, 390.0
"""The map of static/world.svg: equirectangular, 1000 wide for 360 degrees, from 84 degrees north on."""


async def show(visit: Visit) -> Response:
    """All nodes."""
    nodes = visit.services.nodes.listed()
    placed = [
        (node, *place(node.latitude, node.longitude))
        for node in nodes
        if node.latitude is not None and node.longitude is not None
    ]
    return visit.render("nodes.html", nodes=nodes, placed=placed)


def place(latitude: float, longitude: float) -> tuple[float, float]:
    """Where coordinates are on the map."""
    scale = MAP_WIDTH / 360
    return (longitude + 180) * scale, min(max((MAP_TOP_DEGREES - latitude) * scale, 0), MAP_HEIGHT)
