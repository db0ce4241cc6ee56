"""Responses without tags are cut alike as text and as ids, and by character spans."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vlm_fixtures import byte_tokenizer

from percbal.responses.formats import make_format
from percbal.responses.spans import Tags
from percbal.segments.sampled import segment_completions
from percbal.segments.tagged import (
    OTHER,
    PERCEPTION,
    REASONING,
    SegmentError,
    spans_from_characters,
    spans_from_format,
    token_segments,
)

BYTES = byte_tokenizer()
SPECS = [
    "tags",
    "json",
    "paper",
    "fence:json",
    "separator:\\n--\\n",
    r"regex:Seen:(?P<perception>.*)Why:",
]
WORDS = st.text("a é😀中\n1,", max_size=12)


def segments_of_characters(text: str, spans) -> str:
    ids = token_segments(
        text, spans, np.array([[i, i + 1] for i in range(len(text))]).reshape(-1, 2)
    )
    return "".join({PERCEPTION: "p", REASONING: "r", OTHER: "."}[int(i)] for i in ids)


@pytest.mark.parametrize("spec", SPECS)
@settings(max_examples=80, deadline=None)
@given(before=WORDS, seen=WORDS, thought=WORDS, data=st.data())
def test_text_and_ids_have_the_same_tokens_of_perception(spec, before, seen, thought, data):
    chosen = make_format(spec)
    seen = f"[[{seen.count('a')}]]" if spec == "paper" else seen
    text = before + "\n" + chosen.write(seen, thought, "4")
    encoded = BYTES(text, return_offsets_mapping=True, add_special_tokens=False)
    cut = segment_completions(BYTES, [encoded["input_ids"]], chosen)
    assert cut.text == [text]
    try:
        spans = spans_from_format(text, chosen)
    except SegmentError:
        assert cut.failed[0] and set(cut.segments[0]) == {REASONING}
        return
    by_text = token_segments(text, spans, np.array(encoded["offset_mapping"]).reshape(-1, 2))
    assert cut.segments[0].tolist() == by_text.tolist()
    assert cut.perception == [chosen.read(text).perception] and not cut.failed[0]
    # the same characters, whatever ids they were sampled as
    at = data.draw(st.integers(0, len(text)))
    parts = [BYTES(part, add_special_tokens=False)["input_ids"] for part in (text[:at], text[at:])]
    again = segment_completions(BYTES, [parts[0] + parts[1]], chosen)
    ids = [
        i for i, s in zip(parts[0] + parts[1], again.segments[0], strict=True) if s == PERCEPTION
    ]
    start, end = chosen.read(text).parts["perception"].outer
    assert text[start:end] in BYTES.decode(ids)


def test_marks_can_be_left_untrained():
    text = 'x {"perception": "ab", "answer": 1}'
    spans = spans_from_format(text, make_format("json"), tag_tokens="other")
    assert segments_of_characters(text, spans) == "rrr" + "." * 15 + "pp." + "rr" + "." * 10 + "rr"
    text = "ab--cd"
    spans = spans_from_format(text, make_format("separator:--"), tag_tokens="other")
    assert segments_of_characters(text, spans) == "pp..rr"


def test_a_response_without_a_perception_is_named_and_quoted():
    problem = r"example 3 has no perception that counts, there are 2 fenced blocks: '```"
    with pytest.raises(SegmentError, match=problem):
        spans_from_format("```\n1\n```\n```\n2\n```", make_format("fence"), name="example 3")


def test_tags_and_their_format_cut_alike():
    tags = Tags(perception=("<see>", "</see>"))
    ids = [BYTES(text)["input_ids"] for text in ("a <see> b </see> c", "<see> b <answer> c", "c")]
    for unclosed in ("reasoning", "perception"):
        ours = segment_completions(BYTES, ids, make_format("tags", tags), unclosed=unclosed)
        theirs = segment_completions(BYTES, ids, tags, unclosed=unclosed)
        for a, b in zip(ours.segments, theirs.segments, strict=True):
            assert a.tolist() == b.tolist()


def test_a_separator_that_decoding_drops_is_refused():
    with pytest.raises(ValueError, match="is a special token, which decoding drops"):
        segment_completions(BYTES, [[1]], make_format("separator:<|im_end|>"))


def place(kind, start, end):
    return {"type": kind, "start": start, "end": end}


def test_character_spans_cut_a_response():
    spans = [place("other", 5, 6), place("perception", 0, 2), place("answer", 3, 5)]
    cut = spans_from_characters("abcdefg", spans)
    assert segments_of_characters("abcdefg", cut) == "pprrr.r"
    # a template that strips, and adds the end of the turn
    cut = spans_from_characters("bcdefg<end>", spans, " bcdefg ")
    assert segments_of_characters("bcdefg<end>", cut) == "prrr.rrrrrr"


@pytest.mark.parametrize(
    "spans, problem",
    [
        ([place("seen", 0, 1)], "row 7 has in spans the entry 0 of type 'seen'; the types are"),
        ([place("perception", 0, 4)], "entry 0 from 0 to 4; .* <= 3, the length"),
        ([place("perception", -1, 2)], "entry 0 from -1 to 2"),
        ([place("perception", 2, 1)], "entry 0 from 2 to 1"),
        ([place("perception", "0", 1)], "entry 0 from '0' to 1"),
        ([place("perception", 0, 1.5)], "entry 0 from 0 to 1.5"),
        ([{"type": "perception"}], "entry 0 from None to None"),
        (
            [place("perception", 1, 3), place("other", 0, 2)],
            "two spans over character 1, see entry 0",
        ),
    ],
)
def test_a_bad_span_is_named(spans, problem):
    with pytest.raises(SegmentError, match=problem):
        spans_from_characters("abc", spans, name="row 7")


def test_spans_of_another_response_are_refused():
    with pytest.raises(SegmentError, match="row 7 is not in its own text: 'xyz'"):
        spans_from_characters("abc", [], "xyz", name="row 7")
