"""The command line: ``percbal study | sft | grpo | diagnose | coupling | tasks``."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from percbal.tasks import TASKS, Task, get_task

RUNS = Path("runs")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; a mistake of the user ends in one sentence and exit status 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    signal.signal(signal.SIGTERM, _interrupt)
    parser = _parser()
    argv = list(sys.argv[1:] if arguments is None else arguments)
    known, rest = parser.parse_known_args(argv)
    trains = known.command in ("sft", "grpo")  # their options are parsed with TRL's
    if rest and not trains:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        known.run(rest) if trains else known.run(known)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"percbal {known.command}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _interrupt(*_: Any) -> None:
    """A request to terminate stops the work, and its processes, as Ctrl-C does."""
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="percbal",
        description="Find and fix the perception-reasoning imbalance of vision-language models.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_study(commands)
    _add_sft(commands)
    _add_grpo(commands)
    _add_diagnose(commands)
    _add_coupling(commands)
    _add_tasks(commands)
    return parser


def _add_study(commands: Any) -> None:
    from percbal.presets import PRESETS
    from percbal.rl_presets import RL_PRESETS

    presets: list[Any] = [*PRESETS.values(), *RL_PRESETS.values()]
    parser = commands.add_parser(
        "study",
        help="train a tiny VLM with and without balancing, measure both, write a report",
        description="Train a tiny vision-language model from scratch by every arm of a preset, "
        "from the same weights on the same batches, and measure seeing and reasoning apart. "
        "Started again, it goes on where it stopped.",
        epilog="presets: " + "; ".join(f"{p.name}: {p.about}" for p in presets),
    )
    parser.add_argument("--preset", choices=[p.name for p in presets], default="quick")
    parser.add_argument("--name", help="directory below --out (default: the preset's name)")
    parser.add_argument("--out", type=Path, default=RUNS, help="default: %(default)s")
    parser.add_argument("--jobs", type=int, help="processes at once (default: one per core)")
    parser.set_defaults(run=_study)


def _study(args: argparse.Namespace) -> None:
    from percbal.presets import PRESETS
    from percbal.rl_presets import RL_PRESETS

    study: Any = (PRESETS | RL_PRESETS)[args.preset]
    root = args.out / (args.name or study.name)
    print(
        f"study {study.name}: {study.about}\nin {root}; interrupt it freely, it goes on from there"
    )
    if args.preset in RL_PRESETS:
        from percbal.rl_study import run_rl_study

        run_rl_study(study, root, jobs=args.jobs)
        print((root / "results.md").read_text())
        print(f"table: {root / 'results.md'}\nnumbers: {root / 'results.json'}")
        return
    from percbal.report import write_report
    from percbal.study import run_study

    results = run_study(study, root, jobs=args.jobs)
    report = write_report(study, results, root)
    print(f"\n{results.table()}\n\n{results.note()}")
    print(f"\nreport: {report}\nnumbers: {root / 'results.json'}")


def _add_sft(commands: Any) -> None:
    parser = commands.add_parser(
        "sft",
        help="fine-tune a VLM with perception and reasoning weighed apart",
        description="Supervised fine-tuning by BalancedSFTTrainer. Options are those of TRL's SFT "
        "and of BalancedSFTConfig, on the command line or in a YAML file (--config). On several "
        "GPUs: accelerate launch -m percbal sft --config x.yaml. `percbal sft --help` lists all.",
        add_help=False,
    )
    parser.set_defaults(run=_sft)


def _sft(rest: list[str]) -> None:
    from percbal.sft_command import run_sft

    run_sft(rest)


def _add_grpo(commands: Any) -> None:
    parser = commands.add_parser(
        "grpo",
        help="reinforce a VLM with perception and reasoning credited apart",
        description="GRPO by BalancedGRPOTrainer. Options are those of TRL's GRPO and of "
        "BalancedGRPOConfig, on the command line or in a YAML file (--config). On several GPUs: "
        "accelerate launch -m percbal grpo --config x.yaml. `percbal grpo --help` lists all.",
        add_help=False,
    )
    parser.set_defaults(run=_grpo)


def _grpo(rest: list[str]) -> None:
    from percbal.grpo_command import run_grpo

    run_grpo(rest)


def _add_diagnose(commands: Any) -> None:
    parser = commands.add_parser(
        "diagnose",
        help="measure a, a_p and a_r of a model on a task",
        description="End-to-end (a), perception (a_p) and reasoning accuracy given the true "
        "perception (a_r), by greedy decoding on a held-out split.",
    )
    parser.add_argument("model", help="directory or hub name of a vision-language model")
    parser.add_argument("--dtype", default="float32", help="of the weights, or auto: as saved")
    _add_task_options(parser)
    parser.add_argument("--n", type=int, default=256, help="instances (default: %(default)s)")
    parser.add_argument("--split", default="test", choices=("test", "train"))
    parser.add_argument("--seed", type=int, default=0, help="of the instances")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", help="default: cuda if there is one, else cpu")
    parser.add_argument("--out", type=Path, help="write everything, every completion too, as JSON")
    parser.set_defaults(run=_diagnose)


def _diagnose(args: argparse.Namespace) -> None:
    import torch

    from percbal.diagnose import diagnose
    from percbal.loading import load_vlm

    task = _task(args)
    if args.out is not None and not args.out.parent.is_dir():
        raise ValueError(f"--out: there is no directory {args.out.parent}")
    model, processor = load_vlm(args.model, dtype=args.dtype)
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model.to(device)  # type: ignore[arg-type]
    result = diagnose(
        model,
        processor,
        task,
        n=args.n,
        split=args.split,
        seed=args.seed,
        batch_size=args.batch_size,
    )
    print(result.summary())
    if args.out is not None:
        args.out.write_text(json.dumps(result.to_dict()))


def _add_coupling(commands: Any) -> None:
    from percbal import coupling

    parser = commands.add_parser(
        "coupling",
        help="measure what saved rewards tell a policy about its perception",
        description="Correlations of a reward with perception and reasoning over saved rollouts, "
        "as GRPO sees them: within groups. docs/coupling.md says how to read them.",
    )
    coupling.add_arguments(parser)
    parser.set_defaults(run=lambda args: sys.exit(coupling.run(args)))


def _add_tasks(commands: Any) -> None:
    parser = commands.add_parser(
        "tasks",
        help="list the diagnostic tasks, look at one, or export it for any training engine",
        description="Without --preview or --export: the tasks and what their options do.",
    )
    _add_task_options(parser)
    parser.add_argument("--preview", type=Path, metavar="FILE.png", help="write a contact sheet")
    parser.add_argument("--export", type=Path, metavar="DIRECTORY", help="write images and JSONL")
    parser.add_argument("--n", type=int, default=8, help="instances (default: %(default)s)")
    parser.add_argument("--split", default="train", choices=("train", "test"))
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(run=_tasks)


def _tasks(args: argparse.Namespace) -> None:
    from percbal.tasks.preview import export_jsonl, save_preview

    if args.preview is None and args.export is None:
        for name, make in TASKS.items():
            print(f"{name}\n{make.__doc__}\nby default: {get_task(name).describe()}")
        return
    task = _task(args)
    if args.preview is not None:
        print(save_preview(task, args.n, args.preview))
    if args.export is not None:
        print(export_jsonl(task, args.split, args.n, args.export, seed=args.seed))


def _add_task_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", default="sudoku", help="default: %(default)s")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the task, the value as JSON, e.g. --option size=9; repeatable",
    )


def _task(args: argparse.Namespace) -> Task:
    return get_task(args.task, **dict(_option(text) for text in args.option))


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--option takes NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
