"""Pictures as data URLs, and those of a result: made again by its task, or read from its data."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from percbal.tasks import TASKS, Instance, Task, get_task
from percbal.tasks.base import Place
from percbal.tasks.options import as_pair

if TYPE_CHECKING:
    from datasets import Dataset

    from percbal.report.results import Result

Record = Mapping[str, Any]
Places = Mapping[str, Place]

BUDGET = 3_000_000  # characters of all pictures of a page
SIDE = 448  # pixels of the longer side
MOST_PIXELS = 2048  # a side of a picture that options from a file may ask for
PNG_BYTES = 60_000  # a larger one is written as JPEG


class Shown(NamedTuple):
    """A picture: its address, its height over its width, and where its parts are, by name, and
    those of an answer."""

    url: str
    tall: float
    places: Places
    answer_places: Places


def png_url(image: Image.Image) -> str:
    """The picture in an address."""
    return _url(image, "PNG")


def _url(image: Image.Image, form: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=form)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def small_url(image: Image.Image) -> str:
    """No larger than ``SIDE``; as PNG while that is small, else as JPEG."""
    image = image.convert("RGB")
    image.thumbnail((SIDE, SIDE))
    url = png_url(image)
    return url if len(url) <= PNG_BYTES * 4 / 3 else _url(image, "JPEG")


Opened = tuple[Image.Image, Places, Places]  # where its parts are, and those of an answer
Opener = Callable[[Record], Opened]


def pictures(records: Sequence[Record], opened: Opener | str) -> tuple[dict[int, Shown], str]:
    """Index -> the picture, and a sentence about those that are missing.

    opened: opens the picture of a record, or why there are none (`opener`).
    """
    if isinstance(opened, str):
        return {}, opened
    found: dict[int, Shown] = {}
    missing, room = "", BUDGET
    for record in records:
        try:
            image, *places = opened(record)
            url = small_url(image)
        except Exception as problem:  # of a record that others wrote
            missing = missing or f"Some pictures are missing; {record['place']}: {problem}."
            continue
        if len(url) > room:
            return found, f"Pictures end after {len(found)}: {BUDGET} characters are their limit."
        found[record["index"]] = Shown(url, image.height / image.width, *places)
        room -= len(url)
    return found, missing


def opener(
    result: Result,
    dataset: str | Dataset | None,
    images_within: str | None,
    task: str | Task | None = None,
) -> Opener | str:
    """Opens the picture of a record; or a sentence why there are none.

    task: it, or its name, where it is one of the user's own. A result is not trusted: it names no
        code to import and no address.
    dataset: it, or where it is now; else a task's own pictures, or those of a data set at a path of
        this machine.
    images_within: the folder that pictures of a data set may not leave; default its own.
    """
    try:
        source = result.data["source"]
        if dataset is None and "task" in source:
            named = source["task"]
            made = _task(named, source.get("options") or {}, task)
            then, now = source.get("described"), made.describe()  # then: None in older results
            if then is not None and then != now:
                raise ValueError(f"the task draws other pictures now, {now}; then it was {then!s}")
            return _of_task(result, made)
        named = source.get("dataset") if dataset is None else dataset
        if named is None or (dataset is None and not isinstance(named, str)):
            raise ValueError("the result does not say where they come from")
        if dataset is None and not Path(named).exists():
            raise ValueError(f"there is no data set {named} here; --dataset says where it is")
        return _of_dataset(named, result.data["split"], images_within)
    except Exception as problem:  # the source is described by a file that others wrote
        return f"There are no pictures: {problem}."


def _task(named: Any, options: Any, given: str | Task | None) -> Task:
    """The task that a result names, which is imported only if the user names it, too."""
    if given is not None and not isinstance(given, str):
        return given
    if given is not None and given != named:
        raise ValueError(f"the result is of the task {named!r}, not of {given!r}")
    if given is None and named not in TASKS:
        raise ValueError(f"the task {named!r} is none of percbal's own; --task names one of yours")
    sides = as_pair(options.get("pixels") or 1)
    if not all(isinstance(side, int) and side <= MOST_PIXELS for side in sides):
        raise ValueError(f"pictures of {options['pixels']!r} pixels are too large for a page")
    return get_task(named, **options)


def _of_task(result: Result, task: Task) -> Opener:
    nowhere: Callable[[Instance], Places] = lambda _: {}  # noqa: E731
    places = getattr(task, "places", nowhere)
    answer_places = getattr(task, "answer_places", nowhere)

    def opened(record: Record) -> Opened:
        made = task.generate(record["index"], result.data["split"], result.data["seed"])
        if made.perception != record["perception"]:
            raise ValueError("the task makes another picture now than when this was measured")
        return made.image, _usable(places(made)), _usable(answer_places(made))

    return opened


def _usable(places: Mapping[Any, Any]) -> Places:
    """Those that are points, by the names of parts in a result. A task of the user's may have
    others, whose parts then have no place."""
    found = {}
    for name, place in places.items():
        with suppress(TypeError, ValueError):
            points = tuple((float(x), float(y)) for x, y in place)
            if points and all(map(isfinite, (each for point in points for each in point))):
                found[str(name)] = points
    return found


def _of_dataset(named: str | Dataset, split: str, images_within: str | None) -> Opener:
    from percbal.data.reading import read_dataset
    from percbal.data.rows import images_of, row_name
    from percbal.evaluate.row_questions import asked_of

    data: Any = named
    if isinstance(named, str):
        rules: Any = {"completions": None, "on_bad_row": "skip", "images_within": images_within}
        data = read_dataset(named, split, **rules)

    def opened(record: Record) -> Opened:
        row = data[record["index"]]
        place = row_name(row, f"row {record['index'] + 1}")
        moved = Path(place).name != Path(record["place"]).name  # not the folder alone
        if moved or asked_of(row) != (record["query"], record["perception"]):
            raise ValueError("the data set has another row there now")
        return images_of(row)[0], {}, {}

    return opened
