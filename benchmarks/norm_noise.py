"""How far a small batch's gradient norms, and the lambda of them, are from the true ones.

    python benchmarks/norm_noise.py --out runs/noise          # minutes on one core

The gradients of single rows of a small Sudoku model are kept as their products, (R, R) for each
segment, from which the norms of any batch and of its parts follow. Prints a table for each state of
the model; docs/balance.md has it. math.md (M17).
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from percbal.models.loading import load_vlm
from percbal.models.tiny import build_tiny_vlm, pixel_statistics
from percbal.objective.unbiased import FLOOR
from percbal.sft.collate import SegmentCollator
from percbal.sft.encoded import EncodedDataset, PaddingCollator, encode_examples
from percbal.sft.trainer import BalancedSFTConfig, BalancedSFTTrainer
from percbal.study.presets import PICTURES
from percbal.tasks import get_task

ROWS, TRAINED, STEPS = 512, 2400, 150
SIZES = {"hidden": 48, "layers": 2, "heads": 2, "mlp": 96}
BATCHES = {8: (2, 600), 64: (8, 300)}  # rows of a part, and how many batches
DECAYS = (0.0, 0.9, 0.99)
STEPS_OF_MEANS = 6000


def encoded(task: Any, processor: Any, n: int, seed: int) -> EncodedDataset:
    rows = []
    for index in range(n):
        made = task.generate(index, "train", seed)
        text = (
            f"<perception> {made.perception} </perception> <reasoning> {made.reasoning} "
            f"</reasoning> <answer> {made.answer} </answer>"
        )
        rows.append(
            {
                "image": made.image,
                "prompt": [{"role": "user", "content": made.query}],
                "completion": [{"role": "assistant", "content": text}],
            }
        )
    return encode_examples(rows, SegmentCollator(processor))


def products(model: Any, data: EncodedDataset) -> tuple[list[np.ndarray], np.ndarray]:
    """For each segment (R, R) products of the rows' gradients; (2, R) tokens."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.zeros(2, len(data), sum(p.numel() for p in parameters))
    tokens = np.zeros((2, len(data)))
    collate = PaddingCollator(data.pad_token_id)
    for row in range(len(data)):
        batch = collate([data[row]])
        fields = {k: v for k, v in batch.items() if k not in ("labels", "segment_ids")}
        logits = model(**fields, use_cache=False).logits[:, :-1]
        labels, segments = batch["labels"][:, 1:], batch["segment_ids"][:, 1:]
        nll = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        for s in range(2):
            here = (segments == s) & (labels != -100)
            tokens[s, row] = here.sum()
            found = torch.autograd.grad(
                nll[here].sum(), parameters, retain_graph=s == 0, allow_unused=True
            )
            pairs = zip(found, parameters, strict=True)
            flat = [torch.zeros_like(p) if g is None else g for g, p in pairs]
            gradients[s, row] = torch.cat([g.flatten() for g in flat])
    of_segments = [of.double() for of in gradients]
    return [(of @ of.T).numpy() for of in of_segments], tokens


def squares(product: np.ndarray, tokens: np.ndarray, parts: list[np.ndarray]) -> list[float]:
    """Of the whole batch's gradient as it is, and without its noise."""
    rows = np.concatenate(parts)
    n = tokens[rows].sum()
    whole = product[np.ix_(rows, rows)].sum() / n**2
    own = sum(product[np.ix_(part, part)].sum() for part in parts) / n**2
    return [whole, (whole - own) / (1 - sum((tokens[part].sum() / n) ** 2 for part in parts))]


def log_odds(squared: np.ndarray) -> np.ndarray:
    """(..., 2) squared norms -> (...) of lambda."""
    return np.log(squared[..., 1] / squared[..., 0]) / 2


def running(values: np.ndarray, decay: float, rng: np.random.Generator) -> np.ndarray:
    """(T, ...) drawn at random -> exponential means, after they have settled."""
    mean, found = values[0], []
    for step in range(STEPS_OF_MEANS):
        mean = decay * mean + (1 - decay) * values[rng.integers(len(values))]
        if step * (1 - decay) > 5:
            found.append(mean)
    return np.array(found)


def table(product: list[np.ndarray], tokens: np.ndarray, rng: np.random.Generator) -> None:
    rows = np.arange(tokens.shape[1])
    alone = [np.array([row]) for row in rows]
    true = np.array([squares(product[s], tokens[s], alone)[1] for s in range(2)])
    print(f"true norms {true**0.5}, tokens of a row {tokens.mean(1)}")
    for batch, (part, draws) in BATCHES.items():
        found = np.zeros((draws, 2, 2))  # batch, segment, as it is or without noise
        for draw in found:
            drawn = rng.choice(rows, batch, replace=False)
            parts = [drawn[i : i + part] for i in range(0, batch, part)]
            draw[:] = [squares(product[s], tokens[s], parts) for s in range(2)]
        plain, unbiased = found[..., 0], found[..., 1]
        print(f"{batch} rows in parts of {part}: norms {(plain.mean(0) / true) ** 0.5} of true,")
        print(f"  mean of the unbiased squares {unbiased.mean(0) / true} of true,")
        print(f"  negative {(unbiased < 0).mean(0)}")
        least = FLOOR**2 * plain
        for decay in DECAYS:
            means = {
                "as they are": running(log_odds(plain), decay, rng),
                "unbiased, of squares": log_odds(
                    np.maximum(running(unbiased, decay, rng), least.mean(0))
                ),
                "unbiased, of log-odds": running(log_odds(np.maximum(unbiased, least)), decay, rng),
            }
            errors = {
                name: math.sqrt(((values - log_odds(true)) ** 2).mean())
                for name, values in means.items()
            }
            print(f"  decay {decay}: " + ", ".join(f"{k} {v:.3f}" for k, v in errors.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    torch.manual_seed(0)
    task = get_task("sudoku", **PICTURES, verbosity=0)
    images = [task.generate(index, "train", 0).image for index in range(64)]
    statistics, size = pixel_statistics(images), images[0].width
    build_tiny_vlm(
        out / "model", task.vocabulary(), pixel_stats=statistics, seed=3, image_size=size, **SIZES
    )
    model, processor = load_vlm(out / "model")
    print(f"{sum(p.numel() for p in model.parameters())} parameters")
    probe, rng = encoded(task, processor, ROWS, 0), np.random.default_rng(0)
    table(*products(model.eval(), probe), rng)
    args = BalancedSFTConfig(
        str(out / "training"),
        balance="fixed",
        optim="adamw_torch",
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        max_steps=STEPS,
        per_device_train_batch_size=16,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    data = encoded(task, processor, TRAINED, 1)
    BalancedSFTTrainer(model, args, train_dataset=data, processing_class=processor).train()
    print(f"after {STEPS} steps:")
    table(*products(model.eval(), probe), rng)


if __name__ == "__main__":
    main()
