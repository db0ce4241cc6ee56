"""NGDiff: weights that give the gradients of all segments the same norm (Bu et al.,
arXiv:2410.22086), by exact norms or by what stands in for them. math.md (M15), (M16).

Segments that share: each has a weight of its own that is fixed, or is one of those that share what
is left, in proportion to ``1 / n_s``. What is followed from step to step are the log-odds of the
sharing segments against the last of them, so that of two segments it is lambda's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from percbal.objective.balance import LAM, Balance, Seen, check_unit, refuse_lam

Shares = Sequence[float | None]
PAIR: Shares = (None, None)


class Ratios:
    """The logs of K positive numbers over the last of them, followed through steps.

    Steps that show some of the numbers say how these stand to each other, and not how they stand
    to the others. Numbers that no chain of steps has linked have a ratio in `value` all the same,
    which only keeps the place of one that will be seen.

    value: (K - 1,) float32, NaN where nothing has been seen.
    linked: (K, K) bool, whether steps have shown how two numbers stand to each other.
    """

    def __init__(self, numbers: int) -> None:
        self.value = torch.full((numbers - 1,), torch.nan)
        self.linked = torch.eye(numbers, dtype=torch.bool)

    def of(self, logs: Tensor) -> Tensor:
        """(K,) logs -> (K - 1,), NaN where they say nothing.

        A number that is not finite is missing. Without the last one the others are taken against
        the last that is there and has a ratio, which stays what it was; 0 where none has one.
        """
        old = torch.cat((self.value.to(logs.device), logs.new_zeros(1)))
        there = logs.isfinite()
        order = torch.arange(1, len(logs) + 1, device=logs.device)
        placed = there & ~old.isnan()
        last = (torch.where(placed.any(), placed, there) * order).argmax(0, keepdim=True)
        new = logs - logs.gather(0, last) + old.gather(0, last).nan_to_num(nan=0.0)
        return torch.where(there & (there.sum() > 1), new, torch.nan)[:-1]

    def link(self, logs: Tensor) -> None:
        """Place those that the logs (K,) link for the first time where the logs say.

        Linked numbers move together, so that their ratios stay. The last number stays, and with it
        what is linked to it; where the logs show nothing of these, the last that is there.
        """
        old = torch.cat((self.value.to(logs.device), logs.new_zeros(1)))
        linked, there = self.linked.to(logs.device), logs.isfinite()
        order = torch.arange(1, len(logs) + 1, device=logs.device)
        here = linked & there  # (K, K), of each number those that it is linked to and are there
        shown = here.any(1) & (there.sum() > 1)
        by, last = (here * order).argmax(1), (there * order).argmax(0, keepdim=True)
        last = torch.where(shown[-1:], by[-1:], last)
        place = old.nan_to_num(nan=0.0)
        new = logs - logs.gather(0, last) + place.gather(0, last)
        moves = shown & ~linked[last].squeeze(0)
        self.value = (old + torch.where(moves, (new - place).gather(0, by), 0.0))[:-1]
        self.linked = linked | (shown[:, None] & shown)

    def follow(self, logs: Tensor, decay: float) -> None:
        """Take in the logs (K,) of a step, as an exponential mean."""
        self.link(logs)
        new = self.of(logs)
        old = self.value.to(new.device)
        mean = torch.where(old.isnan(), new, decay * old + (1 - decay) * new)
        self.value = torch.where(new.isfinite(), mean, old)

    def dump(self) -> list[float | None]:
        """For JSON, which has no NaN."""
        return [None if math.isnan(x) else x for x in self.value.tolist()]

    def groups(self) -> list[int]:
        """Of each of the K numbers the first one that it is linked to."""
        return self.linked.int().argmax(1).tolist()

    def load(self, values: Sequence[float | None], groups: Sequence[int] | None = None) -> None:
        """What ``dump`` and ``groups`` gave; ValueError for another number of segments.

        Without groups, as older versions wrote them, all that has a value counts as linked.
        """
        if len(values) != len(self.value):
            theirs, ours = len(values) + 1, len(self.value) + 1
            raise ValueError(f"the checkpoint balances {theirs} segments, this run {ours}")
        self.value = torch.tensor([math.nan if x is None else x for x in values])
        if groups is None:
            last = len(values)
            groups = [i if x is None else last for i, x in enumerate(values)] + [last]
        of = torch.tensor(groups)
        self.linked = of[:, None] == of


class NGDiff(Balance):
    """Weights that give the segments' gradients the same norm, step by step, from exact norms.

    Of two segments ``w = [n_r, n_p] / (n_p + n_r)`` (M15). ValueError for bounds, a decay or shares
    that do not fit, and for ``lam`` where it would change nothing.

    lam: of two segments that share, the first one's weight until a batch has both; of more,
        they begin with equal weights.
    decay: of an exponential mean of the log-odds over steps; 0 uses each step's own norms.
    lam_min, lam_max: bounds of the first sharing segment's part of what is shared.
    shares: of each segment its fixed weight, or None where it shares.
    """

    needs_gradient_norms = True
    observes = True
    name = "ngdiff"

    def __init__(
        self,
        *,
        lam: float = 0.5,
        decay: float = 0.0,
        lam_min: float = 0.0,
        lam_max: float = 1.0,
        shares: Shares = PAIR,
    ) -> None:
        check_unit("lam", lam)
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"ngdiff_decay must be in [0, 1), got {decay}")
        if not 0.0 <= lam_min <= lam_max <= 1.0:
            raise ValueError(
                f"ngdiff bounds must satisfy 0 <= min <= max <= 1, got {lam_min} and {lam_max}"
            )
        self.shares, self.sharing = tuple(shares), _sharing(shares)
        self.decay, self.lam_min, self.lam_max = decay, lam_min, lam_max
        self._log_odds = Ratios(len(self.sharing))
        self._start = torch.zeros(len(self.sharing) - 1)
        if len(self.sharing) != 2 and lam != LAM:
            raise ValueError(
                f"lam={lam:g} would change nothing: {len(self.sharing)} segments share, not two"
            )
        if len(self.sharing) == 2:
            self._start = torch.logit(torch.tensor([lam]), eps=1e-6)

    @classmethod
    def from_options(cls, options: Any) -> NGDiff:
        return cls(**options_of(options))

    def observe(self, seen: Seen) -> None:
        assert seen.gradient is not None
        self.update(seen.gradient)

    def update(self, norms: Tensor) -> None:
        """Take in a step's gradient norms (S,), those of the whole accumulated batch."""
        self._move(self._logs(norms))

    def _logs(self, norms: Tensor) -> Tensor:
        """(S,) -> (K,) of the segments that share."""
        logs = norms.float().log()
        return torch.stack([logs[s] for s in self.sharing])

    def _move(self, log_norms: Tensor) -> None:
        """(K,) of the sharing segments."""
        self._log_odds.follow(-log_norms, self.decay)

    def weights(self, counts: Tensor) -> Tensor:
        odds = self._log_odds.value
        self._start = self._start.to(odds)  # once for a device: a copy to it is waited for
        odds = torch.where(odds.isnan(), self._start, odds).to(counts.device)
        parts = shared_parts(odds, self.lam_min, self.lam_max)
        if len(self.sharing) == len(self.shares):
            return parts
        left = parts * (1 - sum(w for w in self.shares if w is not None))
        each = iter(left)
        return torch.stack([next(each) if w is None else left.new_tensor(w) for w in self.shares])

    def state_dict(self) -> dict[str, Any]:
        values = self._log_odds.dump()
        odds = values[0] if len(values) == 1 else values
        groups = self._log_odds.groups()
        return {"log_odds": odds, "groups": groups, "shares": list(self.shares)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "log_odds" not in state:
            raise ValueError(
                f"the checkpoint was not trained with {self.name}: it holds no lambda of it"
            )
        theirs = tuple(state.get("shares", self.shares))  # older versions did not say
        if theirs != self.shares:
            raise ValueError(
                f"the checkpoint balances with the weights {_said(theirs)}, this run "
                f"{_said(self.shares)}"
            )
        values = state["log_odds"]
        values = values if isinstance(values, list) else [values]
        self._log_odds.load(values, state.get("groups"))


class Head(NGDiff):
    """NGDiff by the norms that stand in for the exact ones, with one backward pass."""

    needs_gradient_norms = False
    stand_in = "head"
    name = "head"

    def observe(self, seen: Seen) -> None:
        self.update(seen.stand_in)


def shared_parts(odds: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """(M15): softmax of the log-odds against the last, (K - 1,) -> (K,) that add up to 1.

    low, high: bounds of the first part; the others keep their ratios.
    """
    logs = torch.cat((odds, odds.new_zeros(1)))
    # the first against all others together, so that of two it is the sigmoid to the last bit
    first = torch.sigmoid(odds[0] - logs[1:].logsumexp(0)).clamp(low, high)
    rest = logs[1:].softmax(0)[:-1] * (1 - first)
    parts = torch.cat((first[None], rest))
    return torch.cat((parts, (1 - parts.sum())[None]))


def options_of(options: Any) -> dict[str, Any]:
    """What every controller that follows norms takes from the options."""
    shares = options.make_segments().weights
    if shares.count(None) > 2:
        refuse_lam(options, "more than two segments that share begin with equal parts")
    return {
        "lam": options.lam,
        "decay": options.ngdiff_decay,
        "lam_min": options.ngdiff_min,
        "lam_max": options.ngdiff_max,
        "shares": shares,
    }


def _said(shares: Shares) -> str:
    return ", ".join("balance" if weight is None else f"{weight:g}" for weight in shares)


def _sharing(shares: Shares) -> tuple[int, ...]:
    fixed = [w for w in shares if w is not None]
    for weight in fixed:
        check_unit("a fixed weight", weight)
    if sum(fixed) > 1 + 1e-6:
        raise ValueError(f"fixed weights must add up to at most 1, got {fixed}")
    sharing = tuple(s for s, weight in enumerate(shares) if weight is None)
    if len(sharing) < 2:
        raise ValueError(
            f"at least two segments must share what is left, got the weights {list(shares)}"
        )
    return sharing
