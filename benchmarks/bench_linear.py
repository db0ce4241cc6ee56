"""Losses from hidden states, forward + backward: time, share of the GEMMs' own time, peak memory.

    pytest benchmarks/bench_linear.py                         # N = D = 1024, V = 152064
    pytest benchmarks/bench_linear.py -k "gemms or segment"   # part of it again
    PERCBAL_BENCH=quick pytest benchmarks/bench_linear.py     # a small shape, no CSV

Every contestant yields the gradients of hidden states and head. Works:
  gemms    the three products alone: logits, dX, dW; the floor of all others but logprob
  plain    mean cross-entropy
  segment  a weight for each of two segments (a quarter of the tokens in the first) and the norm of
           each segment's gradient with respect to the logits; rivals take their best route to it
  logprob  mean of log-probability + 0.1 entropy
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from common import QUICK, Row, print_table, write_csv
from torch import Tensor

from percbal_ops.linear import linear_cross_entropy, linear_segment_cross_entropy
from percbal_ops.logprob import linear_token_logprob

SHAPE = (128, 64, 5000) if QUICK else (1024, 1024, 152064)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WEIGHTS = torch.tensor([0.5, 0.5])
CHUNK = 128  # rows of a chunk of what a rival needs for the norms
ROWS: list[Row] = []
FLOOR: dict[str, float] = {}  # milliseconds of the three products, by dtype
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]  # hidden (N, D), head (V, D), target, segment (N,)


@pytest.fixture(scope="module", autouse=True)
def report() -> Iterator[None]:
    yield
    print_table(ROWS)
    if not QUICK:
        print(f"written to {write_csv(ROWS, 'linear_cpu')}")


def inputs(dtype: torch.dtype) -> Inputs:
    n, features, vocab = SHAPE
    torch.manual_seed(0)
    hidden = torch.randn(n, features).to(dtype).requires_grad_()
    head = torch.empty(vocab, features).normal_(std=features**-0.5).to(dtype).requires_grad_()
    return hidden, head, torch.randint(0, vocab, (n,)), (torch.arange(n) % 4 > 0).long()


def torch_chunked(hidden: Tensor, head: Tensor, target: Tensor, reduction: str) -> Tensor:
    """PyTorch's own linear cross-entropy that does not hold the logits (2.13)."""
    options = torch.nn.LinearCrossEntropyOptions()
    return F.linear_cross_entropy(hidden, head, target, reduction=reduction, options=options)


@torch.no_grad()
def squared_norms(hidden: Tensor, head: Tensor, target: Tensor) -> Tensor:
    """(N,) = 1 - 2 p_y + sum p^2, from the logits once more, a chunk at a time."""
    squares = []
    for x, y in zip(hidden.split(CHUNK), target.split(CHUNK), strict=True):
        probs = F.linear(x, head).float().softmax(1)
        at_target = probs.gather(1, y[:, None])[:, 0]
        squares.append(1 - 2 * at_target + probs.square_().sum(1))
    return torch.cat(squares)


def weighted(nll: Tensor, segment: Tensor) -> Tensor:
    """() = sum_s w_s mean of segment s"""
    counts = torch.bincount(segment, minlength=2)
    return (nll.float() * (WEIGHTS / counts)[segment]).sum()


def plain_logits(hidden: Tensor, head: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, head), target)


def plain_tokens(hidden: Tensor, head: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, head), target, reduction="none")


def logprob_and_entropy(hidden: Tensor, head: Tensor, target: Tensor) -> Tensor:
    logp = F.linear(hidden, head).float().log_softmax(1)
    entropy = -(logp.exp() * logp).sum(1)
    return (logp.gather(1, target[:, None])[:, 0] + 0.1 * entropy).mean()


