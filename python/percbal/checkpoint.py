"""What a resumed run needs and transformers' Trainer does not restore.

For vision-language models the Trainer's own loading drops the weights: ``save_pretrained``
writes the published names of the parameters, which are not the names inside the model, and
``load_state_dict(strict=False)`` then finds none of them (seen with transformers 5.17 to 5.23;
huggingface/transformers#43701). ``from_pretrained`` knows the mapping.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")
BALANCE_FILE = "balance_state.json"


def load_weights(model: PreTrainedModel, directory: str | Path) -> None:
    """Load a checkpoint's weights into ``model``, in place; every parameter must be there.

    Raises ValueError if the directory holds no weights that ``save_pretrained`` wrote, or lacks
    some of them.
    """
    path = Path(directory)
    if not any((path / name).is_file() for name in WEIGHT_FILES):
        raise ValueError(f"{path} holds no checkpoint: it has none of {', '.join(WEIGHT_FILES)}")
    loaded: Any = type(model).from_pretrained(path, dtype=model.dtype, output_loading_info=True)
    saved, report = loaded
    lacking = sorted(report["missing_keys"])
    if lacking:
        raise ValueError(f"{path} lacks {len(lacking)} of the model's parameters: {lacking[0]}")
    model.load_state_dict(saved.state_dict(), strict=True)


def last_checkpoint(directory: str | Path) -> str | None:
    """The newest complete checkpoint below a directory; one cut off while it was written is not.

    The Trainer writes its state last.
    """
    found = [
        (int(path.parent.name.rpartition("-")[2]), str(path.parent))
        for path in Path(directory).glob("checkpoint-*/trainer_state.json")
    ]
    return max(found)[1] if found else None


def save_state(state: dict[str, Any], directory: str | Path, name: str) -> None:
    """Write a controller's state into a checkpoint's directory, which is made if need be."""
    Path(directory).mkdir(parents=True, exist_ok=True)
    (Path(directory) / name).write_text(json.dumps(state))


def load_state(directory: str | Path, name: str) -> dict[str, Any] | None:
    """The state that ``save_state`` wrote, or None for a checkpoint of another trainer."""
    path = Path(directory) / name
    return json.loads(path.read_text()) if path.is_file() else None


def save_balance(state: dict[str, Any], directory: str | Path) -> None:
    """``save_state`` of a balance."""
    save_state(state, directory, BALANCE_FILE)


def load_balance(directory: str | Path) -> dict[str, Any] | None:
    """``load_state`` of a balance."""
    return load_state(directory, BALANCE_FILE)


class VLMCheckpoints:
    """For a Trainer, listed before it: checkpoints whose weights are found again."""

    def _loads_plainly(self) -> bool:
        trainer: Any = self
        return (
            isinstance(trainer.model, PreTrainedModel)
            and not trainer.is_fsdp_enabled
            and not trainer.is_deepspeed_enabled
        )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        trainer: Any = self
        if self._loads_plainly():
            load_weights(trainer.model, resume_from_checkpoint)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]

    def _load_best_model(self) -> None:
        trainer: Any = self
        if self._loads_plainly():
            load_weights(trainer.model, str(trainer.state.best_model_checkpoint))
        else:
            super()._load_best_model()  # type: ignore[misc]
