"""Batches whose response says what stands elsewhere in its turn, or is rendered otherwise."""

from __future__ import annotations

import pytest
import vlm_fixtures as vlm

from percbal.responses.asking import Asking
from percbal.responses.formats import make_format
from percbal.segments.tagged import PERCEPTION, SegmentError
from percbal.sft.collate import SegmentCollator

OPENS = vlm.QWEN_TEMPLATE.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
# as Qwen3-VL-Thinking's: thoughts get line breaks of their own, others an empty block
REWRITES = OPENS.replace(
    "{% for message in messages %}",
    "{% for message in messages %}{% if loop.last and message['role'] == 'assistant' %}"
    "{% set said = message['content'] if message['content'] is string "
    "else message['content'][0]['text'] %}"
    "<|im_start|>assistant\n<think>\n{{ said.split('</think>')[0].split('<think>')[-1].strip() "
    "if '</think>' in said else '' }}\n</think>\n\n{{ said.split('</think>')[-1].lstrip() }}"
    "<|im_end|>\n{% else %}",
    1,
).replace("<|im_end|>\n{% endfor %}", "<|im_end|>\n{% endif %}{% endfor %}", 1)
TEMPLATES = {"plain": vlm.QWEN_TEMPLATE, "opens": OPENS, "rewrites": REWRITES}


@pytest.fixture(scope="module")
def processor():
    return vlm.tiny_qwen()[1]


def perceived(processor, template, completion, spec="tags", **columns):
    """The stretches of tokens that are perception, and the text before the first."""
    processor.chat_template = TEMPLATES[template]
    if isinstance(completion, str):
        completion = [{"role": "assistant", "content": completion}]
    row = vlm.example_at(0) | {"completion": completion, **columns}
    batch = SegmentCollator(processor, asking=Asking(make_format(spec)))([row])
    ids, here = batch["input_ids"][0], (batch["segment_ids"][0] == PERCEPTION).nonzero()[:, 0]
    assert here.numel() == int(here[-1] - here[0]) + 1  # one stretch
    decode = processor.tokenizer.decode
    return decode(ids[here]), decode(ids[: int(here[0])])


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("response", ["think", "t", "/", "end", "im_end", "w1"])
def test_a_response_that_the_template_says_too_is_marked_at_its_own_place(
    processor, template, response
):
    columns = (
        {"spans": [{"type": "perception", "start": 0, "end": len(response)}]},
        {"segments": [{"type": "perception", "text": response}]},
    )
    for column in columns:
        said, before = perceived(processor, template, response, **column)
        assert said == response
        assert before.endswith("assistant\n" if template == "plain" else "</think>\n\n")


def test_of_several_messages_the_last_is_marked(processor):
    turns = [("assistant", "I see w1"), ("user", "sure?"), ("assistant", "w1")]
    completion = [{"role": role, "content": text} for role, text in turns]
    spans = [{"type": "perception", "start": 0, "end": 2}]
    said, before = perceived(processor, "plain", completion, spans=spans)
    assert said == "w1" and before.endswith("sure?<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize("size", [1, 3])
def test_what_a_processor_raises_names_the_row(processor, size):
    """A text with the model's own token for pictures has more of them than pictures."""
    processor.chat_template = vlm.QWEN_TEMPLATE
    rows = [vlm.example_at(i) | {"source_row": f"a.jsonl:{i + 1}"} for i in range(size)]
    rows[-1]["prompt"] = [{"role": "user", "content": "what is <|image_pad|>?"}]
    with pytest.raises(
        SegmentError, match=f"^a.jsonl:{size}: the processor cannot encode it"
    ) as it:
        SegmentCollator(processor)(rows)
    assert "\n" not in str(it.value) and len(str(it.value)) < 700


@pytest.mark.parametrize("template", TEMPLATES)
def test_thoughts_may_be_marked_by_a_column(processor, template):
    response = "<think>The sign says 40. So 50 is too fast.</think> No."
    spans = [{"type": "perception", "start": 7, "end": 24}]
    parts = [
        ("think", "<think>"),
        ("perception", "The sign says 40."),
        ("reasoning", " So 50 is too fast.</think> No."),
    ]
    segments = [{"type": kind, "text": text} for kind, text in parts]
    for column in ({"spans": spans}, {"segments": segments}):
        said, before = perceived(processor, template, response, **column)
        assert said.strip() == "The sign says 40." and before.rstrip().endswith("<think>")


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(
    "spec, response, perception",
    [
        (r"separator:\n\n", "A square.\n\nSo no.", "A square.\n\n"),
        (r"separator:\n\n", "<think>hm</think>\n\nA square.\n\nSo no.", "A square.\n\n"),
        ("fence", "```\nA square.\n```", "```\nA square.\n```"),
        (r"regex:^Seen:(?P<perception>.*)So:(?P<reasoning>.*)", "Seen: w1 So: w2", "Seen: w1 "),
    ],
)
def test_a_format_reads_the_response_alone(processor, template, spec, response, perception):
    said, _ = perceived(processor, template, response, spec)
    assert said.strip().startswith(perception.strip()) and "<|im_end|>" not in said
