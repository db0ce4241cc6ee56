"""The committed lines are of the presets as they are, at the rates that their tuning chose."""

from __future__ import annotations

import json
import shutil

import pytest
from study_lines import DOCS, SFT

from percbal.study.files import digest
from percbal.study.ledger import Ledger
from percbal.study.lines import name_of, read_lines
from percbal.study.plan import Run
from percbal.study.presets import PRESETS
from percbal.study.registration import read_registration

SAID = sorted((DOCS / "studies").glob("*.yaml"))


def strangers(path, registered):
    """Runs with another rate or plan than their preset has now."""
    rates = {
        name: Ledger(study, path, registered).rates()
        for name, study in PRESETS.items()
        if study.registered == path.stem
    }
    found = []
    for each in read_lines(path):
        if each["kind"] == "run":
            study, rate = PRESETS[each["study"]], rates[each["study"]].get(each["arm"])
            run = Run(each["start"], each["arm"], each["seed"], rate)
            if (each["rate"], each["plan"]) != (rate, digest(study.settings(run))):
                found.append(name_of(each))
    return found


@pytest.mark.parametrize("path", SAID, ids=lambda path: path.stem)
def test_committed_lines_are_of_the_presets_as_they_are(path):
    lines = DOCS / "results" / f"{path.stem}.jsonl"
    assert strangers(lines, read_registration(path).hash) == []


def test_a_line_with_another_rate_is_none_of_them(tmp_path):
    """Also where its plan is that of the other rate."""
    path = tmp_path / "sft.jsonl"
    shutil.copy(DOCS / "results" / "sft.jsonl", path)
    lines = read_lines(path)
    changed = next(each for each in lines if each["kind"] == "run")
    changed["rate"] *= 2
    run = Run(changed["start"], changed["arm"], changed["seed"], changed["rate"])
    changed["plan"] = digest(PRESETS[changed["study"]].settings(run))
    path.write_text("\n".join(map(json.dumps, lines)))
    assert strangers(path, SFT.hash) == [name_of(changed)]
