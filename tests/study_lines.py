"""Lines of registered studies, made up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from percbal.report.evidence import write_page
from percbal.study.registration import read_registration

DOCS = Path(__file__).parents[1] / "docs"
SFT = read_registration(DOCS / "studies" / "sft.yaml")


REWARDS = {
    **{f"flipped {share}": "flipped_perception" for share in (0.02, 0.05, 0.11, 0.24, 0.5)},
    "truth": "perception",
    "agreement": "group_agreement",
    "dense": "perception_f1",
    "outcome": "outcome",
}


def line(arm="token-mean", start=1, study="sft-sudoku", kind="run", **figures):
    if "a" in figures:
        figures = {"greedy_a": figures["a"]} | figures
    return {
        "kind": kind,
        "study": study,
        "start": f"base {start}",
        "arm": arm,
        "seed": start,
        "rate": None,
        "plan": "p",
        "registered": SFT.hash,
        "status": "done" if figures else "no start: the steps ran out",
        "reward": REWARDS.get(arm, ""),
        "figures": figures,
        "weights": "w",
        "seconds": {"train": 1.0} if figures else {},
        "machine": {"processor": "P", "flags": "f", "threads": 1},
        "versions": {"torch": "2"},
    }


def gains(*values: float, arm="fixed 0.5"):
    lines = [line(start=i, a=0.5) for i, _ in enumerate(values)]
    return lines + [line(arm, i, a=0.5 + value) for i, value in enumerate(values)]


def dose_lines():
    signals = {"signal_group_agreement.start": 0.4, "signal_group_agreement.3": 0.9}
    return [
        line("start", study="dose", exact_p=0.1, a=0.05, a_r=0.5),
        line("truth", study="dose", exact_p=0.5, a=0.25),
        line("agreement", study="dose", exact_p=0.2, a=0.15, **signals),
        line("outcome", study="dose", exact_p=0.2, a=0.1, **{"signal_outcome.start": 0.6}),
    ]


def page_of(folder, **studies):
    """The page of made-up lines, by the name of their file."""
    shutil.copytree(DOCS / "studies", folder / "studies")
    (folder / "results").mkdir()
    for name, lines in studies.items():
        said = read_registration(folder / "studies" / f"{name}.yaml").hash
        lines = [json.dumps({**each, "registered": said}) for each in lines]
        (folder / "results" / f"{name}.jsonl").write_text("\n".join(lines))
    return write_page(folder).read_text()
