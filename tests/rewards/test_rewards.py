"""What the reward functions pay, and that stock TRL finds and calls them."""

from __future__ import annotations

import json
import math
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import datasets
import numpy as np
import pytest
import torch
import trl
from PIL import Image
from trl.scripts import grpo
from vlm_fixtures import WORDS, dataset, example_at, tiny_llava

from percbal import load_vlm, rewards
from percbal.tasks import get_task
from percbal.tasks.preview import export_jsonl
from percbal_ops import group_agreement as mean_similarity

DOCS = (Path(__file__).parents[2] / "docs" / "rewards.md").read_text()


def code(language: str, first: str) -> str:
    """The block of the documentation that begins with a line."""
    blocks = re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)
    return next(block for block in blocks if block.startswith(first))


def said(perception=None, answer=None, reasoning="so") -> str:
    spans = {"perception": perception, "reasoning": reasoning, "answer": answer}
    return " ".join(f"<{n}> {text} </{n}>" for n, text in spans.items() if text is not None)


def turns(text: str) -> list[dict]:
    return [{"role": "assistant", "content": text}]


# labelled


@pytest.mark.parametrize("form", [str, turns], ids=["text", "conversation"])
def test_labelled_rewards(form):
    completions = [form(said("0-1 1-2", "3")), form(said("2-1", "4")), form("3")]
    columns = {
        "perception": ["[[1, 0], [2, 1]]"] * 3,
        "answer": ["3"] * 3,
        "grammar": ["edges"] * 3,
        "answer_grammar": ["numbers"] * 3,
        "trainer_state": None,
    }
    assert rewards.outcome(completions, **columns) == [1, 0, 0]
    assert rewards.perception(completions, **columns) == [1, 0, 0]
    assert rewards.perception_f1(completions, **columns) == pytest.approx([1, 2 / 3, 0])
    assert rewards.format(completions, **columns) == [1, 1, 0]


def test_a_row_without_a_label_is_not_scored():
    completions = [said("a", "b"), said("a", "b")]
    assert rewards.outcome(completions, answer=[None, "b"]) == [None, 1]
    assert rewards.perception(completions, perception=["a", None]) == [1, None]
    assert rewards.perception_f1(completions, perception=[None, "a c"])[0] is None
    blind = {"blind_answers": [[said(answer="b")]] * 2}
    assert rewards.blind_reanswer(completions, answer=[None, "b"], **blind) == [None, 1]


def test_rows_may_have_different_grammars():
    completions = [said("0-1", ""), said("[[1, 2]]", ""), said("x y", "")]
    truth = ["1-0", "r1c1=1 r1c2=2", "y x"]
    scores = rewards.perception(completions, perception=truth, grammar=["edges", "grid", None])
    assert scores == [1, 1, 0]


def test_a_label_outside_its_grammar_is_the_data_sets_mistake():
    with pytest.raises(ValueError, match="not in the grammar edges"):
        rewards.perception([said("0-1")], perception=["???"], grammar=["edges"])


@pytest.mark.parametrize(
    "around", ["Sure: {}", "{} Done.", "{} <answer> 2 </answer>", "<reasoning> {}"]
)
def test_format_is_for_the_three_spans_alone(around):
    good = said("a", "b")
    assert rewards.format([f"\n {good} \n", around.format(good), said("a", "b", None)]) == [1, 0, 0]


# by task


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    path = export_jsonl(get_task("sudoku"), "train", 4, folder)
    return [json.loads(line) for line in path.read_text().splitlines()]


def column(rows, name):
    return [row[name] for row in rows]


def test_an_export_has_the_columns_that_the_rewards_read(exported):
    columns = {name: column(exported, name) for name in ("perception", "answer", "truth", "prompt")}
    right = [row["messages"][1]["content"] for row in exported]
    completions = [[{"role": "assistant", "content": parts}] for parts in right]
    for reward in (rewards.outcome, rewards.perception, rewards.perception_f1, rewards.format):
        assert reward(completions, **columns) == [1] * 4
    for reward in rewards.from_task(get_task("sudoku"))[:4]:
        assert reward(completions, **columns) == [1] * 4


