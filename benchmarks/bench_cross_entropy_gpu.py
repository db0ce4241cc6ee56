"""Cross-entropy on a GPU against every peer that is installed:

    python benchmarks/bench_cross_entropy_gpu.py --csv benchmarks/results/<gpu>.csv

Without a GPU it says so and measures nothing. Times are medians over CUDA events; "cold" clears
the L2 cache before each call. Each row also holds its own floor in bytes, and a device copy and a
cuBLAS product are measured in the same run, so that a number can be read as a share of what the
machine does.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from gpu_peers import PROVIDERS, Inputs, Run, Unsuitable

VOCABS = (152064, 50257, 128256, 151936, 32000, 262144)
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
WORKS = ("segments", "mean", "mean, upstream 0.5", "loss and norms")
ROWS = 8192
CALLS, WARM_UP = 20, 5
COLUMNS = (
    "date", "commit", "device", "torch", "triton", "work", "provider", "rows", "vocab", "dtype",
    "cache", "ms", "floor_bytes", "gb_per_s", "share_of_copy", "peak_extra_bytes", "note",
)  # fmt: skip


class Case(NamedTuple):
    """One row of the table, before it is measured."""

    vocab: int
    dtype: str
    work: str
    provider: str


def cases(vocabs: tuple[int, ...], dtypes: tuple[str, ...]) -> Iterator[Case]:
    for vocab, dtype, work, provider in itertools.product(vocabs, dtypes, WORKS, PROVIDERS):
        yield Case(vocab, dtype, work, provider)


def floor_bytes(case: Case) -> int:
    """One read of the logits; and one write of their gradient, where there is one."""
    passes = 1 if case.work == "loss and norms" else 2
    return passes * ROWS * case.vocab * DTYPES[case.dtype].itemsize


def make_inputs(vocab: int, dtype: torch.dtype, segments: int = 2) -> Inputs:
    """A short segment of a tenth of the tokens and a long one, as in a reasoning trace."""
    generator = torch.Generator("cuda").manual_seed(0)
    logits = torch.randn(ROWS, vocab, device="cuda", dtype=dtype, generator=generator)
    target = torch.randint(vocab, (ROWS,), device="cuda", generator=generator)
    ids = (torch.arange(ROWS, device="cuda") >= ROWS // 10).long()
    return Inputs(logits.requires_grad_(), target, ids, torch.full((segments,), 0.5, device="cuda"))


def milliseconds(run: Run, cold: bool) -> float:
    """Median over CALLS, after WARM_UP."""
    flush = torch.empty(2**28, dtype=torch.int8, device="cuda") if cold else None
    times = []
    for call in range(WARM_UP + CALLS):
        if flush is not None:
            flush.zero_()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        if call >= WARM_UP:
            times.append(begin.elapsed_time(end))
    return statistics.median(times)


def peak_extra_bytes(run: Run, inputs: Inputs) -> int:
    """Memory beyond the inputs at the worst moment of one call, the gradient included."""
    inputs.logits.grad = None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def copy_gb_per_s(logits: torch.Tensor) -> float:
    """Bytes read and written by a device copy of the logits, per second."""
    source = logits.detach()
    target = torch.empty_like(source)
    ms = milliseconds(lambda: target.copy_(source), cold=True)
    return 2 * source.nbytes / ms / 1e6


def cublas_tflops(size: int = 8192) -> float:
    a = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    return 2 * size**3 / milliseconds(lambda: a @ a, cold=False) / 1e9


def measure(case: Case, inputs: Inputs, copy: float) -> list[dict[str, object]]:
    """Rows for a warm and a cold L2 cache, or one row that says why there are none."""
    try:
        run = PROVIDERS[case.provider](inputs, case.work)
        extra = peak_extra_bytes(run, inputs)
        rows: list[dict[str, object]] = []
        for cache in ("cold", "warm"):
            ms = milliseconds(run, cache == "cold")
            speed = floor_bytes(case) / ms / 1e6
            numbers = {"ms": f"{ms:.4f}", "gb_per_s": f"{speed:.0f}", "peak_extra_bytes": extra}
            rows.append(numbers | {"cache": cache, "share_of_copy": f"{speed / copy:.3f}"})
        return rows
    except (ImportError, Unsuitable, torch.OutOfMemoryError) as reason:
        return [{"note": f"skipped: {str(reason).splitlines()[0]}"}]
    except Exception as error:  # noqa: BLE001  a peer that fails must not end the run
        return [{"note": f"failed: {type(error).__name__}: {str(error).splitlines()[0][:160]}"}]
    finally:
        inputs.logits.grad = None
        with torch.no_grad():
            inputs.logits.normal_()  # whoever wrote over them


def facts() -> dict[str, str]:
    """What every row repeats about where it was measured."""
    import triton

    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True
    )
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M"),
        "commit": described.stdout.strip() or "unknown",
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": triton.__version__,
    }


def run_all(selected: list[Case], deadline: float, write: Callable[[dict], None]) -> None:
    for (vocab, dtype), group in itertools.groupby(selected, lambda case: case[:2]):
        inputs = make_inputs(vocab, DTYPES[dtype])
        copy = copy_gb_per_s(inputs.logits)
        write(
            {"vocab": vocab, "dtype": dtype, "provider": "device copy", "gb_per_s": f"{copy:.0f}"}
        )
        for case in group:
            late = time.monotonic() > deadline
            note = {"note": "not run: out of time"}
            for row in [note] if late else measure(case, inputs, copy):
                write(case._asdict() | {"floor_bytes": floor_bytes(case)} | row)
        del inputs
        torch.cuda.empty_cache()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", type=Path, default=Path("benchmarks/results/gpu.csv"))
    parser.add_argument("--vocabs", type=int, nargs="+", default=VOCABS)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=tuple(DTYPES))
    parser.add_argument("--minutes", type=float, default=30.0, help="start nothing after this time")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("no GPU: nothing measured")
        return
    selected = list(cases(tuple(options.vocabs), tuple(options.dtypes)))
    options.csv.parent.mkdir(parents=True, exist_ok=True)
    common = facts()
    with options.csv.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()

        def write(row: dict) -> None:
            table.writerow(common | {"rows": ROWS} | row)
            file.flush()
            print(*row.values(), sep="  ")

        tflops = cublas_tflops()
        write({"provider": "cuBLAS bf16", "note": f"{tflops:.0f} TFLOP/s at 8192^3"})
        run_all(selected, time.monotonic() + 60 * options.minutes, write)


if __name__ == "__main__":
    main(sys.argv[1:])
