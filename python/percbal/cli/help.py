"""What ``percbal sft --help`` and ``percbal grpo --help`` say, read off the dataclasses.

A class of ours names the group of the options that it declares in ``HELP_GROUP``. Options that no
class of ours declares are those of TRL and transformers.
"""

from __future__ import annotations

import dataclasses
import inspect
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any, get_args

HELP = frozenset(("-h", "--help", "--help-all"))
GROUPS = (  # in the order in which they are shown
    "data",
    "loss and balance",
    "rewards and credit",
    "response format",
    "adapters",
    "diagnosis",
    "run",
)
OTHERS = "TRL and transformers"


Options = dict[str, list[list[str]]]  # group -> [name, what is said of it] of each option


def help_text(command: str, groups: Options, *, everything: bool) -> str:
    """Our own options by group, and with ``everything`` those of TRL and transformers."""
    shown = [name for name in (*GROUPS, *([OTHERS] if everything else [])) if name in groups]
    usage = (
        f"usage: percbal {command} [--config FILE.yaml] [--OPTION VALUE ...]\n\n"
        "A file holds options as `name: value`; those on the command line go before it. A list is "
        "given as several values. With several GPUs: accelerate launch -m percbal "
        f"{command} --config FILE.yaml"
    )
    rest = (
        f"The {len(groups[OTHERS])} options of {OTHERS}, such as output_dir, learning_rate, "
        "max_steps, per_device_train_batch_size, logging_steps, save_steps and report_to: "
        f"percbal {command} --help-all"
    )
    parts = [_wrapped(usage)]
    for name in shown:
        parts.append("\n".join([f"{name}:", *(_entry(*option) for option in groups[name])]))
    return "\n\n".join(parts if everything else [*parts, _wrapped(rest)])


def grouped(classes: Sequence[type]) -> Options:
    """Every option of these dataclasses, by the group that its class names.

    What is only a default of ours for an option of TRL belongs to the run.
    """
    groups: Options = {OTHERS: []}
    for option, owners in declared(classes):
        ours = [owner for owner in owners if owner.__module__.split(".")[0] == "percbal"]
        changed = 0 < len(ours) < len(owners)
        name = "run" if changed else ours[0].HELP_GROUP if ours else OTHERS  # type: ignore[attr-defined]
        groups.setdefault(name, []).append([option.name, _said(option, changed)])
    return groups


def declared(classes: Sequence[type]) -> Iterator[tuple[dataclasses.Field[Any], list[type]]]:
    """Each option, and the classes that declare it, the one that counts first."""
    for kind in classes:
        declared = [(owner, inspect.get_annotations(owner)) for owner in kind.__mro__]
        for option in dataclasses.fields(kind):
            if option.init:
                yield option, [owner for owner, names in declared if option.name in names]


def _said(option: dataclasses.Field[Any], changed: bool) -> str:
    """changed: TRL has it, too, with another default."""
    said = " ".join(str(option.metadata.get("help", "")).replace("%%", "%").split())
    choices = _choices(option.type)
    said += f" One of {', '.join(choices)}." if choices else ""
    default = _default(option)
    note = "required" if default is None else f"default: {default}"
    return f"{said} ({note}{', unlike TRL' if changed else ''})".strip()


def _entry(name: str, said: str) -> str:
    return f"  --{name}\n{_wrapped(said, indent=6)}"


def _default(option: dataclasses.Field[Any]) -> str | None:
    """As it is written on the command line; None where there is none."""
    value = option.default
    if option.default_factory is not dataclasses.MISSING:
        value = option.default_factory()
    if value is dataclasses.MISSING:
        return None
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)


def _choices(kind: Any) -> list[str]:
    """Of an enumeration, where the types are no longer text."""
    for part in (kind, *get_args(kind)):
        if isinstance(part, type) and issubclass(part, Enum):
            return [str(choice.value) for choice in part]
    return []


def _wrapped(text: str, indent: int = 0) -> str:
    width = min(shutil.get_terminal_size().columns, 100)
    margin = " " * indent
    return "\n".join(
        textwrap.fill(
            line, width, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False
        )
        for line in text.split("\n")
    )
