"""First steps of the trainers on a GPU: their times, their memory, and whether they agree.

    python -m gpu.train sft grpo      # $RESULTS/facts.jsonl

The model is a LLaVA of 0.45 billion parameters with a vocabulary of 150,000 words, from random
weights, in float32 under bf16 autocast. Runs start from the same weights on the same batches, so
the first step of each pair that should agree does, within rounding; a pair that does not is an
error.
"""

from __future__ import annotations

import argparse
import copy
import functools
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from torch import Tensor
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from gpu.clock import synchronize
from gpu.facts import DEVICE, REHEARSAL, Facts, Found
from percbal import BalancedGRPOConfig, BalancedGRPOTrainer, BalancedSFTConfig, BalancedSFTTrainer
from percbal.grpo import prompting
from percbal.grpo.position_guard import difference_alone
from percbal.models.loading import load_vlm
from percbal.models.tiny import build_tiny_vlm

TAGS = ["<perception>", "</perception>"]
WORDS = [f"w{i}" for i in range(50 if REHEARSAL else 150_000)]
SIZE: dict[str, Any] = (
    {"image_size": 32, "hidden": 16, "layers": 1, "heads": 2, "mlp": 32}
    if REHEARSAL
    else {"image_size": 224, "patch_size": 14, "hidden": 1024, "layers": 8, "heads": 16}
    | {"mlp": 2816, "max_positions": 2048}
)
RESPONSE = 8 if REHEARSAL else 300  # words, of which a tenth is perception
BATCH, STEPS = 8, 5
COMMON: dict[str, Any] = {
    "output_dir": os.path.join(tempfile.gettempdir(), "percbal_gpu_train"),
    "per_device_train_batch_size": BATCH,
    "learning_rate": 1e-4,
    "bf16": not REHEARSAL,
    "use_cpu": REHEARSAL,
    "report_to": "none",
    "logging_steps": 1,
    "save_strategy": "no",
    "disable_tqdm": True,
    "gradient_checkpointing": False,
    "seed": 5,
}


@functools.cache
def start() -> tuple[Any, Any]:
    """Model and processor; every run trains a copy."""
    with tempfile.TemporaryDirectory() as folder:
        path = build_tiny_vlm(Path(folder) / "vlm", ["look", *TAGS, *WORDS], init_std=0.02, **SIZE)
        model, processor = load_vlm(path)
        return model.to(DEVICE), processor


def rows(n: int, responses: bool) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(0)
    side, seen = SIZE["image_size"], RESPONSE // 10 + 1
    for i in range(n):
        image = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        row = {"prompt": [{"role": "user", "content": "look"}], "image": image}
        if responses:
            said = [WORDS[k] for k in rng.choice(len(WORDS), RESPONSE)]
            text = " ".join([TAGS[0], *said[:seen], TAGS[1], *said[seen:]])
            row["completion"] = [{"role": "assistant", "content": text}]
        yield row | {"answer": WORDS[i % 2]}


class Clock(TrainerCallback):
    """Seconds of each step, the device's work included."""

    def __init__(self) -> None:
        self.begin, self.seconds = 0.0, []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        synchronize()
        self.begin = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        synchronize()
        self.seconds.append(round(time.perf_counter() - self.begin, 4))


