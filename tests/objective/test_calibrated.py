"""When `calibrated` takes exact norms, and what it makes of stand-ins between them."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
import torch

from percbal.objective.balance import Balance, Fixed, Seen, TokenMean
from percbal.objective.calibrated import DECAY, Calibrated
from percbal.objective.controllers import CONTROLLERS, make_controller
from percbal.objective.ngdiff import Head, NGDiff
from percbal.sft.config import BalancedSFTConfig
from percbal.sft.refusals import make_balance

COUNTS = torch.tensor([3, 9])


def seen(stand_in, exact=None, losses=(1.0, 1.0), step=0) -> Seen:
    gradient = None if exact is None else torch.tensor(exact)
    return Seen(step, COUNTS, torch.tensor(losses), torch.tensor(stand_in), gradient)


def lam(balance: Balance) -> float:
    return float(balance.weights(COUNTS)[0])


def steps_to_exact(balance: Calibrated, stand_in, exact) -> int:
    """Cheap steps until the next exact one, which then shows these norms."""
    cheap = 0
    while not balance.due(COUNTS):
        balance.observe(seen(stand_in))
        cheap += 1
    balance.observe(seen(stand_in, exact))
    return cheap


def test_an_exact_step_has_the_weights_of_ngdiff():
    balance = Calibrated()
    assert balance.due(COUNTS)
    balance.observe(seen([1.0, 1.0], [6.0, 2.0]))
    assert lam(balance) == pytest.approx(2 / 8)


def test_between_exact_steps_stand_ins_are_set_right():
    """The factor that was measured, 2 for perception, holds for what the stand-ins show next."""
    balance = Calibrated()
    for _ in range(2):
        balance.observe(seen([1.0, 1.0], [2.0, 1.0]))
    assert not balance.due(COUNTS)
    # twice the norm and twice the loss are a stand-in twice as large
    balance.observe(seen([2.0, 1.0], losses=(2.0, 1.0)))
    assert lam(balance) == pytest.approx(1 / (1 + 2 * 2))


def test_the_interval_doubles_while_predictions_hold_and_halves_when_one_does_not():
    balance = Calibrated(every=8)
    intervals = [steps_to_exact(balance, [1.0, 1.0], [2.0, 1.0]) + 1 for _ in range(6)]
    assert intervals == [1, 1, 2, 4, 8, 8]
    balance = Calibrated(every=8, tolerance=0.3)
    for _ in range(5):
        steps_to_exact(balance, [1.0, 1.0], [2.0, 1.0])
    assert steps_to_exact(balance, [1.0, 1.0], [2.0 * math.exp(0.31), 1.0]) + 1 == 8
    assert steps_to_exact(balance, [1.0, 1.0], [2.0 * math.exp(3.0), 1.0]) + 1 == 4
    assert steps_to_exact(balance, [1.0, 1.0], [2.0 * math.exp(-3.0), 1.0]) + 1 == 2


def test_the_factor_is_a_running_mean_of_logs():
    balance = Calibrated()
    balance.observe(seen([1.0, 1.0], [1.0, 1.0]))
    balance.observe(seen([1.0, 1.0], [4.0, 1.0]))
    balance.observe(seen([1.0, 1.0]))
    assert lam(balance) == pytest.approx(1 / (1 + 4 ** (1 - DECAY)))


def test_exact_norms_wait_for_a_batch_that_has_both_segments():
    alone, both = torch.tensor([0, 9]), COUNTS
    balance = Calibrated(lam=0.3)
    assert not balance.due(alone) and balance.due(both)
    balance.observe(seen([0.0, 1.0], losses=(0.0, 1.0))._replace(counts=alone))
    assert not balance.due(alone) and balance.due(both) and lam(balance) == pytest.approx(0.3)
    for _ in range(2):
        balance.observe(seen([1.0, 1.0], [2.0, 1.0]))
    before = lam(balance)
    balance.observe(seen([0.0, 1.0], losses=(0.0, 1.0))._replace(counts=alone))
    assert lam(balance) == before


def measured_in(balance: Calibrated, batches) -> list[int]:
    """The exact steps of a run over batches: which of its segments each has. Norms never change."""
    steps = []
    for step, has in enumerate(batches):
        norms = torch.tensor([float(h) for h in has])
        exact = balance.due(norms.long())
        steps += [step] * exact
        gradient = norms * torch.tensor([2.0, 1.0, 4.0, 8.0][: len(has)]) if exact else None
        balance.observe(Seen(step, norms.long(), norms, norms, gradient))
    return steps


def test_batches_that_alternate_are_measured_as_often_as_others():
    """Every second one has reasoning alone, and tells nothing of perception."""
    balance = Calibrated(every=24)
    steps = measured_in(balance, [(step % 2 == 0, True) for step in range(400)])
    assert steps == [0, 2, 4, 8, 16, *range(32, 400, 24)]
    assert lam(balance) == pytest.approx(1 / 3)


def test_a_measurement_is_at_the_first_step_with_both_after_its_time():
    generator = torch.Generator().manual_seed(0)
    both = (torch.rand(2000, generator=generator) < 0.1).tolist()
    steps = measured_in(Calibrated(every=24), [(b, True) for b in both])
    assert all(both[step] for step in steps)
    late = [after for before, after in pairwise(steps) if any(both[before + 24 : after])]
    assert not late and len(steps) > 2000 / (24 + 10) - 5


def test_a_segment_that_the_last_measurement_did_not_show_is_measured_when_it_comes():
    """The third is in a tenth of the batches, and two of three would be measured without it."""
    generator = torch.Generator().manual_seed(0)
    third = (torch.rand(2000, generator=generator) < 0.1).tolist()
    balance = Calibrated(every=24, shares=(None, None, None))
    steps = measured_in(balance, [(True, True, t) for t in third])
    of_third = [step for step in steps if third[step]]
    assert not [a for b, a in pairwise(of_third) if any(third[b + 48 : a])]
    assert len(steps) <= 2 * 2000 / 24
    inverse = torch.tensor([1 / 2, 1.0, 1 / 4])
    torch.testing.assert_close(balance.weights(torch.ones(3)), inverse / inverse.sum())


def test_norms_that_are_0_though_there_are_tokens_do_not_make_every_step_exact():
    balance, due = Calibrated(every=8), 0
    for _ in range(50):
        due += (exact := balance.due(COUNTS))
        balance.observe(seen([0.0, 1.0], [0.0, 1.0] if exact else None))
    assert due <= 12


def test_a_checkpoint_of_before_waits_for_what_it_does_not_know():
    shares = (None, None, None)
    state = Calibrated(shares=shares).state_dict()
    for name in ("waiting", "factor_groups", "groups"):
        del state[name]
    state |= {
        "factors": [math.log(2), 0.0],
        "known": [True, True, False],
        "interval": 24,
        "left": 20,
    }
    balance = Calibrated(shares=shares)
    balance.load_state_dict(json.loads(json.dumps(state)))
    assert not balance.due(torch.tensor([1, 1, 0])) and balance.due(torch.tensor([1, 0, 1]))
    measured_in(balance, [(True, True, True), (True, True, True)])
    inverse = torch.tensor([1 / 2, 1.0, 1 / 4])
    torch.testing.assert_close(balance.weights(torch.ones(3)), inverse / inverse.sum())


@pytest.mark.parametrize("shares", [(None, None), (None, None, None)])
@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_segment_that_never_appears_does_not_make_every_step_exact(missing, shares):
    def step(norms, exact):
        norms = list(norms[: len(shares)])
        if missing < len(norms) and not appeared:
            norms[missing] = exact[missing] = 0.0
        counts, losses = torch.tensor(norms).sign().long(), torch.tensor(norms).sign()
        gradient = torch.tensor(exact[: len(norms)]) if balance.due(counts) else None
        told.append(gradient is not None)
        balance.observe(Seen(0, counts, losses, torch.tensor(norms), gradient))

    balance, appeared, told = Calibrated(every=8, shares=shares), False, []
    for _ in range(50):
        step([1.0, 1.0, 1.0], [2.0, 1.0, 4.0])
    assert sum(told) <= 12
    appeared = True  # the step that shows it is measured
    step([1.0, 1.0, 1.0], [2.0, 1.0, 4.0])
    assert told[-1] or missing == len(shares)
    counts = torch.ones(len(shares), dtype=torch.int64)
    inverse = torch.tensor([1 / 2, 1.0, 1 / 4][: len(shares)])
    torch.testing.assert_close(balance.weights(counts), inverse / inverse.sum())
    step([1.0, 1.0, 1.0], [2.0, 1.0, 4.0])
    torch.testing.assert_close(balance.weights(counts), inverse / inverse.sum())


def test_a_run_with_other_stand_ins_measures_anew():
    balance, other = Calibrated(every=8), Calibrated(every=8)
    for _ in range(4):
        steps_to_exact(balance, [1.0, 1.0], [2.0, 1.0])
    other.load_state_dict(json.loads(json.dumps(balance.state_dict())))
    before = lam(other)
    other.observe(seen([9.0, 1.0])._replace(level="head"))
    assert other.due(COUNTS) and lam(other) == before
    other.observe(seen([9.0, 1.0], [2.0, 1.0])._replace(level="head"))
    other.observe(seen([9.0, 1.0], [2.0, 1.0])._replace(level="head"))
    other.observe(seen([9.0, 1.0])._replace(level="head"))
    assert lam(other) == pytest.approx(1 / 3)


def test_a_shorter_schedule_holds_from_the_restart():
    balance = Calibrated()
    for _ in range(6):
        steps_to_exact(balance, [1.0, 1.0], [2.0, 1.0])
    short = Calibrated(every=2)
    short.load_state_dict(balance.state_dict())
    short.observe(seen([1.0, 1.0]))
    assert short.due(COUNTS)


def test_it_goes_on_in_the_middle_of_its_schedule():
    generator = torch.Generator().manual_seed(0)

    def step(balance: Calibrated, i: int) -> tuple[bool, float]:
        values = torch.randn(3, 2, generator=generator.manual_seed(i)).mul(0.2).exp().tolist()
        due = balance.due(COUNTS)
        balance.observe(seen(values[0], values[1] if due else None, values[2], i))
        return due, lam(balance)

    whole = Calibrated(decay=0.5)
    told = [step(whole, i) for i in range(40)]
    assert 4 < sum(due for due, _ in told) < 32
    for stop in range(0, 20):
        first, rest = Calibrated(decay=0.5), Calibrated(decay=0.5)
        for i in range(stop):
            step(first, i)
        rest.load_state_dict(json.loads(json.dumps(first.state_dict())))
        assert [step(rest, i) for i in range(stop, 40)] == told[stop:]


def test_the_checkpoint_of_another_balance_is_refused():
    with pytest.raises(ValueError, match="was not trained with calibrated: it holds no factors"):
        Calibrated().load_state_dict({"log_odds": 0.1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "calibrated_every must be at least 1, got 0"),
        ({"tolerance": 0.0}, "calibrated_tolerance must be positive, got 0.0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Calibrated(**options)


def test_head_takes_the_stand_in_as_it_is():
    balance = Head()
    balance.observe(seen([6.0, 2.0]))
    assert not balance.due(COUNTS) and lam(balance) == pytest.approx(2 / 8)


# --- names -----------------------------------------------------------------------------------


class Halves(Balance):
    """A user's own, of the counts alone."""

    def weights(self, counts: torch.Tensor) -> torch.Tensor:
        return torch.full((len(counts),), 1 / len(counts))


