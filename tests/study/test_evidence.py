"""Facts about registered studies: what was said comes first, and the page comes from the lines."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace

import pytest
from study_history import committed_before
from study_lines import DOCS, SFT, gains, line

from percbal.study.contrasts import effects, holm
from percbal.study.lines import append_line, best_rate, read_lines
from percbal.study.presets import PRESETS
from percbal.study.registration import read_registration

SAID = sorted((DOCS / "studies").glob("*.yaml"))
WHOLE = "title: t\ncontrasts: []\nplanned: {s: {arms: [b], starts: 4}}"


def of_one(contrast):
    return WHOLE.replace("[]", f"[{{{contrast}}}]")


def effect(lines, name="fixed 0.5 minus token-mean in a", said=SFT):
    return next(each for each in effects(said, lines) if each.contrast.name == name)


def planned(n: int, primary: str = ""):
    """With other numbers of starts, and one primary contrast or none."""
    contrasts = tuple(replace(each, primary=each.name == primary) for each in SFT.contrasts)
    plan = {"sft-sudoku": {"arms": ["token-mean"], "starts": n}}
    return replace(SFT, planned=plan, contrasts=contrasts)


# --- what was said -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", SAID, ids=lambda path: path.stem)
def test_what_was_said_is_what_the_presets_run(path):
    said = read_registration(path)
    for name, plan in said.planned.items():
        study = PRESETS[name]
        arms = [*(["start"] if study.measure_starts else []), *(arm.name for arm in study.arms)]
        assert study.registered == said.name and len(study.starts) == plan["starts"]
        assert sorted(plan["arms"]) == sorted(arms)
    for contrast in said.contrasts:
        if not contrast.reason:
            arms = said.planned[contrast.study]["arms"]
            assert {contrast.arm, contrast.minus, *contrast.doses} <= {"", *arms}
            assert contrast.finding in (0, *said.findings)


@pytest.mark.parametrize("path", SAID, ids=lambda path: path.stem)
def test_it_was_said_before_the_first_result(path):
    lines = DOCS / "results" / f"{path.stem}.jsonl"
    if not lines.exists():
        pytest.skip("no result yet")
    if (before := committed_before(path, lines)) is None:
        pytest.skip("git has no history here")
    assert before


def test_lines_that_were_taken_away_do_not_count_as_the_first(tmp_path):
    """A registration may be changed where all results are thrown away, and not after new ones."""

    def git(*arguments):
        who = ["-c", "user.name=n", "-c", "user.email=e"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True)

    def commit(path, text):
        path.write_text(text)
        git("add", path.name)
        git("commit", "-qm", text)

    git("init", "-q")
    said, lines = tmp_path / "said.yaml", tmp_path / "lines.jsonl"
    commit(said, "first")
    commit(lines, "a result")
    assert committed_before(said, lines)
    commit(said, "second")
    assert not committed_before(said, lines)
    git("rm", "-q", lines.name)
    git("commit", "-qm", "away")
    commit(lines, "another result")
    assert committed_before(said, lines)
    commit(said, "third")
    assert not committed_before(said, lines)


def test_a_line_of_another_registration_is_refused():
    other = gains(0.1) + [{**line(a=0.5), "registered": "other"}]
    with pytest.raises(ValueError, match="was run under other, not under sft"):
        effects(SFT, other)


@pytest.mark.parametrize(
    "text, sentence",
    [
        (of_one("name: x, finding: 1"), "needs a study and an arm"),
        (of_one("name: x, finding: 1, predicted: '*'"), "a sign is one of"),
        (of_one("nome: x"), "damaged"),
        (of_one("name: x, finding: 1, study: s, arm: b, figure: acc"), "has a figure 'acc'"),
        ("[", "damaged"),
        (WHOLE.replace("title", "tittle"), "x.yaml is damaged: it lacks title$"),
        (WHOLE.replace("contrasts", "contrast"), "x.yaml is damaged: it lacks contrasts$"),
        ("- title", "x.yaml is damaged: it lacks title, contrasts, planned$"),
        (WHOLE.replace("arms", "arm"), "x.yaml is damaged: the plan of s lacks arms$"),
        (WHOLE.replace("starts", "start"), "x.yaml is damaged: the plan of s lacks starts$"),
    ],
)
def test_a_damaged_registration_is_refused_in_a_sentence(tmp_path, text, sentence):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read_registration(tmp_path / "x.yaml")
    with pytest.raises(ValueError, match="must be said before a run"):
        read_registration(tmp_path / "y.yaml")


# --- effects and verdicts ----------------------------------------------------------------------


def test_an_effect_is_the_mean_of_one_difference_for_each_start():
    found = effect(gains(0.1, 0.2, 0.3))
    assert found.values == pytest.approx((0.1, 0.2, 0.3))
    assert found.mean == pytest.approx(0.2)
    assert found.interval.high - 0.2 == pytest.approx(4.303 * 0.1 / 3**0.5, rel=1e-3)
    assert found.p == pytest.approx(0.0742, abs=1e-4)


@pytest.mark.parametrize(
    "values, verdict",
    [
        ((0.1, 0.11, 0.12, 0.1), "reproduced"),
        ((0.1, -0.05, 0.1, 0.1), "direction only"),
        ((-0.1, -0.11, -0.12, -0.1), "reversed"),
        ((0.01, -0.05, -0.1, 0.0), "not reproduced"),
        ((0.0, 0.0, 0.0, 0.0), "not reproduced"),
        ((0.003, 0.001, -0.001, 0.0), "not reproduced"),
    ],
)
def test_the_verdict_follows_a_rule(values, verdict):
    said = planned(4, "fixed 0.5 minus token-mean in a")
    assert effect(gains(*values), said=said).verdict() == verdict
    more = replace(said, planned={"sft-sudoku": {"arms": ["token-mean"], "starts": 5}})
    assert effect(gains(*values), said=more).verdict() == "not complete yet"


def test_no_effect_at_all_is_no_direction():
    """Also where the paper's sign is a minus."""
    lines = [line(arm, i, a_r=0.5) for arm in ("token-mean", "fixed 0.5") for i in range(4)]
    found = effect(lines, "fixed 0.5 minus token-mean in a_r", planned(4))
    assert found.contrast.paper == "-" and found.verdict() == "not reproduced"


