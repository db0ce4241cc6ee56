"""One self-contained HTML file about a study: tables, plots, and pictures with marked cells."""

from __future__ import annotations

import html
import io
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import transformers
import trl

import percbal_ops
from percbal.evaluate.diagnose import METRICS
from percbal.report.plots import History, accuracy_figure, training_figure
from percbal.report.samples import sample
from percbal.study import files
from percbal.study.json_files import read_json
from percbal.study.limits import limits
from percbal.study.plan import START, TEST_SEED, Study
from percbal.study.results import MEANING, Results
from percbal.study.tables import note, table
from percbal.tasks import get_task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLES = 6  # the first test instances: not chosen by how they came out

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.6em} h2{font-size:1.2em;margin-top:2em} .wide{overflow-x:auto}
table.results{border-collapse:collapse;margin:1em 0} .results td:first-child{text-align:left}
.results td,.results th{padding:.3em .9em;border-bottom:1px solid #ddd;text-align:right}
.note{color:#555;font-size:.9em}
.sample{display:flex;gap:1.2em;flex-wrap:wrap;align-items:flex-end;margin:1em 0;
border-bottom:1px solid #eee;padding-bottom:1em}
.sample figure{margin:0;text-align:center;font-size:.8em} .sample img{image-rendering:pixelated}
.pair{display:flex;gap:.5em}
table.grid{border-collapse:collapse;margin:0 auto .2em} .grid td{width:1.5em;height:1.5em;
text-align:center;border:1px solid #bbb} td.right{background:#e3f4e3} td.wrong{background:#f7c6c5}
svg{max-width:100%;height:auto} pre{background:#f6f6f6;padding:.8em;overflow-x:auto}
"""


def write_report(study: Study, results: Results, root: Path) -> Path:
    """Write ``root/report.html`` from what there is of the study in ``root``; return its path.

    The first plot lies beside it, as ``accuracies.png``.
    """
    body = [f"<h1>percbal study: {html.escape(study.name)}</h1>", f"<p>{headline(results)}</p>"]
    for number, start in enumerate(results.starts()):
        figure = accuracy_figure(results, start)
        if number == 0:
            figure.savefig(root / "accuracies.png", dpi=150)
        of = f" from {start}" if len(results.starts()) > 1 else ""
        body += [f"<h2>Accuracies{html.escape(of)}</h2>", _svg(figure)]
    meanings = "; ".join(f"{m}: {MEANING[m]}" for m in METRICS)
    body += [
        _as_html(table(results)),
        f"<p class=note>{html.escape(note(results))} {html.escape(meanings)}.</p>",
        _as_html(limits(study, results)),
    ]
    for start in results.starts():
        training = training_figure(results, _history(study, root, start))
        if training:
            body += [f"<h2>While training, from {html.escape(start)}</h2>", _svg(training)]
    body += [
        "<p class=note>One line for each run. A token-mean loss gives perception the weight of its"
        " share of the tokens.</p>",
        _samples(study, root),
        "<h2>Settings</h2>",
        f"<pre>{html.escape(settings(study, results))}</pre>",
    ]
    path = root / "report.html"
    text = "\n".join(body)
    path.write_text(
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<title>percbal: {html.escape(study.name)}</title><style>{STYLE}</style>"
        f"<body>\n{text}\n</body></html>\n"
    )
    return path


def headline(results: Results) -> str:
    """What the study shows, said from its intervals alone."""
    sentences = []
    for pair in results.differences:
        parts = [
            f"{m} {pair.points(m)} points"
            + ("" if pair.significant(m) else ", not told apart from 0")
            for m in METRICS
        ]
        of = f" from {html.escape(pair.start)}" if len(results.starts()) > 1 else ""
        sentences.append(f"<b>{html.escape(pair.name)}</b>{of}: {'; '.join(parts)}.")
    return "<br>".join(sentences)


def settings(study: Study, results: Results) -> str:
    """Everything needed to run it again."""
    task = get_task(study.task, **study.task_options)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    served = percbal_ops.implementation("weighted_cross_entropy", device)
    seconds = "; ".join(f"{row.arm} {row.seconds:.0f}" for row in results.rows if row.arm != START)
    kinds = {arm.kind for arm in study.arms}
    lines = {
        "task": task.describe(),
        "model": f"LLaVA from scratch, options {study.model_options or 'default'}",
        "bases": f"{study.base}, perception alone",
        "starts": "; ".join(map(str, study.starts)),
        "fine-tuning": f"{study.sft}, AdamW, cosine",
        **({"reinforcement": str(study.grpo)} if "grpo" in kinds else {}),
        "arms": "; ".join(map(str, study.arms)),
        "seeds": f"{study.seeds or 'those of the starts'} (fixed in advance)",
        "training, s": f"{seconds} (mean over runs; of a resumed run, its last stretch)",
        "versions": f"torch {torch.__version__}, transformers {transformers.__version__}, "
        f"trl {trl.__version__}, Python {platform.python_version()}",
        "loss operator": f"{served} on {device}",
    }
    return "\n".join(f"{name:15} {value}" for name, value in lines.items())


def _history(study: Study, root: Path, start: str) -> History:
    """What the runs that are there have logged."""
    logged = {
        arm.name: [
            read_json(files.run_directory(root, run) / files.HISTORY)
            for run in study.runs_of(start, arm.name)
        ]
        for arm in study.arms
    }
    return {arm: [logs for logs in runs if logs] for arm, runs in logged.items()}


def _samples(study: Study, root: Path) -> str:
    """The first test pictures and what the first run of every arm made of them."""
    task = get_task(study.task, **study.task_options)
    start = study.populations()[0]
    first = {arm.name: study.runs_of(start, arm.name)[0] for arm in study.arms}
    found = {
        arm: read_json(files.run_directory(root, run) / files.DIAGNOSIS)
        for arm, run in first.items()
    }
    shown = "".join(
        sample(
            task,
            task.generate(index, "test", TEST_SEED),
            f"test {index}",
            {arm: run["records"][index] for arm, run in found.items() if run},
        )
        for index in range(min(SAMPLES, study.test_instances))
    )
    return f"<h2>The first {SAMPLES} test pictures, from {html.escape(start)}</h2>{shown}"


def _as_html(markdown: str) -> str:
    """Tables and paragraphs of ``study.tables`` and ``study.limits``."""
    return "\n".join(_block(block) for block in markdown.split("\n\n") if block)


def _block(block: str) -> str:
    lines = block.split("\n")
    if not lines[0].startswith("|"):
        text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html.escape(block))
        return f"<p>{text}</p>"
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<div class=wide><table class=results><tr>{cells}</tr>{body}</table></div>"


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    return text[text.index("<svg") :]
