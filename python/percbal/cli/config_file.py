"""``--config FILE`` of ``percbal sft`` and ``percbal grpo``: checked before TRL reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml
from trl import TrlParser

from percbal.cli.help import declared
from percbal.tasks.options import is_of, type_said

FLAG = "--config"


def parsed(parser: TrlParser, arguments: Sequence[str]) -> Any:
    """What the arguments and their ``--config`` say.

    ValueError for a file that is no options, and for a value of a type that its option has not.
    """
    words = [word for argument in arguments for word in _split(argument)]
    if FLAG not in words:
        return parser.parse_args_and_config(words)
    file = "".join(words[words.index(FLAG) + 1 :][:1])
    if not file:
        raise ValueError(f"{FLAG} needs a file")
    never, doubtful = _wrong(_options(Path(file)), [*parser.dataclass_types])
    for sentence in never:
        raise ValueError(f"{file}: {sentence}")
    try:
        return tuple(map(_listed, parser.parse_args_and_config(words)))
    except (TypeError, AttributeError) as problem:
        for sentence in doubtful:
            raise ValueError(f"{file}: {sentence}") from problem
        raise


def _listed(arguments: Any) -> Any:
    """A text that the file gives for a list of texts is a list of one, and not one of letters."""
    for name, hint in get_type_hints(type(arguments)).items():
        value = getattr(arguments, name, None)
        if hint in (list[str], list[str] | None) and isinstance(value, str):
            setattr(arguments, name, [value])
    return arguments


def _split(argument: str) -> list[str]:
    """``--config=FILE`` as two words, the only spelling that TRL knows."""
    name, equals, value = argument.partition("=")
    return [name, value] if name == FLAG and equals else [argument]


def _options(path: Path) -> dict[str, Any]:
    try:
        options = yaml.safe_load(path.read_bytes())
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        raise ValueError(f"{path}:{line} is no YAML: {problem.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        raise ValueError(f"{path} is no YAML: {' '.join(str(problem).split())}") from None
    if not isinstance(options, dict):
        raise ValueError(f"{path} must hold options, each as name: value, it holds {options!r:.40}")
    for names in (options, options.get("env")):  # TRL sets the environment by the latter
        for name in names if isinstance(names, dict) else ():
            if not isinstance(name, str):
                raise ValueError(f"{path}: the name of an option must be text, got {name!r:.40}")
    return options


def _wrong(options: dict[str, Any], classes: Sequence[Any]) -> tuple[list[str], list[str]]:
    """A sentence for each value of another type than its option declares.

    First of those that nothing takes, then of those that TRL or transformers may take all the same,
    such as ``fsdp: true`` and ``scale_rewards: false``, which they declare as text.
    """
    hints = {name: hint for kind in classes for name, hint in get_type_hints(kind).items()}
    found: tuple[list[str], list[str]] = ([], [])
    for option, owners in declared(classes):
        value, hint = options.get(option.name, ""), hints[option.name]
        if isinstance(value, str) or is_of(value, hint):  # the parser converts texts
            continue
        ours = all(owner.__module__.split(".")[0] == "percbal" for owner in owners)
        single = isinstance(value, (list, dict)) and str not in (hint, *get_args(hint))
        sentence = f"{option.name} must be {type_said(hint)}, got {value!r:.60}"
        found[not (ours or single)].append(sentence)
    return found
