"""docs/gpu.md from the lines that GPUs gave: `python benchmarks/gpu/page.py`.

Reads results/<machine>/facts.jsonl, and notes.md beside it (what follows, by hand), and
predictions.json, each older than the line it predicts. tests/gpu/ holds the page to them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from gpu.facts import Found, latest  # noqa: E402

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "gpu.md"
Table = tuple[str, list[str], list[list[str]]]  # title, heads, rows
Known = Callable[[str], dict[str, Found]]

HEAD = """# Measured on GPUs

Made by `python benchmarks/gpu/page.py` from the lines of `bash benchmarks/gpu/quick.sh` and
`full.sh`, kept in `benchmarks/gpu/results/`. Predictions were written down before the measurements.
A dash means not measured. Times are milliseconds unless said otherwise.
"""


def number(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "-" if value is None else str(value)


def predictions(known: Known) -> Table:
    """For the card of the results, or without results for every card."""
    device = str(known("machine").get("machine", {}).get("device", ""))
    rows = []
    for entry in json.loads((HERE / "predictions.json").read_text()):
        cards = {card: said for card, said in entry["predicted"].items() if card in device}
        said = ", ".join(f"{k}: {v}" for k, v in (cards or entry["predicted"]).items())
        found = known(entry["part"]).get(entry["key"], {})
        value = found.get(entry["field"])
        if value is not None and "over" in entry:
            value = float(value) / float(found[entry["over"]])  # type: ignore[arg-type]
        rows.append([entry["what"], said, entry["from"], number(value)])
    return "Predicted and measured", ["what", "predicted", "because", "measured"], rows


def ceilings(known: Known) -> Table:
    heads = ["", "ms", "rate"]
    rows = []
    for key, line in known("kernels").items():
        kind = key.split()[0]
        if kind in ("copy", "read") and "ms" in line:
            rows.append([key, number(line["ms"]), f"{line['gb_per_s']:.0f} GB/s"])
        if kind == "products" and "tflops" in line:
            total = sum(float(line[f"{name}_ms"]) for name in ("logits", "dhidden", "dhead"))
            rows.append([key, number(total), f"{line['tflops']:.0f} TFLOP/s"])
    return "Ceilings", heads, rows


READ = 0.9  # of the rows: the others are ignored, whose gradient is written all the same


def kernels(known: Known) -> Table:
    """Each kernel alone, and the share of a copy's bandwidth that its least bytes make."""
    heads = ["rows", "kernel", "ms", "share of a copy's rate"]
    facts = known("kernels")
    copies = [line for key, line in facts.items() if key.startswith("copy") and "ms" in line]
    rate = float(copies[0]["gb_per_s"]) if copies else None
    rows = []
    for key, line in facts.items():
        if not key.startswith("times ") or "logits_gb" not in line:
            continue
        shape, size = key.removeprefix("times "), float(line["logits_gb"])
        named = {
            "statistics": (line["statistics_ms"], READ),
            "gradient from statistics": (line["gradient_ms"], READ + 1),
            "Triton two-pass": (line["two_pass_ms"], READ + 1),
            "Triton in place": (line["in_place_ms"], READ + 1),
        }
        for which, name in (("of its choice", "CUDA C++"), ("in place", "CUDA C++ in place")):
            if "ms" in (found := facts.get(f"cluster {which}, {shape}", {})):
                named[name] = (found["ms"], READ + 1)
        for name, (ms, passes) in named.items():
            share = "-" if rate is None else f"{passes * size / float(ms) * 1e3 / rate:.0%}"
            rows.append([shape, name, number(ms), share])
    return "Kernels alone, by CUDA graphs", heads, rows


def checks(known: Known) -> Table:
    heads = ["kernel", "loss", "norm", "gradient", "repeats"]
    rows = [
        [key, *(number(line.get(name, line.get("error", "-"))) for name in heads[1:])]
        for key, line in known("check").items()
    ]
    title = "Correct at full size: largest relative errors against float64 on the same logits"
    return title, heads, rows


def tests(known: Known) -> Table:
    heads = ["file", "passed", "skipped", "failed"]
    rows = [
        [key, *(str(line.get(name, 0)) for name in heads[1:])]
        for key, line in known("tests").items()
        if "cpu_seconds" in line
    ]
    return "Tests on the GPU", heads, rows


def peers(part: str, title: str, fields: list[str]) -> Callable[[Known], Table]:
    def table(known: Known) -> Table:
        rows = [
            [key, *(number(line.get(name)) for name in fields), *_why_not(line)]
            for key, line in known(part).items()
            if not key.startswith(("copy:", "products:"))
        ]
        return title, ["work: who", *fields, "kernels, or why not"], rows

    return table


def _why_not(line: Found) -> list[str]:
    ran = ", ".join(f"`{name[:40]}`" for name in line.get("kernels", ())[:1])  # type: ignore[index]
    return [str(line.get("skipped") or line.get("error") or ran)[:120].replace("|", "/")]


def host(known: Known) -> Table:
    fields = ["segments_eager_ms", "segments_graph_ms", "mean_eager_ms", "mean_graph_ms"]
    rows = [
        [key, *(number(line.get(f)) for f in fields)]
        for key, line in known("kernels").items()
        if key.startswith("host")
    ]
    return "The host: a step of a loop beside its kernels alone", ["rows", *fields], rows


