"""Who may import whom, read from the sources: the walls of docs/design.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"percbal_ops": ROOT / "percbal_ops", "percbal": ROOT / "python" / "percbal"}
TRAINING = ("transformers", "trl", "accelerate", "datasets")


def modules() -> dict[str, set[str]]:
    """Module name -> every module it imports, functions' own imports too."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in folder.rglob("*.py"):
            parts = (package, *path.relative_to(folder).with_suffix("").parts)
            name = ".".join(part for part in parts if part != "__init__")
            found[name] = set(_imports(ast.parse(path.read_text()), name))
    return found


def _imports(tree: ast.AST, name: str):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} uses a relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


MODULES = modules()


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


@pytest.mark.parametrize(
    "who, never",
    [
        ("percbal_ops", ("percbal", *TRAINING)),
        ("percbal_ops.kernels", ("percbal_ops.library", "percbal_ops.functional")),
        ("percbal.tasks", ("torch", *TRAINING, "percbal.sft", "percbal.study")),
        ("percbal.rewards", ("percbal.tasks", *TRAINING, "percbal.sft", "percbal.grpo")),
    ],
)
def test_never_imports(who, never):
    for name, imports in MODULES.items():
        if within(name, who):
            wrong = [other for other in imports if within(other, *never)]
            assert not wrong, f"{name} imports {wrong}"


def test_trainers_know_no_tasks():
    joining = ("study", "study_arm", "report", "cli", "segments", "diagnose", "tasks")
    joining += ("rl_arm", "rl_evaluate")
    for name, imports in MODULES.items():
        if within(name, "percbal") and not within(name, *(f"percbal.{j}" for j in joining)):
            wrong = [other for other in imports if within(other, "percbal.tasks")]
            assert not wrong, f"{name} imports {wrong}"


def test_only_public_names_of_the_operators_reach_the_trainers():
    for name, imports in MODULES.items():
        if within(name, "percbal"):
            wrong = [other for other in imports if within(other, "percbal_ops.kernels")]
            assert not wrong, f"{name} imports {wrong}"


def test_importing_the_operators_loads_no_training_library_and_no_triton():
    program = (
        "import sys, percbal_ops; "
        f"print([m for m in {('triton', *TRAINING)!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
