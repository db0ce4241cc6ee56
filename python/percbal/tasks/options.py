"""A task's class by its path, and its options: their types, which a command line cannot know, and
what the tasks' own checks share."""

from __future__ import annotations

import inspect
import types
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Union, get_args, get_origin, get_type_hints

METHODS = ("generate", "score", "marked", "oracle_prefix", "vocabulary", "describe")


def one_of(option: str, value: Any, known: Sequence[Any]) -> Any:
    """The value of an option, or ValueError that names the values it can have."""
    if value not in known:
        raise ValueError(f"{option} must be one of {', '.join(map(str, known))}, got {value!r}")
    return value


def as_pair(value: Any) -> tuple[Any, ...]:
    """(fewest, most) of one number, or what was given, for the task to check."""
    return (value, value) if isinstance(value, int) else tuple(value)


def load_class(path: str) -> Any:
    """The task at ``module:Class``. ValueError, one sentence, where there is none."""
    module, _, name = path.partition(":")
    try:
        found = getattr(import_module(module), name)
    except ModuleNotFoundError as problem:
        itself = f"{module}.".startswith(f"{problem.name}.")  # not what the module imports
        where = "; Python looks in PYTHONPATH, and by `python -m percbal` in this folder, too"
        said = f"{problem}{where if itself else f', which {module} imports'}"
        raise ValueError(f"there is no task {path}: {said}") from None
    except (ImportError, ValueError, AttributeError) as problem:
        raise ValueError(f"there is no task {path}: {problem}") from None
    missing = [method for method in METHODS if not hasattr(found, method)]
    if not callable(found) or missing:
        raise ValueError(f"{path} is no task: it has no {missing[0] if missing else 'call'}")
    return found


def check_options(name: str, made_by: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The options, sequences as lists where the task declares these, and else as tuples.

    ValueError for an option that the task does not have, or of another type than it declares.
    """
    known = inspect.signature(made_by).parameters
    try:
        hints = get_type_hints(made_by.__init__)
    except (NameError, TypeError):  # declared for readers alone
        hints = {}
    checked = {}
    for option, value in options.items():
        if option not in known:
            raise ValueError(
                f"task {name!r} has no option {option!r}; its options: {', '.join(known)}"
            )
        hint = hints.get(option, Any)
        value = _as_declared(value, hint)
        if not is_of(value, hint):
            raise ValueError(
                f"option {option} of {name} must be {type_said(hint)}, got {value!r:.60}"
            )
        checked[option] = value
    return checked


def _as_declared(value: Any, hint: Any) -> Any:
    """A sequence, and those in it, as a list where the type is one, and else as a tuple."""
    if not isinstance(value, list | tuple):
        return value
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    kind = next((one for one in kinds if _of_each(one)), tuple)
    each = _each_of(kind, len(value))
    made = [_as_declared(v, each[i] if i < len(each) else Any) for i, v in enumerate(value)]
    return made if list in (kind, get_origin(kind)) else tuple(made)


def _each_of(hint: Any, n: int) -> tuple[Any, ...]:
    """The type of every element of a sequence of ``n``; of another number if it declares that."""
    each = _of_each(hint) or ()
    return each[:1] * n if each[1:] == (...,) else each


def _of_each(hint: Any) -> tuple[Any, ...] | None:
    """What a list or a tuple declares of its elements, ``(type, ...)`` for any number of one type;
    None for what is no sequence."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind not in (list, tuple):
        return None
    return inner if kind is tuple and inner else (inner[0] if inner else Any, ...)


def is_of(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, for those that JSON's values can be of."""
    if get_origin(hint) in (Union, types.UnionType):
        return any(is_of(value, one) for one in get_args(hint))
    if _of_each(hint):
        if not isinstance(value, list | tuple):
            return False
        each = _each_of(hint, len(value))
        return len(value) == len(each) and all(map(is_of, value, each))
    if get_origin(hint) is dict:
        return isinstance(value, dict)
    if hint in (None, type(None)):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return hint is Any or not isinstance(hint, type) or isinstance(value, hint)


def type_said(hint: Any) -> str:
    """A type in words, without None, which is left out rather than given."""
    if get_origin(hint) in (Union, types.UnionType):
        said = [type_said(one) for one in get_args(hint) if one is not type(None)]
        return " or ".join(dict.fromkeys(said))
    each = _of_each(hint)
    if each == (Any, ...):
        return "a list"
    if each is not None:
        return f"a list of {type_said(each[0])}" if each[1:] == (...,) else f"{len(each)} numbers"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))
