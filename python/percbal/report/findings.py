"""What a result shows, in a sentence and in counts; docs/report.md states the rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from percbal.evaluate.intervals import wilson_interval
from percbal.report.results import Result

RIGHT, WRONG, UNREADABLE = "right", "wrong", "unreadable"
KINDS = {  # of an answer, errors first -> its short name, and what it means
    "perception": ("misread", "a wrong perception and a right reasoning"),
    "reasoning": ("misreasoned", "a right perception and a wrong reasoning"),
    "both": ("both wrong", "a wrong perception and a wrong reasoning"),
    "format": ("not readable", "a part that cannot be read"),
    "unclear": ("unclear", "a wrong perception and a reasoning that nobody can judge"),
    "right": ("right", "a right answer"),
}
TROUBLES = {
    "perception": "It fails to see",
    "reasoning": "It fails to reason",
    "both": "It fails to see and to reason",
    "format": "It fails in the format",
    "unclear": "It fails to see, and its reasoning cannot be judged",
}
UNTOLD = "Its main trouble cannot be told"
MOSTLY = 0.9  # right answers of a model that is not in trouble


class Verdict(NamedTuple):
    """kind: of ``KINDS`` or, if it cannot be told, "". headline: a few words; why: the numbers."""

    kind: str
    headline: str
    why: str


def verdict(result: Result) -> Verdict:
    """The most frequent kind of wrong answer, if it is so beyond chance."""
    errors, total = result.data["errors"], len(result.trials)
    wrong = total - errors["right"]
    if not wrong:
        return Verdict("right", "It makes no mistake", f"All {total} answers are right.")
    (first, most), (second, next_most) = Counter(
        {kind: errors[kind] for kind in TROUBLES}
    ).most_common(2)
    each = total / result.data["n"]  # completions of an instance, which are no independent ones
    split = wilson_interval(most / each, (most + next_most) / each)  # type: ignore[arg-type]
    said = f"{_percent(most / wrong)} of wrong answers ({most} of {wrong}) have {KINDS[first][1]}"
    if split.low > 0.5:
        headline = TROUBLES[first]
        if errors["right"] >= MOSTLY * total:
            headline = headline.replace("It", "When it fails, it")
        return Verdict(first, headline, f"{said}.")
    if not next_most:
        return Verdict("", UNTOLD, f"{said}, but they are too few to tell a rule from chance.")
    return Verdict(
        "",
        UNTOLD,
        f"{said}, {next_most} have {KINDS[second][1]}: the 95% interval of the first's share of "
        f"the two, {_percent(split.low)} to {_percent(split.high)}, contains one half.",
    )


def told(result: Result) -> str:
    """What knowing the right perception changes; nothing where that was not asked."""
    a, a_r = result.data["accuracies"]["a"], result.data["accuracies"].get("a_r")
    if a_r is None or a_r["value"] is None or result.data["errors"]["right"] == len(result.trials):
        return ""
    does = f"{_percent(a_r['value'])} of its answers are right, not {_percent(a['value'])}"
    if a_r["low"] > a["high"]:
        return f"Told what the picture shows, it does better: {does}."
    if a_r["high"] < a["low"]:
        return f"Told what the picture shows, it does worse: {does}."
    does = f"{_percent(a_r['value'])} of its answers are right then, {_percent(a['value'])} if not"
    begins = "Told what the picture shows, it does not clearly do better"
    return f"{begins}: {does}, and the 95% intervals overlap."


def seen(trial: Mapping[str, Any]) -> str:
    """Whether its perception is right, wrong or cannot be read."""
    if trial["a_p"]:
        return RIGHT
    judged = trial["reasoning"] is not None or trial["perception_f1"] or trial["parsed"]
    return WRONG if judged or "perceived" in trial["marked"] else UNREADABLE


def flow(result: Result) -> Counter[tuple[str, str]]:
    """How many completions have (what was `seen`, the error)."""
    return Counter((seen(trial), trial["error"]) for trial in result.trials)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"
