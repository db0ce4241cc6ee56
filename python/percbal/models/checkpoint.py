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

from torch import nn
from transformers import PreTrainedModel
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")
BALANCE_FILE = "balance_state.json"
ALPHA_FILE = "alpha_state.json"


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


class VLMCheckpoints:
    """For a Trainer, listed before it: checkpoints whose weights are found again.

    A subclass names its controller, whose state is kept beside the weights.
    """

    def _controller(self) -> tuple[Any, str]:
        """What has a state_dict to keep, and the file for it."""
        raise NotImplementedError

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        trainer: Any = self
        if trainer.args.should_save:  # first, as the Trainer's own state comes last
            name = f"{PREFIX_CHECKPOINT_DIR}-{trainer.state.global_step}"
            directory = Path(trainer._get_output_dir(trial=trial)) / name
            controller, file = self._controller()
            save_state(controller.state_dict(), directory, file)
        super()._save_checkpoint(model, trial)  # type: ignore[misc]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        controller, file = self._controller()
        state = None if checkpoint is None else load_state(checkpoint, file)
        if state is not None:
            controller.load_state_dict(state)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write what ``from_pretrained`` reads; to be called on every rank.

        With sharded checkpoints under FSDP, the Trainer's own method writes nothing.
        """
        trainer: Any = self
        save = super().save_model  # type: ignore[misc]
        if _internal_call or not trainer.is_fsdp_enabled:
            return save(output_dir, _internal_call)
        plugin = trainer.accelerator.state.fsdp_plugin
        kind = plugin.state_dict_type
        plugin.set_state_dict_type("FULL_STATE_DICT")
        save(output_dir)
        plugin.set_state_dict_type(kind)

    def _loads_plainly(self) -> bool:
        trainer: Any = self
        return (
            isinstance(trainer.model, PreTrainedModel)
            and not trainer.is_fsdp_enabled
            and not trainer.is_deepspeed_enabled
        )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        trainer: Any = self
        _refuse_other_engine(resume_from_checkpoint, trainer.is_fsdp_enabled)
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


def _refuse_other_engine(directory: str | Path, fsdp: bool) -> None:
    """The optimizer's state of one engine is not read by the other, and would start from zero."""
    written = any(Path(directory).glob("pytorch_model_fsdp*"))
    if written != fsdp:
        how = ("without", "under")
        raise ValueError(
            f"{directory} was written {how[written]} FSDP and cannot be resumed {how[fsdp]} it; "
            "start from its weights as a new model instead"
        )
