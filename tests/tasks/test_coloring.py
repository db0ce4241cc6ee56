"""Facts about graph colouring: graphs, pictures and chains of thought."""

import random
import re
from itertools import combinations, product

import numpy as np
import pytest

from percbal.tasks import get_task
from percbal.tasks.coloring import Graph
from percbal.tasks.coloring_graph import (
    chromatic_number,
    colors_properly,
    largest_clique,
    neighbours,
    symmetry_key,
)
from percbal.tasks.coloring_image import MOVED, clearance, crossings, layout, near_misses
from percbal.tasks.picture_task import LEVELS

PETERSEN = frozenset(
    [*((i, (i + 1) % 5) for i in range(5)), *((i, i + 5) for i in range(5))]
    + [(5 + i, 5 + (i + 2) % 5) for i in range(5)]
)


def fewest_of_all_colorings(edges, vertices):
    proper = (c for c in product(range(vertices), repeat=vertices) if valid(c, edges))
    return min(len({*c}) for c in proper)


def valid(colors, edges):
    return all(colors[a] != colors[b] for a, b in edges)


@pytest.mark.parametrize("vertices", [4, 5, 6])
def test_the_chromatic_number_is_that_of_all_colorings(vertices):
    for i in range(30):
        rng = random.Random(i)
        pairs = [*combinations(range(vertices), 2)]
        edges = frozenset(rng.sample(pairs, rng.randint(0, len(pairs))))
        assert chromatic_number(edges, vertices) == fewest_of_all_colorings(edges, vertices)


def test_known_graphs():
    assert (
        chromatic_number(PETERSEN, 10) == 3 and len(largest_clique(neighbours(PETERSEN, 10))) == 2
    )
    odd = frozenset((i, (i + 1) % 7) for i in range(7))
    assert chromatic_number(odd, 7) == 3
    wheel = odd | {(i, 7) for i in range(7)}
    assert chromatic_number(wheel, 8) == 4
    bipartite = frozenset((a, b) for a in range(3) for b in range(3, 6))
    assert chromatic_number(bipartite, 6) == 2
    assert chromatic_number(frozenset(combinations(range(16), 2)), 16) == 16
    assert chromatic_number(frozenset(), 0) == 0


def test_graphs_are_connected_and_as_dense_as_asked_for():
    task = get_task("coloring", vertices=(5, 9), density=(0.5, 0.6))
    for i in range(100):
        n, edges = task.problem("train", random.Random(i))
        near, seen = neighbours(edges, n), {0}
        for _ in range(n):
            seen |= {other for vertex in seen for other in near[vertex]}
        assert len(seen) == n and 5 <= n <= 9
        pairs = n * (n - 1) / 2
        assert max(n - 1, round(0.5 * pairs)) <= len(edges) <= max(n - 1, round(0.6 * pairs))


def test_numbering_does_not_change_the_key_and_another_graph_does():
    path = frozenset([(0, 1), (1, 2), (2, 3)])
    star = frozenset([(0, 1), (0, 2), (0, 3)])
    assert symmetry_key(path, 4) == symmetry_key([(0, 2), (1, 3), (0, 1)], 4)
    assert symmetry_key(path, 4) != symmetry_key(star, 4)


def test_a_split_without_such_graphs_says_so():
    with pytest.raises(ValueError, match="the split test has no graph of 4 to 4 vertices"):
        get_task("coloring", vertices=4).generate(0, "test", 0)


@pytest.mark.parametrize("level", LEVELS)
def test_no_edge_touches_a_vertex_that_is_not_its_end(level):
    task = get_task("coloring", level=level)
    for i in range(60):
        n, edges = task.problem("train", random.Random(i))
        pairs = np.array(sorted(edges))
        places = layout(n, pairs, 427, task.look, random.Random(i))
        assert clearance(places, pairs) >= task.look.reach(task.look.radius(427)) + 2
        assert places.min() >= 0 and places.max() <= 427
        assert (np.ptp(places, axis=0) > 0.65 * 427).all()  # it fills the picture


def measured(**options):
    """Crossings, and vertices within 20 pixels of another's edge, over graphs of 8 vertices."""
    look, graphs, found = get_task("coloring", **options).look, get_task("coloring", vertices=8), 0
    for i in range(40):
        n, edges = graphs.problem("train", random.Random(i))  # the same graphs for all
        pairs = np.array(sorted(edges))
        places = layout(n, pairs, 427, look, random.Random(i))
        found = found + np.array([crossings(places, pairs), near_misses(places, pairs, within=20)])
    return found


