"""Graph colouring: read the edges off a picture, then colour the vertices, with few colours."""

from __future__ import annotations

import json
import random
from typing import Any, NamedTuple

from PIL.Image import Image

from percbal.responses.reading import Refusal
from percbal.tasks.base import Instance, Place, Table, WrongPart
from percbal.tasks.coloring_graph import (
    Edges,
    chromatic_number,
    colors_properly,
    f1,
    random_graph,
    symmetry_key,
)
from percbal.tasks.coloring_image import (
    KINDS,
    RING,
    SCATTERED,
    Look,
    Standing,
    around,
    between,
    fits,
    render,
    standing,
)
from percbal.tasks.coloring_reasoning import (
    COLORS,
    STYLES,
    color_aloud,
    reasoning_words,
)
from percbal.tasks.options import as_pair, one_of
from percbal.tasks.parts import color_table, edge_parts, edge_table, wrong_colors
from percbal.tasks.phrases import Styles, list_words
from percbal.tasks.picture_task import FORMS, LEVELS, VERBOSITIES, PictureTask
from percbal.tasks.pictures import FONTS
from percbal.tasks.read_graph import read_coloring, read_edges
from percbal.tasks.splits import in_split

QUERY = (
    "Read the edges of the graph in the image. It has {n} vertices. Then color them with as few "
    "colors as possible."
)
PAPER_QUERY = (
    "You are given a graph shown in the image. There are {n} vertices, labeled 0 through {last}. "
    "Solve the graph coloring problem using the minimum possible number of colors (i.e., you "
    "should first determine the chromatic number). Use alphabetical labels for colors such as a, "
    "b, c, ... Assign a color to each vertex such that no two adjacent vertices have the same "
    "color. First, list the edges in the image as a JSON list of pairs of vertices. Then solve it "
    "step by step, and give the colors as a JSON object from vertices to colors."
)
PIXELS = (427, 466)  # of the paper's pictures
MOST_VERTICES = len(COLORS)
TRIES = 1000


class Level(NamedTuple):
    """What makes a graph hard to see and to colour, for options that are not given."""

    vertices: tuple[int, int]
    density: tuple[float, float]
    layout: str
    clearance: float
    crossings: int
    beside: bool
    noise: float


HARDNESS = {
    "easy": Level((4, 6), (0.3, 0.6), RING, 0.03, -1, False, 0.0),
    "medium": Level((7, 9), (0.35, 0.6), RING, 0.012, 0, False, 0.0),
    "hard": Level((9, 10), (0.45, 0.7), SCATTERED, 0.006, 1, True, 0.05),
}


class Graph(NamedTuple):
    vertices: int
    edges: Edges


