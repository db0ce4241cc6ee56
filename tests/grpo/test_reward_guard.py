"""Facts about guarded reward functions: whatever they do, there is one number per completion."""

from __future__ import annotations

import asyncio
import functools
import itertools
import math
import threading

import numpy as np
import pandas
import pytest
import rl_fixtures as rl
import torch

from percbal.grpo.guard import GuardedAsyncReward, GuardedReward, guard, without_extremes

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


def as_generator(values):
    yield from values


CONTAINERS = {
    "list": list,
    "tuple": tuple,
    "tensor": torch.tensor,
    "array": np.array,
    "series": pandas.Series,
    "generator": as_generator,
    "values": lambda values: dict(enumerate(values)).values(),
}


@pytest.mark.parametrize("values", [[0.5, 1.0, 0.0], [True, False, True], [1, 2, 3]])
@pytest.mark.parametrize("kind", CONTAINERS)
def test_rewards_may_come_in_any_container(kind, values):
    async def later(completions):
        return CONTAINERS[kind](values)

    for function in (lambda completions: CONTAINERS[kind](values), later):
        guarded, answer = ask(function, 5.0)
        assert guarded.problem is None and answer == [float(v) for v in values]
        assert all(type(value) is float for value in answer)


def test_what_is_masked_or_missing_is_not_scored():
    masked = np.ma.masked_array([1.0, 2.0, 3.0], [False, True, False])
    floats, integers = (pandas.Series([1, None, 3], dtype=kind) for kind in ("float", "Int8"))
    for answer in (masked, floats, integers):
        guarded, values = ask(lambda completions, answer=answer: answer)
        assert guarded.problem is None
        assert values[::2] == [1, 3] and math.isnan(values[1])


@pytest.mark.parametrize(
    "value",
    [-1e300, 1e39, 10**400, -(10**400), -math.inf, 1.1e16],
    ids=lambda value: str(value)[:6],
)
def test_a_reward_that_float32_cannot_calculate_with_is_not_scored(value):
    guarded, answer = ask(lambda completions: [value, 1e16, 1.0])
    assert math.isnan(answer[0]) and answer[1:] == [1e16, 1.0] and guarded.problem is None
    of_a_model = without_extremes(torch.tensor([float(max(min(value, 1e300), -1e300)), 1.0]))
    assert of_a_model.isnan().tolist() == [True, False]


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_a_generator_fails_and_hangs_as_a_function_does(timeout):
    def breaks(completions):
        yield 1.0
        raise KeyError("grid")

    guarded, answer = ask(breaks, timeout)
    assert all(map(math.isnan, answer)) and guarded.problem == "KeyError: 'grid'"


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


@pytest.mark.parametrize("timeout", [None, 600.0])
def test_a_coroutines_own_timeout_is_its_own_error(timeout):
    async def asks_a_server(completions):
        raise TimeoutError("the server said nothing")

    guarded, answer = ask(asks_a_server, timeout)
    assert all(map(math.isnan, answer))
    assert guarded.problem == "TimeoutError: the server said nothing"


@pytest.mark.parametrize(
    "answer, sentence",
    [
        ([1.0], "one reward per completion, 3, it returned 1 values"),
        (None, "it returned None"),
        ("abc", "it returned 'abc'"),
        ({0: 1.0, 1: 1.0, 2: 1.0}, "it returned {0: 1.0"),
        (itertools.count(), "one reward per completion, 3, it returned 4 values"),
        (np.ones((3, 2)), "only 0-dimensional arrays can be converted"),
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


@pytest.mark.parametrize("value", [-1e300, 10**400, 3e38], ids=lambda value: str(value)[:6])
def test_a_run_goes_on_over_a_reward_out_of_range(value, tmp_path):
    def outcome(completions, **_):
        return [value, *[float(i % 3) for i in range(1, len(completions))]]

    policy = rl.tiny_policy(tmp_path / "policy")
    trainer = rl.trainer(policy, tmp_path, [outcome, rl.perception], max_steps=2)
    trainer.train()
    entries = [entry for entry in trainer.state.log_history if "alpha" in entry]
    assert [entry["rewards/outcome/unscored"] for entry in entries] == [0.125, 0.125]
    assert all(math.isfinite(entry["grad_norm"]) for entry in entries)
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())
