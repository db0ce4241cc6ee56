"""NGDiff's weights of any number of segments, against float64 and against what it was for two."""

from __future__ import annotations

import json
import math

import pytest
import torch

from percbal.objective.balance import Fixed
from percbal.objective.ngdiff import NGDiff, Ratios, shared_parts

NAN = math.nan


def weights(balance: NGDiff) -> torch.Tensor:
    return balance.weights(torch.ones(len(balance.shares), dtype=torch.int64))


def expected(norms: list[float], shares: tuple[float | None, ...]) -> list[float]:
    """(1 - F) (1 / n_s) / sum of the 1 / n, in float64."""
    inverse = [1 / n for n, share in zip(norms, shares, strict=True) if share is None]
    left = 1 - sum(share for share in shares if share is not None)
    each = iter(left * x / sum(inverse) for x in inverse)
    return [next(each) if share is None else share for share in shares]


@pytest.mark.parametrize(
    "shares",
    [
        (None, None),
        (None, None, None),
        (0.2, None, None),
        (None, 0.1, None, 0.3),
        (1.0, None, None),
    ],
)
def test_what_is_left_is_shared_so_that_norms_are_equal(shares):
    norms = [6.0, 2.0, 0.5, 3.0][: len(shares)]
    balance = NGDiff(shares=shares)
    balance.update(torch.tensor(norms))
    torch.testing.assert_close(
        weights(balance).double(), torch.tensor(expected(norms, shares), dtype=torch.float64)
    )
    assert float(weights(balance).sum()) == pytest.approx(1.0)


def test_norms_far_apart_overflow_nothing():
    balance = NGDiff(shares=(None, None, None))
    balance.update(torch.tensor([1e-30, 1.0, 1e30]))
    assert weights(balance).tolist() == [1.0, 0.0, 0.0]


class AsItWas:
    """NGDiff of two segments as it was written before there could be more."""

    def __init__(self, lam: float, decay: float, low: float, high: float) -> None:
        self.decay, self.low, self.high = decay, low, high
        self.start = torch.logit(torch.tensor(lam), eps=1e-6)
        self.log_odds = torch.tensor(NAN)

    def update(self, norms: torch.Tensor) -> None:
        logs = norms.float().log()
        new, old = logs[1] - logs[0], self.log_odds
        mean = torch.where(old.isnan(), new, self.decay * old + (1 - self.decay) * new)
        self.log_odds = torch.where(new.isfinite(), mean, old)

    def weights(self) -> torch.Tensor:
        log_odds = torch.where(self.log_odds.isnan(), self.start, self.log_odds)
        lam = torch.sigmoid(log_odds).clamp(self.low, self.high)
        return torch.stack((lam, 1 - lam))


@pytest.mark.parametrize("decay", [0.0, 0.9])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.2, 0.6)])
def test_of_two_segments_it_is_what_it_was_bit_for_bit(decay, bounds):
    generator = torch.Generator().manual_seed(0)
    was = AsItWas(0.3, decay, *bounds)
    now = NGDiff(lam=0.3, decay=decay, lam_min=bounds[0], lam_max=bounds[1])
    assert torch.equal(weights(now), was.weights())
    for step in range(200):
        norms = torch.randn(2, generator=generator).mul(3).exp()
        if step % 7 == 0:
            norms[step % 2] = (0.0, NAN, math.inf)[step % 3]
        was.update(norms)
        now.update(norms)
        assert torch.equal(weights(now), was.weights())
    assert now.state_dict()["log_odds"] == float(was.log_odds)
    again = NGDiff(lam=0.3, decay=decay, lam_min=bounds[0], lam_max=bounds[1])
    again.load_state_dict(json.loads(json.dumps({"log_odds": float(was.log_odds)})))
    assert torch.equal(weights(again), was.weights())


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_segment_keeps_its_place_while_the_others_move(missing):
    """The last of those that are there keeps its ratio to the missing one."""
    balance = NGDiff(shares=(None, None, None))
    balance.update(torch.tensor([1.0, 2.0, 4.0]))
    norms = torch.tensor([3.0, 1.0, 9.0])
    norms[missing] = 0.0
    before = weights(balance)
    balance.update(norms)
    first, last = (s for s in range(3) if s != missing)
    now = weights(balance)
    assert float(now[first] * norms[first]) == pytest.approx(float(now[last] * norms[last]))
    assert float(now[last] / now[missing]) == pytest.approx(float(before[last] / before[missing]))


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_of_three_the_two_that_are_there_are_balanced_though_the_third_was_never_seen(missing):
    balance = NGDiff(shares=(None, None, None))
    norms = torch.tensor([3.0, 1.0, 9.0])
    norms[missing] = 0.0
    balance.update(norms)
    first, last = (s for s in range(3) if s != missing)
    now = weights(balance)
    assert float(now[first] * norms[first]) == pytest.approx(float(now[last] * norms[last]))
    assert float(now[last]) == pytest.approx(float(now[missing]))


