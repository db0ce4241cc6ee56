"""Facts about the machine code of every Triton kernel, compiled ahead of time: no GPU is needed."""

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

pytest.importorskip("triton")
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from kernel_code import (  # noqa: E402
    ARCHITECTURES,
    KERNELS,
    compile_all,
    every_request,
    request,
)

USUAL = [request(kernel, arch) for kernel in KERNELS for arch in ARCHITECTURES] + [
    request("statistics", 90, "fp32"),
    request("statistics", 90, "bf16", shifted=True),
    request("loss and gradient", 90, "bf16", shifted=True),
    request("loss and gradient", 90, "bf16", smoothed=True, capped=True, weighted=True),
    request("loss and gradient", 90, "fp64", smoothed=True, capped=True, weighted=True),
    request("gradient", 90, "bf16", shifted=True),
]


@pytest.fixture(scope="module")
def usual() -> list[dict]:
    return [asked | facts for asked, facts in zip(USUAL, compile_all(USUAL), strict=True)]


def select(facts: list[dict], *kernels: str, **wanted: object) -> list[dict]:
    found = [
        fact
        for fact in facts
        if fact["kernel"] in kernels and all(fact.get(k, False) == v for k, v in wanted.items())
    ]
    assert found, f"nothing compiled for {kernels} {wanted}"
    return found


def test_nothing_spills(usual: list[dict]) -> None:
    """Triton 3.6 keeps 8 bytes outside the loops of a kernel with every option."""
    old = [int(n) for n in version("triton").split(".")[:2]] < [3, 9]
    spilled = ("local_in_loops",) if old else ("local_bytes", "local_accesses")
    assert [fact for fact in usual if any(fact[name] for name in spilled)] == []


def test_registers_stay_in_budget(usual: list[dict]) -> None:
    """128 let four programs of 128 threads run; float64, for tests, may have three."""
    budget = {"fp64": 168}
    assert [fact for fact in usual if fact["registers"] > budget.get(fact["dtype"], 128)] == []


def test_statistics_leave_room_for_six_programs_on_hopper(usual: list[dict]) -> None:
    (fact,) = select(usual, "statistics", arch=90, dtype="bf16", shifted=False)
    assert fact["registers"] <= 65536 // (6 * 128) // 8 * 8


def test_aligned_rows_are_read_and_written_128_bits_at_a_time(usual: list[dict]) -> None:
    for fact in select(usual, "statistics", "loss and gradient", shifted=False, weighted=False):
        for loop in fact["loops"]:
            assert set(loop["loads"]) | set(loop["stores"]) <= {"128"}, fact
    for fact in usual:
        if fact["kernel"] in ("statistics", "loss and gradient", "scale"):
            assert any("128" in loop["loads"] for loop in fact["loops"]), fact
    for fact in select(usual, "gradient"):
        assert fact["wide_loads"] and fact["wide_stores"], fact


def test_statistics_take_one_exponential_per_logit(usual: list[dict]) -> None:
    for fact in select(usual, "statistics"):
        loops = [loop for loop in fact["loops"] if loop["exponentials"]]
        assert loops
        for loop in loops:  # over whole tiles; where rows are unaligned, also over their ends
            # one more for the rescale of the whole tile
            assert loop["exponentials"] == fact["columns_per_thread"] + 1, fact


@pytest.mark.slow
def test_every_combination_stays_in_registers_and_reads_128_bits_at_a_time() -> None:
    """Six minutes on two cores."""
    asked = every_request()
    facts = [one | fact for one, fact in zip(asked, compile_all(asked), strict=True)]
    assert [fact for fact in facts if fact["local_bytes"] or fact["local_accesses"]] == []
    # float64 is for tests; float32 with every option has three programs of 128 threads
    budget = {"fp64": 168, "fp32": 136}
    assert [fact for fact in facts if fact["registers"] > budget.get(fact["dtype"], 128)] == []
    for fact in facts:
        in_loops = any("128" in loop["loads"] for loop in fact["loops"])
        looping = fact["kernel"] in ("statistics", "loss and gradient")
        assert in_loops if looping else fact["wide_loads"], fact
