"""What the names in a training log mean: shown as a run begins, and the tables of the docs.

``<..>`` stands for what differs between runs. docs/train.md and docs/reinforce.md have the same
rows, which a test holds to these.
"""

from __future__ import annotations

import textwrap

Row = tuple[tuple[str, ...], str]

SFT: tuple[Row, ...] = (
    (("loss_p", "loss_r"), "mean loss of each segment"),
    (("token_accuracy_p", "token_accuracy_r"), "share of tokens whose most likely value is right"),
    (("lambda",), "weight of perception"),
    (("loss_share_p",), "`lambda * L_p` as a share of the loss"),
    (("n_p", "n_r", "token_share_p"), "trained tokens per optimizer step, and perception's share"),
    (
        ("grad_norm_logits_p", "grad_norm_logits_r"),
        "norm of the gradient of `L_p`, `L_r` at the logits, root mean square over steps",
    ),
    (
        ("grad_norm_head_p", "grad_norm_head_r"),
        "the same at the output head, in place of those at the logits (`head`; `calibrated` with "
        "`chunked_logits`); those of micro-batches and ranks added up, a mean over steps",
    ),
    (
        ("grad_norm_p", "grad_norm_r"),
        "norm over all parameters, a mean over the steps that took it (`ngdiff`, "
        "`ngdiff_unbiased`, `calibrated`)",
    ),
    (("loss", "mean_token_accuracy", "num_tokens"), "as in TRL"),
    (
        ("loss_<name>", "weight_<name>", "token_share_<name>"),
        "with the option `segments`: the same of each, `n_<name>` and so on",
    ),
)
GRPO: tuple[Row, ...] = (
    (
        ("coupling/r_outcome_perception",),
        "within-group correlation of the outcome with true perception",
    ),
    (("coupling/r_outcome_reasoning",), "the same with true reasoning, if it is measured"),
    (
        ("coupling/r_<surrogate>_perception",),
        "the same of each label-free reward with true perception",
    ),
    (
        ("coupling/conflict_rate",),
        "share of rollouts whose outcome advantage has the wrong sign for their perception",
    ),
    (
        ("coupling/silent_groups",),
        "share of groups without a signal, whose outcomes are all equal: `frac_reward_zero_std` "
        "of the outcome alone",
    ),
    (
        ("coupling/wrong_success",),
        "share of the right answers that follow a wrong perception: above 0.1 nothing is foretold",
    ),
    (
        ("coupling/mostly_wrong",),
        "share of groups in which most rollouts perceive wrongly: there agreement can pay an error",
    ),
    (
        ("coupling/margin",),
        "`w - r^2`: above 0 a small perception reward on all tokens is expected to help; like the "
        "speed with the run's own averages of the losses",
    ),
    (
        ("coupling/expected_speed",),
        "of the run's `credit` and `alpha`, with the outcome alone as 1, where true perception and "
        "the outcome are rewarded with equal `reward_weights`, and nothing else; not under "
        "`scale_rewards: none`, and with silent groups under `group` alone",
    ),
    (
        ("segments/perception_share",),
        "share of tokens, where segments are treated apart",
    ),
    (("segments/<name>_share",), "with the option `segments`: the same of each"),
    (("segments/parse_fail",), "share of rollouts without a well-formed perception span"),
    (
        ("segments/compared",),
        "`same_perception`: share of rollouts whose reasoning is compared, with another rollout of "
        "identical perception in the group",
    ),
    (("unreadable/<part>_<reason>",), "share of rollouts with a part that does not count, and why"),
    (("alpha",), "of the batch"),
    (
        ("rewards/<name>/unscored", "rewards/failed_calls"),
        "rollouts without a score; calls that failed",
    ),
)
DIAGNOSIS: tuple[Row, ...] = (
    (
        ("diagnosis/a", "diagnosis/a_p", "diagnosis/a_r"),
        "accuracy end to end, of perception, and of reasoning given the true perception",
    ),
    (
        ("diagnosis/a_p_exact",),
        "the probability of the true perception, a mean over instances; it moves before a_p does",
    ),
    (
        ("diagnosis/errors/<error>",),
        "shares of the diagnosis' responses by their error: right, perception, reasoning, both, "
        "format, unclear; they sum to 1",
    ),
    (("diagnosis/unreadable",), "share of the diagnosis' responses that are not as they should be"),
    (("diagnosis/cut",), "share of them that ended at the limit of tokens"),
)
OF_COMMAND = {"sft": SFT, "grpo": GRPO}
WIDTH = 100


def legend(command: str, *, diagnosis: bool) -> str:
    """The rows of a command, for a terminal."""
    rows = OF_COMMAND[command] + (DIAGNOSIS if diagnosis else ())
    lines = [f"Logged beside TRL's names (docs/{'train' if command == 'sft' else 'reinforce'}.md):"]
    for names, meaning in rows:
        text = f"{', '.join(names)}: {meaning.replace('`', '')}"
        lines.append(textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="      "))
    return "\n".join(lines)


def table(rows: tuple[Row, ...]) -> list[list[str]]:
    """The first two columns of the table in the docs."""
    return [[", ".join(f"`{name}`" for name in names), meaning] for names, meaning in rows]
