"""The places at which the works of a network are drawn."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Iterable
from typing import Any

from bnlens._arguments import Seed, checked
from bnlens.errors import UsageError, how_to_install
from bnlens.paper._network import Network

__all__ = ["layout"]

_ITERATIONS = 300
_SMALL = 500  # up to here all pairs repel; beyond, those in neighbouring cells of a grid
_LOCK = threading.Lock()  # igraph has one random number generator per process


@checked
def layout(network: Network, seed: Seed = 0) -> dict[str, tuple[float, float]]:
    """Return id -> position of every work: forces of Fruchterman and Reingold (1991), the paper at the origin.

    Works that cite each other attract, all repel; a faint pull to the paper keeps works without a path to it near. Positions
    lie in the square from -1 to 1 and are the same for the same network and seed.

    Args:
        network: what to draw.
        seed: of the starting positions.

    Raises:
        UsageError: igraph is not installed.
    """
    try:
        import igraph
    except ImportError as error:
        raise UsageError(f"a layout needs igraph; {how_to_install('web')} brings it") from error
    place = {node.id: index for index, node in enumerate(network.nodes)}
    ends = [(place[edge.citing], place[edge.cited]) for edge in network.edges]
    apart = _components(igraph, len(place), ends)
    weights = [1.0] * len(ends) + [0.2] * len(apart)
    graph = igraph.Graph(n=len(place), edges=[*ends, *((0, other) for other in apart)])
    source = random.Random(seed)  # noqa: S311 - nothing secret is drawn
    width = math.sqrt(len(place))  # about one work per cell of the grid, so that few pairs are near
    start = [[source.uniform(-width, width), source.uniform(-width, width)] for _ in place]
    with _LOCK:
        igraph.set_random_number_generator(source)
        try:
            found = graph.layout_fruchterman_reingold(
                weights=weights or None, seed=start, niter=_ITERATIONS, grid="grid" if len(place) > _SMALL else "nogrid"
            ).coords
        finally:
            igraph.set_random_number_generator(random)
    x0, y0 = found[0]
    reach = max((abs(value) for x, y in found for value in (x - x0, y - y0)), default=0.0) or 1.0
    return {name: ((found[i][0] - x0) / reach, (found[i][1] - y0) / reach) for name, i in place.items()}


def _components(igraph: Any, count: int, ends: Iterable[tuple[int, int]]) -> list[int]:
    """Return the first node of each component that the paper is not in."""
    members = igraph.Graph(n=count, edges=list(ends)).connected_components()
    return [component[0] for component in members if 0 not in component]
