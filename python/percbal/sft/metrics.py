"""Sums of what the SFT trainer logs, kept on the device until a log is due."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from percbal.segments.names import TWO
from percbal.sft.collate import IGNORE_INDEX
from percbal_ops import SegmentOutput


class SegmentMetrics:
    """Accumulates per-segment sums without waiting for the device; ``drain`` reads them once.

    Token sums are added over micro-batches, steps and ranks and divided last, so that every
    logged mean is a mean over tokens and not a mean of means.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        names: tuple[str, ...] = TWO.names,
        level: str = "logits",
    ) -> None:
        """level: what the norms of the results are the gradients with respect to."""
        self.accelerator, self.level = accelerator, level
        self.two = names == TWO.names
        self.names = ("p", "r") if self.two else names  # as they stand in the log
        # mode -> name -> sum; those of tokens are this rank's, those of steps are all ranks'
        self._token_sums: dict[str, dict[str, Tensor]] = defaultdict(dict)
        self._step_sums: dict[str, Tensor] = {}
        self._tokens_seen = 0.0

    def add_batch(
        self,
        mode: str,
        result: SegmentOutput,
        counts: Tensor,
        attention_mask: Tensor,
    ) -> None:
        """A micro-batch's result with ``segment_counts=counts``, (S,), of the accumulated batch."""
        norm = result.segment_grad_norm.float()
        sums = {
            "nll": result.segment_loss.float() * counts,
            "tokens": result.segment_count.float(),
            "norm": norm.square() if self.level == "logits" else norm,  # as StepSums adds them
            "seen": attention_mask.sum().float()[None],
        }
        _add(self._token_sums[mode], sums)

    def add_top_one(self, mode: str, logits: Tensor, target: Tensor, segment_ids: Tensor) -> None:
        """Its tokens whose most likely value is right: logits (B, T, V), the others (B, T)."""
        right = logits.argmax(-1) == target
        segments = torch.arange(len(self.names), device=target.device)[:, None, None]
        _add(
            self._token_sums[mode],
            {"right": ((segment_ids == segments) & right).sum((1, 2)).float()},
        )

    def add_step(self, weights: Tensor, counts: Tensor) -> None:
        """An optimizer step with these weights (S,) and global counts (S,)."""
        sums = {"weights": weights, "counts": counts.float(), "steps": weights.new_ones(1)}
        _add(self._step_sums, sums)

    def add_gradient_norms(self, norms: Tensor) -> None:
        """Norms (S,) over all parameters, of an optimizer step that took them."""
        _add(self._step_sums, {"norms": norms, "measured": norms.new_ones(1)})

    def drain(self, mode: str) -> dict[str, float]:
        """Means since the last call, over all ranks; empty if there was no batch since.

        A segment without tokens in that time has no entries.
        """
        if not self._token_sums[mode]:
            return {}
        tokens = self._read(self._token_sums.pop(mode), reduce=True)
        steps = {}
        if mode == "train":
            steps = self._read(self._step_sums, reduce=False)
            self._step_sums = {}
            self._tokens_seen += tokens["seen"][0]
        logs = _token_means(tokens, self.names)
        logs["num_tokens"] = self._tokens_seen
        if steps:
            logs |= _step_means(steps, tokens, self.names, self.level)
            logs |= self._shares(steps, logs)
        return logs

    def _shares(self, steps: dict[str, list[float]], means: dict[str, float]) -> dict[str, float]:
        """Each segment's weight and shares; of two, the first one's."""
        weights = [weight / steps["steps"][0] for weight in steps["weights"]]
        trained = sum(means[f"n_{name}"] for name in self.names)
        parts = [w * means.get(f"loss_{n}", 0.0) for n, w in zip(self.names, weights, strict=True)]
        known = all(f"loss_{name}" in means for name in self.names)
        logs = {}
        for i, name in enumerate(self.names[:1] if self.two else self.names):
            logs["lambda" if self.two else f"weight_{name}"] = weights[i]
            logs[f"token_share_{name}"] = means[f"n_{name}"] / max(trained, 1.0)
            if known:
                logs[f"loss_share_{name}"] = parts[i] / max(sum(parts), 1e-30)
        return logs

    def forget(self, mode: str) -> None:
        """Begin anew without asking the other ranks."""
        self._token_sums.pop(mode, None)
        if mode == "train":
            self._step_sums = {}

    def _read(self, sums: dict[str, Tensor], *, reduce: bool) -> dict[str, list[float]]:
        """All sums at once: one reduction over ranks and one copy to the host."""
        flat = torch.cat(list(sums.values()))
        if reduce:
            flat = self.accelerator.reduce(flat, "sum")
        parts = flat.cpu().split([len(value) for value in sums.values()])
        return {name: part.tolist() for name, part in zip(sums, parts, strict=True)}


def without_repeats(inputs: dict[str, Any], accelerator: Accelerator) -> dict[str, Any]:
    """A rank's batch of an evaluation, in which rows that only fill it have no labels.

    So that all ranks have equally many rows, the last batch is filled with rows from the beginning
    of the data. ``remainder`` says how many of its rows over all ranks, counted rank by rank, are
    not such; ``gather_for_metrics``, by which the Trainer gathers losses, drops the others.
    """
    state = accelerator.gradient_state
    if not state.end_of_dataloader or state.remainder <= 0:  # 0: nothing was filled, -1: unknown
        return inputs
    labels = inputs["labels"]  # (B, T), as the segments are
    own = max(state.remainder - accelerator.process_index * len(labels), 0)
    if own >= len(labels):
        return inputs
    segment_ids, labels = inputs["segment_ids"].clone(), labels.clone()
    labels[own:], segment_ids[own:] = IGNORE_INDEX, -1
    return {**inputs, "labels": labels, "segment_ids": segment_ids}


def _token_means(tokens: dict[str, list[float]], names: Sequence[str]) -> dict[str, float]:
    logs = {}
    right = tokens.get("right")  # None: the logits were not there to look at
    if right is not None:
        logs["mean_token_accuracy"] = sum(right) / max(sum(tokens["tokens"]), 1.0)
    for i, name in enumerate(names):
        if tokens["tokens"][i] > 0:
            logs[f"loss_{name}"] = tokens["nll"][i] / tokens["tokens"][i]
            if right is not None:
                logs[f"token_accuracy_{name}"] = right[i] / tokens["tokens"][i]
    return logs


def _step_means(
    steps: dict[str, list[float]],
    tokens: dict[str, list[float]],
    names: Sequence[str],
    level: str,
) -> dict[str, float]:
    n, logs = steps["steps"][0], {}
    for i, name in enumerate(names):
        logs[f"n_{name}"] = steps["counts"][i] / n
        norm = tokens["norm"][i] / n
        logs[f"grad_norm_{level}_{name}"] = norm**0.5 if level == "logits" else norm
        if "norms" in steps:
            logs[f"grad_norm_{name}"] = steps["norms"][i] / steps["measured"][0]
    return logs


def _add(sums: dict[str, Tensor], new: dict[str, Tensor]) -> None:
    for name, value in new.items():
        sums[name] = sums[name] + value if name in sums else value
