"""How long and on how much the arms of a registered fine-tuning were trained, from its preset."""

from __future__ import annotations

from collections.abc import Sequence

from percbal.study.plan import Study
from percbal.study.presets import PRESETS
from percbal.study.registration import Registration


def scope(registration: Registration) -> str:
    """A sentence or two for each fine-tuning of a file, once for those that are alike; nothing of
    a reinforcement."""
    presets = [PRESETS[name] for name in registration.planned if name in PRESETS]
    studies = [study for study in presets if {arm.kind for arm in study.arms} == {"sft"}]
    alike: dict[str, list[str]] = {}
    for study in studies:
        alike.setdefault(_said(study, studies), []).append(study.name)
    return "\n\n".join(f"{', '.join(names)}: {said}" for said, names in alike.items())


def _said(study: Study, beside: Sequence[Study]) -> str:
    sft = study.sft
    said = (
        f"every arm took {sft.steps:,} steps of {sft.batch_size} rows, of {sft.instances:,} "
        "training pictures."
    )
    if all(start.arm is None for start in study.starts):
        said += " Bases were taught to transcribe, and have never reasoned before."
    if not study.known:
        what = "show grids" if study.task == "sudoku" else "are of a split"
        said += f" The {study.test_instances} test pictures {what} that training has not."
    if {other.sft.steps for other in beside} == {sft.steps}:
        said += " Longer training was not tried."
    return said
