"""One self-contained HTML file about a study: the table, plots, and pictures with marked cells."""

from __future__ import annotations

import base64
import html
import io
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
import trl
from PIL import Image

import percbal_ops
from percbal.evaluate.diagnose import METRICS
from percbal.report.plots import accuracy_figure, share_figure, training_figure
from percbal.study.arm import TEST_SEED, run_directory
from percbal.study.presets import Study
from percbal.study.results import MEANING, ArmResult, Results, excludes_zero
from percbal.tasks import Instance, Task, get_task
from percbal.tasks.base import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLES = 6  # the first test instances: not chosen by how they came out

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.6em} h2{font-size:1.2em;margin-top:2em}
table.results{border-collapse:collapse} .results td:first-child{text-align:left}
.results td,.results th{padding:.3em .9em;border-bottom:1px solid #ddd;text-align:right}
.results small{color:#777} .clear{font-weight:600} .note{color:#555;font-size:.9em}
.sample{display:flex;gap:1.2em;flex-wrap:wrap;align-items:flex-end;margin:1em 0;
border-bottom:1px solid #eee;padding-bottom:1em}
.sample figure{margin:0;text-align:center;font-size:.8em} .sample img{image-rendering:pixelated}
.pair{display:flex;gap:.5em}
table.grid{border-collapse:collapse;margin:0 auto .2em} .grid td{width:1.5em;height:1.5em;
text-align:center;border:1px solid #bbb} td.right{background:#e3f4e3} td.wrong{background:#f7c6c5}
svg{max-width:100%;height:auto} pre{background:#f6f6f6;padding:.8em;overflow-x:auto}
"""


def write_report(study: Study, results: Results, root: Path) -> Path:
    """Write ``root/report.html`` from the finished study in ``root``; return its path.

    Its first plot lies beside it, as ``accuracies.png``.
    """
    history = {
        arm.name: [
            json.loads((run_directory(root, arm.name, seed) / "history.json").read_text())
            for seed in study.seeds
        ]
        for arm in study.arms
    }
    accuracies = accuracy_figure(results)
    accuracies.savefig(root / "accuracies.png", dpi=150)
    body = "\n".join(
        [
            f"<h1>percbal study: {html.escape(study.name)}</h1>",
            f"<p>{headline(results)}</p>",
            "<h2>Accuracies</h2>",
            _svg(accuracies),
            _table(results),
            "<h2>While training</h2>",
            _svg(training_figure(results, history)),
            _svg(share_figure(results, history)),
            "<p class=note>One line per seed. A token-mean loss gives perception the weight of its"
            " share of the tokens.</p>",
            f"<h2>The first {SAMPLES} test pictures, seed {study.seeds[0]}</h2>",
            _samples(study, root),
            "<h2>Settings</h2>",
            f"<pre>{html.escape(settings(study, results))}</pre>",
        ]
    )
    path = root / "report.html"
    path.write_text(
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<title>percbal: {html.escape(study.name)}</title><style>{STYLE}</style>"
        f"<body>\n{body}\n</body></html>\n"
    )
    return path


def headline(results: Results) -> str:
    """What the study shows, said from its intervals alone."""
    base = results.arms[0].name
    sentences = []
    for arm in results.arms[1:]:
        parts = []
        for metric in METRICS:
            verdict = "" if _clear(results, arm, metric) else ", not told apart from 0"
            parts.append(f"{metric} {results.points(arm, metric)} points{verdict}")
        sentences.append(
            f"<b>{html.escape(arm.name)}</b> minus {html.escape(base)}: " + "; ".join(parts)
        )
    return ".<br>".join(sentences) + "."


def settings(study: Study, results: Results) -> str:
    """Everything needed to run it again."""
    task = get_task(study.task, **study.task_options)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    served = percbal_ops.implementation("weighted_cross_entropy", device)
    seconds = "; ".join(f"{a.name}: {', '.join(map(str, a.seconds))}" for a in results.arms)
    return "\n".join(
        [
            f"task            {task.describe()}",
            f"model           LLaVA from scratch, options {study.model_options or 'default'}",
            f"base            {study.base_steps} steps of {study.base_batch_size} out of "
            f"{study.base_instances} pictures, perception alone",
            f"training        {study.steps} steps of {study.batch_size} out of "
            f"{study.train_instances} instances, AdamW {study.learning_rate}, cosine",
            f"arms            {'; '.join(map(str, study.arms))}",
            f"training, s     {seconds} (of a resumed arm, its last stretch)",
            f"seeds           {', '.join(map(str, study.seeds))} (fixed in advance)",
            f"versions        torch {torch.__version__}, transformers {transformers.__version__}, "
            f"trl {trl.__version__}, Python {platform.python_version()}",
            f"loss operator   {served} on {device}",
        ]
    )


def _table(results: Results) -> str:
    head = "".join(f"<th title='{html.escape(MEANING[m])}'>{m}</th>" for m in METRICS)
    rows = []
    for arm in results.arms:
        cells = "".join(f"<td>{_interval(arm.accuracy[m])}</td>" for m in METRICS)
        rows.append(f"<tr><td>{html.escape(arm.name)}</td>{cells}</tr>")
    for arm in results.arms[1:]:
        cells = ""
        for metric in METRICS:
            clear = " class=clear" if _clear(results, arm, metric) else ""
            cells += f"<td{clear}>{results.points(arm, metric)}</td>"
        name = f"{html.escape(arm.name)} minus {html.escape(results.arms[0].name)}"
        rows.append(f"<tr><td>{name}</td>{cells}</tr>")
    meanings = "; ".join(f"{m}: {MEANING[m]}" for m in METRICS)
    return (
        f"<table class=results><tr><th></th>{head}</tr>{''.join(rows)}</table>"
        f"<p class=note>{html.escape(results.note())} {html.escape(meanings)}.</p>"
    )


def _clear(results: Results, arm: ArmResult, metric: str) -> bool:
    """Whether a difference is significant, by both of its intervals if there are both."""
    assert arm.difference is not None
    over_seeds = results.over_seeds(arm, metric)
    return all(excludes_zero(x) for x in (arm.difference[metric], over_seeds) if x is not None)


def _interval(interval: tuple[float, float, float]) -> str:
    value, low, high = (format(100 * x, ".1f") for x in interval)
    return f"{value} <small>[{low}, {high}]</small>"


def _samples(study: Study, root: Path) -> str:
    task = get_task(study.task, **study.task_options)
    seed = study.seeds[0]
    runs = {
        arm.name: json.loads((run_directory(root, arm.name, seed) / "diagnosis.json").read_text())
        for arm in study.arms
    }
    rows = []
    for index in range(min(SAMPLES, study.test_instances)):
        instance = task.generate(index, "test", TEST_SEED)
        figures = [f"<figure><img src='{_picture(instance)}' width=128><br>test {index}</figure>"]
        for arm, run in runs.items():
            figures.append(_marked_figure(task, instance, arm, run["records"][index]))
        rows.append(f"<div class=sample>{''.join(figures)}</div>")
    return "".join(rows)


def _marked_figure(task: Task, instance: Instance, arm: str, record: dict[str, Any]) -> str:
    tables = task.marked(record["completion"], instance.truth)
    shown = "".join(
        f"<figure>{_grid(tables[name])}{name}</figure>"
        if name in tables
        else f"<figure>unreadable<br>{name}</figure>"
        for name in ("perceived", "answer")
    )
    return f"<figure><div class=pair>{shown}</div><b>{html.escape(arm)}</b></figure>"


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
    image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    return text[text.index("<svg") :]