def run(make: Callable[[Any, Any], Any]) -> Found:
    """Trains a copy of the start; make(model, processor) -> trainer."""
    model, processor = start()
    if not REHEARSAL:
        torch.cuda.reset_peak_memory_stats()
    try:
        trainer, clock = make(copy.deepcopy(model), processor), Clock()
        trainer.add_callback(clock)
        trainer.remove_callback(PrinterCallback)  # the facts say it
        trainer.train()
        logged = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
        found = {
            "step_seconds": clock.seconds,
            "median_seconds": statistics.median(clock.seconds[1:]),
            "device": str(next(trainer.model.parameters()).device),
            "first": numbers(logged[0]),
            "last": numbers(logged[-1]),
        }
        if not REHEARSAL:
            found["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
        return found
    finally:
        trainer = None
        gc.collect()
        if not REHEARSAL:
            torch.cuda.empty_cache()


KEPT = ("loss", "loss_p", "loss_r", "grad_norm", "grad_norm_p", "grad_norm_r", "lambda") + (
    "n_p", "n_r", "reward", "entropy", "completions/mean_length",
)  # fmt: skip


def numbers(entry: dict[str, Any]) -> dict[str, float]:
    return {k: float(entry[k]) for k in KEPT if k in entry}


def agree(facts: Facts, key: str, a: str, b: str, allowed: dict[str, float]) -> None:
    """A fact: how far the first steps of two runs are apart, relative to the second."""

    def compare() -> Found:
        known = facts.known()
        first, second = (known[name]["first"] for name in (a, b))
        apart = {k: abs(first[k] - second[k]) / max(abs(second[k]), 1e-12) for k in allowed}
        if any(not apart[k] <= allowed[k] for k in allowed):
            raise AssertionError(f"{a} and {b} are apart by {apart}, allowed are {allowed}")
        return {k: float(f"{x:.2e}") for k, x in apart.items()}

    facts.measure(key, compare)


def stock_sft(model: Any, processor: Any) -> SFTTrainer:
    args = SFTConfig(max_steps=STEPS, max_length=None, **COMMON)
    return SFTTrainer(model, args, train_dataset=sft_data(), processing_class=processor)


def balanced_sft(balance: str, chunked: bool, model: Any, processor: Any) -> BalancedSFTTrainer:
    args = BalancedSFTConfig(
        max_steps=STEPS, balance=balance, chunked_logits=chunked, max_length=None, **COMMON
    )
    return BalancedSFTTrainer(model, args, train_dataset=sft_data(), processing_class=processor)


def sft_data() -> Dataset:
    return Dataset.from_list(list(rows(STEPS * BATCH, True)))


def run_sft(facts: Facts) -> None:
    facts.measure("sft: stock TRL", lambda: run(stock_sft))
    for balance in ("token_mean", "fixed", "ngdiff"):
        for chunked in (False, True):
            name = f"sft: {balance}{', chunked' if chunked else ''}"
            make = functools.partial(balanced_sft, balance, chunked)
            facts.measure(name, lambda make=make: run(make))
    close = {"loss": 1e-4, "grad_norm": 1e-2} if REHEARSAL else {"loss": 2e-3, "grad_norm": 2e-2}
    agree(facts, "sft: token_mean is stock TRL", "sft: token_mean", "sft: stock TRL", close)
    for balance in ("token_mean", "fixed", "ngdiff"):
        whole = f"sft: {balance}"
        agree(facts, f"{whole}, chunked is whole", f"{whole}, chunked", whole, close)


def outcome(completions: Any, answer: Any, **_: Any) -> list[float]:
    """How often an even or an odd word was said."""
    said = [completion[0]["content"].split() for completion in completions]
    return [
        float(
            sum(word[-1:] in "02468" if right == "w0" else word[-1:] in "13579" for word in words)
        )
        for words, right in zip(said, answer, strict=True)
    ]


def perception(completions: Any, **_: Any) -> list[float]:
    return [float(len(completion[0]["content"]) % 3 == 0) for completion in completions]


GRPO: dict[str, Any] = COMMON | {
    "max_steps": 3,
    "num_generations": 4,
    "max_completion_length": 8 if REHEARSAL else 64,
}
GRPO_KINDS = {  # what percbal's trainer is told
    "grpo: scalar, logprobs of TRL": {"credit": "scalar", "logprobs": "trl"},
    "grpo: scalar, logprobs of percbal": {"credit": "scalar", "logprobs": "percbal"},
    "grpo: same_perception": {"credit": "same_perception", "logprobs": "percbal"},
}


def stock_grpo(model: Any, processor: Any) -> GRPOTrainer:
    # percbal never samples the token that an image replaces
    never = {"suppress_tokens": [model.config.image_token_id]}
    args = GRPOConfig(reward_weights=[0.5, 0.5], generation_kwargs=never, **GRPO)
    return GRPOTrainer(model, [outcome, perception], args, **grpo_data(processor))


def balanced_grpo(options: dict[str, Any], model: Any, processor: Any) -> BalancedGRPOTrainer:
    args = BalancedGRPOConfig(alpha=0.5, log_completions=False, **options, **GRPO)
    return BalancedGRPOTrainer(model, [outcome, perception], args, **grpo_data(processor))


def grpo_data(processor: Any) -> dict[str, Any]:
    data = Dataset.from_list(list(rows(16, False)))
    return {"train_dataset": data, "processing_class": processor}


def log_probabilities() -> Found:
    """How far each path's log-probabilities are from stock TRL's, in the mean and at most, for one
    batch of random tokens and a head that makes some tokens likelier than others."""
    model, processor = start()
    length = 16 if REHEARSAL else 256
    torch.manual_seed(0)
    ids = torch.randint(5, len(WORDS), (4, length), device=DEVICE)

    def of(make: Any) -> Tensor:
        own = copy.deepcopy(model)
        with torch.no_grad():
            own.get_output_embeddings().weight.mul_(8)
            trainer = make(own, processor)
            found = trainer._get_per_token_logps_and_entropies(
                trainer.model, ids, torch.ones_like(ids), length - 1
            )
        return found[0].float()

    stock = of(stock_grpo)
    found: Found = {"spread": float(stock.std())}
    for kind, options in GRPO_KINDS.items():
        apart = (of(functools.partial(balanced_grpo, options)) - stock).abs()
        found |= {kind: float(f"{apart.mean():.2e}"), f"{kind}, at most": float(apart.max())}
        # the logits are in bf16 on both ways: 2^-8 of a logit of 10 is 0.04
        if not (apart.mean() < 0.01 and apart.max() < 0.1):
            raise AssertionError(f"log-probabilities: {found}")
    return found


def guard() -> Found:
    """What the guard of the first batch finds, and the rounding that it allows for."""
    found: Found = {}

    def watched(*args: Any) -> tuple[float, float]:
        result = difference_alone(*args)
        found["alone"], found["rounding"] = (float(f"{x:.2e}") for x in result)
        return result

    with mock.patch.object(prompting, "difference_alone", watched):
        run(functools.partial(balanced_grpo, GRPO_KINDS["grpo: same_perception"]))
    return found


def run_grpo(facts: Facts) -> None:
    facts.measure("grpo: log-probabilities", log_probabilities)
    facts.measure("grpo: guard", guard)
    facts.measure("grpo: stock TRL", lambda: run(stock_grpo))
    for name, options in GRPO_KINDS.items():
        make = functools.partial(balanced_grpo, options)
        facts.measure(name, lambda make=make: run(make))
    # on a GPU stock TRL samples a token in 512 otherwise when it is run again
    close = (
        {"reward": 1e-6, "grad_norm": 1e-4} if REHEARSAL else {"reward": 2e-2, "grad_norm": 3e-2}
    )
    ours, theirs = list(GRPO_KINDS)[:2]
    agree(facts, "grpo: percbal is stock TRL", ours, "grpo: stock TRL", close)
    agree(facts, "grpo: the two logprobs agree", theirs, ours, close)


PARTS = {"sft": run_sft, "grpo": run_grpo}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+", choices=PARTS)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    facts = Facts("train")
    for part in parser.parse_args().parts:
        PARTS[part](facts)
    facts.exit()


if __name__ == "__main__":
    main()
