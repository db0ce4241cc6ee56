"""Who may import whom, read from the sources: the walls of docs/design.md."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
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


# Package -> those of its own distribution that it may import, from the ground floor up.
FLOORS = {
    "percbal_ops": {
        "checks": "",
        "renamed": "",
        "losses": "checks dispatch renamed",
        "dispatch": "losses",  # when first used
        "linear": "checks losses renamed",
        "vocab_parallel": "checks losses renamed",
        "coupling": "",
        "agreement": "coupling",
        "text": "",
    },
    "percbal": {
        "responses": "",
        "tasks": "responses",
        "segments": "responses",
        "objective": "segments",
        "rewards": "responses",
        "models": "",
        "sft": "models objective segments responses data",
        "grpo": "models objective segments rewards responses data",
        "data": "",
        "evaluate": "tasks responses data",
        "study": "sft grpo models segments rewards evaluate tasks responses",
        "report": "study evaluate tasks",
        "cli": "report study evaluate sft grpo models tasks data",
        "adapters": "segments responses",
        "moved": "",
    },
}
NEVER = {  # package -> what it may not import of others
    "percbal_ops": ("percbal", *TRAINING),
    "percbal.responses": ("torch", "percbal_ops", *TRAINING),
    "percbal.tasks": ("torch", "percbal_ops", *TRAINING),
    "percbal.segments": TRAINING,
    "percbal.objective": ("transformers", "accelerate", "datasets", "trl.GRPOTrainer"),
    "percbal.data": ("torch", "transformers", "trl", "accelerate"),
    "percbal.rewards": TRAINING,
    "percbal": ("percbal_ops.losses.triton", "percbal_ops.losses.library"),
}


@pytest.mark.parametrize("package", [f"{d}.{p}" for d, floors in FLOORS.items() for p in floors])
def test_a_package_imports_what_its_floor_allows(package: str) -> None:
    distribution, _, own = package.partition(".")
    allowed = {own, *FLOORS[distribution][own].split()}
    for name, imports in MODULES.items():
        if within(name, package):
            others = {m.split(".")[1] for m in imports if m.startswith(distribution + ".")}
            wrong = (others & FLOORS[distribution].keys()) - allowed
            assert not wrong, f"{name} imports {wrong}"


def test_every_module_is_on_a_floor() -> None:
    for name in MODULES:
        distribution, _, rest = name.partition(".")
        at_the_door = rest in ("", "__main__")
        assert at_the_door or rest.split(".")[0] in FLOORS[distribution], name


@pytest.mark.parametrize("who", NEVER)
def test_never_imports(who: str) -> None:
    for name, imports in MODULES.items():
        if within(name, who):
            wrong = [other for other in imports if within(other, *NEVER[who])]
            assert not wrong, f"{name} imports {wrong}"


@pytest.mark.parametrize("folder", PACKAGES.values(), ids=PACKAGES)
def test_every_package_says_what_lives_in_it(folder: Path) -> None:
    for path in folder.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text())), path


TABLE = re.findall(
    r"^\| [^|]+ \| `([\w/.]+)` \| `(\w+)` \|$",
    (ROOT / "docs" / "design.md").read_text(),
    re.MULTILINE,
)


def test_the_design_says_where_twenty_rules_live() -> None:
    assert len(TABLE) >= 20


@pytest.mark.parametrize("path, name", TABLE)
def test_a_rule_lives_where_the_design_says(path: str, name: str) -> None:
    """Defined there, not imported there."""
    nodes = ast.parse((ROOT / path).read_text()).body
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    targets = [t for node in nodes if isinstance(node, ast.Assign) for t in node.targets]
    defined |= {t.id for t in targets if isinstance(t, ast.Name)}
    assert name in defined


def test_importing_the_operators_loads_no_training_library_and_no_triton():
    program = (
        "import sys, percbal_ops; "
        f"print([m for m in {('triton', *TRAINING)!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
