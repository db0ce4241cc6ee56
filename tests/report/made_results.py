"""Results of diagnoses, made by hand: so many answers of every kind, on the Sudoku's pictures."""

from __future__ import annotations

from typing import Any

from percbal.evaluate.intervals import wilson_interval
from percbal.tasks import get_task
from percbal.tasks.base import tagged

PERFECT = {"right": 40}
SEES_BUT_CANNOT_THINK = {"right": 12, "reasoning": 25, "both": 2, "format": 1}
THINKS_BUT_CANNOT_SEE = {"right": 11, "perception": 24, "both": 3, "format": 2}
NOBODY_KNOWS = {"right": 20, "perception": 10, "reasoning": 9, "both": 1}
KINDS = ("right", "perception", "reasoning", "both", "format", "unclear")


def result(counts: dict[str, int], model: str = "a/model", **changes: Any) -> dict[str, Any]:
    """Version 1 of the JSON; the kinds are spread over the instances."""
    task = get_task("sudoku", size=4)
    wanted = [(i / counts[k], k) for k in counts for i in range(1, counts[k] + 1)]
    records = [_record(task, i, kind) for i, (_, kind) in enumerate(sorted(wanted))]
    n = len(records)
    return {
        "version": 1,
        "model": model,
        "source": {"task": "sudoku", "options": {"size": 4}},
        "n": n,
        "split": "test",
        "seed": 0,
        "options": {"ways": ["image", "told"], "samples": 1, "format": "tags"},
        "accuracies": accuracies(records),
        "pass_at_k": {},
        "errors": {kind: counts.get(kind, 0) for kind in KINDS},
        "right_in_spite": 0,
        "parse_failures": counts.get("format", 0),
        "refusals": {"answer missing": counts["format"]} if counts.get("format") else {},
        "cut": {"a": 3, "a_p": 3, "a_r": 0},
        "difficulty": [_curve(records, "blanks"), _curve(records, "level")],
        "records": records,
        **changes,
    }


def accuracies(records: list[dict[str, Any]]) -> dict[str, Any]:
    found = {}
    for name in ("a", "a_p", "a_r"):
        value, low, high = wilson_interval(sum(r[name] for r in records), len(records))
        found[name] = {"value": value, "low": low, "high": high, "n": len(records)}
    return found


def _curve(records: list[dict[str, Any]], name: str) -> dict[str, Any]:
    values = sorted({record["difficulty"][name] for record in records})
    groups = [[r for r in records if r["difficulty"][name] == value] for value in values]
    return {
        "name": name,
        "values": [
            {"label": str(value), "n": len(group), "accuracies": accuracies(group)}
            for value, group in zip(values, groups, strict=True)
        ],
    }


def _record(task: Any, index: int, kind: str) -> dict[str, Any]:
    made = task.generate(index, "test", 0)
    sees = kind in ("right", "reasoning")
    answers = kind == "right"
    saw = made.perception if sees else _changed(made.perception)
    answer = made.answer if answers else _changed(made.answer)
    completion = f"{tagged('perception', saw)} {tagged('reasoning', made.reasoning)} "
    completion += "" if kind == "format" else tagged("answer", answer)
    reasons = kind in ("right", "perception")
    return {
        "index": index,
        "place": f"test {index}",
        "query": made.query,
        "perception": made.perception,
        "truth": made.truth,
        "difficulty": {
            "blanks": made.truth["blanks"],
            "level": "hard" if made.truth["blanks"] > 7 else "easy",
        },
        "picture": "",
        "completion": completion,
        "reasoned": made.response,
        "text_completion": None,
        "a": answers,
        "a_p": sees,
        "a_r": reasons,
        "a_r_text": None,
        "reasoning": None if kind in ("format", "unclear") else reasons,
        "perception_f1": 1.0 if sees else 0.9,
        "error": kind,
        "parsed": kind != "format",
        "reason": "answer missing" if kind == "format" else "",
        "cut": kind == "format",
        "cut_reasoned": False,
        "cut_text": False,
        "marked": {
            name: [[list(cell) for cell in row] for row in table]
            for name, table in task.marked(completion, made.truth).items()
        },
        "wrong_parts": [[*part] for part in task.wrong_parts(completion, made.truth)],
        "wrong_answers": [[*part] for part in task.wrong_answers(completion, made.truth)],
        "further": [],
    }


def _changed(grid: str) -> str:
    """Another digit for the first one, and for the last."""
    words = grid.split()
    digits = [i for i, word in enumerate(words) if word[-1] != "_"]
    for i in (digits[0], digits[-1]):
        words[i] = f"{words[i][:-1]}{int(words[i][-1]) % 4 + 1}"
    return " ".join(words)
