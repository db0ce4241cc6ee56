"""A pytest plugin: `-p gpu.pytest_facts` writes a line for each test file and each failed test.

A failed test is written at once, the counts of every file at the end, also after an interrupt.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from gpu.facts import Facts

facts = Facts("tests")
outcomes: dict[str, Counter[str]] = defaultdict(Counter)
seconds: Counter[str] = Counter()
WORKER = "PYTEST_XDIST_WORKER" in os.environ  # its controller hears the same reports


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if WORKER:
        return
    name = Path(report.nodeid.split("::")[0]).name
    seconds[name] += report.duration
    if report.when == "call" or report.outcome != "passed":
        outcomes[name][report.outcome] += 1
    if report.failed:
        said = str(report.longrepr).splitlines()
        errors = [line for line in said if line.startswith("E ")]
        facts.write({"key": report.nodeid, "failed": " ".join(errors or said)[:600]})


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed and not WORKER:
        facts.write({"key": report.nodeid, "failed": str(report.longrepr)[-600:]})


def pytest_sessionfinish() -> None:
    for name, counts in outcomes.items():
        facts.write({"key": name, **counts, "cpu_seconds": round(seconds[name], 1)})
