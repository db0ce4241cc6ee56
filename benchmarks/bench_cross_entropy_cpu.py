"""Cross-entropy on the CPU, forward + backward: ours, torch eager, torch.compile, and a warm copy.

    pytest benchmarks/bench_cross_entropy_cpu.py                        # some minutes
    PERCBAL_BENCH=quick pytest benchmarks/bench_cross_entropy_cpu.py    # two shapes, no CSV
    pytest benchmarks/bench_cross_entropy_cpu.py -k 152064              # part of it again

Every contestant does the same work on its best route. Works:
  plain     mean cross-entropy, upstream gradient 1
  upstream  the same under an upstream gradient of 0.37, as from loss scaling or accumulation
  segments  two segments, weighted, with the gradient norm of each. Torch: reduction="none" times
            row weights, and softmax for the norms, (1 - p_y)^2 + sum of the others' p^2
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from common import QUICK, Row, print_table, write_csv
from torch import Tensor

import percbal_ops

SHAPES = [
    (5000, 117),
    (1024, 32000),
    (1024, 50257),
    (256, 128256),
    (256, 151936),
    (512, 152064),
    (128, 262144),
]
if QUICK:
    SHAPES = [(5000, 117), (64, 152064)]
DTYPES = [torch.float32, torch.bfloat16]
ROUNDS = 3 if QUICK else 7
UPSTREAM = 0.37
NO_CPU = {
    "liger-kernel": "its kernels are Triton and CuTe, for GPUs only",
    "cut-cross-entropy": "its CPU path is torch.compile of the textbook formula",
    "quack-kernels": "its kernels are CuTe DSL, for GPUs only",
    "flash-attn": "its loss is a Triton kernel, for GPUs only",
}
ROWS: list[Row] = []
COPY_RATE: dict[tuple[str, str], float] = {}  # bytes per ms of the copy, by shape and dtype


@pytest.fixture(scope="module", autouse=True)
def report() -> Iterator[None]:
    yield
    for who, why in NO_CPU.items():
        ROWS.append(Row("cross_entropy_cpu", "all", who, "", "", None, note=why))
    print_table(ROWS)
    if not QUICK:
        print(f"written to {write_csv(ROWS, 'cross_entropy_cpu')}")


class Problem:
    def __init__(self, shape: tuple[int, int], dtype: torch.dtype) -> None:
        rows, vocab = shape
        g = torch.Generator().manual_seed(0)
        self.logits = (2 * torch.randn(shape, generator=g)).to(dtype).requires_grad_()
        self.target = torch.randint(0, vocab, (rows,), generator=g)
        self.segment = torch.randint(0, 2, (rows,), generator=g)
        self.weights = torch.tensor([0.3, 0.7])
        self.upstream = torch.tensor(UPSTREAM, dtype=torch.float32)


def torch_plain(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits, target)


def torch_segments(
    logits: Tensor, target: Tensor, segment: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    nll = F.cross_entropy(logits.float(), target, reduction="none")
    member = F.one_hot(segment, weights.shape[0]).T.float()
    count = member.sum(1)
    loss = (weights * (member @ nll) / count).sum()
    with torch.no_grad():
        p = logits.float().softmax(1)
        p_y = p.gather(1, target[:, None])[:, 0]
        square = (1 - p_y) ** 2 + (p**2).sum(1) - p_y**2
        norms = (member @ square).sqrt() / count
    return loss, norms


def our_segments(
    logits: Tensor, target: Tensor, segment: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    out = percbal_ops.segment_cross_entropy(logits, target, segment, weights)
    return out.loss, out.segment_grad_norm


PLAIN = {
    "percbal": percbal_ops.cross_entropy,
    "torch eager": torch_plain,
    "torch.compile": torch.compile(torch_plain),
}
SEGMENTS = {
    "percbal": our_segments,
    "torch eager": torch_segments,
    "torch.compile": torch.compile(torch_segments),
}


def job(work: str, who: str, problem: Problem) -> Callable[[], None]:
    def run() -> None:
        if work == "segments":
            loss, _ = SEGMENTS[who](
                problem.logits, problem.target, problem.segment, problem.weights
            )
        else:
            loss = PLAIN[who](problem.logits, problem.target)
        loss.backward(problem.upstream.to(loss.dtype) if work == "upstream" else None)
        problem.logits.grad = None

    return run


def peak_extra(run: Callable[[], None]) -> int | None:
    """Bytes of resident memory that a call adds at its peak, from Linux' high-water mark."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not os.access(clear, os.W_OK):
        return None

    def resident(field: str) -> int:
        line = next(s for s in status.read_text().splitlines() if s.startswith(field))
        return int(line.split()[1]) * 1024

    gc.collect()
    percbal_ops.empty_cache()  # what one call left for the next counts as its own
    clear.write_text("5")
    before = resident("VmRSS")
    run()
    return resident("VmHWM") - before


def record(
    benchmark: object, run: Callable[[], object], row: Row, copy_key: tuple[str, str]
) -> None:
    benchmark.pedantic(run, rounds=ROUNDS, warmup_rounds=1)  # type: ignore[attr-defined]
    stats = benchmark.stats.stats  # type: ignore[attr-defined]
    row.ms, row.ms_median = stats.min * 1e3, stats.median * 1e3
    if row.who == "warm copy":
        COPY_RATE[copy_key] = row.bytes / row.ms
    row.share_of_copy = row.bytes / row.ms / COPY_RATE[copy_key]
    ROWS.append(row)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "work,who",
    [("copy", "warm copy")]
    + [(work, who) for work in ("plain", "upstream", "segments") for who in PLAIN],
)
def test_forward_backward(
    benchmark: object, shape: tuple[int, int], dtype: torch.dtype, work: str, who: str
) -> None:
    problem = Problem(shape, dtype)
    size, name = problem.logits.numel() * problem.logits.element_size(), str(dtype)[6:]
    # read the logits, write the gradient; copying the logits is the same traffic
    row = Row("cross_entropy_cpu", work, who, f"{shape[0]}x{shape[1]}", name, None)
    row.bytes, row.bytes_formula = 2 * size, "2 N V itemsize: read logits, write gradient"
    if who == "warm copy":
        to = torch.zeros_like(problem.logits.detach())
        run: Callable[[], object] = lambda: to.copy_(problem.logits.detach())  # noqa: E731
    else:
        run = job(work, who, problem)
        run()  # compile, and warm the allocator, before memory is measured
        row.peak_extra_bytes = peak_extra(run)
    record(benchmark, run, row, (row.shape, name))
