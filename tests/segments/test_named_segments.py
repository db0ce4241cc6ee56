"""Facts about segments of other names: what is marked as which, in text and in sampled ids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vlm_fixtures import byte_tokenizer

from percbal.responses.formats import make_format
from percbal.segments.names import OTHER, TWO, Segments
from percbal.segments.sampled import segment_completions
from percbal.segments.tagged import (
    SegmentError,
    spans_from_characters,
    spans_from_format,
    spans_from_segments,
    token_segments,
)

BYTES = byte_tokenizer()
TAGS = make_format("tags")
ALL = Segments.parse("perception,think,action,answer,reasoning")
LETTERS = "ptxar"  # one for each of them


def drawn(text: str, spans, named: Segments = ALL, letters: str = LETTERS) -> str:
    """A letter for the segment of each character, a point for none."""
    offsets = np.array([[i, i + 1] for i in range(len(text))]).reshape(-1, 2)
    ids = token_segments(text, spans, offsets, named)
    return "".join("." if i == OTHER else letters[i] for i in ids)


def areas(text: str, picture: str) -> dict[str, list[str]]:
    """Letter -> the stretches of text under it."""
    found: dict[str, list[str]] = {}
    for i, letter in enumerate(picture):
        if i and picture[i - 1] == letter:
            found[letter][-1] += text[i]
        else:
            found.setdefault(letter, []).append(text[i])
    return found


# --- the option -----------------------------------------------------------------------------------


def test_the_forms_of_the_option_say_the_same():
    wanted = Segments(("perception", "answer", "reasoning"), (None, 0.2, None))
    for option in (
        {"perception": "balance", "answer": 0.2, "reasoning": None},
        '{"perception": "balance", "answer": 0.2, "reasoning": "balance"}',
        "perception=balance, answer=0.2, reasoning",
        ["perception", "answer=.2", "reasoning=balance"],
    ):
        assert Segments.parse(option) == wanted
    assert Segments.parse(None) == TWO and len(wanted) == 3
    assert Segments.parse("a=0.5,b=0.5").fixed_weights() == (0.5, 0.5)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"answer": 0.2, "reasoning": 0.7}, "must sum to 1, they sum to 0.9"),
        (
            {"answer": 1.5, "reasoning": "balance"},
            r"the weight of answer must be in \[0, 1\], got 1",
        ),
        ({"answer": "half", "reasoning": 1}, "of answer must be a number or balance, got 'half'"),
        ({"answer": True, "reasoning": 1}, "of answer must be a number or balance, got True"),
        ({"answer": 1.0, "reasoning": "balance"}, "sum to 1 and leave nothing .* for reasoning"),
        ("answer,answer", "segments names answer twice"),
        ("answer,other", "a segment's name is a word, and not other, got 'other'"),
        ("answer,", "a segment's name is a word, and not other, got ''"),
        ("prompt=1", "segments must name a part of the response"),
        ("{answer}", "segments is no JSON object: '{answer}'"),
        pytest.param('{"a":' + "[" * 100_000, 'segments is no JSON object: \'{"a":', id="deep"),
        ({}, "segments must name a part of the response"),
    ],
)
def test_an_option_that_says_nothing_is_refused(option, sentence):
    with pytest.raises(ValueError, match=sentence):
        Segments.parse(option)


def test_a_controller_is_told_which_weights_it_cannot_have():
    named = Segments.parse("perception=0.3,answer,reasoning")
    with pytest.raises(ValueError, match="gives none to answer, reasoning; the others sum to 0.3"):
        named.fixed_weights()
    with pytest.raises(ValueError, match="all alike, got the weights perception=0.3 in segments"):
        named.refuse_weights("all alike")


# --- text -----------------------------------------------------------------------------------------

TEXT = (
    "<think>a <action>no</action></think> <perception> s </perception> <reasoning> t <action> u "
    "</action> v <action>w</action></reasoning> <answer> x </answer> y"
)


def test_every_segment_has_its_marks_and_reasoning_the_rest():
    found = areas(TEXT, drawn(TEXT, spans_from_format(TEXT, TAGS, named=ALL)))
    assert found == {
        "t": ["<think>a <action>no</action></think>"],
        "p": ["<perception> s </perception>"],
        "x": ["<action> u </action>", "<action>w</action>"],
        "a": ["<answer> x </answer>"],
        "r": [" ", " <reasoning> t ", " v ", "</reasoning> ", " y"],
    }


def test_what_is_not_named_is_reasoning():
    named = Segments.parse("perception,answer,reasoning")
    found = areas(TEXT, drawn(TEXT, spans_from_format(TEXT, TAGS, named=named), named, "par"))
    assert found["a"] == ["<answer> x </answer>"] and len(found["r"]) == 3
    assert "".join(found["r"]).count("<action>") == 3


def test_without_reasoning_the_rest_is_the_answer_and_a_part_of_no_segment_is_refused():
    named = Segments.parse("think=0.2,answer=0.8")
    text = "<think>a b</think>\n5"
    picture = drawn(text, spans_from_format(text, TAGS, named=named), named, "ta")
    assert areas(text, picture) == {"t": ["<think>a b</think>"], "a": ["\n5"]}
    with pytest.raises(SegmentError, match="row 3 has a part of no segment, .*neither perception"):
        spans_from_format(TEXT, TAGS, named=named, name="row 3")


def test_tags_of_further_segments_can_be_left_untrained():
    text = "<perception>s</perception><action>u</action>v"
    spans = spans_from_format(text, TAGS, named=ALL, tag_tokens="other")
    assert areas(text, drawn(text, spans)) == {
        ".": ["<perception>", "</perception><action>", "</action>"],
        "p": ["s"],
        "x": ["u"],
        "r": ["v"],
    }


@pytest.mark.parametrize(
    ("rest", "sentence"),
    [
        ("<answer>a</answer><answer>b</answer>", "no answer that counts, <answer> occurs 2 times"),
        ("<answer>a", "no answer that counts, </answer> occurs 0 times"),
        ("<action>a", "no action that counts, <action> and </action> do not take turns"),
        ("</action>a<action>", "no action that counts"),
        ("<action><action></action></action>", "no action that counts"),
    ],
)
def test_a_segment_that_is_marked_wrongly_is_refused_if_it_is_named(rest, sentence):
    text = f"<perception>s</perception>{rest}"
    with pytest.raises(SegmentError, match=f"row 3 has {sentence}"):
        spans_from_format(text, TAGS, named=ALL, name="row 3")
    assert spans_from_format(text, TAGS, named=TWO)


@pytest.mark.parametrize(
    ("spec", "text", "wanted"),
    [
        (
            "json:seen,why,answer,action",
            '{"seen": "s", "why": "t", "action": "u", "answer": "a"}',
            {"p": ['"seen": "s"'], "x": ['"action": "u"'], "a": ['"answer": "a"']},
        ),
        (
            r"regex:SEEN:(?P<perception>.*)PLAN:(?P<reasoning>.*)MOVE:(?P<action>.*)",
            "SEEN: s PLAN: t MOVE: u",
            {"p": ["SEEN: s PLAN:"], "x": [" u"], "r": [" t MOVE:"]},
        ),
    ],
)
def test_formats_may_mark_further_parts(spec, text, wanted):
    chosen = make_format(spec)
    found = areas(text, drawn(text, spans_from_format(text, chosen, named=ALL)))
    assert {letter: found[letter] for letter in wanted} == wanted
    two = drawn(text, spans_from_format(text, chosen), TWO, "pr")
    assert areas(text, two)["p"] == wanted["p"]  # a part that is not named is reasoning
    assert chosen.read(text).text("action").strip() == "u"
    cut = segment_completions(BYTES, [BYTES(text)["input_ids"]], chosen, named=ALL)
    assert set(cut.segments[0]) == {LETTERS.index(letter) for letter in found}
    twice = spec.startswith("regex") and text.replace("MOVE", "MOVE: MOVE")
    with pytest.raises(SegmentError, match="no action that counts, "):
        spans_from_format(
            twice or text.replace('"action"', '"action": 1, "action"'), chosen, named=ALL
        )


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("json:a,b", "json:KEYS takes three keys or more"),
        ("json:a,b,c,perception", "further ones of other names, got a, b, c, perception"),
        (r"regex:(?P<action>.*)A(?P<perception>.*)B", "must have the group perception, then"),
        (r"regex:(?P<perception>.*)A(?P<x>.*)B(?P<x>.*)", "each once, got perception, x, x"),
    ],
)
def test_formats_with_parts_of_no_sense_are_refused(spec, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_format(spec)


def test_columns_may_name_any_segment():
    parts = [
        ("perception", "ab"),
        ("action", "cd"),
        ("answer", "e"),
        ("other", "f"),
        ("think", "g"),
    ]
    segments = [{"type": kind, "text": text} for kind, text in parts]
    assert drawn("abcdefg.", spans_from_segments("abcdefg.", segments, named=ALL)) == "ppxxa.tr"
    spans = [{"type": "action", "start": 1, "end": 3}, {"type": "answer", "start": 3, "end": 4}]
    assert drawn("abcde", spans_from_characters("abcde", spans, named=ALL)) == "rxxar"
    for kind in ("gripper", "prompt", None):
        entry = {"type": kind, "start": 1, "end": 3, "text": "abcde"}
        types = "perception, reasoning, answer, think, action, other"
        with pytest.raises(
            SegmentError,
            match=f"row 3 has in spans the entry 0 of type {kind!r}; the types are {types}",
        ):
            spans_from_characters("abcde", [entry], named=ALL, name="row 3")
        with pytest.raises(
            SegmentError, match=f"row 3 has a segment of type {kind!r}; the types are"
        ):
            spans_from_segments("abcde", [entry], named=ALL, name="row 3")
    with pytest.raises(
        SegmentError, match="of type 'answer'; segments names neither answer nor rea"
    ):
        spans_from_segments(
            "a", [{"type": "answer", "text": "a"}], named=Segments.parse("action=1")
        )


def test_a_token_over_a_border_goes_to_the_shorter_segment():
    spans = [(0, 2, 4), (2, 4, 3), (4, 6, 2), (6, 8, 1), (8, 10, 0)]  # r a x t p
    over = np.array([[1, 3], [3, 5], [5, 7], [7, 9], [0, 10]])
    got = "".join(LETTERS[i] for i in token_segments("x" * 10, spans, over, ALL))
    assert got == "axxpp"


# --- sampled ids ----------------------------------------------------------------------------------

PIECES = st.lists(
    st.sampled_from(
        ["<think>", "</think>", "<action>", "</action>", "<answer>", "</answer>", "a", " b", "é"]
    ),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(before=PIECES, after=PIECES)
def test_sampled_ids_are_cut_as_text_is(before, after):
    text = "".join([*before, "<perception>s</perception>", *after])
    encoded = BYTES(text, return_offsets_mapping=True, add_special_tokens=False)
    cut = segment_completions(BYTES, [encoded["input_ids"]], named=ALL)
    try:
        spans = spans_from_format(text, TAGS, named=ALL)
    except SegmentError:
        return
    by_text = token_segments(text, spans, np.array(encoded["offset_mapping"]), ALL)
    assert cut.segments[0].tolist() == by_text.tolist()
    assert cut.is_perception[0].tolist() == (by_text == 0).tolist()


def test_a_perception_that_does_not_count_leaves_the_answer_its_segment():
    text = "<perception>s <answer>a</answer>"
    ids = BYTES(text)["input_ids"]
    cut = segment_completions(BYTES, [ids, ids], thinking=[False, True], named=ALL)
    assert cut.failed.tolist() == [True, True]
    answer = BYTES.decode([i for i, s in zip(ids, cut.segments[0], strict=True) if s == 3])
    assert "<answer>a</answer>" in answer and set(cut.segments[0]) == {3, 4}
    assert set(cut.segments[1]) == {1}  # thoughts that go on from the prompt
