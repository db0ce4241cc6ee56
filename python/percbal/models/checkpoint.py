"""Checkpoints of a Trainer that are whole or not there, and from which a run goes on as it was."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from torch import nn
from transformers import PreTrainedModel
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from percbal.models.epochs import set_epoch
from percbal.models.manifest import publish, seal
from percbal.models.resume import STATE, checkpoints, incomplete, last_checkpoint, refuse_part
from percbal.models.weights import first_line, load_weights

log = logging.getLogger(__name__)

BALANCE_FILE = "balance_state.json"
ALPHA_FILE = "alpha_state.json"
SEGMENTS = "segment_names"  # beside a controller's state
# below the output directory: what is being written, or deleted; "_" keeps it from uploads to a hub
ASIDE = "_checkpoint.partial"


def save_state(state: dict[str, Any], directory: str | Path, name: str) -> None:
    """Write a controller's state into a checkpoint's directory, which is made if need be."""
    Path(directory).mkdir(parents=True, exist_ok=True)
    (Path(directory) / name).write_text(json.dumps(state))


def load_state(directory: str | Path, name: str) -> dict[str, Any] | None:
    """The state that ``save_state`` wrote, or None for a checkpoint of another trainer."""
    path = Path(directory) / name
    return json.loads(path.read_text()) if path.is_file() else None


def refuse_other_segments(
    directory: str, state: dict[str, Any] | None, names: tuple[str, ...]
) -> None:
    """Ids are positions among the names: other ones would mean something else."""
    if state is None:
        return
    theirs = state.get(SEGMENTS, ["perception", "reasoning"])  # the only ones of older versions
    if tuple(theirs) != names:
        raise ValueError(
            f"{directory} cannot be gone on from: it has the segments {', '.join(theirs)}, this "
            f"run has {', '.join(names)}"
        )


def refuse_state(directory: str, file: str, state: dict[str, Any] | None, controller: Any) -> None:
    """Raise ValueError, one sentence, for a state that this controller cannot go on from."""
    if state is None:
        return
    try:  # in a copy, as nothing is to be loaded of a checkpoint that is refused
        copy.deepcopy(controller).load_state_dict(_own(state))
    except ValueError as error:
        raise ValueError(f"{directory} cannot be gone on from by its {file}: {error}") from error


def _own(state: dict[str, Any]) -> dict[str, Any]:
    """Without what stands beside the controller's own."""
    return {name: value for name, value in state.items() if name != SEGMENTS}


