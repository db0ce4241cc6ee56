"""Losses from hidden states on a GPU against every peer that is installed, forward + backward:

    python benchmarks/bench_linear_gpu.py --name linear_h200   # results/<name>.csv

Without a GPU it says so and measures nothing. Times are medians over CUDA events. Each row has its
operations as a formula, and the share of its time that its products alone take in cuBLAS, at the
same shape in the same run: a product of N rows for the logits, for dX and for dW.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from typing import NamedTuple

import torch
from bench_cross_entropy_gpu import milliseconds
from common import Row, print_table, write_csv
from gpu_linear_peers import PROVIDERS, LinearInputs
from gpu_peers import Run, Unsuitable


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


def make_inputs(shape: Shape, device: str = "cuda", dtype: torch.dtype = torch.bfloat16):
    """A short segment of a tenth of the tokens and a long one, as in a reasoning trace."""
    torch.manual_seed(0)
    n, d, v = shape
    hidden = torch.randn(n, d, device=device, dtype=dtype).requires_grad_()
    head = (torch.randn(v, d, device=device, dtype=dtype) * d**-0.5).requires_grad_()
    ids = (torch.arange(n, device=device) >= n // 10).long()
    weights = torch.full((2,), 0.5, device=device)
    return LinearInputs(hidden, head, torch.randint(v, (n,), device=device), ids, weights)


def peak_extra_bytes(run: Run, inputs: LinearInputs) -> int:
    """Memory beyond the inputs and their gradients at the worst moment of one call."""
    inputs.hidden.grad = inputs.head.grad = None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    gradients = inputs.hidden.nbytes + inputs.head.nbytes
    return torch.cuda.max_memory_allocated() - before - gradients


def gemm_ms(inputs: LinearInputs) -> float:
    """A third of the time of the three products of cuBLAS, each as a whole."""
    x, w = inputs.hidden.detach(), inputs.head.detach()
    logits, dx, dw = x @ w.t(), torch.empty_like(x), torch.empty_like(w)

    def run() -> None:
        torch.mm(x, w.t(), out=logits)
        torch.mm(logits, w, out=dx)
        torch.mm(logits.t(), x, out=dw)

    return milliseconds(run, cold=False) / 3


def row(case: Case, **numbers: object) -> Row:
    return Row(
        "linear_gpu",
        f"{case.work}, {case.model}",
        case.provider,
        str(SHAPES[case.model]),
        "bf16",
        **{"ms": None} | numbers,
    )


def note(case: Case, ms: float, gemm: float) -> str:
    rate = flops(case) / ms / 1e9
    share = products(case) * gemm / ms
    return f"{2 * products(case)} N D V at {rate:.0f} TFLOP/s; its products alone take {share:.0%}"


def measure(case: Case, inputs: LinearInputs, gemm: float) -> Row:
    """One row, or one that says why there is no time in it."""
    try:
        run = PROVIDERS[case.provider](inputs, case.work)
        run()  # compiles
        extra = peak_extra_bytes(run, inputs)
        ms = milliseconds(run, cold=False)
        said = note(case, ms, gemm)
        return row(case, ms=ms, ms_median=ms, peak_extra_bytes=extra, note=said)
    except (ImportError, Unsuitable, torch.OutOfMemoryError) as reason:
        return row(case, note=f"skipped: {str(reason).splitlines()[0]}")
    except Exception as error:  # noqa: BLE001  a peer that fails must not end the run
        return row(case, note=f"failed: {type(error).__name__}: {str(error)[:160].splitlines()[0]}")
    finally:
        inputs.hidden.grad = inputs.head.grad = None


def run_all(models: tuple[str, ...], deadline: float, name: str) -> None:
    rows = []
    for model, group in itertools.groupby(cases(models), lambda case: case.model):
        inputs = make_inputs(SHAPES[model])
        gemm = gemm_ms(inputs)
        rate = 2e-9 * SHAPES[model].tokens * inputs.head.numel() / gemm
        said = f"{gemm:.2f} ms a product, {rate:.0f} TFLOP/s"
        rows.append(row(Case(model, "one product", "cuBLAS"), note=said))
        for case in group:
            late = time.monotonic() > deadline
            rows.append(
                row(case, note="not run: out of time") if late else measure(case, inputs, gemm)
            )
        write_csv(rows, name)  # as far as it is, should a later case end the process
        del inputs
        torch.cuda.empty_cache()
    print_table(rows)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="linear_gpu", help="writes results/<name>.csv")
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=tuple(SHAPES))
    parser.add_argument("--minutes", type=float, default=30.0, help="start nothing after this time")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("no GPU: nothing measured")
        return
    run_all(tuple(options.models), time.monotonic() + 60 * options.minutes, options.name)


if __name__ == "__main__":
    main(sys.argv[1:])
