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

from percbal.cli.kept_help import kept_help
from percbal.cli.needs import missing_package

COMMANDS = {  # as they are listed; the module percbal.cli.COMMAND is imported for its own alone
    "study": "train a tiny VLM with and without balancing, measure both, write a report",
    "sft": "fine-tune a VLM with perception and reasoning weighed apart",
    "grpo": "reinforce a VLM with perception and reasoning credited apart",
    "diagnose": "measure a, a_p and a_r of a model on a task or a data set",
    "report": "a page about what percbal diagnose measured",
    "coupling": "measure what saved rewards tell a policy about its perception",
    "tasks": "list the diagnostic tasks, show one, or make data sets of it",
    "data": "check a data set, or write it in another form",
}
TRAINERS = ("sft", "grpo")  # their options are parsed with TRL's
# what torch says of a full disk, which it does not name
UNWRITTEN = ("unexpected pos", "PytorchStreamWriter", "No space left on device")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; a mistake of the user ends in one sentence and exit status 2.

    Anything else keeps its traceback and its type, and ends in exit status 1.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    signal.signal(signal.SIGTERM, _interrupt)
    argv = list(sys.argv[1:] if arguments is None else arguments)
    command = _named(argv)
    try:
        _run(argv)
    except (ValueError, OSError) as error:
        print(f"percbal {command}: {error}", file=sys.stderr)
        sys.exit(2)
    except (RuntimeError, ImportError) as error:
        sentence = None if _is_our_own(error) else missing_package(error)
        if sentence is not None:
            print(f"percbal {command}: {sentence}", file=sys.stderr)
            sys.exit(2)
        if isinstance(error, ImportError):
            raise
        sys.exit(_report(str(command), error))
    except KeyboardInterrupt:
        sys.exit(130)


def _run(argv: Sequence[str]) -> None:
    parser = _parser(argv)
    known, rest = parser.parse_known_args(argv)
    trains = known.command in TRAINERS
    if rest and not trains:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    _check_order(argv, known)
    _train(known.command, rest) if trains else known.run(known)


def _named(argv: Sequence[str]) -> str | None:
    """The command, as far as argv has one."""
    return next((argument for argument in argv if not argument.startswith("-")), None)


def _check_order(argv: Sequence[str], known: argparse.Namespace) -> None:
    """ValueError for options before the name of a command's part: its own have replaced them."""
    part = getattr(known, "part", None)
    first = argv[argv.index(known.command) + 1] if part else None
    if first != part:
        raise ValueError(f"options of {part} stand after its name, got {first} before it")


def _is_our_own(error: Exception) -> bool:
    """Whether it is a sentence of percbal's, such as of a reward that failed."""
    raised_in = list(traceback.walk_tb(error.__traceback__))[-1][0].f_globals.get("__name__", "")
    return isinstance(error, RuntimeError) and raised_in.startswith("percbal.")


def _report(command: str, error: RuntimeError) -> int:
    """Exit status: 2 for a sentence of our own, else 1."""
    if _is_our_own(error):
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


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """With the options of the command that argv names, and only the names of the others."""
    parser = argparse.ArgumentParser(
        prog="percbal",
        description="Find and fix the perception-reasoning imbalance of vision-language models.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    named = _named(argv)
    for name, summary in COMMANDS.items():
        trains = name in TRAINERS
        command = commands.add_parser(name, help=summary, add_help=not trains)
        if name == named and not trains:
            import_module(f"percbal.cli.{name}").add(command)
    return parser


def _train(command: str, arguments: list[str]) -> None:
    if (said := kept_help(command, arguments)) is not None:
        print(said)
        sys.exit(0)
    import_module(f"percbal.cli.{command}").run(arguments)
    from accelerate import PartialState

    # as torch asks for at a good end; after an error the other ranks may still wait in it
    PartialState().destroy_process_group()
