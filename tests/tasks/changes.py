"""Single changes of a problem or an answer of each task, written without the tasks' own rules."""

from __future__ import annotations

import json
from itertools import combinations

from percbal.tasks.chart_table import Table
from percbal.tasks.coloring import Graph
from percbal.tasks.sudoku import Puzzle
from percbal.tasks.sudoku_text import grid_text

# cheap to draw, and all of the task's kinds
OPTIONS = {
    "sudoku": [dict(size=4), dict(size=6), dict(size=9, pixels=144)],
    "coloring": [dict(pixels=200, vertices=(4, 8)), dict(level="hard", pixels=300)],
    "chart": [dict(ticks=50, pixels=200), dict(level="hard", ticks=50, pixels=200, noise=0.0)],
}
CASES = [(name, options) for name, several in OPTIONS.items() for options in several]


def changed_problem(problem, rng):
    """Another problem, by one cell, one edge or one value."""
    if isinstance(problem, Puzzle):
        cell = rng.choice([i for i, digit in enumerate(problem.clues) if digit])
        return problem._replace(clues=[0 if i == cell else d for i, d in enumerate(problem.clues)])
    if isinstance(problem, Graph):
        pair = rng.choice([*combinations(range(problem.vertices), 2)])
        return problem._replace(edges=problem.edges ^ {pair})
    label = rng.choice([*problem.values])
    value = problem.values[label]
    return problem._replace(values={**problem.values, label: value - 2 if value > 2 else value + 2})


def changed_perceptions(problem, task):
    """p* with one part wrong, once for every part."""
    if isinstance(problem, Puzzle):
        for i, digit in enumerate(problem.clues):
            other = digit % task.size + 1 if digit else 1
            clues = [other if k == i else d for k, d in enumerate(problem.clues)]
            yield task.write(problem._replace(clues=clues))
    elif isinstance(problem, Graph):
        for pair in combinations(range(problem.vertices), 2):
            if changed := problem.edges ^ {pair}:
                yield task.write(problem._replace(edges=changed))
    else:
        for label, value in problem.values.items():
            yield task.write(problem._replace(values={**problem.values, label: value + 1}))
            rest = {k: v for k, v in problem.values.items() if k != label}
            yield task.write(problem._replace(values=rest))
            yield task.write(problem._replace(values={**rest, "other": value}))


def changed_answers(problem, answer, task):
    """(text, is it still right) with one part changed, once for every part."""
    if isinstance(problem, Puzzle):
        grid = [cell for row in json.loads(answer) for cell in row]
        for i, digit in enumerate(grid):
            other = [digit % task.size + 1 if k == i else d for k, d in enumerate(grid)]
            yield grid_text(other, task.size), False
    elif isinstance(problem, Graph):
        colors = {int(vertex): color for vertex, color in json.loads(answer).items()}
        fewest = len({*colors.values()})
        for vertex in colors:
            for color in "abcdefg":
                new = {**colors, vertex: color}
                proper = all(new[a] != new[b] for a, b in problem.edges)
                yield json.dumps(new), proper and len({*new.values()}) == fewest
            yield json.dumps({v: c for v, c in colors.items() if v != vertex}), False
    else:
        for wrong in (1, -1, 0.02, 1000):
            yield f"{float(answer) + wrong:.2f}", False


def disguised(problem, rng):
    """The same problem with its digits, vertices or labels named anew, and moved about."""
    if isinstance(problem, Graph):
        names = rng.sample(range(problem.vertices), problem.vertices)
        edges = frozenset(tuple(sorted((names[a], names[b]))) for a, b in problem.edges)
        return problem._replace(edges=edges)
    if isinstance(problem, Table):
        values = rng.sample([*problem.values.values()], len(problem.values))
        labels = [f"x{i}" for i in range(len(values))]
        return problem._replace(values=dict(zip(labels, values, strict=True)))
    grid = problem.solution
    size = {16: 4, 36: 6, 81: 9}[len(grid)]
    high, wide = {4: (2, 2), 6: (2, 3), 9: (3, 3)}[size]
    names = [0, *rng.sample(range(1, size + 1), size)]
    rows, columns = moved(size, high, rng), moved(size, wide, rng)
    places = [(row, column) for row in rows for column in columns]
    if high == wide and rng.random() < 0.5:
        places = [(column, row) for row, column in places]
    return problem._replace(solution=[names[grid[row * size + column]] for row, column in places])


def moved(size, band, rng):
    """Lines in an order that bands and lines of a band may be in."""
    bands = rng.sample(range(size // band), size // band)
    return [b * band + line for b in bands for line in rng.sample(range(band), band)]
