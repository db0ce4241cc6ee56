"""Facts about the JSON files of a study."""

from __future__ import annotations

import pytest

from percbal.study.json_files import read_json, write_json


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "evaluation.json"
    assert read_json(path) is None
    write_json(path, {"a": 1})
    assert read_json(path) == {"a": 1}
    path.write_text("")
    with pytest.raises(ValueError, match=r"evaluation\.json is no JSON"):
        read_json(path)
