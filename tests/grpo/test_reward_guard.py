"""Facts about guarded reward functions: whatever they do, there is one number per completion."""

from __future__ import annotations

import asyncio
import functools
import math
import threading

import pytest
import torch

from percbal.grpo.guard import GuardedAsyncReward, GuardedReward, guard

COMPLETIONS = ["a", "b", "c"]


def ask(function, timeout=None, **inputs):
    guarded = guard(function, "it", timeout)
    answer = guarded(completions=COMPLETIONS, **inputs)
    if asyncio.iscoroutine(answer):
        answer = asyncio.run(answer)
    return guarded, answer


def test_answers_pass_through():
    guarded, answer = ask(lambda completions, n: [n, 1, True], n=0.5)
    assert answer == [0.5, 1.0, 1.0] and guarded.problem is None
    assert guarded.__name__ == "it"


def test_what_was_not_scored_is_nan():
    guarded, answer = ask(lambda completions: [None, math.inf, 1.0])
    assert math.isnan(answer[0]) and math.isnan(answer[1]) and answer[2] == 1.0
    assert guarded.problem is None


def raises(completions):
    raise KeyError("grid")


async def raises_later(completions):
    await asyncio.sleep(0)
    raise KeyError("grid")


@pytest.mark.parametrize("function", [raises, raises_later])
@pytest.mark.parametrize("timeout", [None, 5.0])
def test_an_error_becomes_a_sentence(function, timeout):
    guarded, answer = ask(function, timeout)
    assert all(map(math.isnan, answer)) and guarded.problem == "KeyError: 'grid'"
    assert guarded.error.__traceback__ is not None, "so that the fault can be found"


def test_a_function_that_hangs_is_left_behind():
    wake = threading.Event()
    guarded, answer = ask(lambda completions: wake.wait(30), 0.05)
    wake.set()
    assert all(map(math.isnan, answer))
    assert guarded.problem == "TimeoutError: no answer in 0.05 s"


def test_a_coroutine_that_hangs_is_left_behind():
    async def sleeps(completions):
        await asyncio.sleep(30)

    guarded, answer = ask(sleeps, 0.05)
    assert all(map(math.isnan, answer))
    assert guarded.problem == "TimeoutError: no answer in 0.05 s"


@pytest.mark.parametrize(
    "answer, sentence",
    [
        ([1.0], "one reward per completion, 3, it returned 1 values"),
        (None, "it returned None"),
        (["x", 1, 2], "could not convert string to float: 'x'"),
    ],
)
def test_nonsense_becomes_a_sentence(answer, sentence):
    guarded, values = ask(lambda completions: answer)
    assert all(map(math.isnan, values)) and sentence in guarded.problem


def test_a_problem_is_forgotten_by_the_next_call():
    state = {"fail": True}

    def sometimes(completions):
        if state["fail"]:
            raise ValueError("not yet")
        return [0.0] * len(completions)

    guarded = GuardedReward(sometimes, "it", None)
    guarded(completions=COMPLETIONS)
    assert guarded.problem
    state["fail"] = False
    assert guarded(completions=COMPLETIONS) == [0.0] * 3 and guarded.problem is None


def test_the_kind_of_function_is_kept():
    class Async:
        async def __call__(self, completions):
            return [1.0] * len(completions)

    assert isinstance(guard(Async(), "it", None), GuardedAsyncReward)
    assert isinstance(guard(functools.partial(Async()), "it", None), GuardedAsyncReward)
    assert type(guard(raises, "it", None)) is GuardedReward
    model = torch.nn.Linear(1, 1)
    assert guard(model, "it", None) is model


def test_a_late_function_no_longer_logs():
    wake, done, logged = threading.Event(), threading.Event(), []

    def slow(completions, log_metric):
        log_metric("early", 1.0)
        wake.wait(30)
        log_metric("late", 1.0)
        done.set()

    ask(slow, 0.05, log_metric=lambda *values: logged.append(values))
    wake.set()
    assert done.wait(30) and logged == [("early", 1.0)]


def test_a_function_that_exits_has_failed():
    def leaves(completions):
        raise SystemExit(3)

    guarded, _ = ask(leaves, 5.0)
    assert guarded.problem == "SystemExit: 3"
