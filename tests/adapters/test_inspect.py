"""Facts about the tasks in Inspect AI, asked of its mock model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("inspect_ai")  # no test environment needs it, and it brings many packages

from chat_server import chat_server, pictures  # noqa: E402
from inspect_ai import eval as evaluate  # noqa: E402
from inspect_ai.model import (  # noqa: E402
    ContentImage,
    ContentText,
    ModelOutput,
    ModelUsage,
    get_model,
)

from percbal.adapters import inspect as adapter  # noqa: E402
from percbal.evaluate.chat_requests import data_url  # noqa: E402
from percbal.tasks import TASKS, get_task  # noqa: E402

TASK = get_task("sudoku", size=4)
INSTANCES = [TASK.generate(i, "test", 0) for i in range(3)]


def said(reply, tmp_path, **options):
    """The log of an evaluation whose model says ``reply(instance, words of the prompt)``."""

    def output(messages, tools, choice, config):
        assert config.temperature == 0
        (image,) = [p for p in messages[-1].content if isinstance(p, ContentImage)]
        words = [p.text for p in messages[-1].content if isinstance(p, ContentText)]
        instance = next(i for i in INSTANCES if data_url(i.image) == image.image)
        found = ModelOutput.from_content("mockllm/model", reply(instance, words))
        found.usage = ModelUsage()  # else tokens are counted by a vocabulary from the network
        return found

    model = get_model("mockllm/model", custom_outputs=output, memoize=False)
    made = adapter.MADE["sudoku"](n=3, size=4, **options)
    (log,) = evaluate(made, model=model, log_dir=str(tmp_path), display="none")
    assert log.status == "success", log.error
    return log


def accuracies(log):
    return {score.name: score.metrics["accuracy"].value for score in log.results.scores}


def test_three_scorers_are_a_ap_and_ar(tmp_path):
    def right(instance, words):
        return instance.response

    assert accuracies(said(right, tmp_path)) == {"a": 1, "a_p": 1, "a_r": 1}


def test_inspects_own_command_finds_the_task(tmp_path):
    """By percbal's entry point; asked is a server on this machine."""
    known = {instance.image.tobytes(): instance.response for instance in INSTANCES}
    command = [Path(sys.executable).with_name("inspect"), "eval", "percbal/sudoku"]
    command += ["--model", "openai-api/local/m", "-T", "size=4", "-T", "n=3", "--log-dir", tmp_path]
    with chat_server(lambda _, body: known[pictures(body)[0].tobytes()]) as server:
        where = {"LOCAL_API_KEY": "none", "LOCAL_BASE_URL": server.url}
        done = subprocess.run(
            [*map(str, command), "--display", "plain"],
            env={**os.environ, **where},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"accuracy\s+1.000\s+accuracy\s+1.000\s+accuracy\s+1.000", done.stdout)
    assert len(server.bodies) == 6


def test_a_model_that_reasons_and_does_not_see_is_told_from_one_that_sees(tmp_path):
    def blind(instance, words):
        if instance.perception in words[-1]:
            return instance.response
        return "<perception> no </perception> <reasoning> so </reasoning> <answer> 1 </answer>"

    log = said(blind, tmp_path)
    assert accuracies(log) == {"a": 0, "a_p": 0, "a_r": 1}
    assert log.samples[0].scores["a_p"].answer.strip() == "no"  # for its viewer

    def dull(instance, words):
        return instance.response.partition("<answer>")[0] + "<answer> 1 </answer>"

    assert accuracies(said(dull, tmp_path)) == {"a": 0, "a_p": 1, "a_r": 0}


@pytest.mark.parametrize("name", ["tags", "json"])
def test_the_prompt_states_the_format_unless_told_otherwise(name, tmp_path):
    first = []

    def listening(instance, words):
        first.append(words[0])
        return "x"

    said(listening, tmp_path, response_format=name)
    said(listening, tmp_path, response_format=name, state_format=False)
    assert first[0] != first[-1] == INSTANCES[0].query


def test_every_task_is_registered_under_its_name():
    assert set(adapter.MADE) == set(TASKS)
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    (module,) = project["entry-points"]["inspect_ai"].values()
    assert import_module(module) is adapter
