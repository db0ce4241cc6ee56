"""Whoever reads a response finds the same perception in it, or none."""

from __future__ import annotations

import pytest
from vlm_fixtures import byte_tokenizer

from percbal import rewards
from percbal.adapters.verl import compute_score
from percbal.responses.spans import DEFAULT_TAGS, find_spans
from percbal.segments.sampled import segment_completions
from percbal.segments.tagged import PERCEPTION, SegmentError, spans_from_tags
from percbal.tasks import get_task
from percbal_ops import score_text
from percbal_ops.text import api as text_api

TASK = get_task("sudoku", size=4)
INSTANCE = TASK.generate(0, "train", seed=0)
P, A = INSTANCE.perception, INSTANCE.answer
TOKENIZER = byte_tokenizer()

SEEN = f"<perception> {P} </perception>"
SO, SAID = "<reasoning> so </reasoning>", f"<answer> {A} </answer>"
TABLE = {  # a response -> the text of its perception, None where it has no perception
    "one of each": (f"{SEEN} {SO} {SAID}", f" {P} "),
    "no reasoning": (f"{SEEN} {SAID}", f" {P} "),
    "alone": (SEEN, f" {P} "),
    "text around it": (f"hm {SEEN} well", f" {P} "),
    "cut within the reasoning": (f"{SEEN} <reasoning> so", f" {P} "),
    "two answers": (f"{SEEN} {SAID} {SAID}", f" {P} "),
    "empty": (f"<perception></perception> {SAID}", ""),
    "another text": (f"<perception> nothing </perception> {SAID}", " nothing "),
    "no text": ("", None),
    "no tags": (P, None),
    "two": (f"{SEEN} {SEEN} {SAID}", None),
    "a second one after the answer": (f"{SEEN} {SAID} {SEEN}", None),
    "one in another": (f"<perception> {SEEN} </perception>", None),
    "opened twice": (f"<perception> {SEEN}", None),
    "closed twice": (f"{SEEN} </perception>", None),
    "never closed": (f"<perception> {P} {SAID}", None),
    "never opened": (f"{P} </perception> {SAID}", None),
    "closed before it is opened": (f"</perception> {P} <perception>", None),
    "a tag inside": (f"<perception> {P} <answer> </perception>", None),
    "a span inside": (f"<perception> {P} {SAID} </perception>", None),
    "inside the answer": (f"<answer> {SEEN} </answer>", None),
    "answer first": (f"{SAID} {SEEN}", None),
    "reasoning first": (f"{SO} {SEEN} {SAID}", None),
    "answer before reasoning": (f"{SEEN} {SAID} {SO}", None),
}
CASES = pytest.mark.parametrize("text, perceived", TABLE.values(), ids=TABLE)


def scored(text: str) -> str | None:
    (found,) = score_text([text], [""], "text").char_spans.tolist()
    start, end = found[0]
    return None if start < 0 else text[start:end]


def scored_without_a_compiler(text: str) -> str | None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_api, "compiled", None)
        return scored(text)


def trained(text: str) -> str | None:
    opening, closing = DEFAULT_TAGS.perception
    try:
        spans = spans_from_tags(text, DEFAULT_TAGS)
    except SegmentError:
        return None
    ((start, end),) = [(start, end) for start, end, segment in spans if segment == PERCEPTION]
    return text[start + len(opening) : end - len(closing)]


def sampled(text: str) -> str | None:
    cut = segment_completions(TOKENIZER, [TOKENIZER.encode(text, add_special_tokens=False)])
    assert cut.failed[0] == (cut.perception[0] is None) == (PERCEPTION not in cut.segments[0])
    return cut.perception[0]


READERS = {
    "the rule": lambda text: find_spans(text).perception,
    "score_text": scored,
    "score_text, plain": scored_without_a_compiler,
    "fine-tuning": trained,
    "rollouts": sampled,
}


@CASES
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_who_reads_a_perception(read, text, perceived):
    assert read(text) == perceived


def paid_by_verl(text: str) -> float:
    truth = {"perception": P, "answer": A}
    return compute_score("d", text, truth, perception_grammar="text")["perception"]


JUDGES = {
    "task": lambda text: TASK.score(text, INSTANCE.truth).perception is True,
    "reward": lambda text: rewards.perception([text], [P])[0],
    "f1 reward": lambda text: rewards.perception_f1([text], [P])[0],
    "verl": paid_by_verl,
}


@CASES
@pytest.mark.parametrize("judge", JUDGES.values(), ids=JUDGES)
def test_who_pays_for_a_perception(judge, text, perceived):
    assert judge(text) == (perceived is not None and perceived.strip() == P)
