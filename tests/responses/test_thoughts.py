"""Where thoughts end: for a text, for every format, and for what rewards read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from percbal.responses.asking import Asking
from percbal.responses.formats import make_format
from percbal.responses.thoughts import opens_thoughts, response_start, without_thoughts
from percbal.rewards.texts import completion_text, read_parts

SAID = "<perception> a </perception> <reasoning> b </reasoning> <answer> c </answer>"


@pytest.mark.parametrize(
    "text, said",
    [
        (SAID, SAID),
        ("hm </think>" + SAID, SAID),
        ("<think> hm </think>" + SAID, SAID),
        ("<perception> no </perception></think>" + SAID, SAID),
        ("a </think> b </think> c", " b </think> c"),  # the first ends them
        ("<think> " + SAID, ""),  # never closed
        ("  \n<think>", ""),
        (SAID + "<think>", SAID + "<think>"),
    ],
)
def test_thoughts_end_with_the_first_closing_tag(text, said):
    assert without_thoughts(text) == said
    assert text[response_start(text) :] == said
    assert completion_text([{"role": "assistant", "content": text}]) == said


@pytest.mark.parametrize("spec", ["tags", "json", "paper", "fence", "separator:--", "none"])
@given(text=st.text(alphabet='<>/think"{}[]ab: \n-`', max_size=60))
def test_every_format_reads_behind_the_thoughts(spec, text):
    chosen = make_format(spec)
    alone, behind = chosen.read(text), chosen.read("<think>{}</think>" + text)
    if "</think>" in text or text.lstrip().startswith("<think>"):
        return
    shift = len("<think>{}</think>")
    assert {n: p.text for n, p in behind.parts.items()} == {
        n: p.text for n, p in alone.parts.items()
    }
    for name, part in behind.parts.items():
        assert part.outer == tuple(at + shift for at in alone.parts[name].outer)
    assert behind.refusals.keys() == alone.refusals.keys()


def test_rewards_do_not_read_thoughts():
    first, second = read_parts([f"<perception> x </perception></think>{SAID}", "<think>" + SAID])
    assert first.perception == " a " and first.answer == " c "
    assert second.perception is None


def test_a_response_goes_on_in_the_thoughts_that_its_prompt_opened():
    assert opens_thoughts("[assistant]\n<think>\n") and not opens_thoughts("<think></think>")
    asking = Asking()
    assert without_thoughts(asking.read(SAID, thinking=True)) == ""
    assert without_thoughts(asking.read("hm</think>" + SAID, thinking=True)) == SAID
    by_json = Asking(make_format("json"))
    assert by_json.read('hm</think>{"perception": "p", "answer": "q"}', thinking=True) == (
        "<perception>p</perception> <answer>q</answer>"
    )
    assert by_json.read('{"perception": "p", "answer": "q"}', thinking=True) == ""
