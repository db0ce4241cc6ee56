"""Random and mutated texts: the compiled scorer equals the plain one, and neither ever raises."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from percbal_ops.text import api as text
from percbal_ops.text import reference as text_reference
from percbal_ops.text.api import DEFAULT_TAGS, GRAMMARS, SPANS

TAGS = [list(DEFAULT_TAGS[name]) for name in SPANS]
PIECES = [
    *(tag for pair in TAGS for tag in pair),
    *'[]{}(),;:-_."\\=<> \n\t\x0b\x00\x1c\x85019ar',
    *("r1c1=3", "r1c2=_", "r01c02=07", "r2c1=", "0-1", "1-0", "[0,1]", "null", "true"),
    *('{"v":3,"c":2,"edges":[[0,1],[1,2]]}', '"edges":', '"v":3', '"c":2,', "[0,5,0,3]", "[0,"),
    *("1e5", "1.50", "-0", "1e999", "1e-400", '"a"', '"a":', "x" * 33),
    *("\u00e9", "\ud800", "\U0001f600", "\u2003"),
]
BODY = st.lists(st.sampled_from(PIECES[6:]), max_size=14).map("".join)
TAGGED = BODY.map(lambda body: f"<perception>{body}</perception>")
ANY = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
COMPLETION = st.one_of(TAGGED, TAGGED, ANY, st.text(max_size=30), st.binary(max_size=60))

pytestmark = pytest.mark.skipif(text.compiled is None, reason="the compiled scorer was not built")


def scores(engine, completion, reference, grammar):
    return engine.score_text([completion], [reference], grammar, TAGS, 0, 1)


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(COMPLETION, BODY, st.sampled_from(GRAMMARS))
def test_compiled_equals_plain(completion, reference, grammar):
    if text_reference.READERS[grammar](reference.encode("utf-8", "surrogatepass"))[2]:
        reference = ""
    ours = scores(text.compiled, completion, reference, grammar)
    plain = scores(text_reference, completion, reference, grammar)
    for name, expected in plain.items():
        np.testing.assert_allclose(ours[name], expected, atol=1e-6, err_msg=name)


@settings(max_examples=500, deadline=None)
@given(BODY, st.sampled_from(GRAMMARS))
def test_a_body_in_the_grammar_is_an_exact_match_of_itself(body, grammar):
    completion = f"<perception>{body}</perception>"
    ours = scores(text.compiled, completion, "", grammar)
    if text.STATUS[ours["status"][0]] == "ok":
        assert scores(text.compiled, completion, body, grammar)["scores"].tolist() == [[1] * 5]


@settings(max_examples=500, deadline=None)
@given(ANY)
def test_character_offsets_cut_the_str_where_byte_offsets_cut_its_bytes(completion):
    ours = scores(text.compiled, completion, "", "text")
    encoded = completion.encode("utf-8", "surrogatepass")
    for (b, e), (cb, ce) in zip(ours["bytes"][0], ours["chars"][0], strict=True):
        if b >= 0:
            cut = completion[cb:ce]
            assert encoded[b:e] == cut.encode("utf-8", "surrogatepass")
