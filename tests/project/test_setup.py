"""What `make` installs and how it builds: the versions of torch, and what compilers are told."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).parents[2]
BOUND = runpy.run_path(str(ROOT / ".ci" / "torch_bound.py"))


def test_the_bound_takes_its_first_version_and_no_version_from_its_end_on():
    inside = BOUND["inside"]
    low, high = re.findall(r"\d+\.\d+", BOUND["BOUND"])
    assert inside(f"{low}.0") and inside(f"{low}.1+cu130")
    assert not inside(f"{high}.0") and not inside(f"{high}.0a0+git1234") and not inside("1.99.0")


def test_the_readme_names_the_versions_of_the_bound():
    low, high = re.findall(r"(\d+\.\d+)", BOUND["BOUND"])
    major, minor = high.split(".")
    assert f"torch ({low} to {major}.{int(minor) - 1}," in (ROOT / "README.md").read_text()


def test_torch_to_build_with_has_the_same_lower_bound():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert BOUND["BOUND"].split(",")[0] in build


def flags(monkeypatch, gil_disabled: int) -> list[list[str]]:
    """What setup.py passes to the compilers of `_C`."""
    made = {}
    variables = sysconfig.get_config_vars() | {"Py_GIL_DISABLED": gil_disabled}
    monkeypatch.setattr(sysconfig, "get_config_var", variables.get)
    monkeypatch.setattr(setuptools, "setup", made.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    (operators,) = (e for e in made["ext_modules"] if e.name == "percbal_ops._C")
    assert operators.py_limited_api is (not gil_disabled)
    return list(operators.extra_compile_args.values())


@pytest.mark.parametrize("gil_disabled", [0, 1])
def test_free_threaded_python_is_built_for_without_its_limited_api(gil_disabled, monkeypatch):
    """Its Python.h refuses the two together."""
    for passed in flags(monkeypatch, gil_disabled):
        limited = any(flag.startswith("-DPy_LIMITED_API") for flag in passed)
        assert limited is (not gil_disabled)


def test_the_stable_abi_is_that_of_the_oldest_torch(monkeypatch):
    """A byte for the major version, one for the minor: 2.11 is 0x020B."""
    major, minor = re.match(r"torch>=(\d+)\.(\d+)", BOUND["BOUND"]).groups()
    version = (int(major) << 56) + (int(minor) << 48)
    for passed in flags(monkeypatch, 0):
        (named,) = (flag for flag in passed if flag.startswith("-DTORCH_TARGET_VERSION="))
        assert int(named.partition("=")[2], 16) == version


def installed(tmp_path: Path, path: str, **variables: str) -> tuple[str, list[str]]:
    """What .ci/setup.sh says of a torch that is missing, and what it has pip install, in order. A
    script stands in for Python: it has no torch, and prints what it is called with."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f"""#!/bin/sh
case "$*" in
  *--here) exit 1 ;;
  .ci/torch_bound.py) echo '{BOUND["BOUND"]}' ;;
  *) echo "$@" ;;
esac
""")
    python.chmod(0o755)
    env = {name: value for name, value in os.environ.items() if name != "TORCH"}
    env |= {"PYTHON": str(python), "VENV": str(tmp_path), "PATH": path, **variables}
    done = subprocess.run(
        ["bash", ROOT / ".ci" / "setup.sh"], env=env, capture_output=True, text=True, check=True
    )
    said = next(line for line in done.stdout.splitlines() if "percbal: installing" in line)
    return said, re.findall(r"^-m pip install --quiet (.+)$", done.stdout, re.MULTILINE)


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine has a GPU driver")
def test_without_a_gpu_one_version_is_installed_that_an_index_may_have_for_the_cpu(tmp_path):
    said, packages = installed(tmp_path, os.environ["PATH"])
    version = packages[0].removeprefix("torch==")
    assert BOUND["inside"](version)
    assert f"installing torch=={version};" in said and "gigabytes" in said


def test_with_a_gpu_the_newest_of_the_bound_is_installed(tmp_path):
    driver = tmp_path / "driver" / "nvidia-smi"
    driver.parent.mkdir()
    driver.write_text("#!/bin/sh\n")
    driver.chmod(0o755)
    said, packages = installed(tmp_path, f"{driver.parent}{os.pathsep}{os.environ['PATH']}")
    assert packages[0] == BOUND["BOUND"]
    assert f"installing {BOUND['BOUND']};" in said


def test_the_torch_that_is_asked_for_is_installed(tmp_path):
    said, packages = installed(tmp_path, os.environ["PATH"], TORCH="torch==2.12.0")
    assert packages[0] == "torch==2.12.0"
    assert "installing torch==2.12.0;" in said


def test_torchvision_is_that_of_the_torch():
    """As their releases say: torchvision 0.26.0 needs torch 2.11.0, and 0.28.0 torch 2.13.0."""
    assert BOUND["torchvision_of"]("2.11.0+cu130") == "torchvision==0.26.0"
    assert BOUND["torchvision_of"]("2.13.0+cpu") == "torchvision==0.28.0"


def test_without_a_torchvision_the_other_needs_are_installed():
    """torch 2.15 came out before the torchvision that goes with it."""
    needs = BOUND["needs"]()
    assert {"trl>=1.16,<2", "peft>=0.21", "pytest", "ruff", "numpy"} <= set(needs)
    assert not any(need.startswith(("torch>", "torchvision", "percbal")) for need in needs)
