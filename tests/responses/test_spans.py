"""One rule of what a span is, kept by training and by `score_text`, which cannot import it."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import percbal
from percbal.responses.spans import DEFAULT_TAGS, NAMES, Tags, find_spans
from percbal.segments import Tags as as_segments_has_it
from percbal.segments.tagged import PERCEPTION, SegmentError, spans_from_tags
from percbal_ops.text import api as text_api
from percbal_ops.text.api import STATUS, score_text

OTHER_TAGS = Tags(("[p]", "[/p]"), ("aa", "ab"), ("<|say|", "|>"))  # overlapping themselves, too


def test_the_default_tags_are_one():
    assert DEFAULT_TAGS.pairs() == dict(text_api.DEFAULT_TAGS) and NAMES == text_api.SPANS
    assert percbal.Tags is as_segments_has_it is Tags


def test_spans_of_a_whole_response():
    spans = find_spans("<perception> p </perception> so <answer> a </answer>")
    assert (spans.perception, spans.reasoning, spans.answer) == (" p ", None, " a ")
    assert spans.problems == ("<reasoning> occurs 0 times, not once",)


def texts(tags: Tags):
    piece = st.sampled_from([*tags.words(), *tags.words(), "a", "é", " ", "\n", "\ud800", "𝒳"])
    return st.tuples(st.just(tags), st.lists(piece, max_size=12).map("".join))


@pytest.mark.parametrize("engine", ["compiled", "plain"])
@settings(max_examples=800, deadline=None)
@given(texts(DEFAULT_TAGS) | texts(OTHER_TAGS))
@example((DEFAULT_TAGS, "<answer> <perception> p </perception> </answer>"))
@example((DEFAULT_TAGS, "<answer> a </answer> <perception> p </perception> <perception>"))
@example((OTHER_TAGS, "aaa b ab"))
def test_score_text_finds_the_same_spans(engine, case):
    tags, text = case
    if engine == "compiled" and text_api.compiled is None:
        pytest.skip("the compiled scorer was not built")
    with pytest.MonkeyPatch.context() as patch:
        if engine == "plain":
            patch.setattr(text_api, "compiled", None)
        scored = score_text([text], [""], "text", tags=tags.pairs())
    found = find_spans(text, tags).found
    assert [span.status for span in found.values()] == [STATUS[s] for s in scored.span_status[0]]
    assert [[start, end] for _, start, end in found.values()] == scored.char_spans[0].tolist()


@settings(max_examples=800, deadline=None)
@given(texts(DEFAULT_TAGS) | texts(OTHER_TAGS))
@example((DEFAULT_TAGS, "<perception> <answer> </perception>"))
@example((DEFAULT_TAGS, "<reasoning> </reasoning> <perception> </perception>"))
@example((DEFAULT_TAGS, "<perception> <perception> </perception>"))
@example((DEFAULT_TAGS, "<perception> </perception> <perception> </perception>"))
def test_training_cuts_what_scoring_counts_and_refuses_the_rest(case):
    tags, text = case
    opening, closing = tags.perception
    try:
        cut = spans_from_tags(text, tags)
    except SegmentError:
        cut = []
    trained = [(start, end) for start, end, segment in cut if segment == PERCEPTION]
    status, start, end = find_spans(text, tags).found["perception"]
    counted = [(start - len(opening), end + len(closing))] if status == "ok" else []
    assert trained == counted


@given(texts(DEFAULT_TAGS) | texts(OTHER_TAGS))
def test_a_span_counts_or_has_a_problem(case):
    tags, text = case
    spans = find_spans(text, tags)
    for name in NAMES:
        assert (getattr(spans, name) is None) == bool(spans.problem(name))
    assert not (spans.complete and spans.problems)


def test_the_sentences():
    def problem(text: str, name: str = "perception") -> str:
        return find_spans(text).problem(name)

    p = "<perception> p </perception>"
    assert problem("p </perception>") == "<perception> occurs 0 times, not once"
    assert problem(p + "</perception>") == "</perception> occurs 2 times, not once"
    assert problem("</perception> <perception>") == "</perception> comes before <perception>"
    assert problem("<perception> <answer> </perception>") == (
        "<answer> occurs inside the perception span"
    )
    assert problem(f"<answer> {p} </answer>") == "the spans are in the order answer, perception"
    assert find_spans(f"<answer> a </answer> {p}").problems == (
        "the spans are in the order answer, perception",
        "<reasoning> occurs 0 times, not once",
    )


@pytest.mark.parametrize(
    "pair, sentence",
    [
        (("```see ", "```"), "'```' stands in '```see ', too"),
        (("---", "---"), "'---' stands in '---', too"),
        (("**See:**", "**"), r"'\*\*' stands in"),
        (("<p>", "p>"), "'p>' stands in '<p>', too"),
        (("<p", "<p>"), "'<p' stands in '<p>', too"),
        (("<p>", "<answer>"), "'<answer>' stands in '<answer>', too"),
        (("<p>", ""), "'' is empty"),
        (("", "</p>"), "'' is empty"),
    ],
)
def test_tags_that_cannot_occur_once_are_refused_when_they_are_named(pair, sentence):
    """One stands in the other: training took a part of the tag for the perception."""
    with pytest.raises(ValueError, match=f"a tag must be unmistakable, {sentence}"):
        Tags(perception=pair)
