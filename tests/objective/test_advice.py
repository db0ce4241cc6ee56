"""Facts about the rule: what it advises of a policy, and what it says when it does not know."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace

import population
import pytest
import torch

from percbal.grpo.advice_said import AdviceSaid
from percbal.grpo.coupling_log import CouplingLog
from percbal.objective import criterion
from percbal.objective.advice import advise, advise_reward, expected_speed
from percbal.objective.criterion import Reward
from percbal.objective.measured import Measured, mostly_wrong
from percbal_ops import reward_coupling


def policy(p, q, **more):
    r = criterion.chain_correlation(p, q)
    return Measured(a=p * q, a_p=p, after_right=q, r=r, **more)


def sampled(p, q, groups=400, size=16, seed=0):
    g = torch.Generator().manual_seed(seed)
    perception = (torch.rand(groups * size, generator=g) < p).double()
    answer = perception * (torch.rand(groups * size, generator=g) < q)
    return answer, perception, torch.arange(groups * size) // size


@pytest.mark.parametrize("p, q", [(0.1, 0.6), (0.3, 0.4), (0.7, 0.3), (0.9, 0.5), (0.85, 0.9)])
def test_rollouts_are_advised_as_the_model_that_made_them_learns(p, q):
    """The sign for all tokens, and the speed of a mixture, against advantages and no formula."""
    answer, perception, group = sampled(p, q)
    measured = Measured.of(reward_coupling(answer[:, None], perception, None, group), 0)
    found, large = advise(measured), population.one_large_group(p, q)
    base, small, half, alone = (
        population.growth(large, p, q, credit, alpha)
        for credit, alpha in (("scalar", 0), ("scalar", 1e-3), ("scalar", 0.5), ("segment", 1.0))
    )
    assert (found.margin > 0) == (small > base)
    without = replace(measured, silent=math.nan)
    assert expected_speed(without, "scalar", 0.5) == pytest.approx(half / base, abs=0.06)
    assert found.segment_speed == pytest.approx(alone / base, abs=0.12)
    assert expected_speed(measured, "scalar", 0.0) == 1.0
    json.dumps(found.to_dict(), allow_nan=False)


def test_silent_groups_are_those_where_perceptions_alone_differ():
    answer, perception, group = sampled(0.3, 0.1, groups=50, size=4)
    found = Measured.of(reward_coupling(answer[:, None], perception, None, group), 0)
    alone = [
        perception[i : i + 4].std() > 0 and answer[i : i + 4].std() == 0 for i in range(0, 200, 4)
    ]
    assert found.silent == pytest.approx(sum(map(float, alone)) / 50)
    assert found.after_right == pytest.approx(float(answer.sum() / perception.sum()))


@pytest.mark.parametrize(
    "measured, verdict, sentence",
    [
        (policy(0.05, 0.1), "all_tokens", "Prefer a dense reward"),
        (policy(0.7, 0.3), "perception_tokens", "on the perception tokens alone (credit segment"),
        (policy(0.9, 0.999), "little", "An exact reward is enough"),
        (replace(policy(0.5, 0.5), r=-0.1), "conflict", "Right answers go with wrong perceptions"),
        (policy(0.0, 0.0), "unknown", "an exact perception reward is silent"),
        (policy(1.0, 0.5), "unknown", "Every perception here is right"),
        (policy(0.5, 0.0), "unknown", "Here no answer is right"),
        (replace(policy(0.5, 0.5), a=math.nan, a_p=math.nan), "unknown", "No rollout has both"),
        (replace(policy(0.5, 0.5), after_right=math.nan, a_r=0.5), "unknown", "must be exact"),
        (replace(policy(0.5, 0.5), r=math.nan), "unknown", "Within groups outcome or perception"),
        (replace(policy(0.5, 0.5), mostly_wrong=0.7), "all_tokens", "in 70% of the groups"),
        (replace(policy(0.7, 0.3), silent=0.4), "all_tokens", "In 40% of the groups the outcomes"),
    ],
)
def test_verdicts(measured, verdict, sentence):
    found = advise(measured)
    assert found.verdict == verdict and any(sentence in s for s in found.sentences)
    assert all(s.endswith(".") and "nan" not in s and "inf" not in s for s in found.sentences)
    if verdict == "unknown":
        assert expected_speed(measured, "scalar", 0.5) is None and found.margin is None


def test_a_measured_a_r_is_taken_and_what_stands_for_it_is_named():
    found, given = advise(policy(0.5, 0.5)), advise(policy(0.5, 0.5, a_r=0.8))
    assert (found.reasoning_from, given.reasoning_from) == ("after_right", "a_r")
    assert "a_r was not measured" in found.sentences[-1] and "a_r is 0.80" in given.sentences[-1]
    assert given.share > found.share  # less is left to learn in reasoning


def test_a_verdict_holds_if_both_ends_of_the_interval_agree():
    wide = replace(policy(0.7, 0.3), r_low=-0.1, r_high=0.5)
    assert advise(wide).holds is False and "more groups would tell" in advise(wide).sentences[1]
    assert advise(replace(wide, r_low=0.3, r_high=0.34)).holds is True
    assert advise(policy(0.7, 0.3)).holds is None


def test_other_rewards_are_told_apart():
    found = policy(0.3, 0.5)
    assert "can help" in advise_reward(found, "dense", Reward(0.9, 0.9 * found.r))
    assert "hardly anything" in advise_reward(found, "length", Reward(0.02, 0.0), high=0.1)
    assert "it would harm" in advise_reward(found, "liar", Reward(-0.5, -0.2), high=-0.3)
    assert "nothing can be said" in advise_reward(found, "same", Reward(math.nan, 0.1))


def test_groups_that_are_mostly_wrong_are_counted():
    nan = math.nan
    perception = torch.tensor([1, 0, 0, nan, 1, 0, nan, nan, nan, 0.5, 1, 1])
    group = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3])
    assert tuple(map(int, mostly_wrong(perception, group, 4))) == (1, 3)
    assert tuple(map(int, mostly_wrong(perception, group, 4, 0.0))) == (0, 3)


def test_the_log_has_the_rules_numbers_and_one_sentence_for_a_change(caplog):
    log = CouplingLog(["outcome", "group_agreement"], has_reasoning=False, credit="scalar")
    said = AdviceSaid(log.names)

    def step(p, q, seed):
        answer, perception, _ = sampled(p, q, seed=seed)
        log.update(torch.stack((answer, perception), 1).float(), perception.float(), None, 16)
        figures = log.drain(0.5)
        said.look(log.advice)
        return figures, [record.getMessage() for record in caplog.records]

    with caplog.at_level(logging.WARNING):
        for seed in (0, 1):
            figures, lines = step(0.2, 0.3, seed)
        assert figures["coupling/margin"] == pytest.approx(
            advise(policy(0.2, 0.3)).margin, abs=0.05
        )
        assert figures["coupling/expected_speed"] > 1 and figures["coupling/mostly_wrong"] > 0.9
        assert len(lines) == 2 and "on all tokens" in lines[0] and "Agreement" in lines[1]
        figures, lines = step(0.9, 1.0, 2)
        assert len(lines) == 3 and "can add little" in lines[2]
        assert figures["coupling/mostly_wrong"] == 0
