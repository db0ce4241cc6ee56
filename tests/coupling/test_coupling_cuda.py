"""The CUDA kernels of coupling and agreement link: no GPU and no CUDA build of torch is needed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow  # nvcc takes 20 seconds or more

CSRC = Path(__file__).parents[2] / "csrc"
TORCH = Path(torch.__file__).parent
NVCC, GXX, NM = shutil.which("nvcc"), shutil.which("g++"), shutil.which("nm")
# what may be left to other libraries: CUDA's runtime, torch's stable C interface, C and C++
ALLOWED = re.compile(
    r"_*cuda\w+|aoti_torch_\w+|torch_\w+|_ITM_\w+|__gmon_start__"
    r"|.*@(GLIBC|GLIBCXX|CXXABI|GCC)_.*|_ZN?[KRO]*St\w+"  # the last: of std::, without its version
)


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if None in (NVCC, GXX, NM):
        pytest.skip("needs nvcc, g++ and nm")
    folder = tmp_path_factory.mktemp("link")
    objects = [folder / f"{name}.o" for name in ("coupling", "agreement", "binding")]
    for name, out in zip(("coupling", "agreement"), objects, strict=False):
        flags = ("-std=c++20", "-Xptxas=-O0", "-arch=sm_90a", "-Xcompiler=-fPIC", f"-I{CSRC}")
        run(NVCC, *flags, "-c", CSRC / "cuda" / f"{name}.cu", "-o", out)
    flags = (
        "-std=c++20",
        "-fPIC",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-psabi",
        "-fvisibility=hidden",
    )
    defines = ("-DUSE_CUDA", "-DTORCH_TARGET_VERSION=0x020A000000000000")
    headers = (f"-I{CSRC}", "-isystem", TORCH / "include")
    binding = CSRC / "cuda" / "coupling_binding.cpp"
    run(GXX, *flags, *defines, *headers, "-c", binding, "-o", objects[2])
    out = folder / "coupling_cuda.so"
    libraries = (f"-L{TORCH / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10")
    run(NVCC, "-shared", "-cudart=shared", *objects, *libraries, "-o", out)
    return out


def test_nothing_is_left_to_link_but_the_runtime_and_the_stable_abi(library: Path) -> None:
    lines = run(NM, "-D", "--undefined-only", library).splitlines()
    symbols = [line.split()[-1] for line in lines]
    assert any("cudaLaunchKernel" in s for s in symbols)
    assert [s for s in symbols if not ALLOWED.fullmatch(re.sub(r"@libcudart.*", "", s))] == []


def test_every_cuda_operator_registers(library: Path) -> None:
    """In a process of its own, so that no other test sees kernels that were not installed."""
    code = f"""
import ctypes, os, percbal_ops, torch
ctypes.CDLL({str(library)!r}, mode=os.RTLD_LAZY)
has = torch._C._dispatch_has_kernel_for_dispatch_key
for name in ("coupling_stats", "group_coupling", "group_advantage", "group_agreement"):
    assert has("percbal::" + name, "CUDA"), name
"""
    run(sys.executable, "-c", code)
