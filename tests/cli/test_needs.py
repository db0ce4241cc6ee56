"""A command without the packages that it needs says which extra brings them, in one sentence."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from percbal.cli.main import main
from percbal.cli.needs import EXTRAS, missing_package
from percbal.grpo.guard import RewardError

ROOT = Path(__file__).parents[2]
IMPORTED = {"pillow": "PIL", "pyyaml": "yaml", "inspect-ai": "inspect_ai"}  # by another name
COMMANDS = {
    "sft": ["--model", "m", "--dataset", "d", "--output_dir", "o"],
    "grpo": ["--model", "m", "--dataset", "d", "--output_dir", "o"],
    "diagnose": ["m", "--task", "sudoku"],
    "study": ["--preset", "smoke", "--out", "o"],
    "data": ["check", "d", "--model", "m"],
    "report": ["r"],
}


def run_without(packages, *arguments, cwd):
    """A command where these packages are not installed."""
    program = (
        "import sys\n"
        f"for name in {packages!r}: sys.modules[name] = None\n"
        "from percbal.cli import main\n"
        "main(sys.argv[1:])"
    )
    run = [sys.executable, "-c", program, *arguments]
    env = {"XDG_CACHE_HOME": str(cwd), "PYTHONPATH": f"{ROOT}:{ROOT / 'python'}"}
    return subprocess.run(run, cwd=cwd, env=env, capture_output=True, text=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_the_extra_that_it_needs(command, tmp_path):
    of_extras = " ".join(EXTRAS.values()).split()
    done = run_without(of_extras, command, *COMMANDS[command], cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"percbal {command}: ")
    assert done.stderr.endswith('is not installed: pip install "percbal[train]"\n')


@pytest.mark.parametrize("command", ["sft", "grpo"])
def test_so_does_the_help_of_a_trainer(command, tmp_path):
    done = run_without(["trl"], command, "--help", cwd=tmp_path)
    sentence = f'percbal {command}: trl is not installed: pip install "percbal[train]"\n'
    assert (done.returncode, done.stderr) == (2, sentence)


def test_a_package_behind_another_is_found():
    """As transformers and TRL say it, which import on first use."""
    try:
        try:
            raise ModuleNotFoundError("No module named 'peft'", name="peft.tuners")
        except ModuleNotFoundError as error:
            raise RuntimeError("Failed to import trl.x") from error
    except RuntimeError as error:
        assert missing_package(error) == 'peft is not installed: pip install "percbal[lora]"'


SETTLES = """
def settle(_):
    lacks = ModuleNotFoundError("No module named 'openai'", name="openai")
    raise RewardError("reward function judge failed; the rollouts are in x") from lacks
"""


def test_a_reward_that_lacks_a_package_keeps_its_report(monkeypatch, capsys):
    """Which names the reward, and where the rollouts and the weights are."""
    module = {"__name__": "percbal.grpo.failures", "RewardError": RewardError}
    exec(SETTLES, module)
    monkeypatch.setattr(sys.modules["percbal.cli.main"], "_run", module["settle"])
    with pytest.raises(SystemExit) as exit_:
        main(["tasks"])
    said = "percbal tasks: reward function judge failed; the rollouts are in x\n"
    assert (exit_.value.code, capsys.readouterr().err) == (2, said)


@pytest.mark.parametrize("name", ["percbal.nowhere", "percbal_ops", "rewards_of_a_user", None])
def test_another_module_that_is_missing_keeps_its_traceback(name):
    assert missing_package(ModuleNotFoundError("No module", name=name)) is None


def test_every_package_of_these_extras_is_known():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for extra, brought in EXTRAS.items():
        for need in extras[extra]:
            package = need.split(">")[0].split("[")[0]
            if package != "percbal":
                assert IMPORTED.get(package, package) in brought.split(), need