def training(known: Known) -> Table:
    heads = ["run", "seconds a step", "peak GB", "loss of step 1", "gradient norm of step 1"]
    rows = []
    for key, line in known("train").items():
        if "median_seconds" in line or "error" in line:
            first = line.get("first") or {}
            values = [line.get("median_seconds"), line.get("peak_gb")]
            values += [first.get("loss"), first.get("grad_norm")]  # type: ignore[attr-defined]
            rows.append([key, *map(number, values)])
    return "Trainers", heads, rows


def agreements(known: Known) -> Table:
    rows = [
        [key, ", ".join(f"{k} {number(v)}" for k, v in _values(line))]
        for key, line in known("train").items()
        if "median_seconds" not in line and "error" not in line
    ]
    rows += [
        [key, f"NOT: {line['error']}"] for key, line in known("train").items() if "error" in line
    ]
    return "What agrees, and how far it is apart", ["pair", "apart"], rows


def _values(line: Found) -> Iterator[tuple[str, object]]:
    return ((k, v) for k, v in line.items() if k not in ("part", "key", "seconds"))


def log_probabilities(known: Known) -> Table:
    fields = ["forward_ms", "forward_backward_ms", "with_plain_rows_ms", "products_ms"]
    fields += ["rows_ms", "rows_gradient_ms"]
    rows = [
        [key, *(number(line.get(f)) for f in fields)]
        for key, line in known("kernels").items()
        if key.startswith("logprob")
    ]
    return (
        "linear_token_logprob, and its four products and kernels on rows",
        ["N, D, V", *fields],
        rows,
    )


def dropped(known: Known) -> Table:
    rows = [
        [key, number(line.get("ms")), number(float(str(line.get("peak_bytes", 0))) / 1e9)]
        for key, line in known("kernels").items()
        if key.startswith("a fifth")
    ]
    title = "Segment loss from hidden states, 8192 x 3584 x 152064, where few tokens are labelled"
    return title, ["case", "ms", "peak GB"], rows


def families(known: Known) -> Table:
    fields = ["loss", "chunked", "alone", "rounding"]
    rows = [
        [key, *(number(line.get(f)) for f in fields), str(line.get("error", ""))[:90]]
        for key, line in known("families").items()
    ]
    heads = ["family", "loss of SFT", "chunked", "guard: batch against alone", "padding behind"]
    return (
        "Tiny models of every family in bf16: SFT, GRPO, a diagnosis",
        [*heads, "or why not"],
        rows,
    )


def sweeps(known: Known) -> Table:
    """The best tile of each work and shape beside the one in use, and every cluster size."""
    best: dict[str, list[tuple[float, str]]] = {}
    for key, line in known("kernels").items():
        if "ms" not in line or not key.startswith(SWEPT):
            continue
        name, shape = key.rsplit(", ", 1)
        if name.startswith("cluster"):
            work, setting = "blocks of a cluster", name.split(" of ")[-1]
        elif name.startswith("second pass"):
            work, setting = "second pass", name.removeprefix("second pass ")
        elif name.startswith("scale"):
            work, setting = "scale", name.removeprefix("scale ").removesuffix(" programs at most")
        else:
            work, setting = name.rsplit(" ", 1)
        best.setdefault(f"{work}, {shape}", []).append((float(line["ms"]), setting))
    rows = [
        [key, "; ".join(f"{name}: {ms:.3f}" for ms, name in sorted(tried))]
        for key, tried in best.items()
    ]
    return "Sweeps: columns/warps, or blocks, fastest first", ["work", "ms"], rows


SWEPT = ("tile ", "cluster of ", "scale ", "second pass", "staged ")


def counters(known: Known) -> Table:
    rows = [
        [key, "; ".join(f"{k} {v}" for k, v in _values(line))]
        for key, line in known("counters").items()
    ]
    return "Counters (ncu)", ["kernel", "counted"], rows


def steps(known: Known) -> Table:
    rows = [
        [key, str(line["seconds"]), str(line["limit"]), str(line["status"])]
        for key, line in known("steps").items()
    ]
    return "The run itself", ["step", "seconds", "at most", "status"], rows


TABLES: list[Callable[[Known], Table]] = [
    predictions,
    ceilings,
    kernels,
    checks,
    tests,
    peers("rows", "From logits, forward + backward", ["cold_ms", "warm_ms", "share_of_copy"]),
    peers("linear", "From hidden states, forward + backward", ["ms", "share_of_products"]),
    host,
    log_probabilities,
    dropped,
    families,
    training,
    agreements,
    sweeps,
    counters,
    steps,
]


def markdown(table: Table) -> list[str]:
    title, heads, rows = table
    lines = [f"### {title}", "", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""] if rows else []


def section(folder: Path | None) -> list[str]:
    """The tables of one machine; without one, the predictions alone."""
    if folder is None:
        return ["## Not measured yet", "", *markdown(predictions(lambda _: {}))]

    def known(part: str) -> dict[str, Found]:
        return latest(folder / "facts.jsonl", part)

    machine = known("machine")["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items() if v != "-")  # type: ignore[attr-defined]
    lines = [f"## {machine['device']}", ""]
    lines += [f"Commit {machine['commit']}, CUDA {machine['cuda']}; {versions}.", ""]
    notes = folder / "notes.md"
    if notes.exists():
        lines += [notes.read_text().strip(), ""]
    for table in TABLES:
        lines += markdown(table(known))
    return lines


def page(results: Path = HERE / "results") -> str:
    folders = sorted(path.parent for path in results.glob("*/facts.jsonl"))
    lines = [line for folder in folders or [None] for line in section(folder)]
    return HEAD + "\n" + "\n".join(lines).strip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE)
