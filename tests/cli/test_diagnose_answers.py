"""Facts about who answers ``percbal diagnose``: an endpoint, a file, a model; what each prints."""

from __future__ import annotations

import json

import openai  # noqa: F401  the tests are skipped without it
import pytest
from chat_server import chat_server, failure, solver

from percbal.cli.main import main
from percbal.tasks import get_task

RIGHT = solver(get_task("sudoku", size=4).generate(i, "test", 0) for i in range(4))
ENDPOINT = ["--endpoint", "http://h/v1", "--model", "m"]
TASK = ["--task", "sudoku", "--n", "4", "--option", "size=4"]


def diagnose(*arguments):
    main(["diagnose", *map(str, arguments)])


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        diagnose(*arguments)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert end.value.code == 2 and said.startswith("percbal diagnose: ")
    return said


@pytest.mark.parametrize("told", ["prefix", "text"])
def test_an_endpoint_is_diagnosed(told, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-secret")
    with chat_server(RIGHT) as server:
        arguments = ["--endpoint", server.url, "--model", "m", "--api-key-env", "MY_KEY", *TASK]
        arguments += ["--told", told, "--price-in", 1, "--price-out", 1, "--out"]
        diagnose(*arguments, tmp_path / "out.json", "--report", tmp_path / "page.html")
    said = capsys.readouterr()
    assert "a 1.000 " in said.out and "a_p 1.000 " in said.out and "a_r 1.000 " in said.out
    assert "a_r_text" in said.out  # asked without the picture
    assert "13 requests, 1300 tokens in, 130 out, cost 0.0014" in said.out
    assert ("stood in the prompt as text" in said.out) == (told == "text")
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer sk-secret"}
    written = (tmp_path / "out.json").read_text()
    notes = json.loads(written)["notes"]
    assert notes and said.out.splitlines()[1 : 1 + len(notes)] == notes
    page = (tmp_path / "page.html").read_text()
    assert "r1c1=" in page  # what the picture shows
    assert "sk-secret" not in written + page + said.out + said.err


def test_an_endpoint_is_asked_about_a_data_set(tmp_path, capsys):
    from percbal.tasks.preview import export_jsonl

    task = get_task("sudoku", size=4)
    export_jsonl(task, "test", 4, tmp_path)
    with chat_server(RIGHT) as server:
        data = tmp_path / "test.jsonl"
        diagnose("--endpoint", server.url, "--model", "m", "--dataset", data, "--concurrency", 2)
    assert "a 1.000 " in capsys.readouterr().out


def test_an_endpoint_that_fails_is_one_sentence(capsys):
    with chat_server(lambda *_: failure(404, "The model `m` does not exist.")) as server:
        said = refused(capsys, "--endpoint", server.url, "--model", "m", *TASK)
    assert "HTTP 404: " in said and "is there a model m" in said
    assert "nothing listens there" in refused(
        capsys, "--endpoint", server.url, "--model", "m", *TASK
    )


def test_requests_are_written_and_completions_judged(tmp_path, capsys):
    requests, out = tmp_path / "requests.jsonl", tmp_path / "out.jsonl"
    diagnose("--write-prompts", requests, "--model", "m", *TASK)
    assert capsys.readouterr().out == f"wrote 8 requests of 4 instances to {requests}\n"
    rows = [json.loads(line) for line in requests.open()]
    said = [{"id": row["custom_id"], "completion": RIGHT(None, row["body"])} for row in rows]
    out.write_text("\n".join(map(json.dumps, said)))
    diagnose("--completions", out, *TASK)
    assert "a_r 1.000 " in capsys.readouterr().out
    out.write_text("\n".join(json.dumps(row) for row in said if "-told" not in row["id"]))
    diagnose("--completions", out, *TASK)
    shown = capsys.readouterr().out
    assert "a 1.000 " in shown and "a_r 1" not in shown and "a_r is not measured" in shown
    assert "of no such instance" in refused(capsys, "--completions", out, *TASK, "--seed", 1)


def test_pictures_can_lie_beside_the_requests(tmp_path, capsys):
    requests, folder = tmp_path / "requests.jsonl", tmp_path / "pictures"
    diagnose("--write-prompts", requests, "--write-pictures", folder, *TASK)
    assert len([*folder.iterdir()]) == 4 and "data:image" not in requests.read_text()


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (
            [],
            "--endpoint, --completions, --write-prompts or --compare; got none",
        ),
        (["here", "--endpoint", "http://host/v1"], "got a model here and --endpoint"),
        (["--endpoint", "http://host/v1"], "--endpoint needs --model"),
        (["here", "--model", "m"], "--model m has no effect with a model here"),
        (["here", "--report", "page.html"], "there is no --out"),
        (["here", "--write-pictures", "f"], "--write-pictures f has no effect with a model"),
        (["--completions", "none.jsonl"], "there is no file none.jsonl"),
        (["--endpoint", "host", "--model", "m"], "url must begin with http"),
        (["--endpoint", "http://h/v1", "--model", "m", "--body", "[1]"], "--body must be a JSON"),
        (["--endpoint", "http://h/v1", "--model", "m", "--body", "{"], "--body is not JSON"),
        pytest.param([*ENDPOINT, "--body", "[" * 100_000], "--body is not JSON", id="deep"),
        (["--endpoint", "http://h/v1", "--model", "m", "--price-in", "1"], "go together"),
        (
            [*ENDPOINT, "--samples", "4", "--body", '{"temperature": 0}'],
            "--body sets temperature: where completions are drawn, --temperature and --top-p do",
        ),
        (
            [*ENDPOINT, "--samples", "4", "--body", '{"seed": 1}'],
            "--body sets seed 1, with which all 4 samples would be alike",
        ),
        (["--completions", "none.jsonl", "--n", "0"], "--n must be at least 1, got 0"),
    ],
)
def test_who_answers_must_be_clear(arguments, sentence, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert sentence in refused(capsys, *arguments)
