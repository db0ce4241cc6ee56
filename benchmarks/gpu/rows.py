"""Losses from logits against every peer that is installed, forward and backward:

    python -m gpu.rows --vocabs 152064 --dtypes bf16      # $RESULTS/facts.jsonl

Times are medians between CUDA events: "cold" with the L2 cache cleared before each call, "warm"
without. `share_of_copy` is the least time that a device copy would need for the bytes that any
implementation must move, measured in the same run, over the time taken. `kernels` are the longest
that ran, by the profiler.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from typing import NamedTuple

import torch

from gpu.clock import copy_rate, median_ms, peak_bytes
from gpu.facts import DEVICE, REHEARSAL, Facts, Found, Unsuitable
from gpu.peers import PROVIDERS, Inputs, check_kernels, longest_kernels

VOCABS = (152064, 50257, 128256, 151936, 32000, 262144)
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
WORKS = ("segments", "mean", "mean, upstream 0.5", "loss and norms")
ROWS = 8 if REHEARSAL else 8192


class Case(NamedTuple):
    """One line of the table, before it is measured."""

    vocab: int
    dtype: str
    work: str
    provider: str

    def __str__(self) -> str:
        return f"{self.work}: {self.provider}, {self.dtype} {ROWS}x{self.vocab}"


def cases(vocabs: tuple[int, ...], dtypes: tuple[str, ...]) -> Iterator[Case]:
    for vocab, dtype, work, provider in itertools.product(vocabs, dtypes, WORKS, PROVIDERS):
        yield Case(vocab, dtype, work, provider)


def floor_bytes(case: Case) -> int:
    """One read of the logits; and one write of their gradient, where there is one."""
    passes = 1 if case.work == "loss and norms" else 2
    return passes * ROWS * case.vocab * DTYPES[case.dtype].itemsize


def make_inputs(vocab: int, dtype: torch.dtype, segments: int = 2) -> Inputs:
    """A short segment of a tenth of the tokens and a long one, as in a reasoning trace."""
    generator = torch.Generator(DEVICE).manual_seed(0)
    logits = torch.randn(ROWS, vocab, device=DEVICE, dtype=dtype, generator=generator)
    target = torch.randint(vocab, (ROWS,), device=DEVICE, generator=generator)
    ids = (torch.arange(ROWS, device=DEVICE) >= ROWS // 10).long()
    return Inputs(logits.requires_grad_(), target, ids, torch.full((segments,), 0.5, device=DEVICE))


def measure(case: Case, inputs: Inputs, copy_gb_per_s: float) -> Found:
    """Times of a case, or why it has none."""
    try:
        run = PROVIDERS[case.provider](inputs, case.work)
        kernels = longest_kernels(run)  # the first call also compiles
        check_kernels(case.provider, kernels)
        inputs.logits.grad = None
        found: Found = {"peak_bytes": peak_bytes(run), "kernels": kernels}
        for cache in ("cold", "warm"):
            found[f"{cache}_ms"] = median_ms(run, cache == "cold")
        found["floor_bytes"] = floor_bytes(case)
        found["share_of_copy"] = floor_bytes(case) / found["cold_ms"] / 1e6 / copy_gb_per_s
        return found
    except (ImportError, Unsuitable, torch.OutOfMemoryError) as reason:
        return {"skipped": str(reason).splitlines()[0]}
    finally:
        inputs.logits.grad = None
        with torch.no_grad():
            inputs.logits.normal_()  # whoever wrote over them


def run_all(selected: list[Case], deadline: float, facts: Facts) -> None:
    for (vocab, dtype), group in itertools.groupby(selected, lambda case: case[:2]):
        inputs = make_inputs(vocab, DTYPES[dtype])
        ceiling = facts.measure(
            f"copy: {dtype} {ROWS}x{vocab}",
            lambda logits=inputs.logits: copy_rate(logits.detach(), cold=True),
        )
        if ceiling is None:
            continue
        rate = float(ceiling["gb_per_s"])
        for case in group:
            if time.monotonic() > deadline:
                print(f"not measured, out of time: {case}")
                continue
            facts.measure(str(case), lambda c=case, i=inputs, r=rate: measure(c, i, r))
        del inputs
        if not REHEARSAL:
            torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocabs", type=int, nargs="+", default=VOCABS)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=tuple(DTYPES))
    parser.add_argument("--providers", nargs="+", choices=PROVIDERS, default=tuple(PROVIDERS))
    parser.add_argument("--minutes", type=float, default=30.0, help="start nothing after this time")
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    selected = cases(tuple(options.vocabs), tuple(options.dtypes))
    facts = Facts("rows")
    run_all([case for case in selected if case.provider in options.providers], deadline, facts)
    facts.exit()


if __name__ == "__main__":
    main()