class VLMCheckpoints:
    """For a Trainer, listed before it: checkpoints that are whole, and whose weights are found.

    A subclass names its controller, whose state is kept beside the weights, and its segments.
    """

    segments: Any  # a `percbal.segments.names.Segments`
    _aside: Path | None = None  # where a checkpoint is being written
    _saved_step = -1  # of the last checkpoint that this run wrote or began from

    def _controller(self) -> tuple[Any, str]:
        """What has a state_dict to keep, and the file for it."""
        raise NotImplementedError

    # --- writing -------------------------------------------------------------------------------

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Written aside, sealed once all ranks are done, and renamed: docs/reliability.md."""
        trainer: Any = self
        run = Path(trainer._get_output_dir(trial=trial))
        name = f"{PREFIX_CHECKPOINT_DIR}-{trainer.state.global_step}"
        aside = run / ASIDE
        if _first_of_node(trainer):
            shutil.rmtree(aside, ignore_errors=True)  # of a run that was killed
        trainer.accelerator.wait_for_everyone()
        self._aside = aside
        try:
            if trainer.args.should_save:
                controller, file = self._controller()
                state = {**controller.state_dict(), SEGMENTS: self.segments.names}
                save_state(state, aside / name, file)
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
        finally:
            self._aside = None
        trainer.accelerator.wait_for_everyone()
        if trainer.is_world_process_zero():
            self._publish(aside / name, run / name)
        trainer.accelerator.wait_for_everyone()
        if _first_of_node(trainer) and (aside / name).is_dir():  # a disk that is this node's own
            self._publish(aside / name, run / name)
        trainer.accelerator.wait_for_everyone()
        self._rename_best(aside, run)
        if trainer.args.push_to_hub:
            super()._push_from_checkpoint(str(run / name))  # type: ignore[misc]
        self._saved_step = trainer.state.global_step
        if trainer.args.should_save:
            kept = {name, Path(trainer.state.best_model_checkpoint or name).name}
            _rotate(run, trainer.args.save_total_limit, kept)

    def _publish(self, written: Path, target: Path) -> None:
        trainer: Any = self
        if (written / STATE).is_file():
            self._rename_best(written.parent, target.parent)
            trainer.state.save_to_json(str(written / STATE))
        seal(written)
        publish(written, target)
        shutil.rmtree(written.parent, ignore_errors=True)

    def _rename_best(self, aside: Path, run: Path) -> None:
        """The best checkpoint by its name of later, and where it is now if the folder moved."""
        trainer: Any = self
        if not trainer.state.best_global_step:
            return
        best = f"{PREFIX_CHECKPOINT_DIR}-{trainer.state.best_global_step}"
        if (run / best).is_dir() or (aside / best).is_dir():
            trainer.state.best_model_checkpoint = str(run / best)

    def _get_output_dir(self, trial: Any) -> str:
        if self._aside is not None:
            return str(self._aside)
        return super()._get_output_dir(trial)  # type: ignore[misc]

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """What is still aside is pushed under its own name."""
        if self._aside is None:
            super()._push_from_checkpoint(checkpoint_folder)  # type: ignore[misc]

    # --- going on ------------------------------------------------------------------------------

    def train(
        self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """``Trainer.train``. True goes on from the newest whole checkpoint in the output directory.

        Raises ValueError, before anything is loaded, for a checkpoint that is damaged, lacks a
        part of what a run goes on with, or holds the state of another controller.
        """
        start = self._checked(resume_from_checkpoint) if resume_from_checkpoint else None
        return super().train(start or resume_from_checkpoint, *args, **kwargs)  # type: ignore[misc]

    def _checked(self, wanted: str | bool) -> str | None:
        """Read by one rank for all of them."""
        trainer: Any = self
        answer: list[Any] = [None, None]
        if trainer.is_world_process_zero():
            try:
                answer = [self._whole(wanted), None]
            except (ValueError, OSError) as error:
                answer = [None, str(error)]
        if trainer.accelerator.num_processes > 1:
            broadcast_object_list(answer)
        found, problem = answer
        if problem is not None:
            raise ValueError(problem)
        if found is not None and Path(found).parent == Path(trainer.args.output_dir):
            self._saved_step = int(found.rpartition("-")[2])
        return found

    def _whole(self, wanted: str | bool) -> str | None:
        trainer: Any = self
        if wanted is True:
            found = last_checkpoint(trainer.args.output_dir)
        else:
            found = str(wanted)
            if problem := incomplete(Path(found)):
                raise ValueError(f"{found} cannot be gone on from: {problem}")
        if found is not None:
            controller, file = self._controller()
            refuse_part(found, file)
            state = load_state(found, file)
            refuse_other_segments(found, state, self.segments.names)
            refuse_state(found, file, state, controller)
        return found

    # the Trainer's own method for one epoch; what it skips of a resumed one comes later
    def _run_epoch(self, *args: Any, **loop: Any) -> Any:
        trainer: Any = self
        if trainer.state.global_step >= trainer.state.max_steps:
            # gone on from its own end, within an epoch: the Trainer looks after a step, not before
            trainer.control.should_training_stop = True
            return None
        set_epoch(loop["train_dataloader"], loop["epoch"])
        return super()._run_epoch(*args, **loop)  # type: ignore[misc]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with _readable(checkpoint, "optimizer's or learning rate's state"):
            super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        controller, file = self._controller()
        state = None if checkpoint is None else load_state(checkpoint, file)
        if state is not None:
            controller.load_state_dict(_own(state))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        trainer: Any = self
        of_ranks = 0 if checkpoint is None else len(list(Path(checkpoint).glob("rng_state*.pth")))
        if of_ranks not in (0, trainer.args.world_size) and trainer.is_world_process_zero():
            log.warning(
                "%s is of %d processes, this run has %d: batches and random numbers differ",
                checkpoint,
                of_ranks,
                trainer.args.world_size,
            )
        with _readable(checkpoint, "random numbers' state"):
            super()._load_rng_state(checkpoint)  # type: ignore[misc]

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
        try:
            save(output_dir)
        finally:
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
            with _readable(resume_from_checkpoint, "weights"):
                super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]

    def _load_best_model(self) -> None:
        trainer: Any = self
        if self._loads_plainly():
            load_weights(trainer.model, str(trainer.state.best_model_checkpoint))
        else:
            super()._load_best_model()  # type: ignore[misc]


def _rotate(run: Path, limit: int | None, kept: set[str]) -> None:
    """Delete the oldest checkpoints but ``kept``, each under a name that no checkpoint has."""
    found = checkpoints(run)
    surplus = len(found) - max(limit, len(kept)) if limit and limit > 0 else 0
    for path in [path for path in reversed(found) if path.name not in kept][: max(surplus, 0)]:
        gone = run / ASIDE
        shutil.rmtree(gone, ignore_errors=True)
        os.replace(path, gone)
        shutil.rmtree(gone, ignore_errors=True)


def _first_of_node(trainer: Any) -> bool:
    return trainer.args.local_process_index == 0


@contextmanager
def _readable(checkpoint: str | None, what: str) -> Iterator[None]:
    """An error of reading becomes a sentence that names the checkpoint."""
    try:
        yield
    except (EOFError, OSError, pickle.UnpicklingError, RuntimeError, LookupError) as error:
        if checkpoint is None or isinstance(error, torch.OutOfMemoryError):
            raise
        raise ValueError(
            f"{checkpoint} cannot be gone on from: its {what} cannot be read ({first_line(error)})"
        ) from error


def _refuse_other_engine(directory: str | Path, fsdp: bool) -> None:
    """The optimizer's state of one engine is not read by the other, and would start from zero."""
    written = any(Path(directory).glob("pytorch_model_fsdp*"))
    if written != fsdp:
        how = ("without", "under")
        raise ValueError(
            f"{directory} was written {how[written]} FSDP and cannot be resumed {how[fsdp]} it; "
            "start from its weights as a new model instead"
        )
