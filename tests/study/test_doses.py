"""Facts about dose and response: where a reward stands, what its arm gained, what was foretold."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from study_lines import DOCS, dose_lines, line

from percbal.objective import criterion
from percbal.report.evidence_doses import dose_table, foretold_table
from percbal.study.contrasts import effects
from percbal.study.doses import bend, break_evens, correlation, doses
from percbal.study.foretold import Foretold, foretold
from percbal.study.registration import Contrast, read_registration

SAID = read_registration(DOCS / "studies" / "dose.yaml")


def value_of(lines, **said):
    """Of the one start, and how many have none."""
    contrast = Contrast("x", 0, "dose", **said)
    registration = replace(SAID, contrasts=(contrast,))
    (found,) = effects(registration, [{**each, "registered": SAID.hash} for each in lines])
    return found.values[0] if found.values else None, found.undefined


def odds(p):
    return math.log(p / (1 - p))


def test_a_reward_stands_on_the_curve_by_its_measured_correlation():
    found = {dose.arm: dose for dose in doses(dose_lines())}
    assert list(found) == ["agreement", "outcome", "truth"], "by correlation"
    assert found["agreement"].r == (pytest.approx(0.4),)
    assert found["truth"].gain == (pytest.approx(2.197, abs=1e-3),)
    assert correlation(dose_lines()[0]) is None, "a start has no reward"
    less = dose_lines()
    del less[1]["figures"]["exact_p"]
    less[2]["figures"]["exact_p"] = 0.0
    table = dose_table(doses(less), less)
    assert "1 of 3 runs ended beyond that. 1 runs are not in the table" in table


def test_what_is_off_the_curve_is_held_against_its_neighbours():
    """Gains of 0, 1, 1.5 .. at r 0, 0.5, 0.6 ..: at 0.25 the curve has 0.5."""
    curve = [(0.0, 0.0), (0.5, 1.0), (0.6, 1.5), (0.7, 1.6), (0.8, 1.7), (1.0, 2.0)]
    assert bend(curve[::-1], (0.25, 0.7)) == pytest.approx(0.2)
    assert bend(curve, (1.1, 1.0)) == pytest.approx(-1.0), "level beyond its ends"
    assert bend(curve[:-1], (0.25, 0.7)) is None, "an arm of the curve is not there yet"
    found = {dose.arm: dose for dose in doses(dose_lines())}
    assert found["agreement"].off == () and found["truth"].off == ()


def test_the_break_even_is_where_a_starts_curve_rises_above_0():
    """From an exact a_p of 0.1, straight between the arms. The last crossing counts."""
    ends = {"flipped 0.5": 0.05, "flipped 0.24": 0.11, "flipped 0.11": 0.08, "flipped 0.05": 0.2}
    rs = {"flipped 0.5": 0.0, "flipped 0.24": 0.2, "flipped 0.11": 0.5, "flipped 0.05": 0.7}
    of_all = {"study": "dose", "a": 0.2}
    lines = [
        line(arm, exact_p=p, **of_all, **{"signal_flipped_perception.start": rs[arm]})
        for arm, p in ends.items()
    ]
    top = line("flipped 0.02", exact_p=0.3, **of_all, **{"signal_flipped_perception.start": 0.8})
    lines = [*dose_lines(), *lines, top]
    low, high = odds(0.08) - odds(0.1), odds(0.2) - odds(0.1)
    assert break_evens(lines) == [pytest.approx(0.5 - low * 0.2 / (high - low))]
    assert "From r = 0.55 on the curve is above 0 (1 of 1 starts that have all of it: 0.55)" in (
        dose_table(doses(lines), lines)
    )
    assert break_evens(lines[:-1]) == [], "an arm of the curve is not there yet"
    for each in lines:
        if each["arm"] != "start":
            each["figures"]["exact_p"] = 0.2
    assert break_evens(lines) == [None] and "on the curve" not in dose_table(doses(lines), lines)


def test_the_curve_is_the_least_squares_line_of_the_gain_over_r():
    lines = dose_lines()
    arms = ("truth", "agreement", "outcome")
    rs, gains = (1.0, 0.4, 0.6), [odds(p) - odds(0.1) for p in (0.5, 0.2, 0.2)]
    mean_r, mean_gain = sum(rs) / 3, sum(gains) / 3
    slope = sum((r - mean_r) * (g - mean_gain) for r, g in zip(rs, gains, strict=True))
    slope /= sum((r - mean_r) ** 2 for r in rs)
    assert value_of(lines, curve=arms) == (pytest.approx(slope), 0)
    lines.append(
        line("dense", study="dose", exact_p=0.4, a=0.2, **{"signal_perception_f1.start": 0.8})
    )
    off = odds(0.4) - odds(0.1) - (mean_gain + slope * (0.8 - mean_r))
    assert value_of(lines, curve=arms, arm="dense") == (pytest.approx(off), 0)
    del lines[2]["figures"]["signal_group_agreement.start"]
    assert value_of(lines, curve=arms) == (None, 1)
    assert value_of(lines[:2], curve=arms) == (None, 0), "not all of them are there"


def test_the_arm_of_the_larger_correlation_is_held_against_the_other():
    lines, arms = dose_lines(), ("agreement", "outcome")
    assert value_of(lines, ordered=arms) == (pytest.approx(0.0), 0)
    lines[2]["figures"]["exact_p"] = 0.3  # agreement, of the smaller one
    assert value_of(lines, ordered=arms) == (pytest.approx(odds(0.2) - odds(0.3)), 0)
    assert value_of(lines, ordered=arms[::-1]) == value_of(lines, ordered=arms)
    lines[3]["figures"]["signal_outcome.start"] = 0.4
    assert value_of(lines, ordered=arms) == (None, 1), "equal ones have no order"


@pytest.mark.parametrize("said", [{"curve": ("truth", "dense")}, {"ordered": ("truth",)}])
def test_a_curve_of_two_arms_or_an_order_of_one_is_refused(said):
    with pytest.raises(ValueError, match="a curve needs three arms, an order two"):
        Contrast("x", 0, "dose", **said)


def test_perception_is_foretold_to_learn_by_how_much_a_reward_correlates():
    """The outcome's r is 0.6: truth is 1 / 0.6 times as fast, a reward of r 0.3 half as fast; by
    plain steps but for what groups of 16 keep: answers are right in 5%, perceptions in 10%."""
    lines = dose_lines()
    half = {"signal_flipped_perception.start": 0.3, "exact_p_after.50": 0.2}
    flipped = line("flipped 0.24", study="dose", exact_p=0.15, a=0.2, **half)
    lines.append({**flipped, "flips": 0.24})
    kept = {rate: criterion.kept_signal(rate, 16) for rate in (0.05, 0.1)}
    often = criterion.kept_signal(0.1 * 0.76 + 0.9 * 0.24, 16)
    assert kept[0.05] < kept[0.1] < often < 1
    found = {each.arm: each for each in foretold(lines)}
    assert list(found) == ["flipped 0.24", "agreement", "truth"]
    truth, agreement, flipped = (found[n] for n in ("truth", "agreement", "flipped 0.24"))
    assert truth.ratio == pytest.approx(1 / 0.6) and flipped.ratio == pytest.approx(0.5)
    assert truth.plain == pytest.approx(kept[0.1] / kept[0.05] / 0.6)
    assert flipped.plain == pytest.approx(0.5 * often / kept[0.05])
    assert agreement.ratio is None and agreement.right("end") is None
    assert truth.seen["end"] == pytest.approx(odds(0.5) - odds(0.2)) and truth.right("end")
    assert flipped.right("end") and flipped.right("a") is False
    assert flipped.right("early") is None, "the outcome arm was not measured there"
    lines[3]["figures"]["exact_p_after.50"] = 0.1
    found = {each.arm: each for each in foretold(lines)}
    assert found["flipped 0.24"].right("early") is False
    table = foretold_table(list(found.values()))
    assert (
        "- flipped verdicts: a_p early 0 of 1; a_p at the end 1 of 1; a at the end 0 of 1." in table
    )
    assert "- all others: a_p at the end 1 of 1; a at the end 1 of 1." in table
    assert "(P14), of all: a_p early 0 of 1; a_p at the end 2 of 2; a at the end 1 of 2." in table


def test_signs_are_counted_for_each_start():
    def of(start, right):
        return Foretold(
            start, "truth", "perception", 1.0, 0.5, 2.0, 2.0, {"a": 0.1 if right else -0.1}
        )

    pairs = [of("s", True), of("t", False)]
    assert "- all others: a at the end 1 of 2 (100, 0%)." in foretold_table(pairs)
    six = [of(s, s != "x") for s in "stuvwx"]
    assert "a at the end 5 of 6 (83 ±43%)." in foretold_table(six)
    assert "5 of 5 (100, 100, 100, 100, 100%)." in foretold_table(six[:5])
    assert "6 of 6 (100% in each start)." in foretold_table([*six[:5], of("y", True)])


def test_a_ratio_near_one_foretells_no_sign():
    lines = dose_lines()
    lines[0]["figures"]["a"] = 0.0999  # as often right as perceptions are
    lines[3]["figures"]["signal_outcome.start"] = 0.97
    (truth,) = [each for each in foretold(lines) if each.arm == "truth"]
    assert truth.ratio == pytest.approx(1 / 0.97, abs=1e-3) and truth.right("end") is None


def test_a_dense_reward_is_foretold_by_its_signal_about_the_parts():
    parts = {"signal_perception_f1.start": 0.5}
    dense = line("dense", study="dose", exact_p=0.3, a=0.2, **parts)
    found = {each.arm: each for each in foretold([*dose_lines(), dense])}
    assert criterion.dense_factor(0.1) == pytest.approx(1.98, abs=0.01), (
        "the bound of (P11), below 1 / 0.5"
    )
    kept = criterion.kept_signal(0.05, 16)
    assert found["dense"].ratio == pytest.approx(criterion.dense_factor(0.1) / 0.6)
    assert found["dense"].plain == pytest.approx(criterion.dense_factor(0.1) / 0.6 / kept)


def test_a_start_of_which_the_theory_says_nothing_is_counted():
    lines = dose_lines()
    lines[3]["figures"]["signal_outcome.start"] = -0.1
    found = foretold(lines)
    assert [each.ratio for each in found] == [None, None]
    assert "The theory says nothing" in foretold_table(found)
