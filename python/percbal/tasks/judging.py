"""One judge for all tasks: three spans become a `Score`, by two readers and one rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Number
from typing import Any

from percbal.responses.reading import Refusal
from percbal.responses.spans import find_spans
from percbal.tasks.base import Score, WrongPart

ITEMS = (list, tuple, set, frozenset, dict)  # what has items
Reader = Callable[[str], Any]  # what a span's text says, or a Refusal


def judge(
    completion: str,
    *,
    see: Reader,
    say: Reader,
    true: Any,
    right: Callable[[Any, Any], bool | None],
    share: Callable[[Any, Any], float],
) -> Score:
    """The score of a completion; no text makes it raise unless an argument does.

    see, say: read the perceived problem and the answer.
    true: the problem, as ``see`` reads p*.
    right: whether an answer, perhaps a Refusal, is right for a problem; None where it cannot tell.
    share: of the true problem's parts, how many are perceived right, in [0, 1].
    """
    spans = find_spans(completion)
    seen = None if spans.perception is None else see(spans.perception)
    said = None if spans.answer is None else say(spans.answer)
    readable = seen is not None and not isinstance(seen, Refusal)
    refused = [
        f"{name}: {found.problem}"
        for name, found in (("perception", seen), ("answer", said))
        if isinstance(found, Refusal)
    ]
    return Score(
        answer=None if said is None else right(said, true) is True,
        perception=None if seen is None else seen == true,
        perception_f1=share(seen, true) if readable else 0.0,
        reasoning=right(said, seen) if readable and said is not None else None,
        parsed=spans.complete and not refused,
        reason="; ".join([*spans.problems, *refused]),
        named=_named(seen, true) if readable else 0.0,
    )


def _named(seen: Any, true: Any) -> float:
    """The items of the one for each of the other; grids name all their cells, whatever they say."""
    if not (isinstance(seen, ITEMS) and isinstance(true, ITEMS)):
        return 0.0
    return len(seen) / len(true) if true else 0.0


def wrong_parts(seen: Mapping[str, str], true: Mapping[str, str]) -> list[WrongPart]:
    """Of parts by their names: those that differ in the order of the true ones, then the others."""
    names = [name for name in {**true, **seen} if seen.get(name) != true.get(name)]
    return [(name, true.get(name), seen.get(name)) for name in names]


def told_wrong(judge: Any, method: str, completion: str, truth: Any) -> list[WrongPart]:
    """What a judge's ``wrong_parts`` or ``wrong_answers`` says of a completion, if it has that.

    Numbers become texts, as they are written. ValueError, one sentence, for what has not the form
    of a `WrongPart`, and for parts of a picture that are wrong but look right.
    """
    if (tell := getattr(judge, method, None)) is None:
        return []
    return [_as_texts(part, judge, method) for part in tell(completion, truth)]


def _as_texts(part: Any, judge: Any, method: str) -> WrongPart:
    whole = isinstance(part, Sequence) and not isinstance(part, str) and len(part) == 3
    fits = whole and all(isinstance(each, str | Number | None) for each in part)
    name, right, said = (None if p is None else str(p) for p in part) if fits else (None,) * 3
    if name is None or (method == "wrong_parts" and right == said):
        raise ValueError(
            f"{method} of the task {getattr(judge, 'name', type(judge).__name__)} gives "
            f"{part!r:.60}, and not texts (name, right, said) of which the last two may be None"
        )
    return name, right, said
