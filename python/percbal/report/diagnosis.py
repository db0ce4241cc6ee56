"""One self-contained HTML file about what one model, or several, did in a diagnosis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from percbal.evaluate.comparison import compare
from percbal.evaluate.names import METRICS
from percbal.report.downloads import LONGEST, address, figures_json, instances_csv
from percbal.report.drawings import flow_drawing, panels
from percbal.report.findings import flow, told, verdict
from percbal.report.gallery import gallery
from percbal.report.pictures import opener
from percbal.report.rendering import render
from percbal.report.results import Result, read_result

if TYPE_CHECKING:
    from datasets import Dataset

    from percbal.tasks import Task

MOST = 60  # instances that are shown one by one
BUDGET = 8_000_000  # bytes of a page


def write_page(
    paths: Sequence[Path],
    out: Path,
    *,
    most: int = MOST,
    dataset: str | Dataset | None = None,
    images_within: str | None = None,
    task: str | Task | None = None,
) -> None:
    """Write a page about the result at one path, or about those at several."""
    results = [read_result(path) for path in paths]
    text = page(results, most=most, dataset=dataset, images_within=images_within, task=task)
    out.write_text(text, encoding="utf-8")


def page(
    results: Sequence[Result],
    *,
    most: int = MOST,
    dataset: str | Dataset | None = None,
    images_within: str | None = None,
    task: str | Task | None = None,
) -> str:
    """The page of one result with up to ``most`` instances, or the page that compares several.

    dataset: where the data set of the result is now, or the data set as `read_dataset` read it.
    images_within: the folder that its pictures may not leave; default the data set's own.
    task: of the result, or its name, where it is none of percbal's own.
    Raises ValueError beyond ``BUDGET``, and for a task or a data set that would show nothing.
    """
    named = _told_apart(results)
    for what, given in (("task", task), ("data set", dataset), ("folder of images", images_within)):
        if given is not None and len(named) > 1:
            raise ValueError(f"a {what} is for the pictures of one result; there are {len(named)}")
    if task is not None and "dataset" in named[0].data["source"]:
        raise ValueError("a task draws no pictures here: the result is of a data set")
    if dataset is not None and "dataset" not in named[0].data["source"]:
        raise ValueError("a data set has no pictures for this page: the result is of a task")
    if images_within is not None and "dataset" not in named[0].data["source"]:
        raise ValueError(
            "a folder of images has no pictures for this page: the result is of a task"
        )
    table = instances_csv(named)
    downloads = {"report.json": address(figures_json(named), "application/json")}
    if len(table) <= LONGEST:
        downloads["report.csv"] = address(table, "text/csv")
    about: dict[str, Any] = {"downloads": downloads, "models": [_model(result) for result in named]}
    if len(named) == 1:
        opened = opener(named[0], dataset, images_within, task)
        about["gallery"] = gallery(named[0], most, opened)
        text = render("one.html.j2", **about, **about["models"][0])
    else:
        pairs = [(other, *_differences(named[0], other)) for other in named[1:]]
        text = render("several.html.j2", **about, pairs=pairs, metrics=METRICS)
    # half a surrogate pair, which completions may hold and UTF-8 has not, as a question mark
    encoded = text.encode(errors="replace")
    if len(encoded) > BUDGET:
        raise ValueError(
            f"the page would have {len(encoded)} bytes, more than {BUDGET}; show fewer instances "
            "(--show)"
        )
    return encoded.decode()


def _differences(base: Result, other: Result) -> tuple[dict[str, Any], str]:
    """What `percbal diagnose --compare` finds; or why they cannot be compared."""
    try:
        return compare(base.data, other.data), ""
    except ValueError as problem:
        return {}, str(problem)


def _told_apart(results: Sequence[Result]) -> list[Result]:
    """Numbered where two have one name."""
    names = [result.name for result in results]
    return [
        Result(f"{r.name} ({i + 1})" if names.count(r.name) > 1 else r.name, r.data)
        for i, r in enumerate(results)
    ]


def _model(result: Result) -> dict[str, Any]:
    """What the templates show of one result."""
    counts, samples = flow(result), result.data["options"]["samples"]
    unit, more = ("pictures", "") if samples == 1 else ("answers", f", {samples} a picture")
    return {
        "name": result.name,
        "data": result.data,
        "total": len(result.trials),
        "verdict": verdict(result),
        "told": told(result),
        "wide": flow_drawing(counts, 680, unit + more, "answer "),
        "narrow": flow_drawing(counts, 330, unit, ""),
        "panels": panels(result.data),
    }
