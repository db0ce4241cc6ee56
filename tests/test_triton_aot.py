"""Every Triton kernel compiled ahead of time, and facts about the machine code: no GPU is needed.

The compilation runs in a process of its own, where TRITON_INTERPRET is not set.
"""

import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("triton")

ARCHITECTURES = (80, 90, 100)
ELEMENT_SIZE = {"bf16": 2, "fp16": 2, "fp32": 4, "fp64": 8}
VOCAB = 152064  # the tiling chosen is that of a large vocabulary


def compile_all(requests: list[dict]) -> list[dict]:
    """Facts about each request, from one process that may compile."""
    env = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(requests),
        env=env | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def request(kernel: str, arch: int, dtype: str = "bf16", **flags: int) -> dict:
    return {"kernel": kernel, "arch": arch, "dtype": dtype, **flags}


KERNELS = ("statistics", "loss and gradient", "gradient", "weighted sum", "scale")
USUAL = [request(kernel, arch) for kernel in KERNELS for arch in ARCHITECTURES] + [
    request("statistics", 90, "fp32"),
    request("statistics", 90, "bf16", shifted=True),
    request("loss and gradient", 90, "bf16", shifted=True),
    request("loss and gradient", 90, "bf16", smoothed=True, capped=True, weighted=True),
    request("loss and gradient", 90, "fp64", smoothed=True, capped=True, weighted=True),
    request("gradient", 90, "bf16", shifted=True),
    request("cluster", 90),
    request("cluster", 90, "fp32"),
    request("cluster", 100),
]
EXHAUSTIVE = [
    request(kernel, arch, dtype, smoothed=s, capped=c, weighted=w, shifted=u)
    for kernel, arch, dtype in itertools.product(KERNELS[:3], ARCHITECTURES, ELEMENT_SIZE)
    for s, c, w, u in itertools.product((False, True), repeat=4)
]
EXHAUSTIVE += [
    request("cluster", arch, dtype, vocab=vocab)
    for arch, dtype in itertools.product((90, 100), ("bf16", "fp16", "fp32"))
    for vocab in (16400, 32000, 50304, 128256, 152064, 196608, 262144)
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
    assert [fact for fact in usual if fact["local_bytes"] or fact["local_accesses"]] == []


def test_registers_stay_in_budget(usual: list[dict]) -> None:
    """128 by 512 threads fill a multiprocessor; float64, for tests, may take its two programs."""
    budget = {"fp64": 168}
    assert [fact for fact in usual if fact["registers"] > budget.get(fact["dtype"], 128)] == []


def test_statistics_leave_room_for_three_programs_on_hopper(usual: list[dict]) -> None:
    (fact,) = select(usual, "statistics", arch=90, dtype="bf16", shifted=False)
    assert fact["registers"] <= 65536 // (3 * 256) // 8 * 8


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
        (loop,) = (loop for loop in fact["loops"] if loop["exponentials"])
        # one more for the rescale of the whole tile
        assert loop["exponentials"] == fact["columns_per_thread"] + 1, fact


def test_a_cluster_reads_and_writes_each_logit_once(usual: list[dict]) -> None:
    for fact in select(usual, "cluster"):
        wide = fact["columns_per_thread"] * ELEMENT_SIZE[fact["dtype"]] // 16
        # the other half of the stores: zeros for an ignored row
        assert (fact["wide_loads"], fact["wide_stores"]) == (wide, 2 * wide), fact
        assert not any(loop["loads"] for loop in fact["loops"])


@pytest.mark.slow
def test_every_combination_compiles_without_spills() -> None:
    """Ten minutes and more. Float64, for tests, may take all the registers there are."""
    facts = [asked | fact for asked, fact in zip(EXHAUSTIVE, compile_all(EXHAUSTIVE), strict=True)]
    assert [fact for fact in facts if fact["local_bytes"] or fact["local_accesses"]] == []
    narrow = [fact for fact in facts if fact["dtype"] != "fp64"]
    assert [fact for fact in narrow if fact["registers"] > 168] == []


# What follows runs in the compiling process.


def signature(asked: dict) -> tuple:
    """The jitted function, the types of its arguments, its constants, its warps and programs."""
    from percbal_ops.kernels import cluster, cross_entropy, scalar_passes, two_pass

    dtype, kernel = asked["dtype"], asked["kernel"]
    size, smoothed = ELEMENT_SIZE[dtype], asked.get("smoothed", False)
    work = "*fp64" if dtype == "fp64" else "*fp32"
    shifted = asked.get("shifted", False)
    types = dict.fromkeys(("logits_ptr", "dlogits_ptr", "x_ptr"), f"*{dtype}")
    types |= {"target_ptr": "*i64", "n_elements": "i64", "n_rows": "i32"}
    types |= dict.fromkeys(("smoothing", "z_loss", "softcap"), "fp64")
    integers = "vocab row_stride target_stride row_weight_stride row_grad_stride ignore_index"
    types |= dict.fromkeys(integers.split(), "i32")
    if kernel == "weighted sum":
        return scalar_passes.weighted_sum_kernel, types, work, {"BLOCK": 1024}, 8, 1
    if kernel == "scale":
        return scalar_passes.scale_kernel, types, work, {"BLOCK": 4096}, 8, 1
    constants = {"SMOOTHED": smoothed, "CAPPED": asked.get("capped", False)}
    constants |= {"SHIFTED": shifted, "PACKED": True}
    if not asked.get("weighted", False):
        constants |= {"class_weight_ptr": None, "weight_sum_ptr": None}
    if kernel == "cluster":
        shape = cluster.cluster_shape(asked.get("vocab", VOCAB))
        constants |= {"FIRST": shape.first, "SECOND": shape.second}
        return cluster.cluster_kernel, types, work, constants, shape.warps, shape.programs
    if kernel == "gradient":
        block, warps = cross_entropy.tiling(VOCAB, size, False, False)
        return two_pass.gradient_kernel, types, work, constants | {"BLOCK": block}, warps, 1
    two = kernel == "loss and gradient"
    block, warps = cross_entropy.tiling(VOCAB, size, smoothed, two)
    absent = ("stats_ptr",) if two else ("row_weight_ptr", "dlogits_ptr")
    constants |= {"BLOCK": block} | dict.fromkeys(absent)
    return two_pass.loss_kernel, types, work, constants, warps, 1


def compiled(asked: dict) -> dict:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function, types, work, constants, warps, programs = signature(asked)
    names = function.arg_names
    constants = {name: value for name, value in constants.items() if name in names}
    arguments = {n: "constexpr" if n in constants else types.get(n, work) for n in names}
    aligned = [n for n, kind in arguments.items() if kind.startswith("*")]
    if not asked.get("shifted"):
        aligned += [n for n in ("vocab", "row_stride") if n in names]
    source = ASTSource(
        fn=function,
        signature=arguments,
        constexprs=constants,
        attrs={(names.index(n),): [["tt.divisibility", 16]] for n in aligned},
    )
    target = GPUTarget("cuda", asked["arch"], 32)
    options = {"num_warps": warps, "num_ctas": programs, "enable_fp_fusion": True}
    binary = triton.compile(source, target=target, options=options).asm["cubin"]
    columns = sum(constants.get(name, 0) for name in ("BLOCK", "FIRST", "SECOND"))
    return facts_of(binary) | {"columns_per_thread": columns // (32 * warps * programs)}


def facts_of(cubin: bytes) -> dict:
    import triton

    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage, code = (
            subprocess.run([tools / tool, *options, file.name], capture_output=True, text=True)
            for tool, options in (("cuobjdump", ["-res-usage"]), ("nvdisasm", []))
        )
    numbers = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", usage.stdout))
    lines = code.stdout.splitlines()
    return {
        "registers": int(numbers["REG"]),
        "local_bytes": int(numbers["STACK"]) + int(numbers["LOCAL"]),
        "local_accesses": sum(bool(re.search(r"\b(LDL|STL)\b", line)) for line in lines),
        "wide_loads": sum(bool(re.search(r"\bLDG\.E\S*\.128", line)) for line in lines),
        "wide_stores": sum(bool(re.search(r"\bSTG\.E\S*\.128", line)) for line in lines),
        "loops": [loop_facts(loop) for loop in loops(lines)],
    }


def loops(lines: list[str]) -> list[list[str]]:
    """The bodies of backward branches that hold no other loop."""
    labels, found = {}, []
    for number, line in enumerate(lines):
        if label := re.match(r"(\.L_\w+):", line):
            labels[label[1]] = number
        branch = re.search(r"\bBRA\b.*`\((\.L_\w+)\)", line)
        if branch and branch[1] in labels and number - labels[branch[1]] > 1:
            found.append(lines[labels[branch[1]] : number])
    return found


def loop_facts(body: list[str]) -> dict:
    def widths(instruction: str) -> list[str]:
        found = (re.search(rf"\b{instruction}\.E(\S*)", line) for line in body)
        return [(re.search(r"\d+", match[1]) or ["32"])[0] for match in found if match]

    return {
        "loads": widths("LDG"),
        "stores": widths("STG"),
        "exponentials": sum("MUFU.EX2" in line for line in body),
    }


if __name__ == "__main__":
    print(json.dumps([compiled(asked) for asked in json.load(sys.stdin)]))
