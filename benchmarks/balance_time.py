"""Seconds per step of each controller over those of a fixed lambda, taken in turns in one process.

``balance_tracking.py --time`` calls it. Step i of every turn has the same batch and nearly the same
weights, so that steps are compared with their own: the median of their ratios hardly
feels what else the machine does.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback

from percbal.models.loading import load_vlm
from percbal.sft.config import BalancedSFTConfig
from percbal.sft.encoded import EncodedDataset
from percbal.sft.trainer import BalancedSFTTrainer
from percbal.study import files
from percbal.study.training import common_options

STEPS = 16  # of a turn
EVERY = 24  # the steps of calibrated from one exact one to the next, once it predicts well
WAYS = [
    (balance, chunked)
    for chunked in (False, True)
    for balance in ("fixed", "calibrated", "ngdiff", "head")
    if chunked or balance != "head"
]


class Clock(TrainerCallback):
    """Seconds of every step, the optimizer's part included."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.exact: list[bool] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.steps.append(time.perf_counter() - self.began)
        self.exact.append(self.trainer._exact)


def in_turns(root: Path, seed: int, rounds: int) -> list[dict[str, Any]]:
    """A line for each way: medians over the steps of all rounds, its time over that of fixed."""
    start, processor = load_vlm(files.base_directory(root, seed) / files.MODEL)
    data = EncodedDataset.load(root / files.DATA)
    controllers: dict[Any, Any] = {}
    seconds: dict[Any, list[float]] = {way: [] for way in WAYS}
    exact: dict[Any, list[bool]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            balance, chunked = way
            args = BalancedSFTConfig(
                **common_options(root / "time", seed),
                balance=balance,
                chunked_logits=chunked,
                max_steps=STEPS,
                per_device_train_batch_size=32,
                learning_rate=1e-4,
                train_sampling_strategy="group_by_length",
                save_strategy="no",
                logging_steps=STEPS,
            )
            clock = Clock()
            trainer = BalancedSFTTrainer(
                copy.deepcopy(start),
                args,
                train_dataset=data,
                processing_class=processor,
                balance=controllers.setdefault(way, args.make_balance()),
                callbacks=[clock],
            )
            clock.trainer = trainer
            trainer.train()
            seconds[way] += clock.steps[1:]  # the first one also warms up
            exact[way] += clock.exact[1:]
    return [_line(way, seconds, np.array(exact[way]), rounds) for way in WAYS]


def _line(way: Any, seconds: dict[Any, list[float]], exact: Any, rounds: int) -> dict[str, Any]:
    balance, chunked = way
    ratio = np.array(seconds[way]) / np.array(seconds["fixed", chunked])
    cheap, dear = (
        float(np.median(ratio[which])) if which.any() else None for which in (~exact, exact)
    )
    share = {"calibrated": 1 / EVERY, "ngdiff": 1.0}.get(balance, 0.0)
    mean = (1 - share) * (cheap or 0.0) + share * (dear or 0.0)
    return {
        "balance": balance,
        "chunked_logits": chunked,
        "steps": len(ratio),
        "exact_share": round(share, 4),
        "one_backward_pass": cheap and round(cheap, 3),
        "exact": dear and round(dear, 3),
        "over_fixed": round(mean, 3),
        "ms_per_step": round(1e3 * float(np.median(seconds[way])), 1),
        "rounds": rounds,
    }
