"""Which options of `percbal diagnose` have an effect in which way of asking: one table.

Every refusal of an option that would change nothing is made from it, and a test demands that it
has every option of the command.
"""

from __future__ import annotations

import argparse

from percbal.cli.given import given
from percbal.cli.task_options import SHORT

Ways = tuple[str, ...]

HERE, ENDPOINT, FILE = "a model here", "--endpoint", "--completions"
PROMPTS, COMPARE = "--write-prompts", "--compare"
WHO = {  # what chooses who is asked, exactly one of them -> its name in a sentence
    "model": HERE,
    "endpoint": ENDPOINT,
    "completions": FILE,
    "write_prompts": PROMPTS,
    "compare": COMPARE,
}
TASK, DATASET = "a task", "--dataset"
ABOUT = (TASK, DATASET)
AXES: tuple[Ways, Ways] = (tuple(WHO.values()), ABOUT)

ASKED = (HERE, ENDPOINT, FILE, PROMPTS)
SENT = (ENDPOINT, PROMPTS)
DRAWN = (HERE, ENDPOINT, PROMPTS)
SHOWN = (HERE, ENDPOINT, FILE)

# options -> the ways in which they have an effect: of each axis, who is asked and about what, one
_TABLE: tuple[tuple[str, Ways], ...] = (
    *((name, (way, *ABOUT)) for name, way in WHO.items()),
    ("dtype device attention exact", (HERE, *ABOUT)),
    ("served told body", (*SENT, *ABOUT)),
    ("api_key_env concurrency timeout retries price_in price_out", (ENDPOINT, *ABOUT)),
    ("write_pictures", (PROMPTS, *ABOUT)),
    (f"task option {' '.join(SHORT)}", (*ASKED, TASK)),
    ("dataset images_within max_image_pixels on_bad_row", (*ASKED, DATASET)),
    ("batch_size samples", (HERE, ENDPOINT, *ABOUT)),
    ("max_new_tokens temperature top_p", (*DRAWN, *ABOUT)),
    ("ways report", (*SHOWN, *ABOUT)),
    ("out", (*SHOWN, COMPARE, *ABOUT)),
    # with --completions some say how those were asked, which --compare looks at
    ("n split seed response_format perception_tags", (*ASKED, *ABOUT)),
    ("chat_template_kwargs state_format format_examples", (*ASKED, *ABOUT)),
)
HAS_EFFECT = {name: ways for names, ways in _TABLE for name in names.split()}


def check_ways(args: argparse.Namespace) -> None:
    """ValueError unless one is named who is asked, and for an option without effect there."""
    named = [way for name, way in WHO.items() if getattr(args, name) is not None]
    if len(named) != 1:
        raise ValueError(
            f"it takes one of a model, {ENDPOINT}, {FILE}, {PROMPTS} or {COMPARE}; "
            f"got {' and '.join(named) or 'none'}"
        )
    about = TASK if args.dataset is None else DATASET
    for name, said in given(args).items():
        for way, axis in zip((named[0], about), AXES, strict=True):
            if way not in HAS_EFFECT[name]:
                meant = _any_of([other for other in axis if other in HAS_EFFECT[name]])
                raise ValueError(f"{said} has no effect with {way}; it is for {meant}")


def _any_of(names: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
