"""Callbacks that log: transformers hands a callback everything but the trainer."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback


class LoggingCallback(TrainerCallback):
    """A callback whose figures every logger of its trainer gets.

    The trainers of percbal attach it when they train; for others call ``attach``.
    """

    trainer: Any = None

    def attach(self, trainer: Any) -> None:
        self.trainer = trainer

    def log(self, figures: dict[str, float]) -> None:
        """An entry of its own at the current step, which leaves the next entry of training whole.

        TRL's ``log`` would put into this one what it has gathered of training.
        """
        from transformers import Trainer  # not for --help

        control = self.trainer.control
        due = control.should_log
        Trainer.log(self.trainer, figures)
        control.should_log = due  # whoever logs within a step would end its turn


class AttachesCallbacks:
    """For a Trainer, listed before it."""

    def train(self, *args: Any, **kwargs: Any) -> Any:
        trainer: Any = self
        for callback in trainer.callback_handler.callbacks:
            if isinstance(callback, LoggingCallback):
                callback.attach(self)
        return super().train(*args, **kwargs)  # type: ignore[misc]
