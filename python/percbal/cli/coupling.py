"""`percbal coupling FILE...`: what saved rewards tell a policy about its perception."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from percbal.cli.format_options import add_reading_options, asking_of
from percbal.cli.least import check_least
from percbal.cli.out_files import check_out, check_picture

if TYPE_CHECKING:
    from torch import Tensor

    from percbal.evaluate.rollout_files import RolloutTable
    from percbal.evaluate.rollout_scores import RolloutScores
    from percbal_ops import RewardCoupling
    from percbal_ops.coupling import Correlation

SHOWN_BAD_ROWS = 20  # on the terminal; the JSON has all of them


def add(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Correlations of a reward with perception and reasoning over saved rollouts, "
        "as GRPO sees them: within groups. docs/coupling.md says how to read them."
    )
    _add_arguments(parser)
    parser.set_defaults(run=run)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help=".jsonl, .parquet, or a folder of completions that TRL saved (log_completions)",
    )
    parser.add_argument(
        "--outcome",
        action="append",
        metavar="COLUMN",
        help="a reward to examine; repeat to rank several (default: outcome)",
    )
    parser.add_argument(
        "--perception", default="perception", metavar="COLUMN", help="true perception reward"
    )
    parser.add_argument(
        "--reasoning",
        metavar="COLUMN",
        help="true reasoning reward (default: the column reasoning, if there is one)",
    )
    parser.add_argument(
        "--group",
        action="append",
        metavar="COLUMN",
        help="columns that together name a prompt's group (default: group, else step and prompt)",
    )
    parser.add_argument(
        "--group-size",
        type=int,
        metavar="N",
        help="instead: every N rows of a file are a group, as TRL saves them (num_generations)",
    )
    parser.add_argument(
        "--right-at", type=float, default=1.0, help="perception is right from this value on"
    )
    parser.add_argument(
        "--score",
        action="store_true",
        help="make the columns outcome, perception and reasoning here, from the column completion "
        "and the labels of its row (docs/coupling.md); done anyway where no column outcome is",
    )
    parser.add_argument(
        "--a-r",
        type=float,
        metavar="A_R",
        help="a_r of `percbal diagnose`, for the advice (default: the share of right answers after "
        "right perceptions stands for it)",
    )
    add_reading_options(parser)
    parser.add_argument("--json", type=Path, metavar="OUT", help="write every number here")
    parser.add_argument(
        "--plot", type=Path, metavar="OUT", help="draw the correlations (.png, .svg)"
    )


def run(args: argparse.Namespace) -> None:
    from percbal.cli.coupling_advice import advice_of  # not for --help

    check_least(args, 1, "group_size")
    check_out(args.json, "--json")
    check_picture(args.plot, "--plot")
    names, table, result = _measure(args)
    advice = advice_of(names, table, result, args.right_at, args.a_r)
    print(format_table(names, result))
    print(f"\n{advice.text()}")
    _report_bad_rows(table.bad_rows)
    if args.json:
        report = {
            "outcomes": names,
            "rollouts": len(table.group),
            "bad_rows": table.bad_rows,
            **result.to_dict(),
            "advice": advice.to_dict(),
        }
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    if args.plot:
        draw(names, result, args.plot)


def _measure(args: argparse.Namespace) -> tuple[list[str], RolloutTable, RewardCoupling]:
    # not for --help
    from percbal.evaluate.rollout_files import Columns, column_names, read_rollouts
    from percbal_ops import reward_coupling

    names = args.outcome or ["outcome"]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"--outcome names {twice[0]!r} twice")
    present = column_names(args.files)
    reasoning = args.reasoning
    if reasoning is None and "reasoning" in present:
        reasoning = "reasoning"
    if args.group_size is not None and args.group:
        raise ValueError(f"--group-size and --group exclude each other, got {args.group} as well")
    scores = _scores(args, names, present)
    if scores is not None:
        reasoning = reasoning or "reasoning"
    columns = Columns(names, args.perception, reasoning, args.group, args.group_size, scores)
    table = read_rollouts(args.files, columns)
    result = reward_coupling(
        table.outcomes, table.perception, table.reasoning, table.group, right_at=args.right_at
    )
    return names, table, result


def _scores(args: argparse.Namespace, names: list[str], present: list[str]) -> RolloutScores | None:
    from percbal.evaluate.rollout_scores import COMPLETION, LABELS, SCORED, RolloutScores

    asking = asking_of(args)
    texts = COMPLETION in present and any(label in present for label in LABELS)
    missing = [name for name in names if name in SCORED and name not in present]
    if not args.score and texts and missing:
        print(
            f"there is no column {missing[0]!r}: completions are scored by the labels of their "
            "rows (--score)",
            file=sys.stderr,
        )
    elif not args.score and not asking.plain:
        raise ValueError("only --score reads completions; without it there is no format to name")
    elif not args.score:
        return None
    return RolloutScores(asking)


def _report_bad_rows(bad: list[str]) -> None:
    if not bad:
        return
    print(f"{len(bad)} bad rows were left out:", file=sys.stderr)
    for row in bad[:SHOWN_BAD_ROWS]:
        print(f"  {row}", file=sys.stderr)
    if len(bad) > SHOWN_BAD_ROWS:
        print(f"  and {len(bad) - SHOWN_BAD_ROWS} more (all are in --json)", file=sys.stderr)


def format_table(names: list[str], result: RewardCoupling) -> str:
    """Best within-group correlation with perception first."""
    order = sorted(range(len(names)), key=lambda i: -_rank(result.perception.within.r[i]))
    width = max(len("reward"), *(len(name) for name in names))
    lines = [
        f"{'reward':{width}}  target      within-group r          pooled r                "
        "echo    rollouts  groups"
    ]
    for i in order:
        for target in ("perception", "reasoning"):
            coupled = getattr(result, target)
            if coupled is None:
                continue
            lines.append(
                f"{names[i]:{width}}  {target:10}  {_interval(coupled.within, i):22}  "
                f"{_interval(coupled.pooled, i):22}  {_number(coupled.pooled.echo[i]):6}  "
                f"{int(coupled.pooled.count[i]):8}  {int(coupled.within.groups[i]):6}"
            )
    signal = result.signal
    lines.append("")
    lines.append(
        f"{'reward':{width}}  conflict  blamed right  praised wrong  mass on wrong  silent groups"
    )
    for i in order:
        lines.append(
            f"{names[i]:{width}}  {_share(signal.conflict_rate[i]):>8}  "
            f"{_share(signal.blamed_right[i]):>12}  {_share(signal.praised_wrong[i]):>13}  "
            f"{_share(signal.share_wrong[i]):>13}  {_share(signal.silent_groups[i]):>13}"
        )
    return "\n".join(lines)


def _rank(r: Tensor) -> float:
    return float(r) if r == r else float("-inf")


def _number(value: Tensor) -> str:
    return f"{float(value):.3f}" if value == value else "-"


def _share(value: Tensor) -> str:
    return f"{100 * float(value):.1f}%" if value == value else "-"


def _interval(c: Correlation, i: int) -> str:
    return f"{_number(c.r[i])} [{_number(c.low[i])}, {_number(c.high[i])}]"


def draw(names: list[str], result: RewardCoupling, path: Path) -> None:
    """Correlations with their intervals, one row per reward; needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.5 + 0.6 * len(names)), layout="constrained")
    axes: Any = figure.subplots()
    series = [("perception", "within"), ("perception", "pooled"), ("reasoning", "within")]
    shown = [(t, k) for t, k in series if getattr(result, t) is not None]
    for s, (target, kind) in enumerate(shown):
        c: Correlation = getattr(getattr(result, target), kind)
        rows = [i + 0.2 * (s - (len(shown) - 1) / 2) for i in range(len(names))]
        # an interval that does not exist is drawn with no width
        reach = [(c.r - c.low).nan_to_num(0).tolist(), (c.high - c.r).nan_to_num(0).tolist()]
        axes.errorbar(c.r.tolist(), rows, xerr=reach, fmt="o", label=f"{target}, {kind}")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.axvline(0, color="0.7", zorder=0)
    axes.set_xlabel("correlation, 95% interval over groups")
    axes.legend(fontsize="small")
    figure.savefig(path)
