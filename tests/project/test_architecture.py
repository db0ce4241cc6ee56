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
        "dispatch": "",
        "gradients": "",
        "renamed": "",
        "losses": "checks dispatch gradients renamed",
        "linear": "checks dispatch gradients losses renamed",
        "vocab_parallel": "checks gradients losses renamed",
        "coupling": "checks",
        "agreement": "checks coupling text",
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
        "evaluate": "models tasks rewards responses data",
        "study": "sft grpo models objective segments rewards evaluate tasks responses",
        "report": "study evaluate tasks data",
        "cli": "report study evaluate sft grpo models segments objective tasks responses data",
        "adapters": "segments responses tasks evaluate",
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


def test_operators_are_defined_in_files_named_library() -> None:
    for folder in PACKAGES.values():
        for path in folder.rglob("*.py"):
            assert path.name == "library.py" or "torch.library" not in path.read_text(), path


def test_no_module_takes_a_private_name_of_another() -> None:
    """Compiled extensions begin with an underscore by custom."""
    for name, imports in MODULES.items():
        ours = {other for other in imports if within(other, *PACKAGES)}
        private = {other for other in ours if re.search(r"\._(?!_)", other)}
        assert private <= {"percbal_ops._C", "percbal_ops._text"}, f"{name} imports {private}"


def public_names():
    """percbal_ops and its packages, and what each lists in ``__all__``."""
    for path in PACKAGES["percbal_ops"].rglob("__init__.py"):
        package = ".".join(path.relative_to(ROOT).parts[:-1])
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
                yield package
                yield from (f"{package}.{name}" for name in ast.literal_eval(node.value))


def test_percbal_uses_the_operators_by_their_public_names() -> None:
    public = {*public_names()}
    for name, imports in MODULES.items():
        wrong = {other for other in imports if within(other, "percbal_ops")} - public
        assert within(name, "percbal_ops") or not wrong, f"{name} imports {wrong}"


@pytest.mark.parametrize("folder", PACKAGES.values(), ids=PACKAGES)
def test_every_package_says_what_lives_in_it(folder: Path) -> None:
    for path in folder.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text())), path


LONGEST_FILE, LONGEST_FUNCTION = 400, 60  # lines; a function's docstring and signature count


@pytest.mark.parametrize("folder", ["percbal_ops", "python", "benchmarks", "tests"])
def test_files_and_functions_are_short(folder: str) -> None:
    wrong = []
    for path in (ROOT / folder).rglob("*.py"):
        source = path.read_text()
        lines = source.count("\n")
        if lines > LONGEST_FILE:
            wrong.append(f"{path.relative_to(ROOT)} has {lines} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    wrong.append(f"{path.relative_to(ROOT)}: {node.name} has {lines} lines")
    assert not wrong, wrong


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


def loaded_by(module: str, *unwanted: str) -> str:
    program = f"import sys, {module}; print([m for m in {unwanted!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return done.stdout.strip() + done.stderr


def test_importing_the_operators_loads_no_training_library_and_no_triton():
    assert loaded_by("percbal_ops", "triton", *TRAINING) == "[]"


def test_the_help_of_a_trainer_loads_no_trainer():
    unwanted = ("trl.trainer.utils", "transformers.trainer", "datasets")
    assert loaded_by("percbal.cli.sft, percbal.cli.grpo", *unwanted) == "[]"
