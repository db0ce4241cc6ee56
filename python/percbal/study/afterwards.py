"""What is asked of a registered study's lines after they were seen, and remarks on its findings.

A file of docs/studies/afterwards with the name of the study's. It changes no hash and no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from percbal.study.contrasts import Effect, effects
from percbal.study.lines import Line
from percbal.study.registration import Contrast, Registration

# Of each contrast: it tests no finding, and nothing is foretold or corrected.
NOT_SAID: dict[str, Any] = {"finding": 0, "predicted": "?", "chance": None, "primary": False}


@dataclass(frozen=True)
class Afterwards:
    """remarks: by the number of the paper's finding. contrasts: see `NOT_SAID`."""

    remarks: dict[int, str] = field(default_factory=dict)
    contrasts: tuple[Contrast, ...] = ()


def read_afterwards(path: Path) -> Afterwards:
    """Of a study without such a file nothing; ValueError, one sentence, for a damaged one."""
    if not path.is_file():
        return Afterwards()
    try:
        fields = yaml.safe_load(path.read_bytes())
        contrasts = tuple(Contrast(**NOT_SAID, **values) for values in fields.pop("contrasts", ()))
        return Afterwards(contrasts=contrasts, **fields)
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as problem:
        raise ValueError(f"{path} is damaged: {problem}") from None


def effects_afterwards(
    asked: Afterwards, registration: Registration, lines: Sequence[Line]
) -> list[Effect]:
    """Of its contrasts those that some start has. ValueError for a remark on no finding of the
    study, and for a study or an arm that it has not planned."""
    for number in asked.remarks:
        if number not in registration.findings:
            raise ValueError(f"afterwards/{registration.name}: there is no finding {number}")
    for contrast in asked.contrasts:
        arms = registration.planned.get(contrast.study, {}).get("arms", [])
        for arm in filter(None, (contrast.arm, contrast.minus, *contrast.doses)):
            if arm not in arms:
                raise ValueError(
                    f"afterwards/{registration.name}: {contrast.study} has no arm {arm!r}"
                )
    found = effects(replace(registration, contrasts=asked.contrasts), lines)
    return [effect for effect in found if effect.values]