def test_rewards_of_a_task_are_its_judgement(exported):
    task = get_task("sudoku")
    truths = column(exported, "truth")
    own = exported[0]["messages"][1]["content"][0]["text"]  # right for the first alone
    by_task = rewards.from_task(task)
    judged = [task.score(own, truth) for truth in truths]
    fields = ("answer", "perception", "perception_f1", "reasoning")
    for reward, field in zip(by_task, fields, strict=False):
        assert reward([own] * 4, truth=truths) == [float(getattr(v, field)) for v in judged]
        as_json = [json.dumps(truth) for truth in truths]
        assert reward([own] * 4, truth=as_json) == reward([own] * 4, truth=truths)
        assert reward(["", own], truth=[truths[0], None]) == [0, None]
    assert [f.__name__ for f in by_task] == list(by_task._fields)


def test_any_judge_will_do():
    class Verdict:
        answer, perception, perception_f1, reasoning = None, False, 0.25, True

    class Judge:
        def score(self, completion, truth):
            return Verdict()

    by_task = rewards.from_task(Judge())
    values = [f([said("a", "b")], truth=[{}]) for f in by_task[:4]]
    assert values == [[0], [0], [0.25], [1]]


# group agreement


def picture(value: int) -> Image.Image:
    return Image.new("L", (4, 4), value)


def ask(image=None, text="what?") -> list[dict]:
    content = [{"type": "image", "image": image}, {"type": "text", "text": text}]
    return [{"role": "user", "content": content if image is not None else text}]


def agreement(texts, prompts, **columns):
    return rewards.group_agreement([turns(said(t)) for t in texts], prompts=prompts, **columns)


def test_of_one_prompt_it_is_the_mean_edit_similarity_of_words():
    texts = ["a b c d", "a b c", "a x c d", "[a, b; c d]"]
    ids = torch.tensor([0, 1, 2, 3, 0, 1, 2, 0, 4, 2, 3, 0, 1, 2, 3])
    expected = mean_similarity(ids, torch.tensor([0, 4, 7, 11, 15]), torch.zeros(4).long())
    assert agreement(texts, [ask()] * 4) == pytest.approx(expected.tolist())


def test_agreement_elsewhere_is_subtracted():
    prompts = [ask(picture(0))] * 2 + [ask(picture(9))] * 2
    texts = ["a b c d"] * 2 + ["a b x y"] * 2
    logged = {}
    scores = agreement(texts, prompts, log_metric=logged.__setitem__)
    assert scores == [0.5] * 4
    assert logged == {"group_agreement/elsewhere": 0.5, "group_agreement/refused": 0}


@pytest.mark.parametrize("where", ["prompt", "image", "images", "path"])
def test_a_group_is_one_text_and_one_picture_by_content(where):
    """Each rollout decodes its image anew, and a split of the rows keeps no order."""
    order = [0, 1, 0, 1]
    pictures = [f"{i}.png" if where == "path" else picture(i) for i in order]
    prompts = [ask(p if where == "prompt" else None) for p in pictures]
    columns = {"image": pictures} if where in ("image", "path") else {}
    columns |= {"images": [[p] for p in pictures]} if where == "images" else {}
    texts = ["a b", "c d", "a b", "c e"]
    assert agreement(texts, prompts, **columns) == [1, 0.5, 1, 0.5]


def test_two_questions_about_one_picture_are_two_groups_but_not_elsewhere():
    prompts = [ask(picture(0), "what?")] * 2 + [ask(picture(0), "how many?")] * 2
    assert agreement(["a b"] * 4, prompts) == [1] * 4


def test_without_siblings_there_is_no_score():
    assert agreement(["a", "a", "b"], [ask(), ask(), ask(text="other")])[2] is None
    assert rewards.group_agreement([], prompts=[]) == []


