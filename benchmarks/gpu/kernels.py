"""Times of the kernels alone, by CUDA graphs, beside what the machine does at most.

python -m gpu.kernels ceilings times host sweep logprob dropped      # $RESULTS/facts.jsonl
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import percbal_ops
from gpu.clock import copy_rate, eager_ms, graph_ms, peak_bytes
from gpu.facts import DEVICE, REHEARSAL, Facts, Found, Unsuitable
from gpu.inputs import PLAIN, ROWS, Rows, cluster, make_rows, must_apply, two_pass
from percbal_ops.linear import chunks
from percbal_ops.losses import api
from percbal_ops.losses.segments import Segments, plain_segment_results, split_segments
from percbal_ops.losses.triton import hopper
from percbal_ops.losses.triton import launch as triton_kernels
from percbal_ops.losses.triton.launch import Tiling

VOCABS = (4096,) if REHEARSAL else (152064, 128256, 50264, 50257, 32000, 16384, 8192)
HEAD = (64, 16, 512) if REHEARSAL else (8192, 3584, 152064)  # N, D, V of Qwen2.5-VL-7B
LOGPROBS = ((64, 16, 512),) if REHEARSAL else ((2048, 3584, 152064), HEAD)
LEVELS = ("logits", "hidden", "head")
HOST_ROWS = (8,) if REHEARSAL else (512, 2048, 8192)
TILES = (  # columns, warps
    (256, 1), (512, 1), (1024, 1), (512, 2), (1024, 2), (2048, 2), (1024, 4), (2048, 4), (4096, 4),
    (2048, 8), (4096, 8), (8192, 16), (16384, 16),
)  # fmt: skip
CLUSTER_BLOCKS = (1, 2, 4, 8, 16)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, device=DEVICE, dtype=torch.bfloat16)


def read(vocab: int) -> Found:
    """A sum over the rows, as torch has it: the least that statistics need."""
    source = random(ROWS, vocab)
    ms = graph_ms(lambda: source.sum(1, dtype=torch.float32))
    return {"ms": ms, "gb_per_s": source.nbytes / ms / 1e6}


def products(n: int, d: int, v: int) -> Found:
    """The three products of a linear loss, and dW added to a float32 sum."""
    x, w = random(n, d), random(v, d)
    z, dx, dw = x @ w.t(), torch.empty_like(x), torch.empty_like(w)
    found = {
        "logits_ms": graph_ms(lambda: torch.mm(x, w.t(), out=z), 2),
        "dhidden_ms": graph_ms(lambda: torch.mm(z, w, out=dx), 2),
        "dhead_ms": graph_ms(lambda: torch.mm(z.t(), x, out=dw), 2),
    }
    found["tflops"] = 6e-9 * n * d * v / sum(found.values())
    if not REHEARSAL:  # CPUs have no product with a wider sum
        total = torch.empty(v, d, device=DEVICE)
        wide = {"beta": 1, "out_dtype": torch.float32, "out": total}
        found["dhead_into_float32_ms"] = graph_ms(lambda: torch.addmm(total, z.t(), x, **wide), 2)
    return found


def times(rows: Rows) -> Found:
    z, y, w = rows
    statistics = triton_kernels.token_cross_entropy(z, y, None, *PLAIN)[2]
    over = z.clone()
    runs: dict[str, Callable[[], object]] = {
        "statistics_ms": lambda: triton_kernels.token_cross_entropy(z, y, None, *PLAIN),
        "gradient_ms": lambda: triton_kernels.token_cross_entropy_backward(
            w, z, y, None, statistics, *PLAIN
        ),
        "two_pass_ms": lambda: two_pass(rows),
        # over its own output: the time does not depend on the values
        "in_place_ms": lambda: triton_kernels.weighted_cross_entropy_(over, y, w, None, *PLAIN),
    }
    return {name: graph_ms(run) for name, run in runs.items()} | {"logits_gb": z.nbytes / 1e9}


def host(n: int, vocab: int) -> Found:
    """A step as a loop makes it beside its kernels alone: what lies between is the host's."""
    rows = make_rows(vocab, n)
    z = rows.logits.requires_grad_()
    ids = (torch.arange(n, device=DEVICE) >= n // 10).long()
    weights = torch.tensor([0.5, 0.5], device=DEVICE)

    def segments() -> None:
        z.grad = None
        percbal_ops.segment_cross_entropy(z, rows.target, ids, weights).loss.backward()

    def mean() -> None:
        z.grad = None
        percbal_ops.cross_entropy(z, rows.target).backward()

    with mock.patch.multiple(api, split=plain_split, segment_results=plain_results):
        plain = eager_ms(segments)
    return {
        "segments_in_plain_torch_eager_ms": plain,
        "segments_eager_ms": eager_ms(segments),
        "segments_graph_ms": graph_ms(segments),
        "mean_eager_ms": eager_ms(mean),
        "mean_graph_ms": graph_ms(mean),
    }


def plain_split(target: Tensor, ids: Tensor, weights: Tensor, counts: None, *rest: Any) -> Any:
    """losses.segments.split by the operators of torch that the kernel replaces."""
    return Segments(*split_segments(target, ids, weights, counts, rest[0]))


def plain_results(loss: Tensor, square: Tensor, parts: Segments) -> Any:
    return plain_segment_results(loss.detach(), square, parts.ids, parts.inverse)


@contextlib.contextmanager
def tiling(block: int, warps: int) -> Iterator[None]:
    before = triton_kernels.tiling
    triton_kernels.tiling = lambda *_: Tiling(block, warps)
    try:
        yield
    finally:
        triton_kernels.tiling = before


def tile(rows: Rows, work: str, block: int, warps: int) -> Found:
    runs = {
        "statistics": lambda: triton_kernels.token_cross_entropy(
            rows.logits, rows.target, None, *PLAIN
        ),
        "two-pass": lambda: two_pass(rows),
    }
    with tiling(block, warps):
        return {"ms": graph_ms(runs[work], 3, 5)}


def cluster_of(rows: Rows, blocks: int) -> Found:
    """blocks: 0 is the kernel's own choice. Short rows, too, which by default are Triton's."""
    os.environ["PERCBAL_CLUSTER_BLOCKS"] = str(blocks)
    shortest, hopper.SHORTEST = hopper.SHORTEST, 0
    try:
        return {"ms": graph_ms(lambda: cluster(rows))}
    except RuntimeError as error:
        if "no cluster of blocks" not in str(error):
            raise
        raise Unsuitable("no cluster of this size can hold a row") from error
    finally:
        hopper.SHORTEST = shortest
        del os.environ["PERCBAL_CLUSTER_BLOCKS"]


def cluster_over_logits(rows: Rows) -> Found:
    """In place, over its own output: the time does not depend on the values."""
    must_apply(rows)
    z, y, w = rows
    over = z.clone()
    run = hopper.weighted_cross_entropy_
    return {"ms": graph_ms(lambda: run(over, y, w, None, *PLAIN))}


def logprob(n: int, d: int, v: int) -> Found:
    """linear_token_logprob, forward alone and with its backward, beside the four products it takes
    and the kernels on rows between them."""
    x, w = random(n, d).requires_grad_(), random(v, d).mul_(d**-0.5).requires_grad_()
    y = torch.randint(v, (n,), device=DEVICE)

    def forward() -> tuple[torch.Tensor, torch.Tensor]:
        return percbal_ops.linear_token_logprob(x, w, y, temperature=0.9)

    def both() -> None:
        x.grad = w.grad = None
        found, entropy = forward()
        (found + 0.01 * entropy).sum().backward()

    with torch.no_grad():
        alone = eager_ms(forward, 3)
    found = {"forward_ms": alone, "forward_backward_ms": eager_ms(both, 3)}
    with percbal_ops.use_cuda_backend("reference"):
        found["with_plain_rows_ms"] = eager_ms(both, 1)
    with torch.no_grad():
        z, dx, dw = x @ w.t(), torch.empty_like(x), torch.empty_like(w)
        found["products_ms"] = (
            2 * graph_ms(lambda: torch.mm(x, w.t(), out=z), 2)
            + graph_ms(lambda: torch.mm(z, w, out=dx), 2)
            + graph_ms(lambda: torch.mm(z.t(), x, out=dw), 2)
        )
        options = 0.9, 0.0
        _, entropy, stats = torch.ops.percbal.token_logprob_rows(z, y, *options)
        rows = torch.ops.percbal
        found["rows_ms"] = graph_ms(lambda: rows.token_logprob_rows(z, y, *options))
        given = y, stats, entropy, entropy, *options
        # over its own output: the time does not depend on the values
        found["rows_gradient_ms"] = graph_ms(lambda: rows.token_logprob_gradient_(z, *given))
    return found


def dropped(level: str, asked: bool) -> Found:
    """The segment loss from hidden states where a fifth of the tokens is labelled, a tenth of those
    perception; asked: the host learns which they are."""
    n, d, v = HEAD
    torch.manual_seed(0)
    x, w = random(n, d).requires_grad_(), random(v, d).mul_(d**-0.5).requires_grad_()
    y = torch.randint(v, (n,), device=DEVICE)
    ids = torch.full((n,), -1, device=DEVICE)
    ids[::5] = (torch.arange(len(ids[::5]), device=DEVICE) >= n // 50).long()
    weights = torch.tensor([0.5, 0.5], device=DEVICE)

    def step() -> percbal_ops.SegmentOutput:
        x.grad = w.grad = None
        out = percbal_ops.linear_segment_cross_entropy(x, w, y, ids, weights, grad_norm=level)
        out.loss.backward()
        return out

    may_ask, chunks.may_ask = chunks.may_ask, lambda *_: asked
    try:
        norms = [round(norm, 6) for norm in step().segment_grad_norm.tolist()]
        ms = eager_ms(step, 5)
        return {"ms": ms, "peak_bytes": peak_bytes(step), "norms": norms}
    finally:
        chunks.may_ask = may_ask


@contextlib.contextmanager
def setting(**values: object) -> Iterator[None]:
    """Names of losses/triton/launch.py with other values."""
    before = {name: getattr(triton_kernels, name) for name in values}
    try:
        for name, value in values.items():
            setattr(triton_kernels, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(triton_kernels, name, value)


def scale(rows: Rows, block: int, warps: int, programs: int) -> Found:
    """A gradient times its upstream, in place: one read, one write."""
    z, factor = rows.logits, torch.tensor(-1.0, device=DEVICE)
    with setting(SCALE_BLOCK=block, SCALE_WARPS=warps, SCALE_PROGRAMS=programs):
        return {"ms": graph_ms(lambda: triton_kernels.scale_(z, factor), 2, 5)}


def run_ceilings(facts: Facts) -> None:
    facts.measure(
        f"copy {ROWS}x{VOCABS[0]}", lambda: copy_rate(random(ROWS, VOCABS[0]), cold=False)
    )
    facts.measure(f"read {ROWS}x{VOCABS[0]}", lambda: read(VOCABS[0]))
    facts.measure("products {}x{}x{}".format(*HEAD), lambda: products(*HEAD))


def run_times(facts: Facts) -> None:
    for vocab in VOCABS:
        rows = make_rows(vocab)
        facts.measure(f"times {rows}", lambda r=rows: times(r))
        if vocab % 8 == 0:
            for blocks in (0, *CLUSTER_BLOCKS):
                key = f"cluster of {blocks or 'its choice'}, {rows}"
                facts.measure(key, lambda r=rows, b=blocks: cluster_of(r, b))
    rows = make_rows(VOCABS[0])
    facts.measure(f"cluster in place, {rows}", lambda: cluster_over_logits(rows))


def run_host(facts: Facts) -> None:
    for n in HOST_ROWS:
        facts.measure(f"host {n}x{VOCABS[0]}", lambda n=n: host(n, VOCABS[0]))


def run_sweep(facts: Facts) -> None:
    few = make_rows(VOCABS[0], ROWS // 16 or 1)  # a short batch may want larger programs
    for rows in (*map(make_rows, VOCABS), few):
        for work, (block, warps) in itertools.product(("statistics", "two-pass"), TILES):
            key = f"tile {work} {block}/{warps}, {rows}"
            facts.measure(key, lambda w=work, r=rows, b=block, n=warps: tile(r, w, b, n))
    rows = make_rows(VOCABS[0])
    for block, warps in ((1024, 4), (2048, 4), (2048, 8), (4096, 8)):
        for programs in (528, 1024, 1 << 30):
            key = f"scale {block}/{warps}, {programs} programs at most, {rows}"
            facts.measure(key, functools.partial(scale, rows, block, warps, programs))


def run_logprob(facts: Facts) -> None:
    for shape in LOGPROBS:
        facts.measure("logprob {}x{}x{}".format(*shape), lambda s=shape: logprob(*s))


def run_dropped(facts: Facts) -> None:
    for level in LEVELS:
        for asked in (False, True):
            key = f"a fifth labelled, norms of {level}, {'asked' if asked else 'not asked'}"
            facts.measure(key, lambda lv=level, a=asked: dropped(lv, a))


PARTS = {
    "ceilings": run_ceilings,
    "times": run_times,
    "host": run_host,
    "sweep": run_sweep,
    "logprob": run_logprob,
    "dropped": run_dropped,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+", choices=PARTS)
    facts = Facts("kernels")
    for part in parser.parse_args().parts:
        PARTS[part](facts)
    facts.exit()


if __name__ == "__main__":
    main()
