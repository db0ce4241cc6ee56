"""What the page of a result says: the trouble, every count, and nothing that is not its own."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import re
import subprocess
import sys
from collections import Counter

import pytest
from made_results import (
    NOBODY_KNOWS,
    PERFECT,
    SEES_BUT_CANNOT_THINK,
    THINKS_BUT_CANNOT_SEE,
    result,
)

from percbal.cli.main import main
from percbal.report.diagnosis import BUDGET, page
from percbal.report.findings import flow, told, verdict
from percbal.report.gallery import chosen
from percbal.report.results import checked
from percbal.tasks import get_task
from percbal.tasks.preview import export_jsonl

EVIL = "</script></pre><script>alert(1)</script><img src=http://x/ onerror='alert(2)'>"


def made(counts=None, **changes):
    return checked(result(counts or THINKS_BUT_CANNOT_SEE, **changes), "result.json")


def words(text: str) -> str:
    """What a reader sees, its spaces made one."""
    return " ".join(
        html.unescape(re.sub(r"<(style|script).*?</\1>|<[^>]*>", " ", text, flags=re.S)).split()
    )


@pytest.mark.parametrize(
    "counts, kind, headline",
    [
        (PERFECT, "right", "It makes no mistake"),
        (SEES_BUT_CANNOT_THINK, "reasoning", "It fails to reason"),
        (THINKS_BUT_CANNOT_SEE, "perception", "It fails to see"),
        (NOBODY_KNOWS, "", "Its main trouble cannot be told"),
    ],
)
def test_the_trouble_of_a_model_is_told(counts, kind, headline):
    found = made(counts)
    assert verdict(found)[:2] == (kind, headline)
    assert f"<h1>{headline}.</h1>" in page([found])


def test_the_sentence_has_the_numbers():
    assert verdict(made()).why == (
        "83% of wrong answers (24 of 29) have a wrong perception and a right reasoning."
    )
    assert "contains one half" in verdict(made(NOBODY_KNOWS)).why
    assert "too few to tell" in verdict(made({"right": 3, "both": 2})).why
    assert (
        verdict(made({"right": 90, "format": 10})).headline
        == "When it fails, it fails in the format"
    )


def test_told_the_right_perception_only_a_model_that_reasons_does_better():
    assert "it does better: 88% of its answers are right, not 28%" in told(made())
    assert "it does not clearly do better: 30% of its answers are right then, 30% if not" in told(
        made(SEES_BUT_CANNOT_THINK)
    )
    assert told(made(PERFECT)) == ""


def test_many_samples_of_few_instances_decide_nothing():
    """Completions of one instance are no independent ones."""
    data = result({"perception": 8, "reasoning": 3})
    assert verdict(checked(data, "x")).kind == ""
    for record in data["records"]:
        trial = {name: record[name] for name in record if name != "further"}
        record["further"] = [trial] * 7
    data["options"]["samples"] = 8
    data["errors"] = {kind: 8 * count for kind, count in data["errors"].items()}
    assert verdict(checked(data, "x")).kind == ""


@pytest.mark.parametrize("counts", [PERFECT, SEES_BUT_CANNOT_THINK, THINKS_BUT_CANNOT_SEE])
def test_the_flow_has_the_counts_of_the_result(counts):
    found = made(counts)
    parts = flow(found)
    assert parts.total() == found.data["n"]
    by_error: Counter[str] = Counter()
    for (_, error), count in parts.items():
        by_error[error] += count
    assert by_error == Counter(counts)
    sees = sum(count for (seen, _), count in parts.items() if seen == "right")
    assert sees == sum(record["a_p"] for record in found.data["records"])
    text = page([found])
    drawn = re.search(r'<svg class="flow wide".*?</svg>', text, re.S).group()
    for label in (f"{found.data['n']} pictures", f"seen right: {sees}"):
        assert f">{label}</text>" in drawn
    assert f">answer right: {counts['right']}</text>" in drawn
    heights = [float(h) for h in re.findall(r'class="node".*?height="([\d.]+)"', drawn)]
    assert heights[1] == pytest.approx(heights[0] * sees / found.data["n"], abs=0.1)


def test_every_count_of_the_page_is_that_of_the_result():
    found = made()
    text = page([found])
    for kind, count in found.data["errors"].items():
        assert f'<td id="n-{kind}">{count}</td>' in text
    seen = words(text)
    assert "Not in the format: 2 (answer missing: 2)." in seen
    assert "Cut at the limit of tokens: a 3 of 40, a_p 3 of 40, a_r 0 of 40." in seen
    for accuracy in found.data["accuracies"].values():
        low, high = (round(100 * accuracy[name]) for name in ("low", "high"))
        assert f"95% interval {low} to {high}%, n = 40" in seen
    for field in found.data["difficulty"]:
        for value in field["values"]:
            assert f"n {value['n']}" in seen
            for metric, accuracy in value["accuracies"].items():
                percent = f"{100 * accuracy['value']:.0f}% ["
                assert f"{metric}, {field['name']} {value['label']}: {percent}" in text


def test_no_text_of_a_model_becomes_markup():
    data = result(THINKS_BUT_CANNOT_SEE, model=EVIL)
    clean = page([checked(result(THINKS_BUT_CANNOT_SEE), "x")])
    for record in data["records"]:
        for name in ("completion", "reasoned", "query", "place", "reason"):
            record[name] = EVIL
        record["difficulty"] = {EVIL: EVIL}
        record["marked"] = {"perceived": [[[EVIL, False]]], "answer": [[[EVIL, True]] * 2]}
    data["source"] = {"task": EVIL, "options": {}}
    data["refusals"] = {EVIL: 1}
    data["difficulty"][0]["name"] = data["difficulty"][0]["values"][0]["label"] = EVIL
    for text in (page([checked(data, "x")]), page([checked(data, "x")] * 2)):
        assert "<script>alert" not in text and "<img src=http" not in text
        assert text.count("<script") == text.count("</script") == clean.count("<script") == 1
        assert EVIL in html.unescape(text)


def test_the_page_refers_to_nothing_outside():
    for text in (page([made()]), page([made(), made(PERFECT)])):
        tags = " ".join(
            re.findall(r"<[a-z][^>]*>", re.sub(r"<script>.*?</script>", "", text, flags=re.S))
        )
        names = "src|href|srcset|action|poster|data|background|xlink:href"
        links = re.findall(rf"""\s(?:{names})\s*=\s*["']?([^"'\s>]+)""", tags)
        links += re.findall(r"url\(([^)]*)", text) + re.findall(r"@import\s*(\S+)", text)
        assert links and all(link.startswith(("data:", "#")) for link in links)
        assert "http://" not in text and "https://" not in text
        assert "default-src 'none'" in text and " style=" not in text and " onclick" not in text


def downloads(text: str) -> dict[str, str]:
    found = re.findall(
        r'download="([\w.]+)" href="data:[\w/]+;base64,([^"]*)"', html.unescape(text)
    )
    return {name: base64.b64decode(code).decode() for name, code in found}


def test_the_numbers_can_be_had_as_csv_and_json():
    found = made(model="=a formula")
    files = downloads(page([found]))
    (figures,) = json.loads(files["report.json"])
    assert figures == {name: v for name, v in found.data.items() if name != "records"}
    rows = list(csv.DictReader(io.StringIO(files["report.csv"])))
    assert Counter(row["error"] for row in rows) == Counter(THINKS_BUT_CANNOT_SEE)
    assert sum(int(row["a_p"]) for row in rows) == 11
    assert {row["model"] for row in rows} == {"'=a formula"}


def test_instances_are_chosen_evenly_over_the_kinds():
    found = made({"right": 30, "perception": 20, "reasoning": 2, "both": 8})
    counts = Counter(record["error"] for record in chosen(found, 17))
    assert counts == {"perception": 5, "reasoning": 2, "both": 5, "right": 5}
    assert len(chosen(found, 1000)) == 60
    text = page([found], most=17)
    assert text.count("<article") == text.count("<img ") == 17
    assert "17 of 60 instances" in words(text)


def test_wrong_parts_are_marked_and_told_to_those_who_cannot_see():
    text = page([made()])
    assert text.count('<td class="bad"><span class="unseen">wrong: </span>') > 60


def test_a_picture_of_another_task_is_missing_with_its_reason():
    data = result(THINKS_BUT_CANNOT_SEE)
    data["records"][0]["perception"] += " r1c1=4"
    data["seed"] = 0
    seen = words(page([checked(data, "x")]))
    assert "test 0: the task makes another picture now than when this was measured" in seen
    data["source"] = {"task": "os:system", "options": {}}
    seen = words(page([checked(data, "x")]))
    assert "There are no pictures: the task 'os:system' is none of percbal's own; --task" in seen
    data["source"] = {"dataset": "/no/such/data"}
    assert "--dataset says where it is" in words(page([checked(data, "x")]))


def test_pictures_of_a_data_set_are_read_where_it_is(tmp_path):
    export_jsonl(get_task("sudoku", size=4), "test", 5, tmp_path / "old")
    data = result({"right": 3, "perception": 2})
    data["source"] = {"dataset": str(tmp_path / "old" / "test.jsonl")}
    for i, record in enumerate(data["records"]):
        record["place"] = f"{tmp_path}/old/test.jsonl:{i + 1}"
    assert page([checked(data, "x")]).count("<img src=") == 5
    (tmp_path / "old").rename(tmp_path / "new")
    assert "<img src=" not in page([checked(data, "x")])
    text = page([checked(data, "x")], dataset=str(tmp_path / "new" / "test.jsonl"))
    assert text.count("<img src=") == 5
    data["records"][0]["place"] = "test.jsonl:9"
    text = page([checked(data, "x")], dataset=str(tmp_path / "new" / "test.jsonl"))
    assert text.count("<img src=") == 4 and "another row there now" in text


def test_no_picture_of_another_row_stands_beside_a_record(tmp_path):
    """Also where the rows have only changed their places."""
    path = export_jsonl(get_task("sudoku", size=4), "test", 3, tmp_path)
    data = result({"right": 2, "perception": 1})
    data["source"] = {"dataset": str(path)}
    for i, record in enumerate(data["records"]):
        record["place"] = f"test.jsonl:{i + 1}"
    assert page([checked(data, "x")]).count("<img src=") == 3
    first, second, third = path.read_text().splitlines()
    path.write_text("\n".join([second, first, third]))
    text = page([checked(data, "x")])
    assert text.count("<img src=") == 1 and text.count("another row there now") >= 1


def test_pictures_that_a_file_wants_huge_are_not_drawn():
    data = result(THINKS_BUT_CANNOT_SEE)
    data["source"]["options"]["pixels"] = 40_000
    seen = words(page([checked(data, "x")]))
    assert "There are no pictures: pictures of 40000 pixels are too large for a page." in seen


def test_half_a_surrogate_pair_is_shown_as_a_question_mark():
    """JSON may have it, and a completion that was cut."""
    data = result(THINKS_BUT_CANNOT_SEE)
    data["records"][0]["completion"] = "seen \ud83d so"
    text = page([checked(data, "x")])
    assert "seen ? so" in text and text.encode()


def test_an_empty_row_of_marked_parts_is_nothing_to_show():
    data = result(THINKS_BUT_CANNOT_SEE)
    data["records"][0]["marked"] = {"perceived": [[], []]}
    assert "<html" in page([checked(data, "x")])


def test_the_largest_page_is_within_its_budget():
    data = result({"right": 100, "perception": 100})
    for record in data["records"]:
        record["completion"] = record["reasoned"] = record["perception"] = "&" * 100_000
    assert len(page([checked(data, "x")]).encode()) < BUDGET
    assert len(page([made()]).encode()) < 1_000_000


def test_two_results_are_compared_on_the_same_instances():
    base, other = made(model="one"), made(SEES_BUT_CANNOT_THINK, model="two")
    seen = words(page([base, other]))
    assert "two minus one" in seen and "Paired" in seen
    assert re.search(r"a_p \+65\.0 \+[\d.]+ to \+[\d.]+ 26 0 [\d.e-]+ told apart from 0", seen)
    assert "24 of 40 0 of 40" in seen  # misread


def test_a_few_flips_are_not_told_apart_whatever_the_interval():
    """Five of twelve: the bootstrap's interval is above 0, and p is 0.0625."""
    base, other = (made({"right": 7 + k, "reasoning": 5 - k}) for k in (0, 5))
    seen = words(page([base, other]))
    assert re.search(r"a \+41\.7 \+[\d.]+ to \+[\d.]+ 5 0 0\.062 not told apart", seen)


def test_results_on_other_instances_have_no_paired_difference():
    data = result({"right": 5})
    for record in data["records"]:
        record["query"] = "another"
    seen = words(page([made(), checked(data, "x")]))
    assert "cannot be compared instance by instance" in seen and "Paired" not in seen
    assert "a/model (1)" in seen and "a/model (2)" in seen
    fewer = words(page([made(), made({"right": 5})]))
    assert "40 and 5 instances, compared on the 5 of both" in fewer


def broken(change):
    data = result(THINKS_BUT_CANNOT_SEE)
    change(data)
    return json.dumps(data)


@pytest.mark.parametrize(
    "text, said",
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "no result of percbal diagnose"),
        ('{"a": 0.5}', "it has no version"),
        (broken(lambda d: d.update(version=2)), "of version 2; this percbal reads 1"),
        (broken(lambda d: d.pop("errors")), "it has no errors"),
        (broken(lambda d: d["errors"].update(both=9)), "its errors sum to 46"),
        (broken(lambda d: d["records"].pop()), "39 records"),
        (broken(lambda d: d.update(records=[], n=0)), "0 records"),
        (broken(lambda d: d["records"][3].update(a="yes")), "records[3].a cannot be 'yes'"),
        (broken(lambda d: d["records"][3].update(error="?")), "records[3].error cannot be '?'"),
        (broken(lambda d: d["records"][3].update(marked={"x": [[1]]})), "marked.x[0][0]"),
        (
            broken(lambda d: d["accuracies"]["a_r"].update(low=float("nan"))),
            "accuracies.a_r cannot be {",
        ),
        (broken(lambda d: d["accuracies"]["a"].update(low=None)), "accuracies.a cannot be {"),
        (broken(lambda d: d["accuracies"].pop("a_p")), "its accuracies have no a_p"),
        (
            broken(lambda d: d["accuracies"]["a"].update(value=None, low=None, high=None)),
            "its accuracies have no a",
        ),
        (broken(lambda d: d["records"][3].pop("truth")), "records[3] has no truth"),
        (
            broken(lambda d: d["records"][3]["difficulty"].update(blanks=10**400)),
            "records[3].difficulty.blanks cannot be",
        ),
        (broken(lambda d: d["accuracies"].update(a_r=3)), "accuracies.a_r cannot be 3"),
    ],
)
def test_a_damaged_result_is_one_sentence(text, said, tmp_path, capsys):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(SystemExit) as stop:
        main(["report", str(tmp_path / "r.json"), "--out", str(tmp_path / "r.html")])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1
    assert not (tmp_path / "r.html").exists()


def test_it_needs_no_torch(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(result(PERFECT)))
    program = (
        "import sys; from percbal.report.diagnosis import write_page; from pathlib import Path\n"
        f"write_page([Path({str(tmp_path / 'r.json')!r})], Path({str(tmp_path / 'r.html')!r}))\n"
        "print([m for m in ('torch', 'transformers', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
    assert (tmp_path / "r.html").stat().st_size > 100_000
