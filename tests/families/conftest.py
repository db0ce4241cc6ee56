"""Each test of a family leaves a line, from which a table of families and checks can be made."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """To the file PERCBAL_FAMILIES_OUT: {"family", "check", "ok"} of each test with a family."""
    report = yield
    out, spec = os.environ.get("PERCBAL_FAMILIES_OUT"), getattr(item, "callspec", None)
    if out and spec and "family" in spec.params and (report.when == "call" or report.failed):
        others = [str(value) for name, value in spec.params.items() if name != "family"]
        line = {
            "family": spec.params["family"],
            "check": " ".join([item.originalname.removeprefix("test_").replace("_", " "), *others]),
            "ok": report.passed,
        }
        with open(out, "a") as lines:
            lines.write(json.dumps(line) + "\n")
    return report


@pytest.fixture
def checkpoint(family, tmp_path) -> Path:
    """A fresh directory of the family that the test is run for."""
    import zoo  # here: where torchvision is missing, the tests are skipped, one by one

    return zoo.FAMILIES[family].build(tmp_path / "checkpoint")


@pytest.fixture
def vlm_of(checkpoint):
    """Its model and processor."""
    from percbal.models.loading import load_vlm

    return load_vlm(checkpoint)