def test_two_equal_differences_are_not_significant():
    found = effect(gains(0.1, 0.1), said=planned(2, "fixed 0.5 minus token-mean in a"))
    assert found.p is None and found.verdict() == "too few starts" and found.foretold() == "open"


def test_too_few_starts_give_no_verdict():
    failed = [line(arm, start) for arm in ("token-mean", "fixed 0.5") for start in range(9, 24)]
    said = planned(16, "fixed 0.5 minus token-mean in a")
    assert effect(gains(0.1) + failed[:], said=said).verdict() == "too few starts"
    none = [line(arm, start) for arm in ("token-mean", "fixed 0.5") for start in range(16)]
    assert effect(none, said=said).verdict() == "no start"


def test_a_run_without_the_figure_is_one_that_was_made():
    name = "r(a, own reasoning) minus r(a, a_p) after token-mean"
    rs = [{"r_pooled_reasoning": 0.8 + i / 99, "r_pooled_perception": 0.5} for i in range(3)]
    lines = [line(start=i, a=0.5, **r) for i, r in enumerate([{}, *rs])]
    found = effect(lines, name, planned(4))
    assert found.undefined == 1 and found.verdict() == "reproduced"


def test_no_verdict_changes_as_the_others_of_its_family_come():
    """An interim p of theirs counts as 1; what is not significant waits."""
    others = ("NGDiff", "calibrated")
    ours = [line(start=i, a=0.5, exact_p=0.5) for i in range(16)]
    for i in range(16):
        sure = 0.6 + i % 3 / 9
        ours.append(line("fixed 0.5", i, a=0.52 + 0.032 * (-1) ** i, greedy_a=sure, exact_p=sure))

    def seen(n, gain):
        return effect(ours + [line(a, i, a=0.5 + gain(i)) for a in others for i in range(n)])

    lucky = seen(4, lambda i: 0.05 + 0.001 * (i % 2))
    assert lucky.p < 0.05 < lucky.holm and lucky.verdict() == "not complete yet"
    assert lucky.holm == seen(0, lambda i: 0).holm
    null = seen(16, lambda i: 0.05 * (i % 2) - 0.02)
    assert null.holm == lucky.holm and null.verdict() == "direction only"
    good = seen(16, lambda i: 0.05 + 0.001 * (i % 2))
    assert good.holm < lucky.holm and good.verdict() == "reproduced"


def test_a_difference_may_be_of_log_odds():
    dose = read_registration(DOCS / "studies" / "dose.yaml")
    contrast = next(each for each in dose.contrasts if each.primary and each.scale)
    lines = [
        line(arm, study="dose", exact_p=p)
        for arm, p in ((contrast.arm, 0.5), (contrast.minus, 0.1))
    ]
    paid = [{**each, "registered": dose.hash} for each in lines]
    assert effect(paid, contrast.name, dose).values == (pytest.approx(2.197, abs=1e-3),)
    with pytest.raises(ValueError, match="scale must be log-odds, got 'log'"):
        replace(contrast, scale="log")


def test_failed_starts_are_counted_and_have_no_difference():
    lines = gains(0.1, 0.11, 0.12) + [line(start=9), line("fixed 0.5", 9)]
    found = effect(lines, said=planned(4, "fixed 0.5 minus token-mean in a"))
    assert found.failed == 1 and len(found.values) == 3 and found.verdict() == "reproduced"


def test_what_cannot_be_tested_says_so():
    assert effect([], "real models").verdict() == "cannot be tested here"


