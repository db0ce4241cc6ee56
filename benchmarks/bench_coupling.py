"""Speed of reward coupling, group agreement and text scoring, each beside its plain rival.

    pytest benchmarks/bench_coupling.py                     # two minutes; results/coupling_cpu.csv
    PERCBAL_BENCH=quick pytest benchmarks/bench_coupling.py # a tenth of the rollouts, no CSV

A row and its rivals run in this process by turns, so that all see the same machine. Rivals: NumPy
and pandas group-bys that compute the same correlations (and no intervals), RapidFuzz's cdist over
the same pairs with as many threads, and the plain Python engine of score_text. "read once" is
torch.sum over every input, the time to read them: out of the last-level cache, which holds the
inputs between two runs, or, where it says "cold", out of memory, as after other work. What
pytest-benchmark saves and compares is percbal alone, timed once more after the turns.
"""

from __future__ import annotations

import functools
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from common import QUICK, Row, print_table, write_csv

from percbal_ops.agreement import group_agreement
from percbal_ops.coupling.api import reward_coupling
from percbal_ops.text import reference as text_reference
from percbal_ops.text.api import DEFAULT_TAGS, SPANS, score_text
from percbal_ops.text.grammars import read_grid

ROLLOUTS = 100_000 if QUICK else 1_000_000
REPEATS = 3 if QUICK else 20
ROWS: list[Row] = []
LAYOUTS = ("in runs", "in runs, cold", "shuffled", "shuffled, far ids")
VALUES = ("all binary", "reasoning graded", "a tenth missing", "all graded")


@pytest.fixture(scope="module", autouse=True)
def report() -> Iterator[None]:
    yield
    print_table(ROWS)
    if not QUICK:
        print(f"written to {write_csv(ROWS, 'coupling_cpu')}")


def measure(
    benchmark: Any,
    work: str,
    shape: str,
    dtype: str,
    rivals: dict[str, tuple[Callable[[], Any], int]],
    before: Callable[[], Any] = lambda: None,
) -> list[Row]:
    """A row for each rival, of its own number of runs; (function, runs) by name. The first runs
    warm up, and count: the least time is what is compared. before: each run, not timed."""
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(max(runs for _, runs in rivals.values())):
        for name, (function, runs) in rivals.items():
            if turn >= runs:
                continue
            before()
            start = time.perf_counter()
            function()
            times[name].append(1e3 * (time.perf_counter() - start))
    ours = min(times["percbal"])
    function, runs = rivals["percbal"]
    benchmark.pedantic(function, setup=before, rounds=runs)
    rows = [
        Row(
            "coupling_cpu",
            work,
            name,
            shape,
            dtype,
            ms=min(t),
            ms_median=statistics.median(t),
            note="" if name == "percbal" else f"{min(t) / ours:.3g} x the time of percbal",
        )
        for name, t in times.items()
    ]
    ROWS.extend(rows)
    return rows


@functools.cache
def _other_data() -> torch.Tensor:
    """256 MiB, more than the last-level cache of most machines; zeros would be one page."""
    return torch.ones(2**26)


def evict() -> None:
    """Drive the inputs out of the caches."""
    _other_data().sum()


def numpy_coupling(x: np.ndarray, y: np.ndarray, group: np.ndarray) -> tuple[float, float, float]:
    """Pooled and within-group r and the conflict rate, vectorised, for binary y."""
    _, number, counts = np.unique(group, return_inverse=True, return_counts=True)

    def centred(v: np.ndarray) -> np.ndarray:
        return v - (np.bincount(number, v) / counts)[number]

    a, b = centred(x), centred(y)
    within = (a @ b) / np.sqrt((a @ a) * (b @ b))
    std = np.sqrt(np.bincount(number, a * a) / np.maximum(counts - 1, 1))
    advantage = a / (std[number] + 1e-4)
    moved = np.abs(advantage) > 1e-6
    conflict = ((y == 1) != (advantage > 0))[moved].mean()
    return float(np.corrcoef(x, y)[0, 1]), float(within), float(conflict)


