"""An exported task, for every module that judges by one."""

from __future__ import annotations

import json

import pytest

from percbal.tasks import get_task
from percbal.tasks.preview import export_jsonl


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    path = export_jsonl(get_task("sudoku"), "train", 4, folder)
    return [json.loads(line) for line in path.read_text().splitlines()]
