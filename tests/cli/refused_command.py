"""A command that is refused: it ends with status 2 and one line."""

from __future__ import annotations

import pytest

from percbal.cli.main import main


def refused(capsys, *words):
    """The line."""
    with pytest.raises(SystemExit) as end:
        main([*map(str, words)])
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.count("\n") == 1, said
    return said
