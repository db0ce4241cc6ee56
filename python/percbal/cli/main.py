"""The command line: ``percbal study | sft | grpo | diagnose | report | coupling | tasks`` and
``percbal data``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from percbal.cli import coupling, data, diagnose, report, study, tasks

TRAINERS = {  # command -> what it is for, and how
    "sft": (
        "fine-tune a VLM with perception and reasoning weighed apart",
        "Supervised fine-tuning",
    ),
    "grpo": ("reinforce a VLM with perception and reasoning credited apart", "GRPO"),
}
# what torch says of a full disk, which it does not name
UNWRITTEN = ("unexpected pos", "PytorchStreamWriter", "No space left on device")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; a mistake of the user ends in one sentence and exit status 2.

    Anything else keeps its traceback and its type, and ends in exit status 1.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    signal.signal(signal.SIGTERM, _interrupt)
    parser = _parser()
    argv = list(sys.argv[1:] if arguments is None else arguments)
    known, rest = parser.parse_known_args(argv)
    trains = known.command in TRAINERS  # their options are parsed with TRL's
    if rest and not trains:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        _check_order(argv, known)
        known.run(rest) if trains else known.run(known)
    except (ValueError, OSError) as error:
        print(f"percbal {known.command}: {error}", file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:
        sys.exit(_report(known.command, error))
    except KeyboardInterrupt:
        sys.exit(130)


def _check_order(argv: Sequence[str], known: argparse.Namespace) -> None:
    """ValueError for options before the name of a command's part: its own have replaced them."""
    part = getattr(known, "part", None)
    first = argv[argv.index(known.command) + 1] if part else None
    if first != part:
        raise ValueError(f"options of {part} stand after its name, got {first} before it")


def _report(command: str, error: RuntimeError) -> int:
    """Exit status: 2 for a sentence of our own, such as of a reward that failed, else 1."""
    frames = list(traceback.walk_tb(error.__traceback__))
    if frames[-1][0].f_globals.get("__name__", "").startswith("percbal."):
        print(f"percbal {command}: {error}", file=sys.stderr)
        return 2
    traceback.print_exception(error)
    short = any(words in str(error) for words in UNWRITTEN)
    hint = " (a file was not written whole: is the disk full?)" if short else ""
    print(f"percbal {command}: {type(error).__name__}: {error}{hint}", file=sys.stderr)
    return 1


def _interrupt(*_: Any) -> None:
    """A request to terminate stops the work, and its processes, as Ctrl-C does."""
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="percbal",
        description="Find and fix the perception-reasoning imbalance of vision-language models.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    study.add(commands)
    for name, (summary, method) in TRAINERS.items():
        _add_trainer(commands, name, summary, method)
    diagnose.add(commands)
    report.add(commands)
    coupling.add(commands)
    tasks.add(commands)
    data.add(commands)
    return parser


def _add_trainer(commands: Any, name: str, summary: str, method: str) -> None:
    """A command whose options TRL parses, so that its module is imported when it runs."""
    kind = name.upper()
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{method} by Balanced{kind}Trainer. Options are those of TRL's "
        f"{kind} and of Balanced{kind}Config, on the command line or in a YAML file "
        f"(--config). On several GPUs: accelerate launch -m percbal {name} --config x.yaml. "
        f"`percbal {name} --help` explains ours, `--help-all` lists all.",
        add_help=False,
    )
    parser.set_defaults(run=lambda rest: import_module(f"percbal.cli.{name}").run(rest))
