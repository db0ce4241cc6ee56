"""Follows a walk-through of a page of docs/ on a copy of the repository, word for word."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(python|diff|yaml|bash)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def follow(
    heading: str, root: Path, page: str = "extend.md", changes: Mapping[str, str] | None = None
) -> None:
    """Do what the section says, in its order: write files, change files, run commands.

    changes: words of the section -> what stands in their place, for a shorter run.
    """
    copy_repository(root)
    told = section(heading, page)
    for before, after in (changes or {}).items():
        told = told.replace(before, after)
    for language, text in BLOCK.findall(told):
        if language == "bash":
            run(text, root)
            continue
        first, _, body = text.partition("\n")
        path = root / first.removeprefix("# ")
        if language == "diff":
            path.write_text(changed(path.read_text(), body, first))
        else:
            assert not path.exists(), f"{first}: the walk-through would write over it"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body)


def copy_repository(root: Path) -> None:
    if (root / "python").exists():
        return
    ignore = shutil.ignore_patterns("__pycache__", "*.so")
    for folder in ("python", "percbal_ops", "tests", "docs"):
        shutil.copytree(ROOT / folder, root / folder, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", root)
    for compiled in (ROOT / "percbal_ops").glob("*.so"):
        (root / "percbal_ops" / compiled.name).symlink_to(compiled)


def section(heading: str, page: str) -> str:
    text = (ROOT / "docs" / page).read_text()
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, f"docs/{page} has no section {heading!r}"
    return found[1]


def changed(text: str, diff: str, path: str) -> str:
    """The text after a diff whose hunks are parted by @@ and each found exactly once."""
    for hunk in diff.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] in " -")
        after = "".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(before) == 1, f"{path}: found {text.count(before)} times:\n{before}"
        text = text.replace(before, after)
    return text


def run(commands: str, root: Path) -> None:
    """Run them, and look for each line `# ...` in what they print."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    env["PYTHONPATH"] = f"{root}{os.pathsep}{root / 'python'}"
    shell = ["bash", "-e", "-o", "pipefail", "-c", commands]
    done = subprocess.run(shell, cwd=root, env=env, capture_output=True, text=True)
    said = f"{commands}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    assert done.returncode == 0, said
    for line in re.findall(r"^# (.*)$", commands, re.MULTILINE):
        assert line in done.stdout, f"no line {line!r} from\n{said}"
