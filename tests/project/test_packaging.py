"""Building the package: with a compiler, without one, and the C++ core alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import percbal_ops

ROOT = Path(__file__).parents[2]
BUILT = sorted(Path(percbal_ops.__file__).parent.glob("*.so"))


def copy_of_the_sources(where: Path) -> Path:
    ignore = shutil.ignore_patterns("*.so", "__pycache__")
    for name in ("csrc", "percbal_ops", "python"):
        shutil.copytree(ROOT / name, where / name, ignore=ignore)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, where / name)
    return where


def test_without_a_working_compiler_the_install_goes_through_and_says_so(tmp_path):
    root = copy_of_the_sources(tmp_path)
    done = subprocess.run(
        [sys.executable, "setup.py", "editable_wheel", "--dist-dir", str(tmp_path / "dist")],
        cwd=root,
        env={**os.environ, "CXX": "/bin/false", "CC": "/bin/false"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "the C++ operators are OFF" in done.stdout
    assert list((tmp_path / "dist").glob("*.whl"))


def toolkit_of_setup(nvcc: Path, **variables: str) -> str:
    """CUDA_HOME as setup.py leaves it, with this nvcc first on the PATH."""
    code = (
        "import os, runpy, setuptools\n"
        "setuptools.setup = lambda **_: None\n"
        "runpy.run_path('setup.py')\n"
        "print(os.environ.get('CUDA_HOME'))"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("CUDA_")}
    env |= {"PATH": f"{nvcc.parent}{os.pathsep}{env['PATH']}", **variables}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def script(path: Path, line: str) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path


def test_the_toolkit_is_that_of_the_compiler_and_not_of_a_script_that_calls_it(tmp_path):
    toolkit = tmp_path / "cuda"
    (toolkit / "lib64").mkdir(parents=True)
    (toolkit / "lib64" / "libcudart.so").touch()
    real = script(toolkit / "bin" / "nvcc", f"echo '#$ TOP={toolkit}/bin/..' >&2")
    wrapper = script(tmp_path / "bin" / "nvcc", f'exec {real} "$@"')
    assert toolkit_of_setup(wrapper) == str(toolkit)
    assert toolkit_of_setup(real) == str(toolkit)
    assert toolkit_of_setup(wrapper, CUDA_HOME="/chosen") == "/chosen"


def test_a_compiler_of_another_machine_does_not_stop_the_install(tmp_path):
    nvcc = script(tmp_path / "bin" / "nvcc", "")
    nvcc.write_bytes(b"\x7fELF of another machine")
    assert toolkit_of_setup(nvcc) == "None"


@pytest.mark.skipif(not BUILT, reason="the C++ operators are not built")
def test_the_tensor_library_binds_to_the_stable_interface_alone():
    library = next(path for path in BUILT if path.name.startswith("_C"))
    symbols = subprocess.run(
        ["nm", "-D", "--undefined-only", "-C", library], capture_output=True, text=True, check=True
    ).stdout
    assert "aoti_torch" in symbols
    assert not [s for s in symbols.splitlines() if " at::" in s or " c10::" in s]


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_the_core_builds_without_torch_and_passes_its_own_tests(tmp_path):
    for command in (
        ["cmake", "-S", str(ROOT), "-B", str(tmp_path), "-DCMAKE_BUILD_TYPE=Release"],
        ["cmake", "--build", str(tmp_path), "-j", "2"],
        ["ctest", "--test-dir", str(tmp_path), "--output-on-failure"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "100% tests passed" in done.stdout