def test_a_segment_that_is_alone_says_nothing():
    balance = NGDiff(shares=(None, None, None))
    balance.update(torch.tensor([0.0, 2.0, NAN]))
    assert weights(balance).tolist() == pytest.approx([1 / 3] * 3)


def test_bounds_are_of_the_first_part_and_the_others_keep_their_ratio():
    parts = shared_parts(torch.log(torch.tensor([8.0, 3.0])), 0.0, 0.5)
    torch.testing.assert_close(parts, torch.tensor([0.5, 0.375, 0.125]))


def test_a_segment_is_placed_by_the_first_step_that_shows_it():
    """What kept its place until then is no observation, and a mean takes nothing of it."""
    balance = NGDiff(decay=0.9, shares=(None, None, None))
    balance.update(torch.tensor([1.0, 1.0, 0.0]))
    balance.update(torch.tensor([1.0, 1.0, 10.0]))
    assert weights(balance).tolist() == pytest.approx(
        expected([1, 1, 10], balance.shares), rel=1e-5
    )


@pytest.mark.parametrize("late", range(3))
def test_those_that_were_seen_keep_their_mean_when_another_is_placed(late):
    first, second = (s for s in range(3) if s != late)
    ratios = Ratios(3)
    for log in (0.0, 0.0, 4.0):
        logs = torch.tensor([NAN] * 3)
        logs[first], logs[second] = log, 1.0
        ratios.follow(logs, 0.5)
    logs[late] = 7.0
    ratios.follow(logs, 0.5)  # 0, 2 and 3, a mean of what the first was; the new one as it is
    now = [*ratios.dump(), 0.0]
    assert now[first] - now[second] == pytest.approx(3.0 - 1.0)
    assert now[late] - now[second] == pytest.approx(7.0 - 1.0)


def test_a_segment_that_comes_without_the_last_one_moves_no_other():
    """Equal norms of the first two, one of which is new; the other is 1/8 of the last one's."""
    balance = NGDiff(decay=0.9, shares=(None, None, None))
    balance.update(torch.tensor([1.0, 0.0, 8.0]))
    balance.update(torch.tensor([1.0, 1.0, 0.0]))
    assert weights(balance).tolist() == pytest.approx(expected([1, 1, 8], balance.shares), rel=1e-5)


@pytest.mark.parametrize("groups", [((0, 1), (2, 3)), ((0, 3), (1, 2)), ((1, 3), (0, 2))])
def test_pairs_that_were_seen_apart_are_placed_by_one_of_each(groups):
    (a, b), (c, d) = groups
    ratios = Ratios(4)

    def follow(**logs):
        values = torch.tensor([NAN] * 4)
        for name, log in logs.items():
            values[{"a": a, "b": b, "c": c, "d": d}[name]] = log
        ratios.follow(values, 0.9)

    follow(a=1.0, b=0.0)
    follow(c=2.0, d=0.0)
    again = Ratios(4)
    again.load(json.loads(json.dumps(ratios.dump())), json.loads(json.dumps(ratios.groups())))
    ratios = again
    follow(b=0.0, c=5.0)
    now = [*ratios.dump(), 0.0]
    assert [now[i] - now[b] for i in (a, c, d)] == pytest.approx([1.0, 5.0, 3.0])


