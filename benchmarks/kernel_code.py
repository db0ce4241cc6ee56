"""Every Triton kernel compiled ahead of time, and facts about its machine code: no GPU is needed.

    python benchmarks/kernel_code.py      # every combination -> results/kernel_code.csv

The compilation runs in processes of its own, where TRITON_INTERPRET is not set; on two cores it
takes some six minutes. tests/losses/test_triton_aot.py asserts what the table shows.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
ARCHITECTURES = (80, 90, 100)
ELEMENT_SIZE = {"bf16": 2, "fp16": 2, "fp32": 4, "fp64": 8}
ROW_KERNELS = ("statistics", "loss and gradient", "gradient")
LOGPROB_KERNELS = ("log-probability", "its gradient")
SMALL_KERNELS = ("weighted sum", "scale", "split into segments", "segment results")
KERNELS = (*ROW_KERNELS, *LOGPROB_KERNELS, *SMALL_KERNELS)
FLAGS = ("smoothed", "capped", "weighted", "shifted")
FACTS = ("registers", "local_bytes", "local_in_loops", "wide_loads", "wide_stores")


def request(kernel: str, arch: int, dtype: str = "bf16", **flags: int) -> dict:
    return {"kernel": kernel, "arch": arch, "dtype": dtype, **flags}


def every_request() -> list[dict]:
    """All that differ in code: without smoothing the gradient knows no class weights."""
    return [
        request(kernel, arch, dtype, **dict(zip(FLAGS, flags, strict=True)))
        for kernel, arch, dtype in itertools.product(
            ROW_KERNELS + LOGPROB_KERNELS, ARCHITECTURES, ELEMENT_SIZE
        )
        for flags in itertools.product((False, True), repeat=len(FLAGS))
        if (kernel != "gradient" or flags[0] or not flags[2])
        and (kernel not in LOGPROB_KERNELS or not (flags[0] or flags[2]))
    ]


def compile_all(requests: list[dict]) -> list[dict]:
    """Facts about each request, from one process per core that may compile."""
    workers = min(os.cpu_count() or 1, 1 + len(requests) // 50)
    parts = [requests[k::workers] for k in range(workers)]
    facts: list[dict] = [{}] * len(requests)
    with ThreadPoolExecutor(workers) as pool:
        for k, part in enumerate(pool.map(_compile_elsewhere, parts)):
            facts[k::workers] = part
    return facts


def _compile_elsewhere(requests: list[dict]) -> list[dict]:
    env = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, __file__, "--compile"],
        input=json.dumps(requests),
        env=env | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the compilation failed: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def write_csv(facts: list[dict]) -> Path:
    """One line per request; the versions are those the kernels were compiled with."""
    import triton

    path = RESULTS / "kernel_code.csv"
    names = ("kernel", "arch", "dtype", *FLAGS, *FACTS)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "triton"])
        for fact in facts:
            values = (fact.get(name, 0) for name in names)
            writer.writerow(
                [int(v) if isinstance(v, bool) else v for v in values] + [triton.__version__]
            )
    return path


# What follows runs in the compiling processes.


def signature(asked: dict) -> tuple:
    """The jitted function, the types of its arguments, its constants and its warps."""
    from percbal_ops.linear.triton import logprob_kernels
    from percbal_ops.losses.triton import launch, scalar_passes, segment_kernels, two_pass

    dtype, kernel = asked["dtype"], asked["kernel"]
    size, smoothed = ELEMENT_SIZE[dtype], asked.get("smoothed", False)
    work = "*fp64" if dtype == "fp64" else "*fp32"
    shifted = asked.get("shifted", False)
    types = dict.fromkeys(("logits_ptr", "dlogits_ptr", "x_ptr"), f"*{dtype}")
    types |= {"target_ptr": "*i64", "n_elements": "i64", "n_rows": "i32"}
    types |= dict.fromkeys(("smoothing", "z_loss", "softcap", "temperature"), "fp64")
    integers = "vocab row_stride target_stride row_weight_stride row_grad_stride ignore_index"
    integers += " ids_stride segments"
    types |= dict.fromkeys(integers.split(), "i32")
    if kernel == "weighted sum":
        return scalar_passes.weighted_sum_kernel, types, work, {"BLOCK": 1024}, 8
    if kernel == "scale":
        constants = {"BLOCK": launch.SCALE_BLOCK}
        return scalar_passes.scale_kernel, types, work, constants, launch.SCALE_WARPS
    if kernel in SMALL_KERNELS:
        names = "ids_ptr", "count_ptr", "masked_target_ptr", "masked_ids_ptr"
        types |= dict.fromkeys(names, "*i64") | {"inverse_ptr": "*fp64"}
        constants = {"SEGMENTS": 2, "BLOCK": 2048, "given_ptr": None}
        split = kernel == "split into segments"
        function = segment_kernels.split_kernel if split else segment_kernels.results_kernel
        return function, types, work, constants, 8
    constants = {"SMOOTHED": smoothed, "CAPPED": asked.get("capped", False)}
    constants |= {"SHIFTED": shifted, "PACKED": True}
    if not asked.get("weighted", False):
        constants |= {"class_weight_ptr": None, "weight_sum_ptr": None}
    if kernel == "gradient":
        block, warps = launch.tiling(size, size == 8)
        return two_pass.gradient_kernel, types, work, constants | {"BLOCK": block}, warps
    if kernel in LOGPROB_KERNELS:
        block, warps = launch.tiling(size, constants["CAPPED"])
        first = kernel == LOGPROB_KERNELS[0]
        function = (
            logprob_kernels.logprob_kernel if first else logprob_kernels.logprob_gradient_kernel
        )
        return function, types, work, constants | {"BLOCK": block}, warps
    two = kernel == "loss and gradient"
    heavy = smoothed or constants["CAPPED"]
    block, warps = launch.tiling(size, heavy)
    absent = ("stats_ptr",) if two else ("row_weight_ptr", "dlogits_ptr")
    constants |= {"BLOCK": block} | dict.fromkeys(absent)
    return two_pass.loss_kernel, types, work, constants, warps


def compiled(asked: dict) -> dict:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function, types, work, constants, warps = signature(asked)
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
    options = {"num_warps": warps, "enable_fp_fusion": True}
    binary = triton.compile(source, target=target, options=options).asm["cubin"]
    return facts_of(binary) | {"columns_per_thread": constants["BLOCK"] // (32 * warps)}


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
        "local_accesses": local_accesses(lines),
        "local_in_loops": sum(local_accesses(loop) for loop in loops(lines)),
        "wide_loads": sum(bool(re.search(r"\bLDG\.E\S*\.128", line)) for line in lines),
        "wide_stores": sum(bool(re.search(r"\bSTG\.E\S*\.128", line)) for line in lines),
        "loops": [loop_facts(loop) for loop in loops(lines)],
    }


def local_accesses(lines: list[str]) -> int:
    return sum(bool(re.search(r"\b(LDL|STL)\b", line)) for line in lines)


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


def main() -> None:
    if sys.argv[1:] == ["--compile"]:
        print(json.dumps([compiled(asked) for asked in json.load(sys.stdin)]))
        return
    requests = every_request()
    facts = [asked | fact for asked, fact in zip(requests, compile_all(requests), strict=True)]
    print(f"{len(facts)} kernels written to {write_csv(facts)}")


if __name__ == "__main__":
    main()
