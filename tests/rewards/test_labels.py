"""What the reward functions do with labels that are missing or no text."""

from __future__ import annotations

import math

import numpy as np
import pandas
import pytest

from percbal import rewards
from percbal.tasks import get_task

RIGHT = "<perception>a b</perception> <reasoning>so</reasoning> <answer>4</answer>"
LABELLED = {
    "outcome": "answer",
    "perception": "perception",
    "perception_f1": "perception",
    "blind_reanswer": "answer",
    "group_agreement": "answer",
    "masked_image_kl": "perception",
}


def labelled(name: str, column: str, labels: list) -> list:
    """The reward of as many right completions, all columns but one as they should be."""
    n = len(labels)
    columns = {"answer": ["4"] * n, "perception": ["a b"] * n, "prompts": ["?"] * n}
    columns |= {"blind_answers": [[RIGHT]] * n, "masked_image_kl": [1.0] * n}
    return getattr(rewards, name)([RIGHT] * n, **(columns | {column: labels}))


@pytest.mark.parametrize(
    "label", [4, 4.0, np.int64(4), True, ["4"], {"4": 1}, np.array(["4"]), " "]
)
@pytest.mark.parametrize("name", LABELLED)
def test_a_label_that_is_no_text_is_refused_by_every_reward(name, label):
    """ "4.0", as pandas reads integers beside a gap, would equal no answer and score 0."""
    column = LABELLED[name]
    with pytest.raises(ValueError, match=f"{column} of row 1 must (be text|not be blank)"):
        labelled(name, column, ["4", label])


@pytest.mark.parametrize("missing", [None, math.nan, np.float32("nan"), pandas.NA, pandas.NaT])
@pytest.mark.parametrize("name", ["outcome", "perception", "perception_f1", "blind_reanswer"])
def test_a_missing_label_is_not_scored_however_it_is_written(name, missing):
    assert labelled(name, LABELLED[name], ["4", missing])[1] is None
    assert rewards.outcome([RIGHT], answer=["4"], grammar=[missing]) == [1]


@pytest.mark.parametrize("truth", ["{", "[1]", 4, [1], "9" * 5000, "[" * 10**5])
def test_a_truth_that_is_no_dictionary_is_refused(truth):
    by_task = rewards.from_task(get_task("sudoku"))
    with pytest.raises(ValueError, match="truth of row 1 must be a dictionary or its JSON"):
        by_task.outcome(["", ""], truth=[None, truth])
    assert by_task.outcome([""], truth=[math.nan]) == [None]
