"""Links between pages, and names of pages in the code, lead to files and headings that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "benchmarks", "csrc", "percbal_ops", "python", "tests", "tests_verl")
CODE = {".py", ".pyi", ".h", ".cpp", ".cu", ".cuh", ".sh", ".yaml", ".yml", ".toml", ".txt"}


def files(*suffixes: str) -> list[Path]:
    """Those of the project, not what runs and builds leave beside them."""
    found = [path for path in ROOT.iterdir() if path.is_file()]
    found += [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    return sorted(path for path in found if path.suffix in suffixes and path.is_file())


# notes.md is a part of docs/gpu.md, whose own links are those of the whole page
PAGES = [page for page in files(".md") if page.name != "notes.md"]


def without_code(page: Path) -> str:
    text = re.sub(r"^( *)```.*?^\1```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


def links(page: Path) -> Iterator[tuple[str, str]]:
    """(path, heading) of each relative link."""
    for target in re.findall(r"\]\(([^()\s]+)\)", without_code(page)):
        if not re.match(r"[a-z]+:", target):
            path, _, heading = target.partition("#")
            yield path, heading


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for path, heading in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.relative_to(ROOT)} links to {path}, which is not there"
        if heading:
            assert heading in headings(target), f"{page.relative_to(ROOT)} -> {path}#{heading}"


def test_every_page_that_code_or_prose_names_exists() -> None:
    for path in [*files(*CODE), *PAGES, ROOT / "Makefile"]:
        if path == Path(__file__):
            continue
        for name in re.findall(r"\bdocs/[\w/]+\.md\b", path.read_text(errors="ignore")):
            assert (ROOT / name).is_file(), f"{path.relative_to(ROOT)} names {name}"


def test_a_page_that_is_named_without_its_folder_is_in_docs() -> None:
    """As in the docstring "math.md (M13)"."""
    named = re.compile(r"(?<![\w/.])([a-z_]+\.md)(?= \([A-Z]\d+\))")
    for path in files(".py", ".h", ".cpp", ".cu", ".cuh"):
        for name in named.findall(path.read_text()):
            assert (ROOT / "docs" / name).is_file(), f"{path.relative_to(ROOT)} names {name}"


def test_every_page_of_docs_can_be_reached_from_its_index() -> None:
    docs = ROOT / "docs"
    reached, todo = set(), [docs / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached:
            continue
        reached.add(page)
        targets = [(page.parent / path).resolve() for path, _ in links(page) if path]
        todo += [t for t in targets if t.suffix == ".md" and t.parent == docs and t.exists()]
    assert reached == set(docs.glob("*.md"))
