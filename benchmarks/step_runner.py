"""Trainers that take one step of their own loop when they are told to, so that two take turns.

A step is all that a user waits for: the batch is collated, forward, backward, update, logging; for
GRPO the rollouts, too. Each trainer has a copy of the same weights and sees the same rows.
"""

from __future__ import annotations

import copy
import functools
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from PIL import Image
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from percbal import BalancedGRPOConfig, BalancedGRPOTrainer, BalancedSFTConfig, BalancedSFTTrainer
from percbal.models.loading import load_vlm
from percbal.models.tiny import build_tiny_vlm

TAGS = ["<perception>", "</perception>"]
ROWS, TOKENS = 4, 400  # of a batch; a tenth of a response is perception
SAMPLED = 128  # tokens of a rollout
SIZES: dict[str, dict[str, int]] = {
    "V 32,000, width 256, 4 layers": {"vocab": 32_000, "hidden": 256, "layers": 4, "heads": 4},
    "V 152,000, width 256, 4 layers": {"vocab": 152_000, "hidden": 256, "layers": 4, "heads": 4},
    "V 49,152, width 768, 12 layers": {"vocab": 49_152, "hidden": 768, "layers": 12, "heads": 12},
}
QUICK_SIZES = {"V 500, width 16, 1 layer": {"vocab": 500, "hidden": 16, "layers": 1, "heads": 2}}


class Stopped(Exception):
    """The trainer is no longer needed."""


class Steps(TrainerCallback):
    """A trainer in a thread of its own; ``take`` lets it take one step and returns when it has."""

    def __init__(self, trainer: Any) -> None:
        self.go, self.ready = threading.Semaphore(0), threading.Semaphore(0)
        self.problem: BaseException | None = None
        self.stopping, self.trainer = False, trainer
        self.sampling = 0.0  # seconds of all rollouts, in which both trainers call the same
        if hasattr(trainer, "_generate"):
            trainer._generate = self._timed(trainer._generate)
        trainer.add_callback(self)
        self.thread = threading.Thread(target=self._train, args=(trainer,), daemon=True)
        self.thread.start()
        self._wait()

    def _train(self, trainer: Any) -> None:
        try:
            trainer.train()
        except BaseException as problem:
            self.problem = problem
        self.ready.release()

    def _timed(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        def sample(*args: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            found = generate(*args, **options)
            self.sampling += time.perf_counter() - begin
            return found

        return sample

    def _wait(self) -> None:
        self.ready.acquire()
        if self.problem is not None and not self.stopping:
            raise self.problem

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.ready.release()
        self.go.acquire()
        if self.stopping:
            raise Stopped

    def take(self) -> None:
        self.go.release()
        self._wait()

    def stop(self) -> None:
        self.stopping = True
        self.go.release()
        self.thread.join()


@functools.lru_cache(1)
def start(size: str) -> tuple[Any, Any]:
    """Model and processor of random weights; every trainer has a copy."""
    sizes = dict((SIZES | QUICK_SIZES)[size])
    words = ["look", *TAGS, *(f"w{i}" for i in range(sizes.pop("vocab") - 9))]
    small = {"image_size": 64, "vision_hidden": 16 * sizes["heads"], "vision_layers": 1}
    sizes |= small | {"mlp": 4 * sizes["hidden"]}
    with tempfile.TemporaryDirectory() as folder:
        return load_vlm(build_tiny_vlm(Path(folder) / "vlm", words, init_std=0.02, **sizes))


def rows(n: int, responses: bool) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(0)
    response = TOKENS - 32  # the image has 16 tokens, the prompt some more
    for _ in range(n):
        image = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        row: dict[str, Any] = {"prompt": [{"role": "user", "content": "look"}], "image": image}
        if responses:
            said = [f"w{i}" for i in rng.integers(0, 400, response)]
            text = " ".join([TAGS[0], *said[: response // 10], TAGS[1], *said[response // 10 :]])
            row["completion"] = [{"role": "assistant", "content": text}]
        yield row


def common(folder: str) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "max_steps": 1_000_000,
        "per_device_train_batch_size": ROWS,
        "learning_rate": 1e-5,
        "bf16": False,
        "use_cpu": True,
        "report_to": "none",
        "logging_strategy": "no",
        "save_strategy": "no",
        "disable_tqdm": True,
        "gradient_checkpointing": False,
        "seed": 5,
    }


def rules() -> dict[str, Any]:
    """What ``BalancedSFTConfig.balance`` may be, and its class."""
    try:
        from percbal.objective.controllers import CONTROLLERS
    except ImportError:  # an older version, measured by this script
        return dict.fromkeys(["token_mean", "fixed", "ngdiff"])
    return dict(CONTROLLERS)


def outcome(completions: Any, **_: Any) -> list[float]:
    return [float(len(said[0]["content"]) % 2) for said in completions]


def perception(completions: Any, **_: Any) -> list[float]:
    return [float(len(said[0]["content"]) % 3 == 0) for said in completions]


def sft(options: dict[str, Any] | None, size: str, folder: str) -> Any:
    model, processor = start(size)
    given: dict[str, Any] = common(folder) | {"max_length": None} | (options or {})
    kind: Any = SFTTrainer if options is None else BalancedSFTTrainer
    args = SFTConfig(**given) if options is None else BalancedSFTConfig(**given)
    data = Dataset.from_list(list(rows(4 * ROWS, True)))
    return kind(copy.deepcopy(model), args, train_dataset=data, processing_class=processor)


def grpo(options: dict[str, Any] | None, size: str, folder: str) -> Any:
    model, processor = start(size)
    quick = size in QUICK_SIZES
    sampled = 8 if quick else SAMPLED
    given: dict[str, Any] = common(folder) | {
        "num_generations": ROWS,
        "max_completion_length": sampled,
        # of one length, and stock TRL's must not be the token that an image replaces, as ours
        "generation_kwargs": {
            "min_new_tokens": sampled,
            "suppress_tokens": [model.config.image_token_id],
        },
    }
    kind: Any = GRPOTrainer if options is None else BalancedGRPOTrainer
    if options is None:
        args: Any = GRPOConfig(**given, reward_weights=[0.5, 0.5])
    else:
        given["generation_kwargs"] = {"min_new_tokens": sampled}
        args = BalancedGRPOConfig(**given, log_completions=False, **options)
    data = Dataset.from_list(list(rows(4 * ROWS, False)))
    functions = [outcome, perception]
    return kind(
        copy.deepcopy(model), functions, args, train_dataset=data, processing_class=processor
    )


def variants() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Name -> how its trainer is made, and what percbal is told; stock TRL is told nothing."""
    found: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {}
    for balance, rule in rules().items():
        name, options = f"SFT, {balance}", {"balance": balance}
        if getattr(rule, "compares_parts", False):  # the same rows in two micro-batches
            name += ", 2 parts"
            options |= {"per_device_train_batch_size": ROWS // 2, "gradient_accumulation_steps": 2}
        found[name] = (sft, options | {"chunked_logits": False})
        found[f"{name}, chunked"] = (sft, options | {"chunked_logits": True})
    found["GRPO, scalar credit"] = (grpo, {"credit": "scalar"})
    found["GRPO, same_perception"] = (grpo, {"credit": "same_perception"})
    return found
