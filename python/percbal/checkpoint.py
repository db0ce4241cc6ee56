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


def save_balance(state: dict[str, Any], directory: str | Path) -> None:
    """Write a balance's state into a checkpoint's directory, which is made if need be."""
    Path(directory).mkdir(parents=True, exist_ok=True)
    (Path(directory) / BALANCE_FILE).write_text(json.dumps(state))


def load_balance(directory: str | Path) -> dict[str, Any] | None:
    """The state that ``save_balance`` wrote, or None for a checkpoint of another trainer."""
    path = Path(directory) / BALANCE_FILE
    return json.loads(path.read_text()) if path.is_file() else None