def pandas_coupling(x: np.ndarray, y: np.ndarray, group: np.ndarray) -> tuple[float, float, float]:
    import pandas as pd

    frame = pd.DataFrame({"x": x, "y": y, "group": group})
    by = frame.groupby("group", sort=False)
    centred = frame[["x", "y"]] - by[["x", "y"]].transform("mean")
    within = centred.x.corr(centred.y)  # the group means of the centred columns are zero
    advantage = centred.x / (by.x.transform("std") + 1e-4)
    moved = advantage.abs() > 1e-6
    conflict = ((frame.y == 1) != (advantage > 0))[moved].mean()
    return float(frame.x.corr(frame.y)), float(within), float(conflict)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_coupling(benchmark: Any, layout: str) -> None:
    """layout: "in runs", "shuffled", or "shuffled, far ids", where no subtraction numbers them;
    with "cold", other data has driven the inputs out of the caches before each run."""
    g = torch.Generator().manual_seed(0)
    perception = (torch.rand(ROLLOUTS, generator=g) < 0.6).float()
    outcome = (torch.rand(ROLLOUTS, generator=g) < 0.2 + 0.4 * perception).float()
    reasoning = torch.rand(ROLLOUTS, generator=g)
    group = torch.arange(ROLLOUTS) // 16 * (10**9 if "far" in layout else 1)
    if "shuffled" in layout:
        group = group[torch.randperm(ROLLOUTS, generator=g)]
    x, y, z, n = (t.numpy() for t in (outcome, perception, reasoning, group))
    x64, y64, z64 = (v.astype(np.float64) for v in (x, y, z))
    inputs = (outcome, perception, reasoning, group)
    ours = reward_coupling(*inputs)
    mine = (ours.perception.pooled.r, ours.perception.within.r, ours.signal.conflict_rate)
    np.testing.assert_allclose([float(v) for v in mine], numpy_coupling(x64, y64, n), atol=1e-9)

    def numpy() -> None:
        numpy_coupling(x64, y64, n), numpy_coupling(x64, z64, n)

    def pandas() -> None:
        pandas_coupling(x64, y64, n), pandas_coupling(x64, z64, n)

    rivals: dict[str, Any] = {"NumPy": (numpy, 5)}
    if importlib.util.find_spec("pandas"):
        rivals["pandas"] = (pandas, 5)
    before = evict if "cold" in layout else lambda: None
    measure_coupling(benchmark, layout, inputs, rivals, before)


def measure_coupling(
    benchmark: Any,
    case: str,
    inputs: tuple[torch.Tensor, ...],
    rivals: dict[str, tuple[Callable[[], Any], int]],
    before: Callable[[], Any] = lambda: None,
) -> None:
    """Ours and reading the inputs (outcome, perception, reasoning, group), then the rivals."""
    rows = measure(
        benchmark,
        f"reward_coupling, {case}",
        f"{ROLLOUTS} in 16s",
        "float32",
        {
            "percbal": (lambda: reward_coupling(*inputs), 5 * REPEATS),
            "read once": (lambda: [t.sum() for t in inputs], 5 * REPEATS),
            **rivals,
        },
        before,
    )
    for row in rows[:2]:
        row.bytes = sum(t.numel() * t.element_size() for t in inputs)
        row.bytes_formula = "R (3 x 4 + 8): three columns and the ids, read once"


