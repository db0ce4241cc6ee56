"""The templates as pages: one file each, with its style, its script and what it may load."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from percbal.evaluate.names import MEANING
from percbal.report.drawings import percent
from percbal.report.findings import KINDS
from percbal.report.marks import KINDS as MARKS
from percbal.report.marks import OF_ANSWERS


def render(template: str, **values: Any) -> str:
    """The page; every text is escaped. Scripts and styles are those of the page alone: their
    hashes are its security policy."""
    folder = files("percbal.report") / "templates"
    style, script = ((folder / name).read_text("utf-8") for name in ("page.css", "page.js"))
    environment = Environment(
        loader=PackageLoader("percbal.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        KINDS=KINDS, MARKS=MARKS, OF_ANSWERS=OF_ANSWERS, MEANING=MEANING, percent=percent
    )
    return environment.get_template(template).render(
        style=Markup(style),
        script=Markup(script),
        hashes={"style": _hash(style), "script": _hash(script)},
        **values,
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
