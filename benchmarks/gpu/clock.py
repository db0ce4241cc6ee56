"""Three ways to take the time of a call: its kernels alone, with the host's work, call by call.

In a rehearsal each makes the calls and gives the time of the CPU.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from gpu.facts import DEVICE, REHEARSAL

Run = Callable[[], object]
FLUSH_BYTES = 2**28  # more than any L2 cache


def graph_ms(run: Run, calls: int = 5, replays: int = 7) -> float:
    """Milliseconds of the kernels of one call: `calls` of them in a CUDA graph, so no gap between
    them is the host's; the median of `replays`."""
    if REHEARSAL:
        return eager_ms(run, 1)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            run()
    graph.replay()
    return statistics.median(event_ms(graph.replay) for _ in range(replays)) / calls


def eager_ms(run: Run, calls: int = 20) -> float:
    """Milliseconds of one call as a training loop makes it, the host's work included."""
    for _ in range(1 if REHEARSAL else 3):
        run()
    synchronize()
    begin = time.perf_counter()
    for _ in range(calls):
        run()
    synchronize()
    return (time.perf_counter() - begin) / calls * 1e3


def median_ms(run: Run, cold: bool, calls: int = 15, warm_up: int = 3) -> float:
    """Median milliseconds between events around a call; cold: the L2 is cleared before each."""
    if REHEARSAL:
        return eager_ms(run, 1)
    flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device=DEVICE) if cold else None
    times = []
    for call in range(warm_up + calls):
        if flush is not None:
            flush.zero_()
        ms = event_ms(run)
        if call >= warm_up:
            times.append(ms)
    return statistics.median(times)


def event_ms(run: Run) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def copy_rate(source: torch.Tensor, cold: bool) -> dict[str, float]:
    """Milliseconds of a device copy, and the gigabytes it reads and writes in a second."""
    target = torch.empty_like(source)
    # not in a graph, whose own way to copy reached two thirds of this rate on an H200
    ms = median_ms(lambda: target.copy_(source), cold)
    return {"ms": ms, "gb_per_s": 2 * source.nbytes / ms / 1e6}


def synchronize() -> None:
    if not REHEARSAL:
        torch.cuda.synchronize()


def peak_bytes(run: Run) -> int | None:
    """Bytes allocated at the worst moment of one call beyond those before it."""
    if REHEARSAL:
        run()
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before
