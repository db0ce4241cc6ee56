"""The JSON of a diagnosis (docs/diagnose.md), read and checked without a model or torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from percbal.evaluate.names import ERRORS, VERSION

TEXT = (str, type(None))
TRUTH = (bool, type(None))


@dataclass(frozen=True)
class Maybe:
    """The shape of what older results lack."""

    shape: Any


@dataclass(frozen=True)
class Each:
    """The shape of an object with names that are not known."""

    shape: Any


def _share(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1


def _number(value: Any) -> bool:
    if not isinstance(value, int | float) or type(value) is bool:
        return False
    return -sys.float_info.max <= value <= sys.float_info.max  # of any integer, too


def _anything(value: Any) -> bool:
    return True


def _count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _level(value: Any) -> bool:
    return isinstance(value, str) or _number(value)


def _error(value: Any) -> bool:
    return value in ERRORS


def _accuracy(value: Any) -> bool:
    """Of shares, or of none at all."""
    if not isinstance(value, dict) or not _count(value.get("n")):
        return False
    parts = [value.get(name) for name in ("value", "low", "high")]
    return all(map(_share, parts)) or parts == [None] * 3


def _wrong_part(value: Any) -> bool:
    return _wrong_answer(value) and value[1] != value[2]


def _wrong_answer(value: Any) -> bool:
    """What is right and what was answered are both null where nobody knows the one answer."""
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[0], str):
        return False
    return all(isinstance(each, TEXT) for each in value[1:])


def _part(value: Any) -> bool:
    return isinstance(value, list) and [type(each) for each in value] == [str, bool]


TRIAL = {
    "completion": str,
    "reasoned": TEXT,
    "text_completion": TEXT,
    "a": bool,
    "a_p": bool,
    "a_r": TRUTH,
    "a_r_text": TRUTH,
    "perception_f1": _share,
    "reasoning": TRUTH,
    "error": _error,
    "parsed": bool,
    "reason": str,
    "cut": bool,
    "cut_reasoned": bool,
    "cut_text": bool,
    "marked": Each([[_part]]),
    "wrong_parts": Maybe([_wrong_part]),
    "wrong_answers": Maybe([_wrong_answer]),
}
RECORD = {
    **TRIAL,
    "index": _count,
    "place": str,
    "query": str,
    "perception": str,
    "truth": _anything,
    "difficulty": Each(_level),
    "further": [TRIAL],
}
RESULT = {
    "source": dict,
    "model": str,
    "n": _count,
    "split": str,
    "seed": int,
    "options": {"samples": _count},
    "accuracies": Each(_accuracy),
    "pass_at_k": Each(Each(_accuracy)),
    "errors": dict.fromkeys(ERRORS, _count),
    "right_in_spite": _count,
    "parse_failures": _count,
    "refusals": Each(_count),
    "cut": Each(_count),
    "difficulty": [
        {"name": str, "values": [{"label": str, "n": _count, "accuracies": Each(_accuracy)}]}
    ],
    "records": [RECORD],
}


@dataclass(frozen=True)
class Result:
    """What one model did: ``data`` as the file has it, and what to call it."""

    name: str
    data: Mapping[str, Any]

    @cached_property
    def trials(self) -> list[Mapping[str, Any]]:
        """Every completion from the image: of each record its own, then the further ones."""
        return [trial for record in self.data["records"] for trial in (record, *record["further"])]


def read_result(path: Path) -> Result:
    """The result at a path. ValueError, one sentence, if it is damaged or of another version."""
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"{path} is no JSON: {problem}") from None
    return checked(data, str(path))


def checked(data: Any, path: str) -> Result:
    """``data`` as a result, called by its model or else by its file."""
    if not isinstance(data, dict) or "version" not in data:
        raise ValueError(f"{path} is no result of percbal diagnose: it has no version")
    if data["version"] != VERSION:
        raise ValueError(
            f"{path} is a result of version {data['version']!r:.40}; this percbal reads {VERSION}"
        )
    problem = _problem(data, RESULT, "")
    if problem:
        raise ValueError(f"{path} is damaged: {problem}")
    for name in ("a", "a_p"):
        if data["accuracies"].get(name, {}).get("value") is None:
            raise ValueError(f"{path} is damaged: its accuracies have no {name}")
    result = Result(data["model"] or Path(path).stem, data)
    counted = sum(data["errors"].values())
    if not data["records"] or len(data["records"]) != data["n"] or counted != len(result.trials):
        raise ValueError(
            f"{path} is damaged: n is {data['n']}, it has {len(data['records'])} records with "
            f"{len(result.trials)} completions, and its errors sum to {counted}"
        )
    return result


def _problem(value: Any, shape: Any, where: str) -> str:
    """What does not fit, or nothing."""
    if isinstance(shape, Each):
        if not isinstance(value, dict):
            return f"{where} is no object"
        pairs = [(f"{where}.{name}", each, shape.shape) for name, each in value.items()]
    elif isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{where or 'it'} is no object"
        wanted = {
            name: of.shape if isinstance(of, Maybe) else of
            for name, of in shape.items()
            if name in value or not isinstance(of, Maybe)
        }
        missing = [name for name in wanted if name not in value]
        if missing:
            return f"{where or 'it'} has no {missing[0]}"
        pairs = [(f"{where}.{name}".lstrip("."), value[name], of) for name, of in wanted.items()]
    elif isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where} is no list"
        pairs = [(f"{where}[{i}]", each, shape[0]) for i, each in enumerate(value)]
    else:
        is_type = isinstance(shape, type | tuple)
        fits = isinstance(value, shape) if is_type else shape(value)
        return "" if fits else f"{where} cannot be {value!r:.40}"
    return next((found for p in pairs if (found := _problem(p[1], p[2], p[0]))), "")
