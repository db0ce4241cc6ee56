"""The examples of docs/prompts.md, from the tiny checkpoints; run it to write them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from trl.data_utils import prepare_multimodal_messages
from zoo import FAMILIES, WORKING, task_rows

from percbal.models.loading import load_processor
from percbal.report.marked import marked, write_marked
from percbal.responses.prompt import trained_turn
from percbal.sft.collate import SegmentCollator

PAGE = Path(__file__).parents[2] / "docs" / "prompts.md"
SHOWN = 12  # ids


def example(name: str) -> str:
    """One row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        processor = load_processor(FAMILIES[name].build(Path(folder)))
    row = task_rows(1)[0]
    batch = SegmentCollator(processor)([row])
    start = int((batch["labels"][0] != -100).nonzero()[0])
    ids = batch["input_ids"][0, start : start + SHOWN].tolist()
    turn = trained_turn(
        processor,
        prepare_multimodal_messages(row["prompt"], images=row["images"]),
        prepare_multimodal_messages(row["completion"]),
    )
    begins = turn.completion[: turn.completion.index("<perception>") + len("<perception>")]
    ends = turn.completion[turn.completion.index("</answer>") + len("</answer>") :]
    cells = (turn.prompt[-28:], begins, ends)
    texts = " | ".join(f"`{json.dumps(text)[1:-1]}`" if text else "nothing" for text in cells)
    return f"| {name} | {texts} | {start} | {' '.join(map(str, ids))} |"


def table() -> str:
    head = (
        "| family | the prompt ends | the response begins | and ends behind `</answer>` "
        f"| prompt tokens | first {SHOWN} ids behind the prompt |\n|---|---|---|---|---|---|\n"
    )
    return head + "".join(example(name) + "\n" for name in WORKING)


def shown() -> str:
    """The table as the page has it."""
    return marked(PAGE, "examples")


if __name__ == "__main__":
    write_marked(PAGE, "examples", table())