class Reader(Halves):
    """A user's own, which may read any option."""

    @classmethod
    def from_options(cls, options):
        return cls()


class Falling(Balance):
    """A user's own, which follows the step."""

    observes = True
    lam = 0.9

    def observe(self, seen: Seen) -> None:
        self.lam = 0.9 / (1 + seen.step)

    def weights(self, counts: torch.Tensor) -> torch.Tensor:
        return torch.tensor([self.lam, 1 - self.lam])


def config(tmp_path, **options) -> BalancedSFTConfig:
    return BalancedSFTConfig(str(tmp_path), use_cpu=True, bf16=False, report_to="none", **options)


@pytest.mark.parametrize("name", CONTROLLERS)
def test_a_configuration_makes_every_controller(name, tmp_path):
    made = config(tmp_path, balance=name).make_balance()
    assert type(made) is CONTROLLERS[name]
    again = type(made).from_options(config(tmp_path))
    again.load_state_dict(json.loads(json.dumps(made.state_dict())))


def test_options_reach_the_controller(tmp_path):
    options = {"calibrated_every": 7, "calibrated_tolerance": 0.2, "ngdiff_decay": 0.5}
    made = config(tmp_path, balance="calibrated", ngdiff_max=0.8, lam=0.4, **options).make_balance()
    assert isinstance(made, Calibrated)
    assert (made.every, made.tolerance, made.decay, made.lam_max) == (7, 0.2, 0.5, 0.8)
    assert lam(made) == pytest.approx(0.4)


