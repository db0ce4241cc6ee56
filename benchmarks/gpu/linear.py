"""Losses from hidden states against every peer that is installed, forward and backward:

    python -m gpu.linear --models Qwen2.5-VL-7B      # $RESULTS/facts.jsonl

Times are medians between CUDA events. Each line has its operations as a number of products of
N D V, and the share of its time that these take in cuBLAS at the same shape in the same run.
"""

from __future__ import annotations

import argparse
import itertools
import time
from typing import NamedTuple

import torch

from gpu.clock import median_ms, peak_bytes
from gpu.facts import DEVICE, REHEARSAL, Facts, Found, Unsuitable
from gpu.linear_peers import PROVIDERS, LinearInputs
from gpu.peers import longest_kernels


class Shape(NamedTuple):
    tokens: int
    features: int
    vocab: int

    def __str__(self) -> str:
        return "x".join(map(str, self))


SHAPES = {
    "Qwen2.5-VL-7B": Shape(8192, 3584, 152064),
    "Qwen2.5-VL-3B": Shape(8192, 2048, 151936),
    "Llama-3-8B": Shape(8192, 4096, 128256),
    "tiny": Shape(64, 16, 512),
}
WORKS = ("plain", "segments")
# products of N D V: the norms cost those one more who do not hold the logits, and the losses of
# tokens one more whose backward needs the logits again
PRODUCTS = {"plain": 3, "segments": 3}
AGAIN = {"torch chunked": 5, "liger-kernel": 5, "cut-cross-entropy": 5}


class Case(NamedTuple):
    model: str
    work: str
    provider: str

    def __str__(self) -> str:
        return f"{self.work}: {self.provider}, {self.model} {SHAPES[self.model]}"


def cases(models: tuple[str, ...]) -> list[Case]:
    return [Case(*case) for case in itertools.product(models, WORKS, PROVIDERS)]


def products(case: Case) -> int:
    """Products of N D V; cut-cross-entropy computes the logits twice whatever the work."""
    if case.work == "plain":
        return 4 if case.provider == "cut-cross-entropy" else PRODUCTS["plain"]
    return AGAIN.get(case.provider, PRODUCTS["segments"])


def flops(case: Case) -> int:
    n, d, v = SHAPES[case.model]
    return 2 * products(case) * n * d * v


def make_inputs(shape: Shape, device: str = DEVICE, dtype: torch.dtype = torch.bfloat16):
    """A short segment of a tenth of the tokens and a long one, as in a reasoning trace."""
    torch.manual_seed(0)
    n, d, v = shape
    hidden = torch.randn(n, d, device=device, dtype=dtype).requires_grad_()
    head = (torch.randn(v, d, device=device, dtype=dtype) * d**-0.5).requires_grad_()
    ids = (torch.arange(n, device=device) >= n // 10).long()
    weights = torch.full((2,), 0.5, device=device)
    return LinearInputs(hidden, head, torch.randint(v, (n,), device=device), ids, weights)


def products_ms(inputs: LinearInputs) -> Found:
    """Milliseconds of the three products of cuBLAS, each as a whole: what the least loss needs."""
    x, w = inputs.hidden.detach(), inputs.head.detach()
    logits, dx, dw = x @ w.t(), torch.empty_like(x), torch.empty_like(w)

    def run() -> None:
        torch.mm(x, w.t(), out=logits)
        torch.mm(logits, w, out=dx)
        torch.mm(logits.t(), x, out=dw)

    ms = median_ms(run, cold=False)
    return {"ms": ms, "tflops": 6e-9 * x.shape[0] * w.numel() / ms}


def measure(case: Case, inputs: LinearInputs, three_products: float) -> Found:
    """Times of a case, or why it has none."""
    try:
        run = PROVIDERS[case.provider](inputs, case.work)
        kernels = longest_kernels(run)  # the first call also compiles
        inputs.hidden.grad = inputs.head.grad = None
        peak = peak_bytes(run)
        gradients = inputs.hidden.nbytes + inputs.head.nbytes
        ms = median_ms(run, cold=False)
        return {
            "ms": ms,
            "products": products(case),
            "tflops": flops(case) / ms / 1e9,
            "share_of_products": products(case) * three_products / 3 / ms,
            "peak_bytes_beyond_gradients": None if peak is None else peak - gradients,
            "kernels": kernels,
        }
    except (ImportError, Unsuitable, torch.OutOfMemoryError) as reason:
        return {"skipped": str(reason).splitlines()[0]}
    finally:
        inputs.hidden.grad = inputs.head.grad = None


def run_all(selected: list[Case], deadline: float, facts: Facts) -> None:
    for model, group in itertools.groupby(selected, lambda case: case.model):
        inputs = make_inputs(SHAPES[model])
        ceiling = facts.measure(
            f"products: {model} {SHAPES[model]}", lambda given=inputs: products_ms(given)
        )
        if ceiling is None:
            continue
        least = float(ceiling["ms"])
        for case in group:
            if time.monotonic() > deadline:
                print(f"not measured, out of time: {case}")
                continue
            facts.measure(str(case), lambda c=case, i=inputs, m=least: measure(c, i, m))
        del inputs
        if not REHEARSAL:
            torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=tuple(SHAPES)[:-1])
    parser.add_argument("--providers", nargs="+", choices=PROVIDERS, default=tuple(PROVIDERS))
    parser.add_argument("--minutes", type=float, default=30.0, help="start nothing after this time")
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    selected = [c for c in cases(tuple(options.models)) if c.provider in options.providers]
    facts = Facts("linear")
    run_all(selected, deadline, facts)
    facts.exit()


if __name__ == "__main__":
    main()
