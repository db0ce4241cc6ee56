"""Which tests run where a package is missing."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITHOUT_TRL = """
import sys

class Missing:
    def find_spec(name, *_):
        if name == "trl":
            raise ModuleNotFoundError("No module named 'trl'", name=name)

sys.meta_path.insert(0, Missing)
"""


def outcome(folder: Path, files: dict[str, str], ci: bool = False) -> str:
    """What pytest says of test files beside our conftest.py where trl is not installed."""
    ours = (ROOT / "tests" / "conftest.py").read_text()
    (folder / "conftest.py").write_text(ours + WITHOUT_TRL)
    for name, source in files.items():
        (folder / f"test_{name}.py").write_text(source)
    env = {name: value for name, value in os.environ.items() if name != "CI"}
    env |= {"CI": "1"} if ci else {}
    command = [sys.executable, "-m", "pytest", "-rs", "--continue-on-collection-errors"]
    command += ["-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    return done.stdout


NEEDS_TRL = {
    "file": "from trl.trainer import grpo_trainer\ndef test_it(): pass",
    "sentence": "try: import trl\nexcept ImportError as e: raise ImportError('sentence') from e",
    "call": "def test_it(): import trl",
    "fixture": (
        "import pytest\n@pytest.fixture\ndef made(): import trl.trainer\ndef test_it(made): pass"
    ),
    "nothing": "def test_it(): pass",
}


def test_a_missing_optional_package_is_a_skip_with_its_reason(tmp_path: Path) -> None:
    said = outcome(tmp_path, NEEDS_TRL)
    assert re.search(r"\b1 passed, 4 skipped in", said), said
    assert len(re.findall(r"SKIPPED .*: needs trl, which is not installed", said)) == 4


def test_in_continuous_integration_it_is_an_error(tmp_path: Path) -> None:
    said = outcome(tmp_path, NEEDS_TRL, ci=True)
    assert re.search(r"\b1 failed, 1 passed, 3 errors in", said), said


def test_other_failures_to_import_stay_errors(tmp_path: Path) -> None:
    wrong = {
        "module": "import percbal.no_such_module",
        "package": "import percball",
        "name": "from percbal_ops import no_such_name",
        "helper": "import no_such_fixtures",
        "installed": "from pytest import no_such_name",
        "handler": "try: import trl\nexcept ImportError: import percbal.no_such_module",
        "call": "def test_it(): from percbal_ops import no_such_name",
    }
    said = outcome(tmp_path, wrong)
    assert re.search(r"\b1 failed, 6 errors in", said), said


def test_every_optional_package_that_tests_import_is_known() -> None:
    tomllib = pytest.importorskip("tomllib")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = extras["optional-dependencies"]
    lines = [line for extra, lines in extras.items() if extra != "dev" for line in lines]
    names = {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in lines}
    names -= {"percbal", "pytest", "pytest_xdist", "pillow", "pyyaml"}
    known = set(runpy.run_path(str(ROOT / "tests" / "conftest.py"))["OPTIONAL"])
    assert names | {"PIL", "yaml"} <= known
