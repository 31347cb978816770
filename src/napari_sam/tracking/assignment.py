"""Which of the links that compete with each other are taken."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

import numpy as np

A = TypeVar("A", bound=Hashable)
B = TypeVar("B", bound=Hashable)


def assigned(pairs: Iterable[tuple[A, B, float]]) -> dict[A, B]:
    """Return links, each object in at most one on either side, whose gains are most together.

    Objects that compete with each other, over others too, are solved by themselves: a table of
    all ends and beginnings of a long movie would not fit into memory.

    Parameters
    ----------
    pairs
        Two objects, and what is gained if they are linked; nothing is linked at a loss.
    """
    from scipy import sparse  # these take a while to import
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import csgraph

    given = list(pairs)
    if not given:
        return {}
    rows = {a: i for i, a in enumerate(dict.fromkeys(a for a, _, _ in given))}
    columns = {b: i for i, b in enumerate(dict.fromkeys(b for _, b, _ in given), len(rows))}
    count = len(rows) + len(columns)
    edges = [rows[a] for a, _, _ in given], [columns[b] for _, b, _ in given]
    graph = sparse.coo_array((np.ones(len(given)), edges), (count, count))
    _, groups = csgraph.connected_components(graph, directed=False)
    together: dict[int, list[tuple[A, B, float]]] = {}
    for pair in given:
        together.setdefault(int(groups[rows[pair[0]]]), []).append(pair)
    links: dict[A, B] = {}
    for group in together.values():
        ones = {a: i for i, a in enumerate(dict.fromkeys(a for a, _, _ in group))}
        others = {b: j for j, b in enumerate(dict.fromkeys(b for _, b, _ in group))}
        gains = np.zeros((len(ones), len(others)))
        for a, b, gain in group:
            gains[ones[a], others[b]] = gain
        (left, right) = ([*ones], [*others])
        chosen = zip(*linear_sum_assignment(gains, maximize=True), strict=True)
        links |= {left[i]: right[j] for i, j in chosen if gains[i, j] > 0}
    return links
