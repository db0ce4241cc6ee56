"""Old dotted paths still import what they named, and say where it is now."""

import importlib
import subprocess
import sys

import pytest

from percbal.moved import KEPT, MOVED


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_path_is_the_new_module_and_warns(old: str) -> None:
    sys.modules.pop(f"percbal.{old}", None)
    with pytest.warns(DeprecationWarning, match=f"percbal.{old} is now percbal.{MOVED[old]}"):
        module = importlib.import_module(f"percbal.{old}")
    assert module is importlib.import_module(f"percbal.{MOVED[old]}")
    assert module.__spec__ is not None and module.__spec__.name == f"percbal.{MOVED[old]}"


@pytest.mark.slow
def test_public_paths_do_not_warn() -> None:
    code = (
        "from percbal.diagnose import diagnose; from percbal import rewards, BalancedSFTTrainer; "
        "from percbal.sft import BalancedSFTConfig; from percbal.grpo import BalancedGRPOTrainer; "
        "from percbal.adapters import verl; from percbal_ops.linear import linear_cross_entropy; "
        "from percbal.segments import Tags; print(diagnose.__module__)"
    )
    command = [sys.executable, "-W", "error:percbal:DeprecationWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == f"percbal.{KEPT['diagnose']}\n", done.stderr


def test_a_path_that_never_was_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError, match="percbal.no_such_module"):
        importlib.import_module("percbal.no_such_module")
