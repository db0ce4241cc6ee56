"""Building the package: its sdist and wheel, without a compiler, and the C++ core alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import percbal_ops

ROOT = Path(__file__).parents[2]
BUILT = sorted(Path(percbal_ops.__file__).parent.glob("*.so"))


def copy_of_the_sources(where: Path) -> Path:
    ignore = shutil.ignore_patterns("*.so", "__pycache__")
    for name in ("csrc", "percbal_ops", "python"):
        shutil.copytree(ROOT / name, where / name, ignore=ignore)
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, where / path.name)
    return where


def run(*command: str, cwd: Path, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def read_by_the_build() -> set[str]:
    """The sources and, from them, every file of ours that one of them includes."""
    lines = (ROOT / "csrc" / "sources.txt").read_text().splitlines()
    todo = [line.split()[1] for line in lines if line.strip()]
    found = set()
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            text = (ROOT / "csrc" / path).read_text()
            todo += re.findall(r'^ *# *include +"(.+)"', text, re.MULTILINE)
    return {f"csrc/{path}" for path in found} | {"csrc/sources.txt"}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """The sdist, unpacked."""
    root = copy_of_the_sources(tmp_path_factory.mktemp("tree"))
    run("setup.py", "-q", "sdist", cwd=root)
    (packed,) = (root / "dist").glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(root / "unpacked", filter="data")
    return next((root / "unpacked").iterdir())


def test_the_sdist_has_every_file_that_the_build_reads(sdist):
    wanted = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("percbal_ops/**/*.py")}
    wanted |= {path.relative_to(ROOT).as_posix() for path in ROOT.glob("python/**/*.py")}
    wanted |= {path.relative_to(ROOT).as_posix() for path in ROOT.glob("python/**/templates/*")}
    wanted |= {"setup.py", "pyproject.toml", "LICENSE", "README.md", "percbal_ops/py.typed"}
    wanted |= read_by_the_build()
    assert {"csrc/checks.h", "csrc/cuda/row.cuh", "csrc/cuda/coupling.cu"} <= wanted
    have = {path.relative_to(sdist).as_posix() for path in sdist.rglob("*") if path.is_file()}
    assert not wanted - have
    assert not [path for path in have if path.endswith((".so", ".pyc"))]


def sections(library: Path) -> str:
    return subprocess.run(
        ["readelf", "-SW", library], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_the_sdist_builds_a_small_wheel_for_this_python_alone(sdist, tmp_path):
    """`_C` would run on later Pythons, `_text` does not: the tag is that of the stricter one."""
    build = ("-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", ".")
    run(*build, "-w", str(tmp_path), cwd=sdist, PERCBAL_CUDA="0")
    (wheel,) = tmp_path.glob("*.whl")
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert f"-{python}-{python}-" in wheel.name
    assert wheel.stat().st_size < 2_500_000
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    assert (tmp_path / "percbal" / "report" / "templates" / "page.css").is_file()
    libraries = sorted((tmp_path / "percbal_ops").glob("*.so"))
    assert [path.name.split(".")[0] for path in libraries] == ["_C", "_text"]
    assert libraries[0].name == "_C.abi3.so"
    assert not [path for path in libraries if ".debug" in sections(path)]


@pytest.mark.skipif(
    not BUILT or sys.platform != "linux", reason="the C++ operators are not built for Linux"
)
def test_the_libraries_carry_no_debug_information():
    assert not [path.name for path in BUILT if re.search(r"\.debug|\.symtab", sections(path))]


def test_an_old_setuptools_is_refused_in_one_sentence():
    code = "import runpy, setuptools\nsetuptools.__version__ = '76.1.0'\nrunpy.run_path('setup.py')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "percbal needs setuptools 77 or newer to be built, and this is 76.1.0: "
        "pip install 'setuptools>=77'\n"
    )


def test_without_a_working_compiler_the_install_goes_through_and_says_so(tmp_path):
    root = copy_of_the_sources(tmp_path)
    command = ("setup.py", "editable_wheel", "--dist-dir", str(tmp_path / "dist"))
    said = run(*command, cwd=root, CXX="/bin/false", CC="/bin/false")
    assert "the C++ operators are OFF" in said
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


@pytest.mark.slow  # a minute of compiling; `make sanitize` does it under sanitizers
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
