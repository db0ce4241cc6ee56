"""CUDA sources compiled as plain C++ and run on the CPU, through the headers of cuda_emulation/."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]
SHIMS = Path(__file__).parent / "cuda_emulation"
Schedules = Sequence[int]  # enum Schedule
SCHEDULES: Schedules = (0, 1, 2)
ONE_SCHEDULE: Schedules = (0,)  # for what takes seconds
GUARD = 64  # elements on either side of an output
UNWRITTEN = -77  # no count, and no similarity

Input = Tensor | ctypes.Structure | int | float | None


def plain(source: str) -> str:
    """Shared variables get their places in the block's memory, launches become function calls."""
    source = re.sub(
        r"extern __shared__ [^;]*\bmemory\[\];",
        "unsigned char* memory = emulation::dynamic_shared();",
        source,
    )
    source = re.sub(
        r"__shared__ ([\w ]+) (\w+)((?:\[\w+\])*);",
        r"static const int \2_at = emulation::reserve(sizeof(\1\3));"
        r" auto& \2 = emulation::shared<\1\3>(\2_at);",
        source,
    )
    return re.sub(
        r"(\w+)<<<(.*?)>>>\((.*?)\);",
        r"emulation::launch(\2, [&] { \1(\3); });",
        source,
        flags=re.DOTALL,
    )


class Emulated:
    """The C functions of one cuda_emulation/run_*.cpp."""

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))

    def number(self, name: str, *inputs: int) -> int:
        function = self.library[name]
        function.restype = ctypes.c_int64
        return function(*map(_argument, inputs))

    def run(
        self,
        name: str,
        *inputs: Input,
        outputs: Sequence[tuple[tuple[int, ...], torch.dtype]],
        schedules: Schedules = SCHEDULES,
    ) -> list[Tensor]:
        """Calls ``name(inputs..., outputs...)`` once for each order in which threads may run.

        Returns the outputs, which must not depend on that order, nor reach beyond their ends.
        """
        function = self.library[name]
        function.restype = ctypes.c_char_p
        results = []
        for schedule in schedules:
            self.library.set_schedule(_argument(schedule))
            rooms = [
                torch.full((torch.Size(shape).numel() + 2 * GUARD,), UNWRITTEN, dtype=dtype)
                for shape, dtype in outputs
            ]
            inside = [room[GUARD:-GUARD] for room in rooms]
            problem = function(*map(_argument, (*inputs, *inside)))
            assert problem is None, problem.decode()
            for room in rooms:
                edges = torch.cat([room[:GUARD], room[-GUARD:]])
                assert (edges == UNWRITTEN).all(), f"{name} wrote beyond an output"
            results.append(inside)
        for other in results[1:]:
            for a, b in zip(results[0], other, strict=True):
                assert torch.equal(a.view(torch.uint8), b.view(torch.uint8)), (
                    f"{name} depends on which thread goes first"
                )
        return [r.view(shape) for r, (shape, _) in zip(results[0], outputs, strict=True)]


def _argument(value: Input) -> object:
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, ctypes.Structure):
        return ctypes.byref(value)
    if isinstance(value, int):
        return ctypes.c_int64(value)
    return ctypes.c_double(value) if isinstance(value, float) else ctypes.c_void_p(None)


def build(source: Path, factory: pytest.TempPathFactory) -> Emulated:
    """The functions of run_<name>.cpp, compiled around the source of that name."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    name = source.stem
    folder = factory.mktemp(name)
    rewritten, library = folder / f"{name}.cpp", folder / f"{name}.so"
    rewritten.write_text(plain(source.read_text()))
    # sums of products are fused where the machine can, as nvcc has it; a fortified longjmp refuses
    # to go from one stack to another
    flags = ["-std=c++20", "-O1", "-march=native", "-ffp-contract=fast", "-U_FORTIFY_SOURCE"]
    flags += ["-shared", "-fPIC", f'-DEMULATED_SOURCE="{rewritten}"']
    include = [f"-I{SHIMS}", f"-I{ROOT / 'csrc'}"]  # in this order: a shim hides its original
    files: list[str | Path] = [SHIMS / f"run_{name}.cpp", "-o", library]
    done = subprocess.run([compiler, *flags, *include, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return Emulated(library)


def build_kernels(name: str, factory: pytest.TempPathFactory) -> Emulated:
    """csrc/cuda/<name>.cu."""
    return build(ROOT / "csrc" / "cuda" / f"{name}.cu", factory)
