"""The CUDA C++ compiles, and its machine code for Hopper holds facts; no GPU is needed."""

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.cpp_extension import COMMON_NVCC_FLAGS

import percbal_ops  # noqa: F401  registers the operators that the marks below look for

ROOT = Path(__file__).parents[2]
CUDA = ROOT / "csrc" / "cuda"
SOURCES = [line.split() for line in (ROOT / "csrc" / "sources.txt").read_text().splitlines()]
NVCC = shutil.which("nvcc")
needs_nvcc = pytest.mark.skipif(NVCC is None, reason="nvcc, the CUDA compiler, is not installed")


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


KERNELS = {"cross_entropy": 3, "coupling": 7, "agreement": 1}  # with one for each dtype
Compile = Callable[[str, str], tuple[str, Path]]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """What ptxas says of a source for an architecture, and the object file."""
    folder = tmp_path_factory.mktemp("cuda")

    @functools.cache
    def compile_source(source: str, arch: str) -> tuple[str, Path]:
        out = folder / f"{source}_{arch}.o"
        flags = (f"-arch={arch}", "-std=c++20", "-O3", f"-I{ROOT / 'csrc'}", "-Xptxas=-v")
        flags += tuple(COMMON_NVCC_FLAGS)  # as setup.py's build has them
        return run(NVCC, *flags, "-c", CUDA / f"{source}.cu", "-o", out), out

    return compile_source


@needs_nvcc
@pytest.mark.parametrize("source", KERNELS)
def test_kernels_fit_three_blocks_on_a_multiprocessor_without_spills(
    compiled: Compile, source: str
) -> None:
    """All kernels run in blocks of 256 threads."""
    said = compiled(source, "sm_90a")[0]
    registers = [int(found) for found in re.findall(r"Used (\d+) registers", said)]
    spills = re.findall(r"(\d+) bytes spill", said)
    assert len(registers) == KERNELS[source], said
    assert max(registers) <= 65536 // (3 * 256) // 8 * 8
    assert spills and set(spills) == {"0"}


@pytest.mark.slow  # half a minute of nvcc
@needs_nvcc
@pytest.mark.parametrize("source", KERNELS)
def test_sources_compile_for_gpus_before_hopper(compiled: Compile, source: str) -> None:
    """The cluster kernel is empty there and never launched; the others do their work."""
    said = compiled(source, "sm_80")[0]
    assert len(re.findall(r"Used \d+ registers", said)) == KERNELS[source], said
    assert set(re.findall(r"(\d+) bytes spill", said)) == {"0"}


@needs_nvcc
def test_rows_travel_by_bulk_copies(compiled: Compile) -> None:
    """One bulk copy in and one out per chunk; shared memory 128 bits at a time."""
    disassembler = shutil.which("cuobjdump") or Path(NVCC).with_name("cuobjdump")
    if not Path(disassembler).exists():
        import triton

        folder = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
        disassembler = folder / "cuobjdump"
    code = run(disassembler, "-sass", compiled("cross_entropy", "sm_90a")[1])
    kernels = code.split("Function : ")[1:]
    assert len(kernels) == 3
    for kernel in kernels:
        assert len(re.findall(r"\bUBLKCP\.S\.G\b", kernel)) == 1
        assert len(re.findall(r"\bUBLKCP\.G\.S\b", kernel)) == 1
        assert re.search(r"\bLDS\.128\b", kernel) and re.search(r"\bSTS\.128\b", kernel)
        assert not re.search(r"\b(LDL|STL)\b", kernel)


@pytest.mark.parametrize("source", ["binding", "coupling_binding"])
def test_bindings_compile_against_the_stable_abi(source: str) -> None:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler is installed")
    include = Path(torch.__file__).parent / "include"
    flags = ["-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden"]
    flags += ["-DUSE_CUDA", "-DTORCH_TARGET_VERSION=0x020B000000000000"]
    paths = (f"-I{ROOT / 'csrc'}", "-isystem", include)
    run(compiler, *flags, *paths, CUDA / f"{source}.cpp")


