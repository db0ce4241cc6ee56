"""Who answers a diagnosis: a model on this machine, an endpoint, or a file of completions."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from percbal.cli.diagnose_ways import check_ways
from percbal.cli.sampling_options import sampling_of

if TYPE_CHECKING:
    from percbal.evaluate.endpoint_answers import EndpointAnswers
    from percbal.evaluate.questions import Question
    from percbal.evaluate.saved_answers import SavedAnswers
    from percbal.responses.asking import Asking

ATTENTION = ("auto", "sdpa", "eager", "flash_attention_2")


def add_answer_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", nargs="?", help="directory or hub name of a vision-language model, run here"
    )
    parser.add_argument("--dtype", default="float32", help="of the weights, or auto: as saved")
    parser.add_argument("--device", help="default: cuda if there is one, else cpu")
    parser.add_argument(
        "--attention",
        default="auto",
        choices=ATTENTION,
        help="auto: flash_attention_2 where it is installed, on CUDA in 16 bits; else the model's",
    )
    group = parser.add_argument_group("instead of a model here")
    group.add_argument(
        "--endpoint", metavar="URL", help="OpenAI-compatible, such as http://localhost:8000/v1"
    )
    group.add_argument("--model", dest="served", metavar="NAME", help="the model's name there")
    group.add_argument(
        "--completions", type=Path, metavar="FILE", help="JSON lines of any engine's completions"
    )
    group.add_argument(
        "--write-prompts", type=Path, metavar="FILE", help="write the requests, and ask nobody"
    )
    group.add_argument(
        "--write-pictures", type=Path, metavar="FOLDER", help="their images, in place of data URLs"
    )
    _add_endpoint_options(parser.add_argument_group("requests to an endpoint"))


def _add_endpoint_options(group: Any) -> None:
    group.add_argument(
        "--told",
        default="prefix",
        choices=("prefix", "text"),
        help="how a response gets the true perception: the endpoint continues it (vLLM, SGLang), "
        "or the prompt has it as text (default: %(default)s)",
    )
    group.add_argument(
        "--api-key-env",
        default="OPENAI_API_KEY",
        metavar="NAME",
        help="variable of the environment that has the key (default: %(default)s)",
    )
    group.add_argument("--concurrency", type=int, default=8, help="default: %(default)s")
    group.add_argument(
        "--timeout", type=float, default=600.0, help="seconds for a whole reply (default: 600)"
    )
    group.add_argument("--retries", type=int, default=4, help="default: %(default)s")
    group.add_argument(
        "--body", metavar="JSON", help="more fields of every request; null leaves one out"
    )
    group.add_argument("--price-in", type=float, help="of a million tokens of prompts")
    group.add_argument("--price-out", type=float, help="of a million tokens of responses")


def who(args: argparse.Namespace) -> dict[str, Any]:
    """What a result says of who answered."""
    if args.completions is not None:
        return {"model": str(args.completions)}
    if args.endpoint is not None:
        return {"model": f"{args.served} at {args.endpoint}"}
    return {"model": args.model}


def check_who(args: argparse.Namespace) -> None:
    """ValueError unless one is asked, completely, by options that have an effect there."""
    check_ways(args)
    if args.endpoint is not None and args.served is None:
        raise ValueError("--endpoint needs --model, the model's name there")


def write_prompts(args: argparse.Namespace, questions: Sequence[Question]) -> str:
    """Writes the requests; a sentence of what was written."""
    from percbal.evaluate.saved_answers import write_requests

    n = write_requests(
        args.write_prompts,
        questions,
        model=args.served or "model",
        told=args.told,
        most=args.max_new_tokens,
        body=_drawn(args) | body_of(args),
        pictures=args.write_pictures,
    )
    return f"wrote {n} requests of {len(questions)} instances to {args.write_prompts}"


def other_answers(
    args: argparse.Namespace, asking: Asking
) -> Callable[[Sequence[Question]], EndpointAnswers | SavedAnswers] | None:
    """Questions -> who answers them, if no model here does."""
    if args.completions is not None:
        from percbal.evaluate.saved_answers import read_answers

        return lambda questions: read_answers(args.completions, questions, asking)
    if args.endpoint is None:
        return None
    answers = _endpoint(args, asking)
    return lambda questions: answers


def _endpoint(args: argparse.Namespace, asking: Asking) -> EndpointAnswers:
    from percbal.evaluate.endpoint_answers import EndpointAnswers
    from percbal.evaluate.endpoint_client import Endpoint
    from percbal.evaluate.questions import TOLD, WAYS

    if (args.price_in is None) != (args.price_out is None):
        raise ValueError("--price-in and --price-out go together")
    key = os.environ.get(args.api_key_env) or None
    return EndpointAnswers(
        Endpoint(args.endpoint, args.served, args.timeout, args.api_key_env, key),
        asking,
        told=args.told,
        concurrency=args.concurrency,
        retries=args.retries,
        most=args.max_new_tokens,
        body=_drawn(args) | body_of(args),
        asks_told=TOLD in (args.ways or WAYS),
        prices=None if args.price_in is None else (args.price_in, args.price_out),
    )


def _drawn(args: argparse.Namespace) -> dict[str, Any]:
    """The fields that draw several completions; greedy requests say so by themselves."""
    drawn = sampling_of(args)
    return {} if drawn.greedy else {"temperature": drawn.degree, "top_p": drawn.top_p}


def body_of(args: argparse.Namespace) -> dict[str, Any]:
    try:
        body = json.loads(args.body or "{}")
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"--body is not JSON ({problem})") from None
    if not isinstance(body, dict):
        raise ValueError(f"--body must be a JSON object, got {args.body!r:.40}")
    fixed = [name for name in ("temperature", "top_p") if name in body]
    if fixed and not sampling_of(args).greedy:
        raise ValueError(
            f"--body sets {' and '.join(fixed)}: where completions are drawn, --temperature and "
            "--top-p do"
        )
    if "seed" in body and args.samples > 1:
        raise ValueError(
            f"--body sets seed {body['seed']}, with which all {args.samples} samples would be alike"
        )
    return body