@pytest.mark.parametrize("values", VALUES)
def test_coupling_in_cache(benchmark: Any, values: str) -> None:
    """Rows in runs, with nothing in between that drives them out of the last-level cache."""
    g = torch.Generator().manual_seed(0)
    graded = torch.rand(3, ROLLOUTS, generator=g)
    binary = (graded < 0.5).float()
    missing = binary.masked_fill(torch.rand(3, ROLLOUTS, generator=g) < 0.1, torch.nan)
    cases = {
        "all binary": binary,
        "reasoning graded": torch.stack([*binary[:2], graded[2]]),
        "a tenth missing": missing,
        "all graded": graded,
    }
    group = torch.arange(ROLLOUTS) // 16
    measure_coupling(benchmark, f"in cache, {values}", (*cases[values].unbind(), group), {})


def test_agreement(benchmark: Any) -> None:
    process = pytest.importorskip("rapidfuzz.process")
    Levenshtein = pytest.importorskip("rapidfuzz.distance").Levenshtein

    rollouts, size, length = 512 if QUICK else 4096, 16, 512
    g = torch.Generator().manual_seed(0)
    shape = (rollouts // size, size, length)
    base = torch.randint(32_000, (shape[0], 1, length), generator=g)
    other = torch.randint(32_000, shape, generator=g)
    tokens = base.where(torch.rand(shape, generator=g) < 0.7, other)
    offsets, group = torch.arange(rollouts + 1) * length, torch.arange(rollouts) // size
    groups = [[r.tolist() for r in members] for members in tokens]
    threads = torch.get_num_threads()

    def rival() -> np.ndarray:
        scores = [
            process.cdist(
                m, m, scorer=Levenshtein.normalized_similarity, workers=threads, dtype=np.float32
            )
            for m in groups
        ]
        return np.concatenate([(s.sum(1) - 1) / (size - 1) for s in scores])

    flat = tokens.flatten()
    np.testing.assert_allclose(group_agreement(flat, offsets, group).numpy(), rival(), atol=1e-5)
    measure(
        benchmark,
        "group_agreement, edit",
        f"{rollouts}x{length} in 16s",
        "int64",
        {
            "percbal": (lambda: group_agreement(flat, offsets, group), 5),
            "RapidFuzz cdist": (rival, 5),
        },
    )


def test_text(benchmark: Any) -> None:
    g = torch.Generator().manual_seed(0)
    completions, references = [], []
    for _ in range(32 if QUICK else 256):  # 8 rollouts per puzzle, each with about 4 cells misread
        truth = torch.randint(10, (81,), generator=g)
        misread = torch.rand(8, 81, generator=g) < 0.05
        seen = torch.randint(10, (8, 81), generator=g).where(misread, truth)
        for row in [truth, *seen]:
            cells = " ".join(
                f"r{i // 9 + 1}c{i % 9 + 1}={int(d) or '_'}" for i, d in enumerate(row)
            )
            if row is truth:
                reference = cells
                continue
            completions.append(
                f"<perception> {cells} </perception> <reasoning> {'so r1c1=3 ' * 200}"
                f"</reasoning> <answer> {reference} </answer>"
            )
            references.append(reference)
    tags = [list(DEFAULT_TAGS[name]) for name in SPANS]
    encoded = [(c.encode(), r.encode()) for c, r in zip(completions, references, strict=True)]
    byte_tags = [[tag.encode() for tag in pair] for pair in tags]

    def parse_only() -> None:
        """Spans, cells and set overlap: what a plain reward function does, no edit distance."""
        for completion, reference in encoded:
            _, begin, end = text_reference.find_spans(completion, byte_tags)[0]
            guess = set(read_grid(completion[begin:end])[0])
            len(guess & set(read_grid(reference)[0]))

    python = "Python parser"
    measure(
        benchmark,
        "score_text, grid of 81 cells",
        f"{len(completions)} completions",
        "str",
        {
            "percbal": (lambda: score_text(completions, references), REPEATS),
            "percbal, 1 thread": (lambda: score_text(completions, references, threads=1), REPEATS),
            python: (parse_only, 3),
            f"{python}, edit too": (
                lambda: text_reference.score_text(completions, references, "grid", tags, 0, 1),
                1,
            ),
        },
    )
