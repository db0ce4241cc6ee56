"""Which checkpoint a run goes on from: the newest whole one, and never a part of its state."""

from __future__ import annotations

import json
import logging
import re
import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open

from percbal.models.manifest import MANIFEST, damage, is_sealed
from percbal.models.weights import first_line

log = logging.getLogger(__name__)

STATE = "trainer_state.json"
DEEPSPEED = "global_step*"  # its folder of weights and states
# what training goes on with, and the names that it may have: plainly, with adapters, under FSDP
PARTS = {
    "weights": (
        "model.safetensors",
        "model.safetensors.index.json",
        "adapter_model.safetensors",
        "pytorch_model_fsdp*",
        DEEPSPEED,
    ),
    "optimizer's state": ("optimizer.pt", "optimizer.bin", "optimizer_*", DEEPSPEED),
    "learning rate's state": ("scheduler.pt", DEEPSPEED),
    "random numbers' state": ("rng_state.pth", "rng_state_*.pth"),
}


def checkpoints(directory: str | Path) -> list[Path]:
    """The checkpoints below a directory, whole or not, the newest first."""
    found = [path for path in Path(directory).glob("checkpoint-*") if path.is_dir()]
    numbered = [path for path in found if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(numbered, key=lambda path: -int(path.name.rpartition("-")[2]))


def last_checkpoint(directory: str | Path) -> str | None:
    """The newest whole checkpoint below a directory; None if there are none at all.

    Logs which newer ones it passed over, and why. Raises ValueError if none of them is whole: they
    are to be removed by somebody who knows it, before a run begins again.
    """
    passed_over: list[str] = []
    for path in checkpoints(directory):
        problem = incomplete(path)
        if problem is None:
            for one in passed_over:
                log.warning("%s; going on from %s", one, path.name)
            return str(path)
        passed_over.append(f"{path} is not whole: {problem}")
    if passed_over:
        raise ValueError(
            f"there is nothing to go on from: {passed_over[0]}; remove it to start again"
        )
    return None


def incomplete(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, one sentence that names the file; None if it is whole.

    One without a manifest, of an older version or of another trainer, is looked through for files
    that are empty, cut off or missing; what has changed inside a file is not noticed there.
    """
    if not checkpoint.is_dir():
        return "there is no such directory"
    if is_sealed(checkpoint):
        return damage(checkpoint)
    return _missing(checkpoint) or next(
        (
            f"its {path.relative_to(checkpoint)} {problem}"
            for path in sorted(checkpoint.rglob("*"))
            if path.is_file() and (problem := _cut_off(path))
        ),
        None,
    )


def refuse_part(checkpoint: str | Path, controller: str) -> None:
    """Raise ValueError, one sentence, for a whole checkpoint without all that a run goes on with.

    controller: the file of what chooses lambda or alpha.
    """
    path = Path(checkpoint)
    problem = _missing(path)
    if problem is not None:
        raise ValueError(f"{path} cannot be gone on from: {problem}")
    if is_sealed(path):
        if not (path / controller).is_file():
            raise ValueError(
                f"{path} cannot be gone on from: it has no {controller}, another trainer wrote it"
            )
        return
    log.warning(
        "%s has no %s: an older version or another trainer wrote it, and changes inside its files "
        "are not noticed",
        path,
        MANIFEST,
    )
    if not (path / controller).is_file():
        log.warning("%s has no %s, whose state begins anew", path, controller)


def _missing(checkpoint: Path) -> str | None:
    if not (checkpoint / STATE).is_file():
        return f"it has no {STATE}"
    for part, names in PARTS.items():
        if not any(True for name in names for _ in checkpoint.glob(name)):
            return f"it has no {names[0]}, the {part}"
    index = checkpoint / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = set(json.loads(index.read_text())["weight_map"].values())
        except (ValueError, LookupError, AttributeError):
            return f"its {index.name} cannot be read"
        for name in sorted(shards):
            if not (checkpoint / name).is_file():
                return f"its {name} is missing"
    adapters = (checkpoint / "adapter_config.json").is_file()
    plain = any(checkpoint.glob("model.safetensors*"))
    if plain and not adapters and not (checkpoint / "config.json").is_file():
        return "it has no config.json"
    return None


def _cut_off(path: Path) -> str | None:
    """What is wrong with a file by what its end or its header says."""
    if path.stat().st_size == 0:
        return "is empty"
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "np"):
                return None
        if path.suffix == ".json":
            json.loads(path.read_text())
    except (SafetensorError, OSError, ValueError) as error:
        return f"cannot be read ({first_line(error)})"
    if path.suffix in (".pt", ".pth", ".bin") and not zipfile.is_zipfile(path):
        return "is cut off"
    return None
