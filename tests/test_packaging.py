"""Building the package: with a compiler, without one, and the C++ core alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import percbal_ops

ROOT = Path(__file__).parent.parent
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
