"""A step of training beside the same step of stock TRL: time by turns, and peak memory.

    pytest benchmarks/bench_train_step.py --benchmark-only          # a tiny model, two rounds each
    python benchmarks/bench_train_step.py --pairs 40 --out benchmarks/results/train_step.json
    python benchmarks/bench_train_step.py --beside fixed --only SFT --pairs 48 --out ..

With ``--beside`` the other one is percbal's own trainer with that balance, in chunks where the row
has chunks. Both live in one process with the same weights and rows, and take turns, so that both
see the same machine; a row of the JSON has the median of the pairs' ratios with a 95% interval
(order statistics, no distribution assumed). Peak memory is the most resident memory during a step
above what the process held before it (weights and optimizer states are outside), the largest of two
steps that are not timed, or of more until one has measured exact norms; what percbal keeps for its
next call counts as its own, and what earlier steps freed goes back to the system first. Each row is
measured in a process of its own, whose file of results is written anew after every row.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from common import environment, median_interval
from step_runner import QUICK_SIZES, SIZES, Steps, rules, variants

import percbal_ops

WARM = 2  # steps that make optimizer states and fill caches
# and in which calibrated comes to look at exact norms as seldom as it may: 1, 2, 4, .. steps apart
SETTLED = 48
STOCK = "stock TRL"
QUICK_SIZE = next(iter(QUICK_SIZES))


def peak_of_step(steps: Steps) -> int | None:
    """Bytes of resident memory above those before; None where Linux and glibc do not tell."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None or not os.access(clear, os.W_OK):
        return None

    def resident(field: str) -> int:
        line = next(x for x in status.read_text().splitlines() if x.startswith(field))
        return int(line.split()[1]) * 1024

    gc.collect()
    percbal_ops.empty_cache()
    trim(0)  # what earlier steps freed and glibc kept is none of this one's
    clear.write_text("5")  # resets the peak
    before = resident("VmRSS")
    steps.take()
    return resident("VmHWM") - before


def largest_peak(steps: Steps) -> int | None:
    """Of two steps, and of as many more as it takes until one has measured exact norms, where the
    balance does so now and then."""
    balance = getattr(steps.trainer, "balance", None)
    waits = getattr(balance, "needs_gradient_norms", False)
    peaks: list[int] = []
    while len(peaks) < 2 or (waits and len(peaks) < SETTLED):
        waits = waits and not steps.trainer._exact  # of the step to come, whose batch is there
        peaks.append(peak_of_step(steps) or 0)
    return max(peaks) or None


def seconds_of_step(steps: Steps) -> float:
    return sum(parts_of_step(steps))


def parts_of_step(steps: Steps) -> tuple[float, float]:
    """Seconds of its rollouts, 0 of SFT, and of the rest."""
    begin, before = time.perf_counter(), steps.sampling
    steps.take()
    sampling = steps.sampling - before
    return sampling, time.perf_counter() - begin - sampling


def other(name: str, balance: str) -> tuple[str | None, dict[str, Any] | None]:
    """What a row is measured beside: its name, None if there is none, and what percbal is told,
    None for stock TRL."""
    if not balance:
        return STOCK, None
    chunked = ", chunked" if name.endswith(", chunked") else ""
    beside = f"{name.partition(',')[0]}, {balance}{chunked}"
    return (beside, variants()[beside][1]) if beside in variants() else (None, None)


def measure(name: str, size: str, pairs: int, balance: str = "") -> dict[str, Any]:
    """One row of the results."""
    make, options = variants()[name]
    beside, told_other = other(name, balance)
    with tempfile.TemporaryDirectory() as folder:
        try:
            made = [make(told, size, folder) for told in (options, told_other)]
        except ValueError as problem:
            return {"name": name, "beside": beside, "size": size, "refused": str(problem)}
        trainers = [Steps(trainer) for trainer in made]
        try:
            for _ in range(SETTLED if balance else WARM):
                for steps in trainers:
                    steps.take()
            parts: list[list[tuple[float, float]]] = [[], []]
            for pair in range(pairs):
                for i in (0, 1) if pair % 2 else (1, 0):
                    parts[i].append(parts_of_step(trainers[i]))
            peaks = [largest_peak(t) for t in trainers]
        finally:
            for steps in trainers:
                steps.stop()
    seconds = [[sum(of_step) for of_step in of_one] for of_one in parts]
    ratio, low, high = median_interval([ours / its for ours, its in zip(*seconds, strict=True)])
    rest = median_interval([ours[1] / its[1] for ours, its in zip(*parts, strict=True)])
    sampled = [statistics.median(of_step[0] for of_step in of_one) for of_one in parts]
    of_peak = peaks[0] / peaks[1] if peaks[0] and peaks[1] else None
    return {
        "name": name,
        "beside": beside,
        "size": size,
        "pairs": pairs,
        "seconds": statistics.median(seconds[0]),
        "seconds_beside": statistics.median(seconds[1]),
        "time_ratio": ratio,
        "low": low,
        "high": high,
        # of a balance that measures more in some steps than in others this is the price
        "total_ratio": sum(seconds[0]) / sum(seconds[1]),
        # of GRPO: rollouts, the same code in both, and the ratio of all that is not rollouts
        **({"sampling": sampled, "rest": rest} if any(sampled) else {}),
        "peak": peaks[0],
        "peak_beside": peaks[1],
        "peak_ratio": of_peak,
        **environment(),
    }


def which(row: dict[str, Any]) -> list[str]:
    """What a row is known by."""
    return [row[key] for key in ("name", "beside", "size")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="on a tiny model")
    parser.add_argument("--only", default="", help="rows whose name or size has this")
    parser.add_argument("--beside", default="", choices=("", *rules()), help="default: stock TRL")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "SIZE"), help="this row, on stdout")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(*args.one, args.pairs, args.beside)))
        return
    known = json.loads(args.out.read_text()) if args.out.exists() else []
    for size in QUICK_SIZES if args.quick else SIZES:
        for name in variants():
            if args.only not in f"{name}, {size}":
                continue
            if other(name, args.beside)[0] in (name, None):
                continue
            command = [sys.executable, __file__, "--pairs", str(args.pairs), "--out", os.devnull]
            command += ["--beside", args.beside, "--one", name, size]
            run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            run.check_returncode()
            row = json.loads(run.stdout.splitlines()[-1])
            known = [old for old in known if which(old) != which(row)] + [row]
            args.out.write_text(json.dumps(known, indent=1) + "\n")
            said = row.get("refused") or "{time_ratio:.2f} [{low:.2f}, {high:.2f}]".format(**row)
            print(f"{size}: {name} beside {row['beside']}: {said}", flush=True)


@pytest.mark.parametrize("name", variants())
def test_step(benchmark: Any, name: str, tmp_path: Path) -> None:
    """Times our step; before each, stock TRL takes one."""
    make, options = variants()[name]
    try:
        made = [make(told, QUICK_SIZE, str(tmp_path)) for told in (options, None)]
    except ValueError as problem:
        pytest.skip(str(problem))
    ours, stock = (Steps(trainer) for trainer in made)
    theirs: list[float] = []
    try:
        ours.take()
        stock.take()
        benchmark.pedantic(ours.take, setup=lambda: theirs.append(seconds_of_step(stock)), rounds=2)
    finally:
        ours.stop()
        stock.stop()
    benchmark.extra_info["stock TRL, seconds"] = statistics.median(theirs)


if __name__ == "__main__":
    main()