def test_a_predicted_zero_is_seen_where_the_interval_is_within_the_margin():
    """Significant or not; no margin of points is one of correlations."""
    name, said = "NGDiff minus fixed 0.5 in greedy a", planned(4)

    def found(*values):
        plain = [line("fixed 0.5", i, a=0.5) for i, _ in enumerate(values)]
        more = [line("NGDiff", i, a=0.5 + value) for i, value in enumerate(values)]
        return effect([*plain, *more], name, said)

    assert found(0.001, -0.001, 0.0, 0.002).sign() == "0"
    small = found(0.008, 0.009, 0.008, 0.007)
    assert small.sign() == "+" and small.foretold() == "yes"
    assert found(0.03, 0.031, 0.03, 0.029).foretold() == "no"
    rs = [{"r_pooled_reasoning": 0.5 + i / 1e4, "r_pooled_perception": 0.5} for i in (1, -1, 0, 2)]
    lines = [line(start=i, **r) for i, r in enumerate(rs)]
    assert effect(lines, "r(a, own reasoning) minus r(a, a_p) after token-mean", said).sign() == "?"


def test_equal_differences_have_the_p_of_turning_signs_over_and_no_width():
    found = effect(gains(0.25, 0.25, 0.25, 0.25), said=planned(4))
    assert found.p == 0.125 and found.interval is None and found.verdict() == "direction only"
    many = effect(gains(*[0.25] * 16), said=planned(16))
    assert many.p == 2.0**-15 and many.verdict() == "reproduced"


def test_two_figures_of_one_run_are_shown_on_both_sides():
    name = "r(a, own reasoning) minus r(a, a_p) after token-mean"
    rs = [{"r_pooled_reasoning": 0.7 + i / 10, "r_pooled_perception": 0.5} for i in range(3)]
    found = effect([line(start=i, **r) for i, r in enumerate(rs)], name, planned(3))
    assert found.sides == (pytest.approx(0.8), 0.5) and found.mean == pytest.approx(0.3)
    assert effect(gains(0.1, 0.2)).sides is None


def test_holms_correction_is_that_of_his_paper():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]


def test_primary_contrasts_that_were_not_run_count_in_the_correction():
    found = effect(gains(0.1, 0.2, 0.3))
    assert found.holm == pytest.approx(7 * found.p)


# --- lines -------------------------------------------------------------------------------------


def test_a_torn_line_is_taken_away_by_the_next(tmp_path):
    path = tmp_path / "x.jsonl"
    append_line(path, line(a=0.1))
    with open(path, "a") as file:
        file.write('{"kind": "ru')
    assert [each["figures"]["a"] for each in read_lines(path)] == [0.1]
    append_line(path, line(a=0.2))
    assert [each["figures"]["a"] for each in read_lines(path)] == [0.1, 0.2]


def test_a_whole_line_without_its_end_stays(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(line(a=0.1)))
    append_line(path, line(a=0.2))
    assert [each["figures"]["a"] for each in read_lines(path)] == [0.1, 0.2]


def test_damage_within_the_lines_is_named(tmp_path):
    for text in ('{"kind": "ru', "[" * 100_000):
        (tmp_path / "x.jsonl").write_text(f"{text}\n{text}")
        with pytest.raises(ValueError, match="x.jsonl:1 is no JSON"):
            read_lines(tmp_path / "x.jsonl")


@pytest.mark.parametrize(
    "kind, given, lacking",
    [
        ("run", {}, "study, start, arm, seed, rate, plan, registered, status, figures, weights"),
        ("tuning", {"study": "s"}, "start, arm, seed, rate, plan, registered, status"),
        ("repeat", line(), "equal"),
        ("choice", line(), "by, grid, seeds, means"),
        ("start", {"study": "s", "start": "b"}, "seed, registered, status, figures, weights"),
    ],
)
def test_a_line_without_what_its_kind_has_is_named(kind, given, lacking, tmp_path):
    (tmp_path / "x.jsonl").write_text(json.dumps({**given, "kind": kind}) + "\n")
    with pytest.raises(ValueError, match=f"x.jsonl:1: the line of kind {kind} lacks {lacking}"):
        read_lines(tmp_path / "x.jsonl")


def test_a_run_counts_once_and_with_one_plan():
    lines = gains(0.1, 0.2, 0.3)
    assert effect([*lines, lines[0]]).values == effect(lines).values
    with pytest.raises(ValueError, match="lines of two plans, p and other"):
        effects(SFT, [*lines, {**lines[0], "plan": "other"}])
    with pytest.raises(ValueError, match="base 0 / token-mean .* has two lines with other figures"):
        effects(SFT, [*lines, line(start=0, a=0.6)])


def test_a_start_counts_once_failed_or_not():
    with pytest.raises(ValueError, match="base 0 has failed for one run and not for another"):
        effects(SFT, [*gains(0.1, 0.2), line("NGDiff", 0)])


def test_the_best_rate_has_the_best_mean_and_a_start_that_failed_has_none():
    lines = [{**line(a=a), "rate": rate} for rate, a in ((1e-3, 0.2), (1e-3, 0.4), (3e-3, 0.31))]
    assert best_rate([*lines, {**line(), "rate": 3e-3}], "a") == (
        3e-3,
        {"0.001": pytest.approx(0.3), "0.003": 0.31},
    )
    with pytest.raises(ValueError, match="no start of the tuning was competent"):
        best_rate([line()], "a")
