"""One self-contained HTML file about a study: tables, plots, and pictures with marked cells."""

from __future__ import annotations

import io
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
import trl

import percbal_ops
from percbal.evaluate.names import MEANING, METRICS
from percbal.report.downloads import address
from percbal.report.gallery import few
from percbal.report.pictures import small_url
from percbal.report.plots import History, accuracy_figure, plt, training_figure
from percbal.report.rendering import render
from percbal.study import files
from percbal.study.json_files import read_json
from percbal.study.limits import limits
from percbal.study.plan import START, TEST_SEED, Study
from percbal.study.results import Results, Row
from percbal.study.tables import note, table
from percbal.tasks import get_task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLES = 6  # the first test instances: not chosen by how they came out


def write_report(study: Study, results: Results, root: Path) -> Path:
    """Write ``root/report.html`` from what there is of the study in ``root``; return its path.

    The first plot lies beside it, as ``accuracies.png``.
    """
    populations = [_population(study, results, root, start) for start in results.starts()]
    for population in populations[:1]:
        population["figure"].savefig(root / "accuracies.png", dpi=150)
    for population in populations:
        population |= {name: _drawn(population[name]) for name in ("figure", "training")}
    path = root / "report.html"
    text = render(
        "study.html.j2",
        downloads={"results.json": address(json.dumps(results.to_dict()), "application/json")},
        study=study,
        findings=headline(results),
        populations=populations,
        metrics=METRICS,
        tables=_blocks(table(results)),
        note=f"{note(results)} {'; '.join(f'{m}: {MEANING[m]}' for m in METRICS)}.",
        limits=_blocks(limits(study, results)),
        samples=_samples(study, root),
        settings=settings(study, results),
    )
    path.write_text(text, encoding="utf-8")
    return path


def headline(results: Results) -> list[tuple[str, str]]:
    """What the study shows, said from its intervals alone: a sentence for each difference, by
    its name."""
    sentences = []
    for pair in results.differences:
        parts = [
            f"{m} {pair.points(m)} points"
            + ("" if pair.significant(m) else ", not told apart from 0")
            for m in METRICS
        ]
        of = f" from {pair.start}" if len(results.starts()) > 1 else ""
        sentences.append((f"{pair.name}{of}", f"{'; '.join(parts)}."))
    return sentences


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
        "fine-tuning": f"{study.sft}, AdamW; cosine, constant where a stop rule ends it",
        **({"reinforcement": str(study.grpo)} if "grpo" in kinds else {}),
        "arms": "; ".join(map(str, study.arms)),
        "seeds": f"{study.seeds or 'those of the starts'} (fixed in advance)",
        "training, s": f"{seconds} (mean over runs, interrupted parts included)",
        "versions": f"torch {torch.__version__}, transformers {transformers.__version__}, "
        f"trl {trl.__version__}, Python {platform.python_version()}",
        "loss operator": f"{served} on {device}",
    }
    return "\n".join(f"{name:15} {value}" for name, value in lines.items())


def _population(study: Study, results: Results, root: Path, start: str) -> dict[str, Any]:
    """What the template shows of the arms from one population of starts."""
    rows = [row for row in results.rows if row.start == start and not row.changes]
    return {
        "start": start,
        "measured": [_measured(study, row) for row in rows],
        "figure": accuracy_figure(results, start),
        "training": training_figure(results, _history(study, root, start)),
    }


def _measured(study: Study, row: Row) -> dict[str, Any]:
    """An arm's accuracies, as those of a diagnosis."""
    pictures = study.test_instances * (2 if study.known else 1)
    n = f"{pictures} pictures" + (f", {len(row.runs)} runs" if len(row.runs) > 1 else "")
    accuracies = {m: {**row.figures[m]._asdict(), "n": n} for m in METRICS}
    return {"name": row.arm, "data": {"accuracies": accuracies}}


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


def _samples(study: Study, root: Path) -> list[dict[str, Any]]:
    """The first test pictures and what the first run of every arm made of them."""
    task = get_task(study.task, **study.task_options)
    start = study.populations()[0]
    found = {
        arm.name: read_json(
            files.run_directory(root, study.runs_of(start, arm.name)[0]) / files.DIAGNOSIS
        )
        for arm in study.arms
    }
    samples = []
    for index in range(min(SAMPLES, study.test_instances)):
        instance = task.generate(index, "test", TEST_SEED)
        records = {arm: run["records"][index] for arm, run in found.items() if run}
        told = {
            arm: record | {"tables": {name: few(t) for name, t in record["marked"].items()}}
            for arm, record in records.items()
        }
        url = small_url(instance.image)
        samples.append({"index": index, "instance": instance, "url": url, "arms": told})
    return samples


def _blocks(markdown: str) -> list[dict[str, Any]]:
    """Tables, headings and paragraphs of ``study.tables`` and ``study.limits``."""
    return [_block(block) for block in markdown.split("\n\n") if block]


def _block(block: str) -> dict[str, Any]:
    lines = block.split("\n")
    if not lines[0].startswith("|"):
        heading = block.startswith("**") and block.endswith("**")
        return {"heading": block[2:-2]} if heading else {"text": block}
    head, _, *rows = ([cell.strip() for cell in line[1:-1].split("|")] for line in lines)
    return {"head": head, "rows": rows}


def _drawn(figure: Figure | None) -> str:
    """An SVG in an address: the page's policy forbids the styles that matplotlib writes into it,
    not those of a picture. Empty for no figure."""
    if figure is None:
        return ""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    plt.close(figure)
    return address(buffer.getvalue(), "image/svg+xml")
