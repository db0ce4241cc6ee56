"""Facts about cutting a response into perception and reasoning tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from percbal.segments.tagged import (
    OTHER,
    PERCEPTION,
    REASONING,
    SegmentError,
    Tags,
    spans_from_segments,
    spans_from_tags,
    token_segments,
)

TEXT = "<perception> ab </perception> <reasoning> cd </reasoning> <answer> e </answer>"


def characters(text: str, spans: list) -> np.ndarray:
    """One token per character."""
    offsets = np.stack([np.arange(len(text)), np.arange(1, len(text) + 1)], axis=1)
    return token_segments(text, spans, offsets)


def words(text: str, spans: list) -> dict[str, int]:
    offsets, position = [], 0
    for word in text.split():
        start = text.index(word, position)
        position = start + len(word)
        offsets.append((start, position))
    return dict(zip(text.split(), token_segments(text, spans, np.array(offsets)), strict=True))


def test_everything_but_perception_is_reasoning():
    got = words(TEXT, spans_from_tags(TEXT, Tags()))
    perception = {"<perception>", "ab", "</perception>"}
    assert {w for w, s in got.items() if s == PERCEPTION} == perception
    assert {w for w, s in got.items() if s == REASONING} == set(TEXT.split()) - perception


def test_tags_can_be_left_out_of_training():
    got = words(TEXT, spans_from_tags(TEXT, Tags(), tag_tokens="other"))
    assert {w for w, s in got.items() if s == OTHER} == {w for w in got if w.startswith("<")}
    assert got["ab"] == PERCEPTION
    assert got["cd"] == got["e"] == REASONING


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b", "example 3 has no perception that counts, <perception> occurs 0 times, not once"),
        ("", "example 3 has no perception that counts, <perception> occurs 0 times"),
        ("<perception> a", "</perception> occurs 0 times, not once"),
        (
            "</perception> <perception> a </perception>",
            "</perception> occurs 2 times, not once",
        ),
        ("a </perception>", "<perception> occurs 0 times, not once"),
        ("<perception> a <answer> b </perception> </answer>", "<answer> occurs inside"),
        ("<perception> a <perception> b </perception>", "<perception> occurs 2 times, not once"),
        (
            "<answer> b </answer> <perception> a </perception>",
            "no perception that counts, the spans are in the order answer, perception",
        ),
        (
            "<perception> a </perception> b <perception> c </perception> d",
            "no perception that counts, <perception> occurs 2 times, not once",
        ),
    ],
)
def test_bad_tags_are_named_in_one_sentence(text, message):
    with pytest.raises(SegmentError, match=message):
        spans_from_tags(text, Tags(), name="example 3")


def test_listed_segments_need_no_tags():
    segments = [
        {"type": "perception", "text": "see x"},
        {"type": "reasoning", "text": " so y"},
        {"type": "other", "text": " aside"},
        {"type": "answer", "text": " z"},
    ]
    text = "see x so y aside z<eos>"
    got = characters(text, spans_from_segments(text, segments))
    assert got.tolist() == [PERCEPTION] * 5 + [REASONING] * 5 + [OTHER] * 6 + [REASONING] * 7


def test_listed_segments_survive_a_template_that_strips():
    segments = [{"type": "perception", "text": " see"}, {"type": "reasoning", "text": " so "}]
    text = "see so<eos>"
    got = characters(text, spans_from_segments(text, segments))
    assert got.tolist() == [PERCEPTION] * 3 + [REASONING] * 8


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([{"type": "perception", "text": "nope"}], "example 3 is not made up of its segments"),
        ([{"type": "vision", "text": "a"}], "has a segment of type 'vision'; the types are"),
    ],
)
def test_bad_segment_lists_are_named_in_one_sentence(segments, message):
    with pytest.raises(SegmentError, match=message):
        spans_from_segments("a b", segments, name="example 3")


def test_a_token_across_a_border_belongs_to_perception():
    spans = [(0, 2, REASONING), (2, 4, PERCEPTION), (4, 6, OTHER)]
    offsets = np.array([(0, 2), (1, 3), (3, 5), (4, 6), (0, 6)])
    got = token_segments("aabbcc", spans, offsets)
    assert got.tolist() == [REASONING, PERCEPTION, PERCEPTION, OTHER, PERCEPTION]


def test_a_token_without_characters_follows_its_neighbour():
    spans = [(0, 2, PERCEPTION), (2, 4, REASONING)]
    offsets = np.array([(0, 0), (2, 2), (4, 4)])
    got = token_segments("aabb", spans, offsets)
    assert got.tolist() == [PERCEPTION, REASONING, REASONING]


piece = st.text(st.characters(codec="utf-8", exclude_characters="<>"), max_size=8)


@given(before=piece, inside=piece, after=piece)
def test_the_two_segments_cover_any_tagged_text(before, inside, after):
    opening, closing = Tags().perception
    text = f"{before}{opening}{inside}{closing}{after}"
    got = characters(text, spans_from_tags(text, Tags()))
    start, end = len(before), len(text) - len(after)
    assert (got[start:end] == PERCEPTION).all()
    assert (np.delete(got, np.s_[start:end]) == REASONING).all()


@given(st.data())
def test_a_token_is_perception_exactly_if_one_of_its_characters_is(data):
    length = data.draw(st.integers(1, 12))
    labels = data.draw(
        st.lists(st.sampled_from([PERCEPTION, REASONING, OTHER]), min_size=length, max_size=length)
    )
    start = data.draw(st.integers(0, length - 1))
    end = data.draw(st.integers(start + 1, length))
    spans = [(i, i + 1, label) for i, label in enumerate(labels)]
    (got,) = token_segments("x" * length, spans, np.array([(start, end)]))
    inside = labels[start:end]
    expected = next((s for s in (PERCEPTION, REASONING) if s in inside), OTHER)
    assert got == expected
