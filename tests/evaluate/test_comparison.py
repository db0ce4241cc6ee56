"""Facts about comparing two diagnoses: what flipped, and whether it is more than chance."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from answerers import by, diagnosed, questions
from scipy import stats

from percbal.cli.main import main
from percbal.evaluate.comparison import compare, mcnemar
from percbal.evaluate.intervals import paired_difference
from percbal.report.results import read_result

SOURCE = {"task": "sudoku", "options": {}}


def result(right, n=6, **options):
    """Of who is right on these instances alone, from the image; as JSON has it."""
    solver = by(lambda q, way: q.response if q.index in right or way != "image" else "no")
    about = {"source": SOURCE, "model": f"m{len(right)}", "options": options.pop("asked", {})}
    return json.loads(json.dumps(diagnosed(solver, n=n, about=about, **options).to_dict()))


@pytest.mark.parametrize("gained, lost", [(0, 0), (5, 0), (3, 9), (7, 7), (40, 20)])
def test_mcnemar_is_the_binomial_test_by_hand(gained, lost):
    n = gained + lost
    tail = stats.binom.cdf(min(gained, lost), n, 0.5)
    assert mcnemar(gained, lost) == pytest.approx(min(1.0, 2 * tail))


def test_what_flipped_is_named_both_ways():
    found = compare(result({0, 1, 2}), result({1, 2, 3, 4, 5}))
    a = found["accuracies"]["a"]
    assert (a["base"], a["other"], a["n"]) == (3 / 6, 5 / 6, 6)
    assert a["gained"] == ["sudoku 3", "sudoku 4", "sudoku 5"] and a["lost"] == ["sudoku 0"]
    assert a["p"] == pytest.approx(2 * 5 / 16)  # at most one of four
    wanted = paired_difference([0, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0])
    assert (a["difference"], a["low"], a["high"]) == tuple(wanted)
    assert found["accuracies"]["a_r"]["difference"] == 0 and found["notes"] == []
    assert found["accuracies"]["perception_f1"]["p"] is None
    judged = found["accuracies"]["reasoning"]
    assert judged["n"] == 2  # the instances that both can be judged on


def test_a_model_against_itself():
    """Nothing has flipped of these six; of others something may."""
    ours = result({0, 3})
    for value in compare(ours, ours)["accuracies"].values():
        may = 1 - 0.025 ** (1 / value["n"])
        found = value["difference"], value["low"], value["high"]
        assert found == pytest.approx((0, -may, may))
        assert value["p"] in (1.0, None) and not value["gained"] and not value["lost"]


def test_means_over_samples_have_no_mcnemar():
    solver = by(lambda q, way: q.response if q.sample < q.index else "no")
    ours = json.loads(json.dumps(diagnosed(solver, n=3, samples=2).to_dict()))
    a = compare(result({0}, n=3), ours | {"source": SOURCE})["accuracies"]["a"]
    assert (a["base"], a["other"], a["p"]) == (1 / 3, 0.5, None)


def test_more_instances_of_one_are_left_out_and_said():
    found = compare(result({0}, n=4), result({0}, n=6))
    assert found["n"] == 4 and found["notes"] == ["4 and 6 instances, compared on the 4 of both"]


def test_other_options_are_said():
    found = compare(result({0}, asked={"format": "tags"}), result({0}, asked={"format": "json"}))
    assert found["notes"] == ["asked otherwise: format tags, format json"]


def test_other_instances_are_refused():
    ours = result({0})
    with pytest.raises(ValueError, match=r"6 of 6 instances are others: seed 0 and 1$"):
        compare(ours, result({0}, seed=1))
    later = [replace(question, index=question.index + 6) for question in questions()]
    with pytest.raises(ValueError, match="no instance in common$"):
        compare(ours, result({0}, questions=later))
    changed = json.loads(json.dumps(ours))
    changed["records"][2]["perception"] = "other"
    with pytest.raises(ValueError, match="1 of 6 instances are others, such as sudoku 2"):
        compare(ours, changed)


def test_another_name_of_the_same_instances_is_a_note():
    ours = result({0})
    described = ours | {"source": SOURCE | {"described": "sudoku 4x4"}}
    assert compare(ours, described)["notes"] == []  # the older one does not say
    assert (
        "sudoku 6x6"
        in compare(ours | {"source": SOURCE | {"described": "sudoku 6x6"}}, described)["notes"][0]
    )
    (note,) = compare(ours, ours | {"source": {"dataset": "b"}})["notes"]
    assert note.startswith('other source {"task": "sudoku", "options": {}} and {"dataset": "b"};')


# --- the command -------------------------------------------------------------------------------


def written(tmp_path, **results):
    for name, value in results.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    return [str(tmp_path / f"{name}.json") for name in results]


def test_several_files_against_the_first(tmp_path, capsys):
    files = written(tmp_path, a=result({0}), b=result({0, 1}), c=result(set()))
    main(["diagnose", "--compare", *files, "--out", str(tmp_path / "out.json")])
    said = capsys.readouterr().out
    assert f"{files[2]} (m0) against {files[0]} (m1)" in said
    assert "a gained: sudoku 1" in said and "a lost: sudoku 0" in said and "+0.167" in said
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["base"] == {"file": files[0], "model": "m1"}
    assert [each["file"] for each in found["others"]] == files[1:]
    assert found["others"][0]["accuracies"]["a"]["gained"] == ["sudoku 1"]


def test_long_lists_of_flips_are_cut_on_the_terminal(tmp_path, capsys):
    main(
        [
            "diagnose",
            "--compare",
            *written(tmp_path, a=result(set(), 20), b=result({*range(20)}, 20)),
        ]
    )
    assert "sudoku 11 and 8 more" in capsys.readouterr().out


@pytest.mark.parametrize(
    "names, options, sentence",
    [
        ("a", [], "--compare needs two results or more"),
        ("ab", ["--out", "/nowhere/x"], "no directory /nowhere"),
        ("az", [], "a.json and .*z.json cannot be compared: 6 of 6 instances are others: seed 0"),
        ("ax", [], "x.json is no result of percbal diagnose: it has no version"),
        ("ay", [], "is a result of version 2; this percbal reads 1"),
        ("aw", [], "w.json is no JSON"),
        ("am", [], "No such file"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(names, options, sentence, tmp_path, capsys):
    written(tmp_path, a=result({0}), b=result({0}), x=[1], y={"version": 2, "records": []})
    written(tmp_path, z=result({0}, seed=1))
    (tmp_path / "w.json").write_text("{")
    with pytest.raises(SystemExit) as end:
        main(["diagnose", "--compare", *(str(tmp_path / f"{n}.json") for n in names), *options])
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.count("\n") == 1 and re.search(sentence, said)


def test_a_model_or_results_but_not_both(tmp_path, capsys):
    (file,) = written(tmp_path, a=result({0}))
    for arguments, sentence in (
        (["m", "--compare", file, file], "got a model here and --compare"),
        ([], "or --compare; got none"),
        (["--compare", file, file, "--dataset", "x"], "--dataset x has no effect with --compare"),
        (["--compare", file, file, "--report", "x"], "--report x has no effect with --compare"),
        (["--compare", file, file, "--model", "x"], "--model x has no effect with --compare"),
    ):
        with pytest.raises(SystemExit):
            main(["diagnose", *arguments])
        assert sentence in capsys.readouterr().err


def test_a_result_is_read_as_it_was_written(tmp_path):
    ours = result({0})
    written(tmp_path, a=ours)
    assert read_result(tmp_path / "a.json").data == ours
