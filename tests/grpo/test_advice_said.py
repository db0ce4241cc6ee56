"""Facts about the rule in a run's log: its numbers, and the few sentences it says."""

from __future__ import annotations

import logging

import pytest
import torch

from percbal.grpo.advice_said import REPEATED, AdviceSaid
from percbal.grpo.coupling_log import CouplingLog
from percbal.objective import criterion
from percbal.objective.advice import advise
from percbal.objective.measured import Measured


class Run:
    """A policy that stays as it is, and what its log says."""

    def __init__(self, names=("outcome",), credit=None, seed=0, **more):
        self.log = CouplingLog(list(names), has_reasoning=False, credit=credit, **more)
        self.said = AdviceSaid()
        self.draws = torch.Generator().manual_seed(seed)

    def step(self, p, q, groups, size, guess=0.0, alpha=0.5, agreement=None):
        """agreement: how often it has the verdict of the truth."""
        rows = groups * size

        def chance(of):
            return torch.rand(rows, generator=self.draws) < of

        perception = chance(p)
        answer = torch.where(perception, chance(q), chance(guess))
        rewards = [answer]
        if agreement is not None:
            rewards.append(torch.where(chance(agreement), perception, chance(0.5)))
        self.log.update(torch.stack(rewards, 1).float(), perception.float(), None, size)
        figures = self.log.drain(alpha)
        self.said.look(self.log.advice)
        return figures


def said_by(caplog, run, steps, *policy, **more):
    """New messages over the steps."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(steps):
            run.step(*policy, **more)
    return [record.getMessage() for record in caplog.records]


def test_the_log_has_the_rules_numbers():
    figures = Run(credit="scalar").step(0.2, 0.3, 400, 16)
    r = criterion.chain_correlation(0.2, 0.3)
    found = advise(Measured(0.06, 0.2, 0.3, r))
    assert figures["coupling/margin"] == pytest.approx(found.margin, abs=0.05)
    assert figures["coupling/expected_speed"] > 1 and figures["coupling/mostly_wrong"] > 0.9
    assert figures["coupling/wrong_success"] == 0
    guessed = Run(credit="scalar").step(0.2, 0.3, 400, 16, guess=0.1)
    assert guessed["coupling/wrong_success"] > 0.4
    assert not {"coupling/margin", "coupling/expected_speed"} & guessed.keys()


def test_silent_groups_add_nothing_where_all_groups_have_one_spread():
    speeds = [
        Run(credit="scalar", own_spread=own).step(0.1, 0.5, 400, 8)["coupling/expected_speed"]
        for own in (True, False)
    ]
    assert speeds[0] > speeds[1] + 0.1 > 1.1


def test_a_verdict_is_said_once_and_again_when_it_has_changed(caplog):
    run = Run()
    assert said_by(caplog, run, REPEATED - 1, 0.2, 0.3, 100, 16) == []
    lines = said_by(caplog, run, 5, 0.2, 0.3, 100, 16)
    assert len(lines) == 1 and "on all tokens" in lines[0]
    lines = said_by(caplog, run, 5, 0.9, 0.999, 400, 16)
    assert len(lines) == 1 and "can add little" in lines[0]


def test_a_conflict_is_said(caplog):
    """docs/reinforce.md says that the log says it."""
    lines = said_by(caplog, Run(), 5, 0.5, 0.1, 200, 8, guess=0.4)
    assert len(lines) == 1 and "Right answers go with wrong perceptions" in lines[0]


@pytest.mark.parametrize("groups, p, q", [(8, 0.05, 0.7), (8, 0.7, 0.5), (32, 0.5, 0.5)])
def test_a_policy_that_stays_has_hardly_more_than_one_message(caplog, groups, p, q):
    """Three runs of 300 logs. When every log spoke for itself they said 38, 7 and 9 sentences, of
    which 20, 2 and 3 were wrong; now 3, and none."""
    right = advise(Measured(p * q, p, q, criterion.chain_correlation(p, q))).verdict
    said = 0
    for seed in range(3):
        run = Run(seed=seed)
        said += len(said_by(caplog, run, 300, p, q, groups, 8))
        assert run.said.verdict == right
    assert said <= 5


def test_agreement_is_warned_of_where_it_is_not_seen_to_go_with_the_truth(caplog):
    names = ("outcome", "group_agreement")
    lines = said_by(caplog, Run(names), 9, 0.2, 0.3, 100, 16, agreement=0.0)
    assert len([line for line in lines if "Agreement can harm" in line]) == 1
    lines = said_by(caplog, Run(names), 9, 0.2, 0.3, 100, 16, agreement=0.6)
    assert not any("Agreement" in line for line in lines)


def test_the_averages_of_the_losses_are_in_the_margin():
    """Perception has a seventeenth of the tokens and half of the loss: 16 times as much a token."""
    plain, weighed = Run(), Run()
    for tokens in ([10.0, 150.0], [0.0, 10.0]):
        weighed.log.weigh([0.5, 0.5], tokens, 0)
    margins = [run.step(0.8, 0.5, 400, 16)["coupling/margin"] for run in (plain, weighed)]
    r = criterion.chain_correlation(0.8, 0.5)
    for margin, k in zip(margins, (1.0, 16.0), strict=True):
        share = criterion.share_of(0.4 * (1 - 0.8), 0.4 * (1 - 0.5), k)
        assert margin == pytest.approx(share - r * r, abs=0.05)
    again = weighed.step(0.8, 0.5, 400, 16)["coupling/margin"]
    assert again == pytest.approx(margins[0], abs=0.05), "a log begins anew"