def contestants() -> dict[str, dict[str, Callable[..., Tensor]]]:
    """work -> who -> loss of the inputs."""
    compiled, compiled_tokens = torch.compile(plain_logits), torch.compile(plain_tokens)
    compiled_logprob = torch.compile(logprob_and_entropy)

    def torch_segment(x: Tensor, w: Tensor, y: Tensor, s: Tensor) -> Tensor:
        squared_norms(x, w, y)
        return weighted(torch_chunked(x, w, y, "none"), s)

    def compiled_segment(x: Tensor, w: Tensor, y: Tensor, s: Tensor) -> Tensor:
        squared_norms(x, w, y)
        return weighted(compiled_tokens(x, w, y), s)

    def ours_logprob(x: Tensor, w: Tensor, y: Tensor, s: Tensor) -> Tensor:
        logprob, entropy = linear_token_logprob(x, w, y)
        return (logprob + 0.1 * entropy).mean()

    def ours_segment(level: str | None) -> Callable[..., Tensor]:
        return lambda x, w, y, s: (
            linear_segment_cross_entropy(x, w, y, s, WEIGHTS, grad_norm=level).loss
        )

    chunked = hasattr(torch.nn, "LinearCrossEntropyOptions")
    return {
        "plain": {
            "percbal": lambda x, w, y, s: linear_cross_entropy(x, w, y),
            "compiled": lambda x, w, y, s: compiled(x, w, y),
        }
        | ({"torch chunked": lambda x, w, y, s: torch_chunked(x, w, y, "mean")} if chunked else {}),
        "segment": {
            "percbal": ours_segment("logits"),
            "percbal hidden": ours_segment("hidden"),
            "percbal head": ours_segment("head"),
            "compiled": compiled_segment,
        }
        | ({"torch chunked": torch_segment} if chunked else {}),
        "logprob": {
            "percbal": ours_logprob,
            "compiled": lambda x, w, y, s: compiled_logprob(x, w, y),
        },
    }


CONTESTANTS = contestants()
CASES = [(work, who) for work, named in CONTESTANTS.items() for who in named]


def gemms(data: Inputs) -> None:
    """The three products every route needs, on buffers that exist: the floor."""
    hidden, head = (x.detach() for x in data[:2])
    logits = hidden @ head.t()
    torch.mm(logits, head)
    torch.mm(logits.t(), hidden)


def step(loss: Callable[..., Tensor], data: Inputs) -> None:
    data[0].grad = data[1].grad = None
    loss(*data).backward()


def peak_extra_bytes(run: Callable[[], None], results: int) -> int | None:
    """Peak of resident memory during run(), above what was there and the `results` it returns."""
    status = Path("/proc/self/status")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    except OSError:
        return None  # not Linux, or not allowed
    before = _kilobytes(status, "VmRSS")
    run()
    return (_kilobytes(status, "VmHWM") - before) * 1024 - results


def _kilobytes(status: Path, field: str) -> int:
    line = next(x for x in status.read_text().splitlines() if x.startswith(field))
    return int(line.split()[1])


def record(
    benchmark: object, run: Callable[[], None], work: str, who: str, dtype: str, peak: int | None
) -> None:
    benchmark.pedantic(run, rounds=3)  # type: ignore[attr-defined]
    stats = benchmark.stats.stats  # type: ignore[attr-defined]
    least, median = stats.min * 1e3, stats.median * 1e3
    note = f"the three products alone take {FLOOR[dtype] / least:.0%}" if dtype in FLOOR else ""
    shape = "x".join(map(str, SHAPE))
    ROWS.append(
        Row("linear_cpu", work, who, shape, dtype, least, median, peak_extra_bytes=peak, note=note)
    )
    if work == "gemms":
        FLOOR[dtype] = least


@pytest.mark.parametrize("dtype", DTYPES)
def test_gemms_alone(benchmark, dtype):
    data = inputs(DTYPES[dtype])
    gemms(data)
    record(benchmark, lambda: gemms(data), "gemms", "torch.mm", dtype, None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("work, who", CASES, ids=lambda x: x.replace(" ", "_"))
def test_forward_backward(benchmark, work, who, dtype):
    data, loss = inputs(DTYPES[dtype]), CONTESTANTS[work][who]

    def run() -> None:
        step(loss, data)

    run()  # compiles, and settles what is allocated once
    data[0].grad = data[1].grad = None
    peak = peak_extra_bytes(run, sum(x.numel() * x.element_size() for x in data[:2]))
    record(benchmark, run, work, who, dtype, peak)