@pytest.mark.skipif(
    not (
        hasattr(torch.ops.percbal_cuda, "weighted_cross_entropy_out")
        and torch.cuda.is_available()
        and torch.cuda.get_device_capability()[0] == 9
    ),
    reason="needs a Hopper GPU and the CUDA C++ kernels built",
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("vocab", [8200, 16392, 50264, 152064])
@pytest.mark.parametrize("z_loss", [0.0, 1e-3])
def test_kernel_agrees_with_triton_on_hopper(dtype: torch.dtype, vocab: int, z_loss: float) -> None:
    from percbal_ops.losses.triton import hopper, launch

    torch.manual_seed(0)
    logits = (torch.randn(5, vocab + 8, device="cuda") * 3).to(dtype)[:, :vocab]
    logits[1, : vocab // 2] = -torch.inf
    logits[2, 100] = 40.0
    target = torch.tensor([vocab - 1, vocab - 2, 100, -100, vocab], device="cuda")
    weight = torch.rand(vocab, device="cuda")
    row_weight = torch.randn(1, device="cuda").expand(5)
    call = (logits, target, row_weight, weight, -100, 0.0, z_loss, 0.0, True)
    ours, expected = (module.weighted_cross_entropy(*call) for module in (hopper, launch))
    # Row 2 is almost certain: its loss is exp(-lead), and a lead of about 25 is rounded to float32
    # three times on its way into exp2, which makes 4e-6 in each kernel. A z-loss hides that.
    # The squared norm has twice the relative error of what it squares.
    digits = 4e-6 if z_loss else 8e-6
    for got, wanted, rtol in zip(ours[1:3], expected[1:3], (digits, 2 * digits), strict=True):
        torch.testing.assert_close(got, wanted, rtol=rtol, atol=0, equal_nan=True)
    rtol = max(2 * torch.finfo(dtype).eps, 4e-6)  # a probability is such an exponential too
    torch.testing.assert_close(ours[3], expected[3], rtol=rtol, atol=1e-9, equal_nan=True)
    over = logits.clone(memory_format=torch.contiguous_format)
    sums = hopper.weighted_cross_entropy_(over, *call[1:-1])
    torch.testing.assert_close((*sums, over), ours[1:], rtol=0, atol=0, equal_nan=True)


def test_the_test_on_hopper_is_not_skipped_where_this_file_runs_alone(tmp_path: Path) -> None:
    """Its condition asks for an operator that nothing but an import of percbal_ops registers."""
    (tmp_path / "percbal_ops.py").write_text(
        "import torch\n"
        "library = torch.library.Library('percbal_cuda', 'DEF')\n"
        "library.define('weighted_cross_entropy_out() -> ()')\n"
    )
    code = (
        "import torch\n"
        "torch.cuda.is_available = lambda: True\n"
        "torch.cuda.get_device_capability = lambda: (9, 0)\n"
        "from test_cuda_sources import test_kernel_agrees_with_triton_on_hopper as test\n"
        "print(*(mark.args for mark in test.pytestmark if mark.name == 'skipif'))"
    )
    path = os.pathsep.join((str(tmp_path), str(ROOT / "tests" / "cuda")))
    env = os.environ | {"PYTHONPATH": path}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout == "(False,)\n", done.stderr


def test_every_source_is_listed() -> None:
    listed = {path for group, path in filter(None, SOURCES) if group == "cuda"}
    present = {f"cuda/{path.name}" for path in CUDA.iterdir() if path.suffix in (".cu", ".cpp")}
    assert listed == present


def test_unbuilt_backend_is_refused_in_a_sentence() -> None:
    if hasattr(torch.ops.percbal_cuda, "weighted_cross_entropy_out"):
        pytest.skip("the CUDA C++ kernels are built")
    code = "import percbal_ops\nwith percbal_ops.use_cuda_backend('cuda'): pass"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode != 0
    assert "'cuda' is not built: it needs nvcc and a CUDA build of torch" in done.stderr
