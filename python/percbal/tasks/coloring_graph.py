"""Graphs without words or pictures: random ones, their chromatic number, what relabelling keeps.

A graph's vertices are 0 .. n - 1; its edges are pairs with the smaller vertex first, each once.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations

Edge = tuple[int, int]
Edges = frozenset[Edge]


def neighbours(edges: Collection[Edge], vertices: int) -> list[set[int]]:
    """The vertices next to each."""
    near: list[set[int]] = [set() for _ in range(vertices)]
    for a, b in edges:
        near[a].add(b)
        near[b].add(a)
    return near


def random_graph(vertices: int, n_edges: int, rng: random.Random) -> Edges:
    """A connected graph: a random tree, and edges drawn from all others."""
    order = rng.sample(range(vertices), vertices)
    tree = {_edge(order[i], order[rng.randrange(i)]) for i in range(1, vertices)}
    others = sorted({*combinations(range(vertices), 2)} - tree)
    return frozenset(tree | {*rng.sample(others, max(0, n_edges - len(tree)))})


def _edge(a: int, b: int) -> Edge:
    return min(a, b), max(a, b)


def largest_clique(near: Sequence[set[int]]) -> list[int]:
    """The first of the largest sets of vertices that are all joined."""
    best: list[int] = []

    def grow(clique: list[int], common: set[int]) -> None:
        nonlocal best
        if len(clique) > len(best):
            best = list(clique)
        for vertex in sorted(common):
            if len(clique) + len(common) <= len(best):
                return
            grow([*clique, vertex], common & near[vertex])
            common = common - {vertex}

    grow([], set(range(len(near))))
    return best


def chromatic_number(edges: Collection[Edge], vertices: int) -> int:
    """The fewest colours that no edge joins twice, exactly."""
    near = neighbours(edges, vertices)
    clique = largest_clique(near)
    first = {vertex: color for color, vertex in enumerate(clique)}
    return next(n for n in range(len(clique), vertices + 1) if _colorable(near, n, first))


def _colorable(near: Sequence[set[int]], most: int, given: Mapping[int, int]) -> bool:
    if len(given) == len(near):
        return True
    vertex = most_constrained(near, given)
    taken = {given[other] for other in near[vertex] if other in given}
    # a colour that nobody has yet is as good as any other such
    for color in range(min(most, max(given.values(), default=-1) + 2)):
        if color not in taken and _colorable(near, most, {**given, vertex: color}):
            return True
    return False


def most_constrained(near: Sequence[set[int]], given: Mapping[int, int]) -> int:
    """The vertex without a colour that sees the most colours, then the most neighbours."""
    return max(
        (vertex for vertex in range(len(near)) if vertex not in given),
        key=lambda v: (len({given[o] for o in near[v] if o in given}), len(near[v]), -v),
    )


def symmetry_key(edges: Collection[Edge], vertices: int) -> str:
    """The same text for all numberings of a graph: Weisfeiler and Leman's refinement.

    Graphs that differ may share a key (the smallest such pairs have six vertices); they then belong
    to one split.
    """
    near = neighbours(edges, vertices)
    ranks = [0] * vertices
    rounds = []
    for _ in range(vertices):
        seen = [(ranks[v], sorted(ranks[o] for o in near[v])) for v in range(vertices)]
        kinds = sorted(seen)
        ranks = [kinds.index(kind) for kind in seen]
        rounds.append(kinds)
    return str(rounds[-1])


def f1(seen: Edges, true: Edges) -> float:
    """Harmonic mean of the shares of seen edges that are there and of edges that are seen."""
    return 2 * len(seen & true) / (len(seen) + len(true)) if seen or true else 1.0


def colors_properly(
    colors: Mapping[int, str], edges: Collection[Edge], vertices: int, fewest: int
) -> bool:
    """Whether every vertex has a colour, no edge joins equal ones, and there are ``fewest``."""
    if colors.keys() != set(range(vertices)) or len({*colors.values()}) != fewest:
        return False
    return all(colors[a] != colors[b] for a, b in edges)