def test_a_class_of_the_users_own_is_found_by_its_name(tmp_path):
    assert type(make_controller(f"{__name__}:Halves", config(tmp_path))) is Halves
    name = f"{__name__}:Falling"
    assert type(make_controller(name, config(tmp_path))) is Falling
    with pytest.raises(ValueError, match="Falling' learns from steps, and only counts are known"):
        make_controller(name, config(tmp_path), counts_alone=True)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("half", "got 'half'$"),
        ("nowhere:Half", "got 'nowhere:Half': No module named 'nowhere'"),
        (f"{__name__}:Half", "has no attribute 'Half'"),
        (f"{__name__}:COUNTS", "is no percbal.objective.balance.Balance"),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(name, why, tmp_path):
    with pytest.raises(ValueError, match="balance must be token_mean, fixed, ngdiff, .*" + why):
        make_controller(name, config(tmp_path))


def test_a_rule_that_does_not_heed_weights_in_segments_refuses_them(tmp_path):
    args = config(tmp_path, segments="perception,reasoning,answer=0.2")
    with pytest.raises(ValueError, match="Halves chooses all weights itself, got .*answer=0.2"):
        make_controller(f"{__name__}:Halves", args)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"segments": "perception=0.5,reasoning=0.5"}, "segments gives the weights"),
        ({"segments": "perception,answer,reasoning", "balance": "head"}, "begin with equal parts"),
        ({"balance": "token_mean"}, "token_mean weighs every token alike"),
        ({"balance": f"{__name__}:Halves"}, "Halves chooses all weights itself"),
    ],
)
def test_a_lam_that_would_change_nothing_is_refused(options, why, tmp_path):
    config(tmp_path, **options).make_balance()
    with pytest.raises(ValueError, match=f"lam=0.9 would change nothing: .*{why}"):
        config(tmp_path, lam=0.9, **options).make_balance()
    config(tmp_path, lam=0.9, balance="ngdiff", segments="a,b=0.2,reasoning").make_balance()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"ngdiff_decay": 0.9}, "fixed"),
        ({"ngdiff_min": 0.1}, "token_mean"),
        ({"ngdiff_max": 0.9}, f"{__name__}:Halves"),
        ({"calibrated_every": 7}, "ngdiff"),
        ({"calibrated_tolerance": 0.5}, "head"),
    ],
)
def test_an_option_of_another_rule_is_refused(options, name, tmp_path):
    (option, value), *_ = options.items()
    sentence = f"^{option}={value:g} would change nothing: balance {name} does not read it; leave"
    with pytest.raises(ValueError, match=sentence):
        config(tmp_path, balance=name, **options).make_balance()
    rule = option.partition("_")[0]
    config(tmp_path, balance=rule, **options).make_balance()
    config(tmp_path, balance=f"{__name__}:Reader", **options).make_balance()


def test_options_beside_a_balance_that_is_given_are_refused(tmp_path):
    why = "would change nothing: the balance that was given"
    make_balance(config(tmp_path), Halves())
    with pytest.raises(ValueError, match=f"lam=0.9 {why} has weights of its own"):
        make_balance(config(tmp_path, lam=0.9), Halves())
    with pytest.raises(ValueError, match=f"ngdiff_decay=0.9 {why} does not read it"):
        make_balance(config(tmp_path, ngdiff_decay=0.9), NGDiff(decay=0.9))


def test_grpo_knows_those_of_counts_alone(tmp_path):
    assert type(make_controller("fixed", config(tmp_path), counts_alone=True)) is Fixed
    assert type(make_controller("token_mean", config(tmp_path), counts_alone=True)) is TokenMean
    with pytest.raises(ValueError, match="must be token_mean, fixed or module:Class, got 'ngdiff'"):
        make_controller("ngdiff", config(tmp_path), counts_alone=True)
