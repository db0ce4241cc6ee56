"""Where a response stands in the text of its turn: the last message, and never the template."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from percbal.responses.formats import make_format
from percbal.segments.names import PERCEPTION
from percbal.segments.places import response_places
from percbal.segments.tagged import (
    SegmentError,
    spans_from_characters,
    spans_from_format,
    spans_from_segments,
)


def seen(text, spans):
    return [(start, text[start:end]) for start, end, kind in spans if kind == PERCEPTION]


@pytest.mark.parametrize(
    "text, response, end, first",
    [
        ("yes[end][user]sure?[end]yes[end]", "yes", 27, 24),
        ("I see yes[end]yes[end]", "yes", 17, 14),
        ("\n</think>\n\nt[end]", "t", 12, 11),
        ("end[end]", "end", 3, 0),
        ("\n</think>\n\nthink[end]", "think", None, 11),
    ],
)
def test_a_text_that_stands_there_twice_is_the_last_message(text, response, end, first):
    spans = [{"type": "perception", "start": 0, "end": len(response)}]
    listed = [{"type": "perception", "text": response}]
    for made in (
        spans_from_characters(text, spans, response, end=end),
        spans_from_segments(text, listed, response, end=end),
    ):
        assert seen(text, made) == [(first, response)]


THOUGHT = "<think>The sign says 40. So no.</think> No."


@pytest.mark.parametrize(
    "text",
    [
        "The sign says 40. So no.\n</think>\n\nNo.[end]",  # the prompt has the opening tag
        "<think>\nThe sign says 40. So no.\n</think>\n\nNo.[end]",
        "<think>The sign says 40. So no.</think> No.[end]",
    ],
)
def test_thoughts_are_found_with_other_space_around_their_tags(text):
    places = response_places(text, THOUGHT, text.index("[end]"))
    for part in ("The sign says 40.", " So no.", "</think>", "No."):
        first = THOUGHT.rindex(part)
        assert text[slice(*places.area(first, first + len(part)))] == part
    span = [{"type": "perception", "start": 7, "end": 24}]
    marked = spans_from_characters(text, span, THOUGHT, end=text.index("[end]"))
    assert [said for _, said in seen(text, marked)] == ["The sign says 40."]


def test_a_text_without_the_response_has_no_places_for_it():
    assert response_places("no[end]", "yes", 2) is None
    assert response_places("yes[end]no[end]", "yes", 10) is None  # ends elsewhere
    assert response_places("hm\n</think>\n\nno", "<think>ha</think>no", None) is None


@given(
    before=st.text(alphabet="ab \n", max_size=6),
    response=st.text(alphabet="ab \n", max_size=6),
    behind=st.text(alphabet="ab \n", max_size=6),
)
def test_a_response_that_a_template_leaves_alone_keeps_every_character(before, response, behind):
    text, end = before + response + behind, len(before) + len(response)
    places = response_places(text, response, end)
    said = response.strip()
    first = len(response) - len(response.lstrip()) if said else 0
    for i in range(len(response)):
        for j in range(i, len(response) + 1):
            start, stop = places.area(i, j)
            assert 0 <= start <= stop <= end
            if first <= i and j <= first + len(said):
                assert text[start:stop] == response[i:j]
    if said:
        assert places.area(0, len(response)) == (len(before), end)


def test_listed_texts_must_make_up_the_response():
    whole = "<think>It says 40.</think> It says 40. So no."
    listed = [{"type": "perception", "text": "It says 40."}]
    with pytest.raises(SegmentError, match="row 3 is not made up of its segments' texts: it is"):
        spans_from_segments(whole, listed, whole, name="row 3")
    with pytest.raises(SegmentError, match="row 3 has in segments the entry 0 without a text"):
        spans_from_segments(whole, [{"type": "perception"}], whole, name="row 3")


FORMATS = {
    r"separator:\n\n": ("A square.\n\nSo no.", "A square.\n\n"),
    "fence": ("```\nA square.\n```", "```\nA square.\n```"),
    r"regex:^Seen:(?P<perception>.*)Answer:(?P<answer>.*)!$": (
        "Seen: a square Answer: 5!",
        "Seen: a square ",
    ),
}


@pytest.mark.parametrize("spec", FORMATS)
@pytest.mark.parametrize("before", ["", " ", "\n</think>\n\n"])
def test_a_format_reads_the_response_and_not_what_the_template_puts_around_it(spec, before):
    response, perception = FORMATS[spec]
    text = f"{before}{response}<|im_end|>\n"
    chosen = make_format(spec)
    spans = spans_from_format(text, chosen, response, end=len(before) + len(response))
    (found,) = seen(text, spans)
    assert found[0] == len(before) and found[1].startswith(perception)
    assert "<|im_end|>" not in found[1]


@pytest.mark.parametrize("spec", FORMATS)
def test_space_behind_thoughts_is_no_part_of_the_response(spec):
    response, _ = FORMATS[spec]
    chosen = make_format(spec)
    alone = chosen.read(response).perception
    assert alone is not None
    for before in ("<think>hm</think>\n\n", "hm\n</think>\n\n", " "):
        reading = chosen.read(before + response)
        assert reading.perception == alone and reading.source == before + response
        area = reading.parts["perception"].inner
        assert reading.source[slice(*area)] == alone
