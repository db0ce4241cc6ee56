"""A policy for every module of this folder."""

from __future__ import annotations

import pytest
import rl_fixtures as rl


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return rl.tiny_policy(tmp_path_factory.mktemp("policy"))
