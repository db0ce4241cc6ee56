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
Each line has the operations its route needs as a formula, and what the same products alone take in
the same run as a share of its time. torch's chunked loss takes minutes: one round, without warm-up.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from common import QUICK, Row, print_table, write_csv
from torch import Tensor

from percbal_ops.linear.api import linear_cross_entropy, linear_segment_cross_entropy
from percbal_ops.linear.logprob import linear_token_logprob

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
SLOW = "torch chunked"
# products of N x D x V that a route computes: the logits once more for what is not held
PRODUCTS = {"plain": 3, "segment": 3, "logprob": 4}
AGAIN = {("segment", "compiled"): 4, ("segment", SLOW): 5, ("logprob", "compiled"): 3}
PEERS = {"liger": "liger_kernel", "cut-cross-entropy": "cut_cross_entropy"}  # Triton: GPU alone


def gemms(data: Inputs) -> Callable[[], None]:
    """The three products every route needs, on buffers that were touched before: the floor."""
    hidden, head = (x.detach() for x in data[:2])
    logits, dx, dw = hidden @ head.t(), torch.empty_like(hidden), torch.empty_like(head)

    def run() -> None:
        torch.mm(hidden, head.t(), out=logits)
        torch.mm(logits, head, out=dx)
        torch.mm(logits.t(), hidden, out=dw)

    return run


def step(loss: Callable[..., Tensor], data: Inputs) -> None:
    loss(*data).backward()


class Peak:
    """Most resident memory during the calls of `run` above what was there before each, less
    `results` bytes that the call returns; None where Linux does not tell."""

    def __init__(self, run: Callable[[], None], results: int) -> None:
        self.run, self.results, self.bytes = run, results, None

    def __call__(self) -> None:
        status = Path("/proc/self/status")
        try:
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        except OSError:
            return self.run()
        before = _kilobytes(status, "VmRSS")
        self.run()
        extra = (_kilobytes(status, "VmHWM") - before) * 1024 - self.results
        self.bytes = max(extra, self.bytes or 0)


def _kilobytes(status: Path, field: str) -> int:
    line = next(x for x in status.read_text().splitlines() if x.startswith(field))
    return int(line.split()[1])


def new_row(work: str, who: str, dtype: str, ms: float | None = None, **rest: object) -> Row:
    return Row("linear_cpu", work, who, "x".join(map(str, SHAPE)), dtype, ms, **rest)


def operations(work: str, who: str) -> int:
    """Products of N x D x V that the route computes."""
    return AGAIN.get((work, who), PRODUCTS.get(work, 3))


def note(work: str, who: str, dtype: str, least: float) -> str:
    products = operations(work, who)
    work_done = 2e-9 * products * SHAPE[0] * SHAPE[1] * SHAPE[2]
    said = f"{2 * products} N D V = {work_done:.0f} GFLOP"
    if dtype in FLOOR:
        said += f"; its products alone take {FLOOR[dtype] * products / 3 / least:.0%}"
    return said


@pytest.mark.parametrize("dtype", DTYPES)
def test_gemms_alone(benchmark, dtype):
    data = inputs(DTYPES[dtype])
    benchmark.pedantic(gemms(data), rounds=2, warmup_rounds=1)
    stats = benchmark.stats.stats
    FLOOR[dtype] = stats.min * 1e3
    said = note("gemms", "torch.mm", dtype, FLOOR[dtype])
    ROWS.append(
        new_row("gemms", "torch.mm", dtype, FLOOR[dtype], ms_median=stats.median * 1e3, note=said)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("work, who", CASES, ids=lambda x: x.replace(" ", "_"))
def test_forward_backward(benchmark, work, who, dtype):
    data, loss = inputs(DTYPES[dtype]), CONTESTANTS[work][who]
    run = Peak(lambda: step(loss, data), sum(x.numel() * x.element_size() for x in data[:2]))

    def forget() -> None:
        data[0].grad = data[1].grad = None

    once = who == SLOW
    benchmark.pedantic(run, setup=forget, rounds=1 if once else 2, warmup_rounds=0 if once else 1)
    stats = benchmark.stats.stats
    least, median = stats.min * 1e3, stats.median * 1e3
    said = note(work, who, dtype, least)
    ROWS.append(
        new_row(work, who, dtype, least, ms_median=median, peak_extra_bytes=run.bytes, note=said)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("peer", PEERS)
def test_peers_that_need_a_gpu(benchmark, peer, dtype):
    """Listed, and skipped."""
    found = importlib.util.find_spec(PEERS[peer])
    reason = "its kernels need a GPU" if found else f"{PEERS[peer]} is not installed"
    ROWS.append(new_row("plain", peer, dtype, note=f"skipped: {reason}"))
    pytest.skip(reason)