def test_a_checkpoint_without_groups_goes_on_as_it_was():
    balance = NGDiff(decay=0.5, shares=(None, None, None))
    balance.load_state_dict({"log_odds": [0.0, None]})
    balance.update(torch.tensor([math.exp(-2.0), math.exp(-3.0), 1.0]))
    assert balance.state_dict()["log_odds"] == pytest.approx([1.0, 3.0])


@pytest.mark.parametrize("updates", [0, 2])
def test_the_state_of_three_segments_is_kept(updates):
    ours, other = (NGDiff(decay=0.9, shares=(None, 0.2, None, None)) for _ in range(2))
    for _ in range(updates):
        ours.update(torch.tensor([1.0, 4.0, 2.0, 9.0]))
    other.load_state_dict(json.loads(json.dumps(ours.state_dict())))
    for balance in (ours, other):
        balance.update(torch.tensor([5.0, 4.0, 1.0, 2.0]))
    assert torch.equal(weights(ours), weights(other))


def test_the_state_of_another_number_of_segments_is_refused():
    with pytest.raises(ValueError, match="the checkpoint balances 3 segments, this run 2"):
        NGDiff().load_state_dict({"log_odds": [0.1, 0.2]})
    with pytest.raises(ValueError, match="the checkpoint balances 2 segments, this run 3"):
        NGDiff(shares=(None, None, None)).load_state_dict({"log_odds": 0.1})


@pytest.mark.parametrize("ours", [(None, None, 0.2), (0.3, None, None), (None, None)])
def test_a_checkpoint_of_other_shares_is_refused(ours):
    state = json.loads(json.dumps(NGDiff(shares=(0.2, None, None)).state_dict()))
    NGDiff(shares=(0.2, None, None)).load_state_dict(state)
    with pytest.raises(ValueError, match="with the weights 0.2, balance, balance, this run"):
        NGDiff(shares=ours).load_state_dict(state)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ((0.5, None), r"two segments must share what is left, got the weights \[0.5, None\]"),
        ((0.7, 0.6, None, None), r"add up to at most 1, got \[0.7, 0.6\]"),
        ((-0.1, None, None), r"a fixed weight must be in \[0, 1\], got -0.1"),
    ],
)
def test_impossible_shares_are_refused(shares, message):
    with pytest.raises(ValueError, match=message):
        NGDiff(shares=shares)


def test_fixed_weights_of_any_number_of_segments():
    counts = torch.tensor([1, 2, 3])
    assert Fixed([0.5, 0.25, 0.25]).weights(counts).tolist() == [0.5, 0.25, 0.25]
    with pytest.raises(ValueError, match=r"must add up to 1, got \[0.5, 0.2\]"):
        Fixed([0.5, 0.2])


def test_ratios_follow_logs_exponentially():
    ratios = Ratios(3)
    ratios.follow(torch.tensor([1.0, 2.0, 0.0]), 0.5)
    ratios.follow(torch.tensor([3.0, NAN, 0.0]), 0.5)
    assert ratios.dump() == [2.0, 2.0]


def test_a_lambda_without_two_that_share_is_refused():
    """It would be the first one's part of what two share."""
    with pytest.raises(ValueError, match="lam=0.9 would change nothing: 3 segments share, not two"):
        NGDiff(lam=0.9, shares=(None, None, None))
    assert NGDiff(lam=0.9, shares=(0.2, None, None)).lam_max == 1