def test_two_tasks_that_draw_other_pictures_describe_themselves_otherwise():
    """On a ring, too, where a level says how far edges keep from vertices."""
    size = dict(layout="ring", vertices=[12, 12], density=[0.45, 0.5], noise=0.0)
    same = [get_task("coloring", level=level, **size) for level in ("easy", "medium")]
    pictures = [task.generate(0, "train", 0).image.tobytes() for task in same]
    assert pictures[0] != pictures[1] and same[0].describe() != same[1].describe()


def test_the_options_of_a_layout_make_crossings_and_near_misses():
    few, any_, many = (
        measured(layout="scattered", crossings=c, clearance=0.006)[0] for c in (-1, 0, 1)
    )
    assert few < any_ < many
    far, near = (measured(layout="scattered", clearance=c)[1] for c in (0.03, 0.006))
    assert far < near
    assert measured(level="easy")[1] == measured(level="medium")[1] == 0 < measured(level="hard")[1]


@pytest.mark.parametrize("vertices, pixels", [(4, 64), (6, 96), (9, 427)])
def test_the_vertices_of_a_ring_stand_by_their_numbers(vertices, pixels):
    task = get_task("coloring", layout="ring", vertices=vertices, pixels=pixels)
    radius, seen = task.look.radius(pixels), []
    for i in range(20):
        n, edges = task.problem("train", random.Random(i))
        places = layout(n, np.array(sorted(edges)), pixels, task.look, random.Random(i))
        angles = 2 * np.pi * np.arange(n) / n
        ring = np.stack([np.sin(angles), -np.cos(angles)], axis=1)  # clockwise from the top
        off = places - (pixels / 2 + (pixels / 2 - 2 * radius) * ring)
        assert np.abs(off).max() <= MOVED * radius + 1e-9
        seen.append(off)
    assert np.std(seen, axis=0).max() > 0.1 * MOVED * radius, "they are moved by chance"


def test_pictures_have_the_paper_s_sizes_and_others_where_asked_for():
    task = get_task("coloring")
    sizes = [task.generate(i, "train", 0).image.size for i in range(40)]
    assert all(w == h and 427 <= w <= 466 for w, h in sizes) and len({*sizes}) > 10
    assert get_task("coloring", pixels=128, vertices=6).generate(0, "train", 0).image.width == 128


class Replay:
    """Reads a terse chain of thought at verbosity 3 and fails at the first false step."""

    def __init__(self, graph, text):
        self.n, self.edges = graph
        self.near = neighbours(self.edges, self.n)
        self.words, self.given, self.guesses = text.split(), {}, []
        self.clique, self.most = {}, 0

    def run(self):
        while self.words:
            word = self.words.pop(0)
            if word.isdigit():
                self.vertex(int(word), self.words.pop(0))
            else:
                getattr(self, word)()
        return self.given

    def cells(self):
        """Words such as 3=b as far as they go, each of which must be as things stand."""
        read = []
        while self.words and "=" in self.words[0]:
            vertex, color = self.words.pop(0).split("=")
            assert self.given.get(int(vertex), "_") == color
            read.append(int(vertex))
        return read

    def vertex(self, vertex, how):
        if how == "sees":
            seen = {self.given[o] for o in self.near[vertex] if o in self.given}
            assert int(self.words.pop(0)) == len(seen)
        else:
            assert how == "next" and {*self.cells()} == self.near[vertex]

    def now(self):
        assert self.cells() == [*range(self.n)]

    def left(self):
        self.free = []
        while self.words and len(self.words[0]) == 1 and self.words[0].isalpha():
            self.free.append(self.words.pop(0))
        if self.words[:1] == ["none"]:
            self.words.pop(0)

    def set(self):
        vertex, color = self.words.pop(0).split("=")
        taken = {self.given.get(other) for other in self.near[int(vertex)]}
        assert color not in taken and int(vertex) not in self.given
        self.given[int(vertex)] = color
        if len(self.given) <= self.most and not self.clique:
            self.clique = {**self.given} if len(self.given) == self.most else {}

    def guess(self):
        before = {**self.given}
        value = self.words[0]
        self.guesses.append((value, before))
        self.set()

    def conflict(self):
        stuck, undo, value = (self.words.pop(0) for _ in range(3))
        taken = {self.given.get(other) for other in self.near[int(stuck)]}
        assert int(stuck) not in self.given and taken >= {*"abcdefghij"[: self.most]}
        guessed, self.given = self.guesses.pop()
        assert undo == "undo" and guessed == value

    def fail(self):
        assert int(self.words.pop(0)) == self.most and not self.guesses
        self.most += 1
        self.given = {**self.clique}


