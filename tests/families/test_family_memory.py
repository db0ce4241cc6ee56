"""A model that has memorised its pictures is diagnosed so, whatever its template does."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from zoo import EACH, QUERY, task_rows

from percbal import BalancedSFTConfig, BalancedSFTTrainer
from percbal.evaluate.diagnose import diagnose
from percbal.responses.spans import find_spans
from percbal.tasks.base import Instance, Score

ROWS = 4


class Colours:
    """The pictures of the zoo as a task; ``shift`` shows each instance another one's picture."""

    def __init__(self, shift: int = 0) -> None:
        self.rows, self.shift = task_rows(ROWS), shift

    def generate(self, index, split, seed):
        row, shown = self.rows[index], self.rows[(index + self.shift) % ROWS]
        said = find_spans(row["completion"][0]["content"])
        return Instance(
            task="colours",
            index=index,
            image=shown["images"][0],
            query=QUERY,
            perception=row["perception"],
            reasoning=said.reasoning.strip(),
            answer=row["answer"],
            truth={"perception": row["perception"], "answer": row["answer"]},
        )

    def score(self, completion, truth):
        spans = find_spans(completion)
        seen = spans.perception and spans.perception.strip() == truth["perception"]
        right = spans.answer and spans.answer.strip() == truth["answer"]
        return Score(right, seen, float(bool(seen)), None, spans.complete)

    def oracle_prefix(self, instance):
        return f"<perception> {instance.perception} </perception>"


@pytest.mark.families
@EACH
def test_a_memorising_model_sees_and_reasons(family, vlm_of, tmp_path):
    model, processor = vlm_of
    torch.manual_seed(0)
    args = BalancedSFTConfig(
        str(tmp_path / "out"),
        balance="fixed",
        max_steps=80,
        learning_rate=3e-3,
        per_device_train_batch_size=ROWS,
        lr_scheduler_type="linear",
        warmup_steps=20,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=50,
    )
    data = Dataset.from_list(
        [{k: r[k] for k in ("images", "prompt", "completion")} for r in task_rows(ROWS)]
    )
    trainer = BalancedSFTTrainer(model, args, train_dataset=data, processing_class=processor)
    trainer.train()
    found = diagnose(model, processor, Colours(), n=ROWS, progress=False)
    assert (found.a.value, found.a_p.value, found.a_r.value) == (1, 1, 1), [
        (r.completion, r.reasoned, r.truth) for r in found.records
    ]
    elsewhere = diagnose(model, processor, Colours(shift=1), n=ROWS, progress=False)
    assert elsewhere.a_p.value <= 0.25
