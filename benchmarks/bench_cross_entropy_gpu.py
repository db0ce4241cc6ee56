"""Cross-entropy on a GPU against every peer that is installed:

    python benchmarks/bench_cross_entropy_gpu.py --name cross_entropy_h200   # results/<name>.csv

Without a GPU it says so and measures nothing. Times are medians over CUDA events; "cold" clears
the L2 cache before each call. Each row also holds its own floor in bytes, and a device copy and a
cuBLAS product are measured in the same run, so that a number can be read as a share of what the
machine does.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import torch
from common import Row, print_table, write_csv
from gpu_peers import PROVIDERS, Inputs, Run, Unsuitable

VOCABS = (152064, 50257, 128256, 151936, 32000, 262144)
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
WORKS = ("segments", "mean", "mean, upstream 0.5", "loss and norms")
ROWS = 8192
CALLS, WARM_UP = 20, 5


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


def row(case: Case, cache: str, **numbers: object) -> Row:
    formula = "N V itemsize" if case.work == "loss and norms" else "2 N V itemsize"
    shape = f"{ROWS}x{case.vocab}"
    work = f"{case.work}, {cache} L2" if cache else case.work
    known = {"bytes": floor_bytes(case), "bytes_formula": formula, "ms": None}
    return Row("cross_entropy_gpu", work, case.provider, shape, case.dtype, **known | numbers)


def measure(case: Case, inputs: Inputs, copy: float) -> list[Row]:
    """Rows for a cold and a warm L2 cache, or one row that says why there are none."""
    try:
        run = PROVIDERS[case.provider](inputs, case.work)
        extra = peak_extra_bytes(run, inputs)
        rows = []
        for cache in ("cold", "warm"):
            ms = milliseconds(run, cache == "cold")
            share = floor_bytes(case) / ms / 1e6 / copy
            numbers = {"ms": ms, "ms_median": ms, "share_of_copy": share}
            rows.append(row(case, cache, peak_extra_bytes=extra, **numbers))
        return rows
    except (ImportError, Unsuitable, torch.OutOfMemoryError) as reason:
        return [row(case, "", note=f"skipped: {str(reason).splitlines()[0]}")]
    except Exception as error:  # noqa: BLE001  a peer that fails must not end the run
        note = f"failed: {type(error).__name__}: {str(error).splitlines()[0][:160]}"
        return [row(case, "", note=note)]
    finally:
        inputs.logits.grad = None
        with torch.no_grad():
            inputs.logits.normal_()  # whoever wrote over them


def machine_row(who: str, shape: str, dtype: str, note: str) -> Row:
    return Row("cross_entropy_gpu", "what the machine does", who, shape, dtype, None, note=note)


def run_all(selected: list[Case], deadline: float, name: str) -> None:
    note = f"{cublas_tflops():.0f} TFLOP/s"
    rows = [machine_row("cuBLAS", "8192x8192x8192", "bf16", note)]
    for (vocab, dtype), group in itertools.groupby(selected, lambda case: case[:2]):
        inputs = make_inputs(vocab, DTYPES[dtype])
        copy = copy_gb_per_s(inputs.logits)
        rows.append(machine_row("copy", f"{ROWS}x{vocab}", dtype, f"{copy:.0f} GB/s"))
        for case in group:
            late = time.monotonic() > deadline
            note = "not run: out of time"
            rows += [row(case, "", note=note)] if late else measure(case, inputs, copy)
        write_csv(rows, name)  # as far as it is, should a later case end the process
        del inputs
        torch.cuda.empty_cache()
    print_table(rows)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="cross_entropy_gpu", help="writes results/<name>.csv")
    parser.add_argument("--vocabs", type=int, nargs="+", default=VOCABS)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=tuple(DTYPES))
    parser.add_argument("--minutes", type=float, default=30.0, help="start nothing after this time")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("no GPU: nothing measured")
        return
    selected = list(cases(tuple(options.vocabs), tuple(options.dtypes)))
    run_all(selected, time.monotonic() + 60 * options.minutes, options.name)


if __name__ == "__main__":
    main(sys.argv[1:])