def test_images_of_any_kind_have_an_identity():
    for make in (
        lambda v: np.full((2, 2), v),
        lambda v: torch.full((2, 2), v),
        lambda v: {"bytes": bytes([v]), "path": None},
        lambda v: bytes([v]),
    ):
        prompts = [ask(make(v)) for v in (0, 0, 1, 1)]
        assert agreement(["a", "a", "b", "b"], prompts) == [1] * 4


# blind re-answering


def test_the_share_of_blind_answers_that_are_right():
    right, wrong = said(answer="7 8"), said(answer="9")
    completions = [said("a b")] * 5
    blind = [[right, right], [right, wrong], ["7 8", wrong], None, []]
    scores = rewards.blind_reanswer(completions, blind_answers=blind, answer=["7 8"] * 5)
    assert scores == [1, 0.5, 0, 0, None]


def test_blind_messages_put_the_perception_in_the_place_of_the_image():
    prompt = [
        {"role": "system", "content": "be brief"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look: "},
                {"type": "image", "image": picture(0)},
                {"type": "image", "image": picture(1)},
                {"type": "text", "text": "how many?"},
            ],
        },
    ]
    before = repr(prompt)
    system, user = rewards.blind_messages(prompt, " 3 dots ")
    assert system == prompt[0] and repr(prompt) == before
    shown = {"type": "text", "text": "<perception> 3 dots </perception>\n"}
    texts = [{"type": "text", "text": text} for text in ("Look: ", "how many?")]
    assert user == {"role": "user", "content": [texts[0], shown, texts[1]]}


def test_blind_messages_without_an_image_part():
    shown = "<perception>dots</perception>\n"
    assert rewards.blind_messages("how many?", "dots") == shown + "how many?"
    prompt = [{"role": r, "content": c} for r, c in (("system", "s"), ("user", "u"), ("user", "v"))]
    contents = [m["content"] for m in rewards.blind_messages(prompt, "dots")]
    assert contents == ["s", shown + "u", "v"]
    parts = [{"role": "user", "content": [{"type": "text", "text": "u"}]}]
    assert [p["text"] for p in rewards.blind_messages(parts, "dots")[0]["content"]] == [shown, "u"]


