"""docs/results.md is made of the committed lines, and shows what they hold."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import pytest
from study_lines import DOCS, SFT, dose_lines, gains, line, page_of

from percbal.cli.main import main
from percbal.report.evidence import write_page
from percbal.report.evidence_contrasts import contrast_tables, predictions
from percbal.report.evidence_levels import gains_table, level_tables
from percbal.report.evidence_runs import runs_made
from percbal.report.evidence_summary import overview
from percbal.report.evidence_sweep import sweep_figure
from percbal.study.afterwards import Afterwards, read_afterwards
from percbal.study.contrasts import effects


def test_the_page_shows_every_effect_with_its_verdict(tmp_path):
    text = page_of(tmp_path, sft=gains(0.1, 0.2, 0.3) + [line("NGDiff", 9)], dose=dose_lines())
    assert "| +20.0 ±24.8 | **0.519** | 3 of 16 |" in text and "not complete yet" in text
    assert "cannot be tested here: a model of 0.2M" in text
    assert "| sft-sudoku | NGDiff | 0 of 16 | 1 | 0 | 0 |  |" in text
    assert "| agreement | 1 | 0.40 | +0.81 |  |" in text
    assert "| base 1 | truth | 1.00 | 0.60 | 1.67 |  | +1.39 | +15.0 | - right right |" in text
    assert "Bases are trained on perception alone and stop at an exact a_p of 10 to 25%" in text


def test_the_page_begins_with_what_was_found_and_ends_with_how_it_is_read(tmp_path):
    text = page_of(tmp_path, sft=gains(0.1, 0.2, 0.3))
    top, _, studies = text.partition("\n## sft: Does weighing")
    assert "fixed 0.5 minus token-mean: a +20.0 ±24.8 (so far, 3 of 16 starts), " in top
    assert "| sft | 20 (7 primary) | 0 | 0 |" in top and "| dose |" not in top
    assert "Registered, not run yet: sft-coloring (12 contrasts, 3 primary; see" in top
    assert "[how to read the tables](#how-to-read-the-tables)" in top
    assert "*reproduced*" not in top and "\n## How to read the tables\n" in studies
    assert studies.index("## dose: How much") < studies.index("## How to read the tables")


def test_a_study_without_runs_is_one_sentence(tmp_path):
    text = page_of(tmp_path, sft=gains(0.1, 0.2, 0.3))
    cells = text.partition("\n## sft-long: ")[2].partition("\n## ")[0]
    assert cells.count("Registered, not run yet: 24 contrasts, 6 primary; see [sft-long.y") == 1
    assert "| difference |" not in cells and "seconds of training" not in cells


def test_a_claim_of_the_paper_is_marked_as_its_own(tmp_path):
    text = page_of(tmp_path, sft=gains(0.1, 0.2, 0.3))
    claim = "*A fixed weight on perception raises end-to-end accuracy (by up to 13.8 points).*"
    assert text.count(claim) == 1 == text.count(f"**The paper reports:** {claim} **Here:**\n")
    assert "perception 2.5% of the tokens.* It cannot be tested here: a model of 0.2M" in text


def test_every_picture_has_a_file_of_its_own(tmp_path):
    """Also of a study whose name is that of a kind of picture."""
    sft = [*gains(0.1, 0.2, 0.3), *sweep_lines("fixed 0.5", "fixed 0.05")]
    text = page_of(tmp_path, sft=sft, dose=dose_lines())
    names = re.findall(r"\]\((images/\S+\.svg)\)", text)
    assert len(names) == len(set(names)) == 5, names
    assert all((tmp_path / name).exists() for name in names)


def test_how_long_the_arms_were_trained_stands_above_their_pictures(tmp_path):
    text = page_of(tmp_path, sft=gains(0.1, 0.2, 0.3), dose=dose_lines())
    said = "sft-sudoku, sft-lambda: every arm took 1,200 steps of 32 rows, of 14,000 training"
    assert 0 < text.index(said) < text.index("images/results_gains.svg")
    assert text.count("every arm took") == 1, "of a reinforcement nothing is said"


def test_an_effect_says_its_unit_and_which_p_is_corrected():
    lines = gains(0.1, 0.2, 0.3)
    rs = {"r_pooled_reasoning": 0.8, "r_pooled_perception": 0.5}
    for i, each in enumerate(lines):
        each["figures"] |= {**rs, "a_r": 0.5 + i / 100}
    tables = contrast_tables(SFT, effects(SFT, lines), {})

    def heads(claim):
        return next(x for x in tables if claim in x).splitlines()[2]

    assert "| effect (points) | p (**bold**: corrected by Holm) | starts |" in heads("A fixed wei")
    assert "| effect (points) | p | starts |" in heads("There is a trade-off")
    assert "| effect (in r) | p |" in heads("The outcome correlates")
    assert "| effect (as a fraction) | p |" in heads("share of the loss is smaller")
    needed = "fixed 0.5 minus token-mean in a 27; fixed 0.5 minus token-mean in greedy a 27."
    assert tables[-1].startswith("Starts that an interval of ±4 points would take")
    assert tables[-1].endswith(needed)
    assert contrast_tables(SFT, effects(SFT, gains(0.1, 0.11, 0.12)), {})[-1] == ""


def test_a_table_of_several_kinds_of_effects_names_the_unit_of_each():
    contrasts = [
        replace(each, finding=0)
        for each in SFT.contrasts
        if each.name.startswith(("fixed 0.5 minus token-mean in a", "r(a"))
    ]
    lines = gains(0.1, 0.2, 0.3)
    for each in lines:
        each["figures"] |= {"r_pooled_reasoning": 0.8, "r_pooled_perception": 0.5}
    said = replace(SFT, contrasts=tuple(contrasts))
    (table, _) = contrast_tables(said, effects(said, lines), {})
    assert "| effect | p (" in table and "| +20.0 ±24.8 points |" in table
    assert "| +0.30 (all equal) (0.80 against 0.50) in r |" in table


def sweep_lines(*arms):
    shares = {"token_share_p.1": 0.2}
    return [
        line(arm, start, "sft-lambda", exact_p=0.5, a_r=0.5, a=a, **shares)
        for arm in arms
        for start, a in ((1, 0.1), (2, 0.3))
    ]


def test_the_sweep_of_lambda_is_drawn_through_the_means_of_its_bases():
    assert sweep_figure(sweep_lines("fixed 0.5")) is None
    axes = sweep_figure(sweep_lines("fixed 0.5", "fixed 0.05", "token-mean")).axes[0]
    of = {each.get_label(): each for each in axes.lines}
    mean = of["end to end, sampled (a)"]
    assert list(mean.get_xdata()) == [0.05, 0.5]
    assert list(mean.get_ydata()) == pytest.approx([20.0, 20.0])
    assert of["share of the tokens, 0.20"].get_xdata()[0] == pytest.approx(0.2)


@pytest.mark.parametrize("made", ["", "docs", "docs/studies"])
def test_a_folder_where_nothing_was_said_is_refused(tmp_path, made, capsys):
    """And nothing is written there."""
    (tmp_path / made).mkdir(parents=True, exist_ok=True)
    (tmp_path / "other.yaml").write_text("")
    with pytest.raises(SystemExit) as end:
        main(["study", "--page", str(tmp_path / "docs")])
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.count("\n") == 1, said
    assert "docs/studies has no *.yaml, which says what is expected of a study" in said
    assert not list(tmp_path.glob("docs/*.md"))


def test_a_study_that_tests_no_finding_of_the_paper_has_a_page(tmp_path):
    (tmp_path / "studies").mkdir()
    for name in "ba":
        path = tmp_path / "studies" / f"{name}.yaml"
        path.write_text(f"title: Of {name}\nplanned: {{}}\ncontrasts: []")
    text = write_page(tmp_path).read_text()
    assert 0 < text.index("## a: Of a") < text.index("## b: Of b")


def test_a_page_of_one_arm_at_two_rates_is_refused(tmp_path):
    lines = gains(0.1, 0.2)
    lines[3]["rate"] = 0.1
    with pytest.raises(ValueError, match="fixed 0.5 was run at several rates, None and 0.1"):
        page_of(tmp_path, sft=lines)
    assert not (tmp_path / "results.md").exists()


@pytest.mark.parametrize("name", ["gains", "sft", "dose"])
def test_pictures_are_the_same_for_the_same_lines(tmp_path, name):
    lines = gains(0.1, 0.3)
    for each in lines:
        each["figures"] |= {"exact_p": 0.5, "a_r": 0.5}
    page_of(tmp_path, sft=lines, dose=dose_lines())
    path = tmp_path / "images" / f"results_{name}.svg"
    first = path.read_text()
    write_page(tmp_path)
    assert path.read_text() == first and "</svg>" in first
    if name == "sft":
        assert "fixed 0.5 minus token-mean in a (2 of 16)" in first, "what is not complete says so"


def test_every_arm_stands_there_with_its_level():
    lines = gains(0.1, 0.3, arm="NGDiff") + [line("NGDiff", 7)]
    lines[0]["figures"]["loss_share_p.1"] = 0.125
    percent, shares = level_tables(SFT, lines)
    assert "| arm | starts | a | greedy a |" in percent
    assert "| token-mean | 2 | 50.0 | 50.0 |" in percent
    assert "| NGDiff | 2 | 70.0 (60.0, 80.0) | 70.0 (60.0, 80.0) |" in percent
    assert "| fixed 0.5 | 0 |  |  |" in percent, "an arm without a run is not left out"
    assert "| token-mean | 2 | 0.12 |" in shares


def test_a_few_values_are_listed_and_many_have_an_interval():
    """Of four of which one is far from the others the interval is wider than the scale."""
    few = [line(start=i, a=a) for i, a in enumerate((0.5, 0.0, 0.0, 0.0, 0.1))]
    assert "| 5 | 12.0 (50.0, 0.0, 0.0, 0.0, 10.0) |" in level_tables(SFT, few)[0]
    assert "| 6 | 20.0 ±28.9 |" in level_tables(SFT, [*few, line(start=9, a=0.6)])[0]
    alike = [line(start=i, a=0.5) for i in range(3)]
    assert "| 3 | 50.0 | 50.0 |" in level_tables(SFT, alike)[0]


def test_a_sampled_accuracy_gives_way_to_the_exact_one():
    assert "| a_p |" in level_tables(SFT, [line(a=0.5, a_p=0.4)])[0]
    exact = level_tables(SFT, [line(a=0.5, a_p=0.4, exact_p=0.41)])[0]
    assert "| a_p |" not in exact and "| exact a_p |" in exact


def test_shares_of_the_tokens_that_differ_have_a_column():
    lines = [line(arm, 1, **{"token_share_p.1": x}) for arm, x in (("NGDiff", 0.2), ("x", 0.3))]
    (table,) = level_tables(SFT, lines)
    assert "| share of the tokens |" in table and "in all runs" not in table


def test_gains_in_every_accuracy_stand_in_one_table():
    lines = gains(0.1, 0.3) + gains(0.1, 0.3, arm="NGDiff")[2:]
    for i, each in enumerate(lines):
        each["figures"] |= {"a_r": 0.5 + i / 100}
    table = gains_table(lines, "sft-sudoku", "token-mean", ["token-mean", "fixed 0.5", "NGDiff"])
    assert "| arm | bases | greedy a_r | a_r | exact a_p | a | greedy a |" in table
    assert "| fixed 0.5 | 2 |  | +2.0 |  | +20.0 (+10.0, +30.0) | +20.0 (+10.0, +30.0) |" in table
    assert "| token-mean |" not in table
    assert gains_table([], "sft-sudoku", "token-mean", ["NGDiff"]) == ""


def test_seconds_are_those_of_training():
    lines = gains(0.1)
    lines[0]["seconds"] = {"train": 10.0, "evaluate": 50.0}
    assert "| seconds of training |" in runs_made(SFT, lines, 20)
    assert "| sft-sudoku | token-mean | 1 of 16 | 0 | 0 | 0 | 10 |" in runs_made(SFT, lines, 20)


def test_thirds_of_a_log_of_two_trainings_are_left_out():
    """They are thirds of its entries, as many of the short training as of the long one; a line
    that has thirds of the steps says so."""
    thirds = {"loss_share_p.1": 0.9, "lambda.3": 0.2, "token_share_p.1": 0.17}
    old = [line("perception first", i, a=0.5, **thirds) for i in range(2)]
    lines = [*old, line("fixed 0.5", 1, a=0.5, **thirds)]
    head = "| arm | starts | share of the loss, first third | lambda, last third |"
    said = level_tables(SFT, lines)[1]
    assert head in said and "| perception first | 2 |  |  |" in said
    assert "| fixed 0.5 | 1 | 0.90 | 0.20 |" in said
    assert "Perception's share of the tokens is 0.17 in all runs." in said
    assert "Thirds are left out of runs of perception first (2):" in said
    new = {**line("perception first", 7, a=0.5, **thirds), "thirds": "steps"}
    said = level_tables(SFT, [*lines, new])[1]
    assert "| perception first | 3 | 0.90 | 0.20 |" in said and "(2):" in said
    assert "left out" not in level_tables(SFT, [new])[1]
    assert "left out" not in level_tables(SFT, [old[0] | {"arm": "NGDiff"}])[1]


def test_machines_are_those_of_the_runs_and_of_parts_of_them():
    lines = gains(0.1, 0.2, 0.3)
    assert "No run is there yet." in runs_made(SFT, [{**lines[0], "kind": "tuning"}], 20)
    lines[0]["machine"] = lines[0]["machine"] | {"processor": "Q", "flags": "avx512f"}
    lines[2]["machine"] = lines[2]["machine"] | {"also": [["R", "f", 2, "2"]]}
    lines[1]["weights"], lines[1]["versions"] = "w2", {"torch": "2", "sources": "s2"}
    said = runs_made(SFT, lines, 20)
    assert "P, no AVX-512, 1 thread a run; Q, AVX-512, 1 thread a run; R, no AVX-512, 2 thr" in said
    assert "Of 3 starts 2 have runs of more than one kind of machine, 1 were made anew" in said
    assert "for 1 start, percbal's own code changed between its runs." in said
    wide = {"processor": "P", "flags": "avx512f amx_bf16"}
    lines[0]["machine"] = lines[0]["machine"] | wide
    lines[1]["machine"] = lines[1]["machine"] | wide | {"flags": "avx512f"}
    both = "Machines: P, AVX-512, 1 thread a run; P, AVX-512, 1 thread a run (with amx_bf16); P, no"
    assert both in runs_made(SFT, lines, 20), "kinds that read alike"
    lines[2]["versions"] = lines[1]["versions"]
    assert "for 2 starts, percbal's own code changed between its runs." in runs_made(SFT, lines, 20)


def test_predictions_are_scored():
    lines = [line(arm, i, a=0.5, a_r=0.5) for arm in ("token-mean",) for i in range(16)]
    lines += [line("fixed 0.5", i, a=0.5, a_r=0.3 + i / 1000) for i in range(16)]
    found = effects(SFT, lines)
    assert predictions(effects(SFT, [])) == ""
    (settled,) = [x for x in found if x.foretold() != "open"]
    assert settled.contrast.figure == "a_r" and settled.contrast.chance == 0.95
    said = predictions(found)
    assert "Of 1 predicted signs 1 came, where the chances that were said expect 0.9" in said
    assert "Their Brier score is 0.00; saying 50% of each scores 0.25." in said
    assert "*seen before*, so this is no blind forecast." in said
    seen = "20 (7 primary) | 7 (3 primary) | 1 (0 primary) | 0 | 0 | 0 | 0 | 3 (0 primary)"
    assert f"| sft | {seen} | 3 (3 primary) | 1 of 1 |" in overview([(SFT, found)])


def test_the_committed_pages_are_those_of_the_committed_lines(tmp_path):
    docs = tmp_path / "docs"
    for folder in ("studies", "results"):
        shutil.copytree(DOCS / folder, docs / folder)
    shutil.copy(DOCS.parent / "README.md", tmp_path)
    assert write_page(docs).read_text() == (DOCS / "results.md").read_text()
    assert (tmp_path / "README.md").read_text() == (DOCS.parent / "README.md").read_text()
    assert "<!-- results: begin -->\n![" in (tmp_path / "README.md").read_text()


def test_the_values_of_a_few_starts_stand_in_the_order_of_their_seeds():
    lines = [line("fixed 0.5", i, a=0.5 + i / 100) for i in (1, 0, 2)]
    (table,) = level_tables(SFT, [*lines, line("NGDiff", 2, a=0.1)])
    assert "| fixed 0.5 | 3 | 51.0 (50.0, 51.0, 52.0) |" in table
    assert "so compare them by the contrasts only):" in table, "NGDiff has one of the three starts"
    assert "compare them" not in level_tables(SFT, lines)[0]


def test_what_was_asked_afterwards_stands_apart_and_changes_no_verdict(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    lines = gains(0.1, 0.2, 0.3, arm="calibrated")
    lines += [line("fixed 0.5", i, a=0.4, greedy_a=0.4) for i in range(3)]
    before = page_of(tmp_path / "a", sft=lines)
    asked = before.partition("Asked afterwards: not registered")[2].partition("\n\n|")[2]
    row = next(row for row in asked.splitlines() if row.startswith("| calibrated minus fixed"))
    assert (
        row == "| calibrated minus fixed 0.5 in greedy a | +30.0 ±24.8 points | 0.035 | 3 of 16 |"
    )
    assert "*Remarked afterwards:* The sweep shows" in before
    sft = tmp_path / "b" / "studies" / "afterwards"
    shutil.copytree(DOCS / "studies", tmp_path / "b" / "studies")
    shutil.rmtree(sft)
    shutil.copytree(tmp_path / "a" / "results", tmp_path / "b" / "results")
    without = write_page(tmp_path / "b").read_text()
    assert "afterwards" not in without and set(without.splitlines()) < set(before.splitlines())


@pytest.mark.parametrize(
    "said, run",
    [
        ("contrasts: []\nplanned: {}", ""),
        ("title: t\ncontrasts: []\nplanned: {sft-sudoku: {starts: 4}}", ""),
        ("title: t\ncontrasts: []\nplanned: {}", '{"kind": "run"}\n'),
    ],
)
def test_a_page_of_incomplete_files_is_one_sentence(said, run, tmp_path, capsys):
    for name, text in {"studies/x.yaml": said, "results/x.jsonl": run}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    with pytest.raises(SystemExit) as end:
        main(["study", "--page", str(tmp_path)])
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.count("\n") == 1 and " lacks " in said


def test_a_damaged_file_of_what_was_asked_afterwards_is_one_sentence(tmp_path):
    path = tmp_path / "sft.yaml"
    path.write_text("contrasts: [{name: x, study: dose, arm: start, figure: beauty}]")
    with pytest.raises(ValueError, match=r"sft.yaml is damaged: x: no line has a figure 'beauty'"):
        read_afterwards(path)
    path.write_text("contrasts: [{name: x, study: dose, arm: start, primary: true}]")
    with pytest.raises(ValueError, match=r"sft.yaml is damaged: .* argument 'primary'"):
        read_afterwards(path)
    path.write_text("remarks: {1: alone}")  # nothing was asked
    assert read_afterwards(path) == Afterwards({1: "alone"})


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("sft", "remarks: {99: x}\ncontrasts: []", "sft: there is no finding 99"),
        (
            "sft",
            "contrasts: [{name: x, study: sft-sudoku, arm: NGDif}]",
            "sft-sudoku has no arm 'NGDif'",
        ),
        ("sftt", "contrasts: []", "has sftt, and there is no such study"),
    ],
)
def test_what_was_asked_afterwards_is_of_a_study_that_is_there(tmp_path, name, text, said):
    shutil.copytree(DOCS / "studies", tmp_path / "studies")
    shutil.copytree(DOCS / "results", tmp_path / "results")
    (tmp_path / "studies" / "afterwards" / f"{name}.yaml").write_text(text)
    with pytest.raises(ValueError, match=said):
        write_page(tmp_path)
