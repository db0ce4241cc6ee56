"""Reward functions that may raise, hang or answer nonsense, without the run being lost.

A guarded function never raises. What went wrong is kept as a sentence until every rank has been
asked: one rank that stopped alone would leave the others waiting for it forever.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from trl.trainer.utils import is_async_callable

from percbal.responses.labels import is_missing

LARGEST_REWARD = 1e16  # the squares of a million of them have a sum in float32


class RewardError(RuntimeError):
    """A reward function failed; the message names it, the step, and where the rollouts are."""


class GuardedReward:
    """A synchronous TRL reward function, called with a time limit and checked.

    The function may return any iterable of numbers: a list, an array, a Series, a generator. A call
    returns one float per completion: NaN for a completion that the function did not score (None,
    NaN, masked, or beyond ``LARGEST_REWARD``), and NaN for all of them where it failed, with the
    reason in ``problem`` and what was raised in ``error``.

    timeout: seconds, or None to wait forever. A function that is late is left running in a thread
        of its own; Python has no way to stop it.
    """

    def __init__(self, function: Callable[..., Any], name: str, timeout: float | None) -> None:
        self.function, self.__name__, self.timeout = function, name, timeout
        self.reads_tags = _module_of(function).startswith("percbal.")
        self.problem: str | None = None
        self.error: BaseException | None = None

    def __call__(self, **inputs: Any) -> list[float]:
        answers: list[Any] = []
        errors: list[BaseException] = []
        late = threading.Event()
        inputs = self._as_it_reads(inputs)
        inputs |= {
            name: _until(late, inputs[name])
            for name in ("log_extra", "log_metric")
            if name in inputs
        }

        def ask() -> None:
            try:
                answers.append(_listed(self.function(**inputs), _rows(inputs)))
            except BaseException as error:  # SystemExit too: it would end the thread unseen
                errors.append(error)

        if self.timeout is None:
            ask()
        else:
            thread = threading.Thread(target=ask, daemon=True, name=f"reward {self.__name__}")
            thread.start()
            thread.join(self.timeout)
        if not answers and not errors:
            late.set()
            errors.append(TimeoutError(f"no answer in {self.timeout:g} s"))
        return self._settle(
            answers[0] if answers else None, errors[0] if errors else None, _rows(inputs)
        )

    def _as_it_reads(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Functions of percbal read the default tags, others what the model wrote."""
        if self.reads_tags and "tagged_completions" in inputs:
            return {**inputs, "completions": inputs["tagged_completions"]}
        return dict(inputs)

    def _settle(self, answer: Any, error: BaseException | None, rows: int) -> list[float]:
        self.problem, self.error = None, error
        if error is not None:
            self.problem = f"{type(error).__name__}: {error}"
        else:
            try:
                return _checked(answer, rows)
            except Exception as wrong:  # of the values' own conversion, so of any kind
                self.problem, self.error = str(wrong), wrong
        return [math.nan] * rows


class GuardedAsyncReward(GuardedReward):
    """The same for a coroutine function; TRL awaits all of them together."""

    async def __call__(self, **inputs: Any) -> list[float]:  # type: ignore[override]
        try:
            async with asyncio.timeout(self.timeout) as limit:
                answer = await self.function(**self._as_it_reads(inputs))
            answer = _listed(answer, _rows(inputs))
        except Exception as raised:
            error: Exception = raised
            if isinstance(raised, TimeoutError) and limit.expired():  # else it is the function's
                error = TimeoutError(f"no answer in {self.timeout:g} s")
            return self._settle(None, error, _rows(inputs))
        return self._settle(answer, None, _rows(inputs))


def _module_of(function: Any) -> str:
    return str(getattr(function, "__module__", None) or type(function).__module__)


def guard(function: Any, name: str, timeout: float | None) -> Any:
    """The guarded function; a reward model (``nn.Module``) as it is."""
    if isinstance(function, torch.nn.Module):
        return function
    kind = GuardedAsyncReward if is_async_callable(function) else GuardedReward
    return kind(function, name, timeout)


def _until(late: threading.Event, log: Callable[..., None]) -> Callable[..., None]:
    """TRL's logging, which a function that is late must no longer reach: it is another step's."""
    return lambda *values: None if late.is_set() else log(*values)


def _rows(inputs: dict[str, Any]) -> int:
    return len(inputs["completions"])


def without_extremes(rewards: Tensor) -> Tensor:
    """NaN, not scored, for rewards that float32 cannot calculate with; also those of a model."""
    return torch.where(rewards.abs() <= LARGEST_REWARD, rewards, torch.nan)


def _listed(answer: Any, rows: int) -> Any:
    """The values of an iterable, at most one too many: a generator may have no end.

    Within the function's time limit, as a generator works only now.
    """
    if isinstance(answer, Iterable) and not isinstance(answer, (str, bytes, Mapping)):
        return answer if hasattr(answer, "__len__") else list(islice(answer, rows + 1))
    return answer


def _checked(answer: Any, rows: int) -> list[float]:
    one_each = isinstance(answer, Iterable) and not isinstance(answer, (str, bytes, Mapping))
    if not one_each or len(answer) != rows:  # type: ignore[arg-type]
        size = f"{len(answer)} values" if one_each else f"{answer!r:.40}"  # type: ignore[arg-type]
        raise ValueError(f"it must return one reward per completion, {rows}, it returned {size}")
    return [_number(value) for value in answer]


def _number(value: Any) -> float:
    if is_missing(value) or type(value).__name__ == "MaskedConstant":
        return math.nan
    try:
        number = float(value)
    except OverflowError:  # an integer beyond float64
        return math.nan
    return number if abs(number) <= LARGEST_REWARD else math.nan
