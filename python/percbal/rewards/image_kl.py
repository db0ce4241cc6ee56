"""How much a completion depends on the image, as a reward and as a pure function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from percbal.rewards.texts import earning_words, labels, read_parts

LARGEST_LOG_RATIO = 20.0
LARGEST_TERM = 10.0  # of one token, so that a single improbable one cannot be all of the mean


def masked_kl(logp: Tensor, logp_masked: Tensor, mask: Tensor) -> Tensor:
    """Mean divergence per token between seeing the image and seeing a masked one.

    The k3 estimator of KL(pi(.|image) || pi(.|masked image)) on sampled tokens: with
    ``d = logp_masked - logp``, each term is ``exp(d) - d - 1``, at least 0 and unbiased before it
    is cut (J. Schulman, "Approximating KL divergence", 2020; used on images by PAPO,
    arXiv:2507.06448, and VPPO, arXiv:2510.09285). Equal to::

        keep, d = mask != 0, (logp_masked.float() - logp.float()).clamp(-20, 20)
        term = torch.where(keep, (d.exp() - d - 1).clamp(max=10), 0)
        term.sum(1) / keep.sum(1).clamp(min=1)

    logp, logp_masked: (B, T) log-probabilities of the sampled tokens. mask: (B, T), nonzero for
    the tokens to average over; what the others hold does not matter.
    Returns (B,) float32, 0 for a row without tokens. Raises ValueError for unequal shapes.
    """
    if not logp.shape == logp_masked.shape == mask.shape or logp.dim() != 2:
        raise ValueError(
            "logp, logp_masked and mask must have one shape (B, T), got "
            f"{tuple(logp.shape)}, {tuple(logp_masked.shape)} and {tuple(mask.shape)}"
        )
    counted = mask != 0
    ratio = logp_masked.float() - logp.float()
    d = torch.where(counted, ratio, 0.0).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    # expm1 keeps the digits of small d
    terms = (torch.expm1(d) - d).clamp(0.0, LARGEST_TERM)
    return terms.sum(1) / counted.sum(1).clamp(min=1)


def masked_image_kl(
    completions: Sequence[Any],
    masked_image_kl: Sequence[float | None],
    answer: Sequence[str | None] | None = None,
    perception: Sequence[str | None] | None = None,
    **_: Any,
) -> list[float | None]:
    """The column ``masked_image_kl``, which a trainer makes by `masked_kl`.

    0 without a readable perception, or with one that copies the answer; None where the column
    has no finite number.
    """
    n = len(completions)
    rows = zip(
        read_parts(completions),
        masked_image_kl,
        labels(answer, "answer", n),
        labels(perception, "perception", n),
        strict=True,
    )
    out: list[float | None] = []
    for parts, value, right, truth in rows:
        if not earning_words(parts, right, truth):
            out.append(0.0)
        else:
            out.append(float(value) if value is not None and math.isfinite(value) else None)
    return out
