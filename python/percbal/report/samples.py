"""Pictures beside what a model perceived and answered, wrong cells marked, as HTML."""

from __future__ import annotations

import html
from typing import Any

from PIL import Image

from percbal.report.pictures import png_url
from percbal.tasks import Instance, Task
from percbal.tasks.base import Table


def sample(task: Task, instance: Instance, name: str, records: dict[str, dict[str, Any]]) -> str:
    """One picture and the completion of each model: ``records`` as a diagnosis has them."""
    picture = f"<figure><img src='{_picture(instance)}' width=128><br>{html.escape(name)}</figure>"
    figures = [_marked(task, instance, model, record) for model, record in records.items()]
    return f"<div class=sample>{picture}{''.join(figures)}</div>"


def _marked(task: Task, instance: Instance, model: str, record: dict[str, Any]) -> str:
    tables = task.marked(record["completion"], instance.truth)
    shown = "".join(
        f"<figure>{_grid(tables[name])}{name}</figure>"
        if name in tables
        else f"<figure>unreadable<br>{name}</figure>"
        for name in ("perceived", "answer")
    )
    return f"<figure><div class=pair>{shown}</div><b>{html.escape(model)}</b></figure>"


def _grid(table: Table) -> str:
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td class={'right' if right else 'wrong'}>{html.escape(text)}</td>"
            for text, right in row
        )
        + "</tr>"
        for row in table
    )
    return f"<table class=grid>{rows}</table>"


def _picture(instance: Instance) -> str:
    image = instance.image
    scale = max(1, 128 // image.width)
    return png_url(
        image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    )
