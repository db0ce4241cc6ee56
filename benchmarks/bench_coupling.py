"""Speed of reward coupling, group agreement and text scoring, each beside its plain rival.

    python benchmarks/bench_coupling.py [--json out.json] [--quick] [--one-thread]

Every row and its rival run in this process, alternating, and the best of several runs counts: on a
shared machine the ratio of two bests is steadier than either. --one-thread counts the processor
time of one thread instead of the wall's, which busy neighbours disturb much less. Rivals: NumPy and
pandas group-bys that compute the same correlations, RapidFuzz's cdist over the same pairs, and the
plain Python engine of score_text. "read" is torch.sum over every input, the time to read them once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from percbal_ops import text_reference
from percbal_ops.agreement import group_agreement
from percbal_ops.coupling import reward_coupling
from percbal_ops.text import DEFAULT_TAGS, SPANS, score_text
from percbal_ops.text_grammars import read_grid

clock: Callable[[], float] = time.perf_counter


def best(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Seconds of the fastest of ``repeats`` runs of each, taken in turns."""
    times = {name: float("inf") for name in functions}
    for _ in range(repeats + 1):  # the first round warms up, and may still be the best
        for name, function in functions.items():
            start = clock()
            function()
            times[name] = min(times[name], clock() - start)
    return times


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


def bench_coupling(rows: int, scattered: bool, repeats: int) -> dict[str, Any]:
    g = torch.Generator().manual_seed(0)
    perception = (torch.rand(rows, generator=g) < 0.6).float()
    outcome = (torch.rand(rows, generator=g) < 0.2 + 0.4 * perception).float()
    reasoning = torch.rand(rows, generator=g)
    group = torch.arange(rows) // 16 * 10**9
    if scattered:
        group = group[torch.randperm(rows, generator=g)]
    x, y, z, n = (t.numpy() for t in (outcome, perception, reasoning, group))
    x64, y64, z64 = (v.astype(np.float64) for v in (x, y, z))
    inputs = (outcome, perception, reasoning, group)
    ours = reward_coupling(*inputs)
    mine = (ours.perception.pooled.r, ours.perception.within.r, ours.signal.conflict_rate)
    np.testing.assert_allclose([float(v) for v in mine], numpy_coupling(x64, y64, n), atol=1e-9)
    fast = best(
        {
            "ours": lambda: reward_coupling(*inputs),
            "read": lambda: [t.sum() for t in inputs],
        },
        repeats,
    )
    # the rivals get perception and reasoning too, and no intervals to compute
    slow = best(
        {
            "numpy": lambda: (numpy_coupling(x64, y64, n), numpy_coupling(x64, z64, n)),
            "pandas": lambda: (pandas_coupling(x64, y64, n), pandas_coupling(x64, z64, n)),
        },
        2,
    )
    return (
        {"case": f"reward_coupling {rows} {'scattered' if scattered else 'in runs'}"} | fast | slow
    )


def bench_agreement(repeats: int) -> dict[str, Any]:
    from rapidfuzz import process
    from rapidfuzz.distance import Levenshtein

    rollouts, size, length = 4096, 16, 512
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
    times = best(
        {"ours": lambda: group_agreement(flat, offsets, group), "rapidfuzz": rival}, repeats
    )
    return {"case": "group_agreement 4096 x 512 in groups of 16"} | times


def bench_text(repeats: int) -> dict[str, Any]:
    g = torch.Generator().manual_seed(0)
    completions, references = [], []
    for _ in range(256):  # 8 rollouts per puzzle, each with about 4 cells misread
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
    times = best(
        {
            "ours": lambda: score_text(completions, references),
            "ours, 1 thread": lambda: score_text(completions, references, threads=1),
        },
        repeats,
    )
    encoded = [(c.encode(), r.encode()) for c, r in zip(completions, references, strict=True)]
    byte_tags = [[tag.encode() for tag in pair] for pair in tags]

    def parse_only() -> None:
        """Spans, cells and set overlap: what a plain reward function does, no edit distance."""
        for completion, reference in encoded:
            _, begin, end = text_reference.find_spans(completion, byte_tags)[0]
            guess = set(read_grid(completion[begin:end])[0])
            len(guess & set(read_grid(reference)[0]))

    times |= best({"python, no edit distance": parse_only}, 2)
    plain = best(
        {"python": lambda: text_reference.score_text(completions, references, "grid", tags, 0, 1)},
        1,
    )
    return {"case": f"score_text {len(completions)} grids of 81 cells"} | times | plain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", help="write the rows here")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rollouts, fewer runs")
    parser.add_argument("--one-thread", action="store_true", help="processor time of one thread")
    args = parser.parse_args()
    if args.one_thread:
        global clock
        clock = time.thread_time
        torch.set_num_threads(1)
    rows, repeats = (100_000, 3) if args.quick else (1_000_000, 20)
    results = [
        bench_coupling(rows, scattered=False, repeats=repeats),
        bench_coupling(rows, scattered=True, repeats=repeats),
        bench_agreement(max(2, repeats // 5)),
        bench_text(repeats),
    ]
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "clock": clock.__name__,
        "torch": torch.__version__,
    }
    print(machine)
    for row in results:
        print(row["case"])
        for name, seconds in row.items():
            if name not in ("case", "ours"):
                print(f"  {name:24} {1e3 * seconds:10.2f} ms   {seconds / row['ours']:8.2f} x ours")
        print(f"  {'ours':24} {1e3 * row['ours']:10.2f} ms")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"machine": machine, "rows": results}, file, indent=1)


if __name__ == "__main__":
    main()
