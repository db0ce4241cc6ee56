"""Every model family on a GPU, tiny, in bf16: does each trainer run, and what does its guard find?

    python -m gpu.families [FAMILY ...]      # $RESULTS/facts.jsonl

Per family: the first loss of SFT with whole and with chunked logits; two steps of GRPO on prompts
of three lengths, with the difference between a batch's log-probabilities and those of one rollout
alone, beside the rounding that the guard allows for; two instances of a diagnosis.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from datasets import Dataset

from gpu.facts import REHEARSAL, Facts, Found
from percbal import BalancedSFTConfig, BalancedSFTTrainer, load_vlm
from percbal.evaluate.diagnose import diagnose
from percbal.grpo import prompting
from percbal.grpo.position_guard import difference_alone

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "families"))

from test_family_memory import Colours  # noqa: E402
from zoo import FAMILIES, WORKING, mixed_rows  # noqa: E402
from zoo_grpo import trainer as grpo_trainer  # noqa: E402

WHERE: dict[str, Any] = {"use_cpu": REHEARSAL, "bf16": not REHEARSAL}
LOSSES = 2e-3 if REHEARSAL else 2e-2  # how far two ways to the same loss may be apart, in bf16


def sft(name: str, folder: Path, chunked: bool) -> float:
    """The first logged loss."""
    model, processor = load_vlm(FAMILIES[name].build(folder / "sft"))
    torch.manual_seed(0)
    args = BalancedSFTConfig(
        str(folder / "out"),
        balance="ngdiff",
        chunked_logits=chunked,
        max_steps=2,
        per_device_train_batch_size=4,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=1,
        **WHERE,
    )
    rows = [{k: r[k] for k in ("images", "prompt", "completion")} for r in mixed_rows()]
    data = Dataset.from_list(rows)
    trainer = BalancedSFTTrainer(model, args, train_dataset=data, processing_class=processor)
    trainer.train()
    return float(trainer.state.log_history[0]["loss"])


def grpo(name: str, folder: Path) -> dict[str, float]:
    """Two steps; what the guard found."""
    found: dict[str, float] = {}

    def watched(*args: Any) -> tuple[float, float]:
        result = difference_alone(*args)
        found["alone"], found["rounding"] = (float(f"{x:.2e}") for x in result)
        return result

    with mock.patch.object(prompting, "difference_alone", watched):
        grpo_trainer(name, folder, **WHERE).train()
    return found


def seen(name: str, folder: Path) -> float:
    """a_p of an untrained model: a number is all that is asked."""
    model, processor = load_vlm(FAMILIES[name].build(folder / "seen"))
    model = model if REHEARSAL else model.to("cuda", torch.bfloat16)
    return diagnose(model, processor, Colours(), n=2, max_new_tokens=8, progress=False).a_p.value


def whole(name: str) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        losses = [sft(name, path / str(chunked), chunked) for chunked in (False, True)]
        found: Found = {"loss": losses[0], "chunked": losses[1], **grpo(name, path / "grpo")}
        found["a_p"] = seen(name, path)
    if abs(losses[0] - losses[1]) > LOSSES * abs(losses[0]):
        raise AssertionError(f"whole and chunked logits differ: {found}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=WORKING)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    facts = Facts("families")
    for name in parser.parse_args().names:
        facts.measure(name, lambda name=name: whole(name))
    facts.exit()


if __name__ == "__main__":
    main()