def replay(graph, text):
    """The colours that a chain of thought ends with."""
    reader = Replay(graph, text)
    assert reader.words.pop(0) == "clique"
    members = []
    while reader.words[0] != "least":
        members.append(int(reader.words.pop(0)))
    reader.words.pop(0)
    reader.most = int(reader.words.pop(0))
    assert len(members) == reader.most
    assert all(b in reader.near[a] for a in members for b in members if a != b)
    return reader.run()


def try_words(text):
    """Without the trials, whose values are not yet given."""
    words, kept = text.split(), []
    while words:
        word = words.pop(0)
        if word == "try":
            while words.pop(0) not in ("taken", "free"):
                pass
        else:
            kept.append(word)
    return " ".join(kept)


@pytest.mark.parametrize("options", [dict(), dict(level="hard"), dict(vertices=12)])
def test_reasoning_replays_to_a_proper_coloring(options):
    task = get_task("coloring", verbosity=3, **options)
    guessed = 0
    for i in range(60):
        graph = task.problem("train", random.Random(i))
        text, answer = task.solve(graph, random.Random(i))
        guessed += text.count("guess")
        colors = replay(graph, try_words(text))
        assert " ".join(f"{v}={colors[v]}" for v in range(graph.vertices)) == answer
    assert guessed


def test_reasoning_takes_guesses_back_and_proves_that_one_more_color_is_needed():
    """A wheel on seven vertices: its largest clique has three, and it takes four colours."""
    task = get_task("coloring", verbosity=1)
    wheel = frozenset((i, (i + 1) % 7) for i in range(6)) | {(0, 6)} | {(i, 7) for i in range(7)}
    text, answer = task.solve(Graph(8, wheel), random.Random(0))
    assert "fail 3" in text
    colors = replay(Graph(8, wheel), text)
    assert colors_properly(colors, wheel, 8, 4) and len(answer.split()) == 8


@pytest.mark.parametrize("style", ["terse", "plain", "thinking"])
def test_the_least_reasoning_proves_how_many_colors_it_takes(style):
    task = get_task("coloring", vertices=(7, 10), verbosity=-1, style=style)
    failed = 0
    for i in range(300):
        graph = task.problem("train", random.Random(i))
        text, answer = task.solve(graph, random.Random(i))
        numbers = [int(word) for word in re.findall(r"\d+", text)]
        bounds = re.findall(r"fail (\d+)|So (\d+) colors|Hmm, (\d+) colors", text)
        fails = [int("".join(each)) for each in bounds]
        clique = numbers[: len(numbers) - len(fails)]
        assert all(tuple(sorted(pair)) in graph.edges for pair in combinations(clique, 2))
        fewest = chromatic_number(graph.edges, graph.vertices)
        assert fails == [*range(len(clique), fewest)]
        assert len({word[-1] for word in answer.split()}) == fewest
        failed += bool(fails)
    assert failed


def test_an_edge_to_a_vertex_that_is_not_there_is_refused():
    truth = {"v": 4, "c": 2, "edges": [[0, 1], [1, 2], [2, 3]]}
    spans = "<perception> {} </perception> <reasoning> r </reasoning> <answer> {} </answer>"
    score = get_task("coloring").score(spans.format("0-1 1-2 2-7", "0=a 1=b 2=a 3=b"), truth)
    assert score.answer is True and score.perception is False and score.reasoning is None
    assert score.reason == "perception: an edge has a vertex above 3"


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(vertices=3), "vertices must be from 4 to 16, got 3"),
        (dict(vertices=(5, 4)), r"vertices must be a number or \(fewest, most\)"),
        (dict(density=(0.6, 0.5)), r"density must be \(least, most\) in \[0, 1\]"),
        (dict(pixels=64), "64 pixels are too few for 9 vertices"),
        (dict(layout="grid"), "layout must be one of ring, scattered, got 'grid'"),
        (dict(layout="scattered", crossings=2), "crossings must be one of -1, 0, 1, got 2"),
        (dict(crossings=1), "crossings is of scattered graphs, got 1 with layout ring"),
        (dict(level="easy", clearance=0.2), "clearance is of scattered graphs, got 0.2 with"),
        (dict(level="hard", clearance=-1.0), "clearance must be 0 or more"),
        (dict(verbosity=4), "verbosity must be one of -1, 0, 1, 2, 3, got 4"),
        (dict(style="loud"), "style must be one of terse, plain, thinking, mixed, got 'loud'"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        get_task("coloring", **options)
