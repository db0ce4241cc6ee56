"""What is asked of a registered study's lines after they were seen, and remarks on its findings.

A file of docs/studies/afterwards with the name of the study's. It changes no hash and no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from percbal.study.contrasts import Effect, effects
from percbal.study.lines import Line
from percbal.study.registration import Contrast, Registration


@dataclass(frozen=True)
class Afterwards:
    """remarks: by the number of the paper's finding. contrasts: without a finding, a prediction or
    a correction."""

    remarks: dict[int, str] = field(default_factory=dict)
    contrasts: tuple[Contrast, ...] = ()


def read_afterwards(path: Path) -> Afterwards:
    """Of a study without such a file nothing; ValueError, one sentence, for a damaged one."""
    if not path.is_file():
        return Afterwards()
    try:
        fields = yaml.safe_load(path.read_bytes())
        contrasts = tuple(
            Contrast(finding=0, predicted="?", **values) for values in fields.pop("contrasts", ())
        )
        return Afterwards(contrasts=contrasts, **fields)
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as problem:
        raise ValueError(f"{path} is damaged: {problem}") from None


def effects_afterwards(
    asked: Afterwards, registration: Registration, lines: Sequence[Line]
) -> list[Effect]:
    """Of its contrasts those that some start has."""
    found = effects(replace(registration, contrasts=asked.contrasts), lines)
    return [effect for effect in found if effect.values]
