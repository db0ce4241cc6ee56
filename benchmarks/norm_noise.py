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
from percbal.objective.balance import Seen
from percbal.objective.ngdiff import NGDiff
from percbal.objective.unbiased import FLOOR, UnbiasedNGDiff, sums_of_pairs
from percbal.sft.encoded import EncodedDataset, PaddingCollator
from percbal.sft.trainer import BalancedSFTConfig, BalancedSFTTrainer
from percbal.study.data import encoded
from percbal.study.presets import PICTURES
from percbal.study.training import common_options
from percbal.tasks import get_task

ROWS, TRAINED, STEPS = 512, 2400, 150
SIZES = {"hidden": 48, "layers": 2, "heads": 2, "mlp": 96}
BATCHES = {8: (2, 600), 64: (8, 300)}  # rows of a part, and how many batches
DECAYS = (0.0, 0.9, 0.99)
STEPS_OF_MEANS = 6000


def rows_of(task: Any, processor: Any, n: int, seed: int) -> EncodedDataset:
    return encoded([task.generate(index, "train", seed) for index in range(n)], processor)


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
    """Of one segment: the whole batch's squared norm, and (M17)'s two sums over pairs of parts."""
    rows = np.concatenate(parts)
    n = tokens[rows].sum()
    whole = product[np.ix_(rows, rows)].sum() / n**2
    own = sum(product[np.ix_(part, part)].sum() for part in parts) / n**2
    of_parts = np.array([tokens[part].sum() for part in parts])
    numbers = (whole, own, of_parts.sum(), (of_parts**2).sum())
    pairs = sums_of_pairs(*(torch.tensor([x], dtype=torch.float64) for x in numbers))
    return [whole, *pairs.flatten().tolist()]


def log_odds(squared: np.ndarray) -> np.ndarray:
    """(..., 2) squared norms -> (...) of lambda."""
    return np.log(squared[..., 1] / squared[..., 0]) / 2


def shown(batch: np.ndarray) -> Seen:
    """A drawn batch (2, 3) as the trainer shows a step."""
    found = torch.tensor(batch, dtype=torch.float32)
    none = torch.zeros(2)
    return Seen(0, none, none, none, found[:, 0].sqrt(), pairs=found[:, 1:].T)


def without_noise(batch: np.ndarray) -> Seen:
    """The same with norms without noise in place of the others, no less than the rule's floor."""
    plain, products, of_ones = batch.T
    squared = np.maximum(products / of_ones, FLOOR**2 * plain)
    return shown(np.stack((squared, products, of_ones), 1))


def running(rule: NGDiff, batches: list[Seen], rng: np.random.Generator) -> np.ndarray:
    """(T,) log-odds of lambda after batches drawn at random, once the means have settled."""
    found = []
    for step in range(STEPS_OF_MEANS):
        rule.observe(batches[rng.integers(len(batches))])
        if step * (1 - rule.decay) > 5:
            found.append(rule.weights(torch.ones(2)))
    return torch.stack(found)[:, 0].double().logit().numpy()


def table(product: list[np.ndarray], tokens: np.ndarray, rng: np.random.Generator) -> None:
    rows = np.arange(tokens.shape[1])
    alone = [np.array([row]) for row in rows]
    of_all = np.array([squares(product[s], tokens[s], alone) for s in range(2)])
    true = of_all[:, 1] / of_all[:, 2]
    print(f"true norms {true**0.5}, tokens of a row {tokens.mean(1)}")
    for batch, (part, draws) in BATCHES.items():
        found = np.zeros((draws, 2, 3))  # batch, segment, `squares`
        for draw in found:
            drawn = rng.choice(rows, batch, replace=False)
            parts = [drawn[i : i + part] for i in range(0, batch, part)]
            draw[:] = [squares(product[s], tokens[s], parts) for s in range(2)]
        plain, unbiased = found[..., 0], found[..., 1] / found[..., 2]
        print(f"{batch} rows in parts of {part}: norms {(plain.mean(0) / true) ** 0.5} of true,")
        print(f"  mean of the unbiased squares {unbiased.mean(0) / true} of true,")
        print(f"  negative {(unbiased < 0).mean(0)}")
        steps, corrected = [shown(one) for one in found], [without_noise(one) for one in found]
        for decay in DECAYS:
            rules = {
                "ngdiff": (NGDiff(decay=decay), steps),
                "ngdiff_unbiased": (UnbiasedNGDiff(decay=decay), steps),
                "ngdiff of unbiased norms": (NGDiff(decay=decay), corrected),
            }
            errors = {
                name: math.sqrt(((running(*given, rng) - log_odds(true)) ** 2).mean())
                for name, given in rules.items()
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
    probe, rng = rows_of(task, processor, ROWS, 0), np.random.default_rng(0)
    table(*products(model.eval(), probe), rng)
    args = BalancedSFTConfig(
        **common_options(out / "training", seed=42),
        balance="fixed",
        optim="adamw_torch",
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        max_steps=STEPS,
        per_device_train_batch_size=16,
        save_strategy="no",
    )
    data = rows_of(task, processor, TRAINED, 1)
    BalancedSFTTrainer(model, args, train_dataset=data, processing_class=processor).train()
    print(f"after {STEPS} steps:")
    table(*products(model.eval(), probe), rng)


if __name__ == "__main__":
    main()