class Endpoint(BaseHTTPRequestHandler):
    """Answers with the number of words between the perception tags."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((body, self.headers.get("Authorization")))
        user = body["messages"][-1]["content"]
        perceived = user.split("<perception>")[1].split("</perception>")[0].split()
        reply = json.dumps(
            {"choices": [{"message": {"content": f"<answer>{len(perceived)}</answer>"}}]}
        ).encode()
        if "broken" in perceived:
            self.send_error(503)
            return
        if "nonsense" in perceived:
            reply = b'{"choices": []}'
        if "silence" in perceived:
            self.server.closing.wait()
        if "hangup" in perceived:
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    server.asked = []
    server.url = f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
    server.closing = Event()
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()


def test_an_endpoint_answers_from_the_perception_alone(endpoint):
    reward = rewards.EndpointReanswer(endpoint.url, "judge", samples=2, api_key="key")
    completions = [turns(said(p, "3")) for p in ("a b c", "a b", "a b c", "")]
    logged = {}
    scores = reward(
        completions=completions,
        prompts=[ask(picture(0), "how many?")] * 4,
        answer=["3"] * 4,
        log_metric=logged.__setitem__,
        trainer_state=None,
    )
    assert scores == [1, 0, 1, 0]
    assert reward.__name__ == "blind_reanswer" and logged == {"blind_reanswer/failed": 0}
    assert len(endpoint.asked) == 4  # two samples of two distinct perceptions
    body, key = endpoint.asked[0]
    assert body["model"] == "judge" and key == "Bearer key"
    assert body["messages"][0]["role"] == "system"
    asked = {tuple(m["content"] for m in body["messages"][1:]) for body, _ in endpoint.asked}
    wanted = {f"<perception> {p} </perception>\nhow many?" for p in ("a b c", "a b")}
    assert asked == {(text,) for text in wanted}


@pytest.mark.parametrize("trouble", ["broken", "nonsense", "hangup"])
def test_a_failed_request_leaves_its_completion_unscored(endpoint, trouble):
    reward = rewards.EndpointReanswer(endpoint.url, "judge")
    logged = {}
    scores = reward(
        completions=[said(f"{trouble} here", "2"), said("a b", "2")],
        prompts=["how many?"] * 2,
        answer=["2"] * 2,
        log_metric=logged.__setitem__,
    )
    assert scores == [None, 1] and logged == {"blind_reanswer/failed": 0.5}


def test_an_endpoint_that_always_fails_is_one_clear_error(endpoint):
    reward = rewards.EndpointReanswer(endpoint.url, "judge")
    with pytest.raises(RuntimeError, match=r"all 1 requests to http://127.* failed; .*503"):
        reward(completions=[said("broken", "2")], prompts=["?"], answer=["2"])
    hasty = rewards.EndpointReanswer(endpoint.url, "judge", timeout=0.2)
    with pytest.raises(RuntimeError, match="failed; the first: timed out"):
        hasty(completions=[said("silence", "2")], prompts=["?"], answer=["2"])
    nobody = rewards.EndpointReanswer("http://127.0.0.1:9/v1", "judge", timeout=5)
    with pytest.raises(RuntimeError, match="all 1 requests to http://127.0.0.1:9/v1 failed"):
        nobody(completions=[said("a", "2")], prompts=["?"], answer=["2"])
    assert nobody(completions=["nothing"], prompts=["?"], answer=["2"]) == [0]


def test_an_endpoint_can_be_judged_by_a_task(endpoint, exported):
    by_task = rewards.from_task(get_task("sudoku"))
    reward = rewards.EndpointReanswer(endpoint.url, "judge", reward=by_task.blind_reanswer)
    own = exported[0]["messages"][1]["content"][0]["text"]
    assert reward(completions=[own], prompts=["?"], truth=[exported[0]["truth"]]) == [0]


def test_endpoint_options_are_checked():
    with pytest.raises(ValueError, match="url must begin with http.* got 'localhost'"):
        rewards.EndpointReanswer("localhost", "judge")
    with pytest.raises(ValueError, match="samples must be positive, got 0"):
        rewards.EndpointReanswer("http://localhost", "judge", samples=0)


# dependence on the image


def test_masked_kl_is_the_k3_estimator():
    g = torch.Generator().manual_seed(0)
    logp, masked = -torch.rand(2, 4, 9, generator=g, dtype=torch.float64) * 3
    mask = torch.rand(4, 9, generator=g) < 0.6
    d = masked - logp
    expected = ((d.exp() - d - 1) * mask).sum(1) / mask.sum(1)
    actual = rewards.masked_kl(logp.float(), masked.float(), mask)
    assert actual.dtype == torch.float32 and actual.shape == (4,)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-7)
    assert (rewards.masked_kl(logp, logp, mask) == 0).all()


def test_masked_kl_estimates_the_divergence():
    g = torch.Generator().manual_seed(0)
    p, q = torch.rand(2, 6, generator=g).softmax(1)
    tokens = torch.multinomial(p, 200_000, replacement=True, generator=g)[None]
    estimate = rewards.masked_kl(p.log()[tokens], q.log()[tokens], torch.ones_like(tokens))
    assert estimate.item() == pytest.approx((p * (p / q).log()).sum().item(), rel=0.02)


def test_masked_kl_is_cut_and_ignores_what_is_masked_out():
    nan, inf = math.nan, math.inf
    logp = torch.tensor([[-30.0, -1.0], [-1.0, nan], [0.0, -inf], [-1.0, -1.0]])
    masked = torch.tensor([[-1.0, -1.0], [-1.0, nan], [-50.0, -inf], [-3.0, -3.0]])
    mask = torch.tensor([[1, 1], [1, 0], [1, 0], [0, 0]])
    assert rewards.masked_kl(logp, masked, mask).tolist() == [5.0, 0.0, 10.0, 0.0]
    with pytest.raises(ValueError, match=r"one shape \(B, T\), got \(4, 2\), \(4, 2\) and \(4,\)"):
        rewards.masked_kl(logp, masked, mask[:, 0])


def test_masked_image_kl_passes_the_column_on():
    values = [0.5, None, math.nan, math.inf, 0.5]
    completions = [said("a", "b")] * 4 + ["a"]
    assert rewards.masked_image_kl(completions, values) == [0.5, None, None, None, 0]


# stock TRL


class Caught(Exception):
    pass


def resolved(config: str, folder: Path, monkeypatch) -> list:
    """The reward functions that `trl grpo --config` hands to its trainer."""

    def catch(*_, reward_funcs, **__):
        raise Caught(reward_funcs)

    monkeypatch.setattr(trl, "GRPOTrainer", catch)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: {"train": None})
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))  # trl puts the current directory there
    path = folder / "grpo.yaml"
    path.write_text(
        f"{config}\ndataset_name: x\nmodel_name_or_path: x\noutput_dir: {folder}\n"
        "use_cpu: true\nbf16: false\n"
    )
    arguments = grpo.make_parser().parse_args_and_config(["--config", str(path)])
    with pytest.raises(Caught) as caught:
        grpo.main(*arguments[:4])
    return caught.value.args[0]


def test_stock_trl_finds_the_rewards_of_the_documentation(tmp_path, monkeypatch):
    found = resolved(code("yaml", "# grpo.yaml"), tmp_path, monkeypatch)
    assert found == [rewards.outcome, rewards.perception_f1, rewards.format]


def test_stock_trl_finds_rewards_joined_to_a_task(tmp_path, monkeypatch):
    (tmp_path / "my_rewards.py").write_text(code("python", "# my_rewards.py"))
    (tmp_path / "my_judge.py").write_text(code("python", "# my_judge.py"))
    config = "reward_funcs: [my_rewards.outcome, my_rewards.perception, my_judge.blind]"
    found = resolved(config, tmp_path, monkeypatch)
    assert [f.__name__ for f in found] == ["outcome", "perception", "blind_reanswer"]


@pytest.mark.parametrize("name", sorted(set(rewards.__all__) - {"TaskRewards", "EndpointReanswer"}))
def test_names_are_those_that_trl_logs(name):
    assert getattr(rewards, name).__name__ == name


def test_stock_trl_trains_on_them(tmp_path):
    """Two images with four rollouts each: the columns and the prompts arrive as promised."""
    model, processor = load_vlm(tiny_llava(tmp_path / "model"))
    examples = [
        {k: v for k, v in example_at(i).items() if k != "completion"}
        | {"perception": " ".join(WORDS[:3]), "answer": WORDS[0]}
        for i in range(2)
    ]
    seen = {}

    def spy(completions, **columns):
        corners = [image.getpixel((0, 0)) for image in columns["image"]]
        blind = [turns(said("the same", WORDS[0])) for _ in corners]
        seeing = [turns(said(f"corner {corner[0]}", WORDS[0])) for corner in corners]
        seen["answers"] = rewards.outcome(completions=blind, **columns)
        seen["blind"] = rewards.group_agreement(completions=blind, **columns)
        seen["seeing"] = rewards.group_agreement(completions=seeing, **columns)
        return [0.0] * len(completions)

    args = trl.GRPOConfig(
        str(tmp_path / "out"),
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=4,
        max_steps=1,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        logging_steps=1,
        disable_tqdm=True,
    )
    trainer = trl.GRPOTrainer(
        model=model,
        args=args,
        reward_funcs=[rewards.outcome, rewards.format, rewards.group_agreement, spy],
        train_dataset=dataset(examples),
        processing_class=processor,
    )
    trainer.train()
    log = trainer.state.log_history[0]
    assert log["rewards/outcome/mean"] == 0 and log["rewards/format/mean"] == 0
    assert "group_agreement/elsewhere" in log
    # one of the two words is the same for both images
    assert seen == {"answers": [1] * 8, "blind": [0] * 8, "seeing": [0.5] * 8}
