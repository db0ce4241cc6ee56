"""docs/theory.md shows what its script writes, and its first lines what the tables say."""

from __future__ import annotations

import re

import page_theory
import pytest


@pytest.mark.parametrize("name", page_theory.TABLES)
def test_the_tables_are_those_of_the_formulas_and_the_committed_results(name):
    assert page_theory.shown(name) == page_theory.TABLES[name]()


def test_the_first_lines_have_the_hit_rate():
    rate = re.search(r"(\d+ of \d+) right", page_theory.shown("starts"))
    text = page_theory.PAGE.read_text()
    assert f"{rate[1]} signs right" in text.partition("## The model")[0].replace("\n  ", " ")


def test_every_formula_that_is_cited_is_there():
    text = page_theory.PAGE.read_text()
    defined = set(re.findall(r"\*\*\((P\d+)\)", text))
    root = page_theory.DOCS.parent
    sources = [page_theory.PAGE, root / "docs" / "coupling.md", root / "docs" / "math.md"]
    sources += [*root.glob("python/percbal/objective/*.py"), *root.glob("tests/objective/*.py")]
    cited = {name for path in sources for name in re.findall(r"\((P\d+)\)", path.read_text())}
    assert defined == {f"P{i}" for i in range(1, 16)} and cited <= defined
