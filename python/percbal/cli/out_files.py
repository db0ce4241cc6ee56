"""Whether what is asked for can be written, before anything is read or computed for it."""

from __future__ import annotations

from pathlib import Path


def check_out(out: Path | None, option: str = "--out") -> None:
    """ValueError for a file that cannot be written."""
    if out is not None and not out.parent.is_dir():
        raise ValueError(f"{option}: there is no directory {out.parent}")
    if out is not None and out.is_dir():
        raise ValueError(f"{option}: {out} is a directory")


def check_picture(out: Path | None, option: str) -> None:
    """Likewise, and for one of a form that matplotlib does not draw."""
    check_out(out, option)
    if out is None:
        return
    from matplotlib.backend_bases import FigureCanvasBase  # takes a second

    endings = [f".{kind}" for kind in sorted(FigureCanvasBase.get_supported_filetypes())]
    if out.suffix.lower() not in endings:
        raise ValueError(f"{option}: {out} must end in one of {', '.join(endings)}")