class Coloring(PictureTask):
    """Graphs whose vertices are to be coloured with the fewest colours.

    level: easy, medium or hard: what the options say that are not given.
    vertices: (fewest, most), from 4 to 16, each number equally likely, or one number.
    density: (least, most) share of the pairs of vertices that are joined; a graph is connected
        anyway.
    verbosity: how much of the reasoning is written down, from -1 (perception is about half of the
        words) to 3 (it is a few percent of them); docs/tasks.md has the shares.
    style: the words of the reasoning, terse, plain or thinking, or mixed for any of these.
    form: how edges and colours are written: words, or paper for the paper's JSON and question.
    pixels: width and height of the picture, or (fewest, most).
    layout: ring, vertices round a circle by their numbers, or scattered, anywhere.
    clearance: of an edge from vertices that are not its ends, as a share of the width; crossings:
        -1, 0 or 1 for few, any or many; both of scattered graphs.
    beside: labels stand beside the vertices.
    noise: standard deviation of Gaussian pixel noise, as a share of white; fonts: of the labels.
    """

    name = "coloring"
    grammar = "edges"

    def __init__(
        self,
        level: str = "medium",
        vertices: tuple[int, int] | int | None = None,
        density: tuple[float, float] | None = None,
        verbosity: int = 1,
        style: str = "terse",
        form: str = "words",
        pixels: tuple[int, int] | int = PIXELS,
        layout: str | None = None,
        clearance: float | None = None,
        crossings: int | None = None,
        beside: bool | None = None,
        noise: float | None = None,
        fonts: tuple[str, ...] = FONTS,
    ) -> None:
        usual = HARDNESS[one_of("level", level, LEVELS)]
        self.verbosity = one_of("verbosity", verbosity, VERBOSITIES)
        self.style = Styles(style, STYLES)
        self.form = one_of("form", form, FORMS)
        self.vertices = _pair("vertices", usual.vertices if vertices is None else vertices)
        if not 4 <= self.vertices[0] <= self.vertices[1] <= MOST_VERTICES:
            raise ValueError(f"vertices must be from 4 to {MOST_VERTICES}, got {vertices!r}")
        self.density = usual.density if density is None else tuple(density)
        if len(self.density) != 2 or not 0 <= self.density[0] <= self.density[1] <= 1:
            raise ValueError(f"density must be (least, most) in [0, 1], got {density!r}")
        layout = one_of("layout", usual.layout if layout is None else layout, KINDS)
        for name, given in {"clearance": clearance, "crossings": crossings}.items():
            if given is not None and layout == RING:
                raise ValueError(f"{name} is of scattered graphs, got {given} with layout ring")
        self.look = Look(
            _pair("pixels", pixels),
            layout,
            usual.clearance if clearance is None else clearance,
            one_of("crossings", usual.crossings if crossings is None else crossings, (-1, 0, 1)),
            usual.beside if beside is None else beside,
            usual.noise if noise is None else noise,
            tuple(fonts),
        )
        few = self.look.pixels[0]
        if not fits(self.vertices[1], few, self.look.radius(few)):
            raise ValueError(f"{few} pixels are too few for {self.vertices[1]} vertices")

    def problem(self, split: str, rng: random.Random) -> Graph:
        for _ in range(TRIES):
            n = rng.randint(*self.vertices)
            n_edges = round(rng.uniform(*self.density) * n * (n - 1) / 2)
            graph = Graph(n, random_graph(n, n_edges, rng))
            if in_split(symmetry_key(graph.edges, n), split):
                return graph
        raise ValueError(
            f"the split {split} has no graph of {self.vertices[0]} to {self.vertices[1]} vertices: "
            "there are too few, up to numbering; take more vertices"
        )

    def draw(self, problem: Graph, rng: random.Random) -> Image:
        return render(problem.vertices, problem.edges, self.look, rng)

    def query(self, problem: Graph) -> str:
        query = PAPER_QUERY if self.form == "paper" else QUERY
        return query.format(n=problem.vertices, last=problem.vertices - 1)

    def write(self, problem: Graph) -> str:
        if self.form == "paper":
            return json.dumps(sorted(problem.edges))
        return " ".join(f"{a}-{b}" for a, b in sorted(problem.edges))

    def solve(self, problem: Graph, rng: random.Random) -> tuple[str, str]:
        style = self.style.choose(rng)
        reasoning, found = color_aloud(*problem, self.verbosity, rng, style)
        colors = {vertex: COLORS[found[vertex]] for vertex in range(problem.vertices)}
        if self.form == "paper":
            return reasoning, json.dumps(colors)
        return reasoning, " ".join(f"{vertex}={color}" for vertex, color in colors.items())

    def facts(self, problem: Graph) -> dict[str, Any]:
        """The paper's ground truth."""
        n, edges = problem
        return {"v": n, "c": chromatic_number(edges, n), "edges": [*map(list, sorted(edges))]}

    def difficulty(self, truth: dict[str, Any]) -> dict[str, float | int | str]:
        return {"vertices": truth["v"], "edges": len(truth["edges"]), "colors": truth["c"]}

    def ground_truth(self, truth: dict[str, Any]) -> str:
        return json.dumps({name: truth[name] for name in ("v", "c", "edges")})

    def problem_in(self, truth: dict[str, Any]) -> Edges:
        return frozenset((min(a, b), max(a, b)) for a, b in truth["edges"])

    def perceived(self, text: str, truth: dict[str, Any]) -> Edges | Refusal:
        edges = read_edges(text)
        if isinstance(edges, Refusal) or all(b < truth["v"] for _, b in edges):
            return edges
        return Refusal("vertex", f"an edge has a vertex above {truth['v'] - 1}")

    def said(self, text: str, truth: dict[str, Any]) -> dict[int, str] | Refusal:
        return read_coloring(text)

    def right(self, said: Any, seen: Edges, truth: dict[str, Any]) -> bool | None:
        if not isinstance(said, dict):
            return False
        n = truth["v"]
        if seen == self.problem_in(truth):
            return colors_properly(said, seen, n, truth["c"])
        if n > MOST_VERTICES:
            return None  # counting the fewest colours may take too long
        return colors_properly(said, seen, n, chromatic_number(seen, n))

    def share(self, seen: Edges, true: Edges) -> float:
        return f1(seen, true)

    def tables(self, seen: Any, said: Any, truth: dict[str, Any]) -> dict[str, Table]:
        """The edges that were seen, the wrong ones marked, and missing ones; each vertex's colour,
        marked where a true edge joins it with its own."""
        edges, tables = self.problem_in(truth), {}
        if isinstance(seen, frozenset):
            tables["perceived"] = edge_table(seen, edges)
        if isinstance(said, dict):
            tables["answer"] = color_table(said, edges, truth["v"], truth["c"])
        return tables

    def parts(self, seen: Edges) -> dict[str, str]:
        return edge_parts(seen)

    def places(self, instance: Instance) -> dict[str, Place]:
        """Between any two vertices, joined or not."""
        n, found = instance.truth["v"], self._standing(instance)
        return {f"{a}-{b}": between(found, a, b, self.look) for b in range(n) for a in range(b)}

    def wrong_in_answer(self, said: Any, truth: dict[str, Any]) -> list[WrongPart]:
        return wrong_colors(said, self.problem_in(truth), truth["v"], truth["c"])

    def answer_places(self, instance: Instance) -> dict[str, Place]:
        """A square around each vertex."""
        n, found = instance.truth["v"], self._standing(instance)
        return {str(vertex): around(found, vertex, self.look) for vertex in range(n)}

    def _standing(self, instance: Instance) -> Standing:
        """Where the vertices of its picture are."""
        n, rng = instance.truth["v"], self.look_of(instance.truth)
        return standing(n, self.problem_in(instance.truth), self.look, rng)

    def words(self) -> list[str]:
        n = self.vertices[1]
        names = [str(vertex) for vertex in range(n)]
        found = [f"{a}-{b}" for b in range(n) for a in range(b)]
        found += [f"{vertex}={color}" for vertex in range(n) for color in COLORS[:n]]
        for size in range(self.vertices[0], n + 1):
            found += self.query(Graph(size, frozenset())).split()
        found += self.style.words(lambda style: reasoning_words(n, style, self.verbosity))
        if self.form == "paper":
            found += list_words(names)
            found += [f'{before}"{name}":' for before in ("", "{") for name in names]
            found += [f'"{color}"{after}' for color in COLORS[:n] for after in (",", "}")]
        return found

    def describe(self) -> str:
        look, labels = self.look, "beside" if self.look.beside else "in"
        scattered = "" if look.layout == RING else f", crossings {look.crossings}"
        return (
            f"{self.name}, {self.vertices[0]} to {self.vertices[1]} vertices, density "
            f"{self.density[0]} to {self.density[1]}, verbosity {self.verbosity}, "
            f"{self.style.name} style, {self.form} form, {look.pixels[0]} to {look.pixels[1]} px, "
            f"{look.layout}, clearance {look.clearance}{scattered}, labels {labels} vertices, "
            f"noise {look.noise}, fonts {' '.join(look.fonts)}"
        )


def _pair(option: str, value: Any) -> tuple[int, int]:
    """(fewest, most), of which the first is 1 or more."""
    pair = as_pair(value)
    if len(pair) != 2 or not 1 <= pair[0] <= pair[1]:
        raise ValueError(f"{option} must be a number or (fewest, most), got {value!r}")
    return pair
