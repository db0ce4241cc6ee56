"""Writes rows in the columns that another program reads, their images as files beside."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from tqdm.auto import tqdm

from percbal.data.digest import digest
from percbal.data.images import with_files
from percbal.data.lines import BadRow
from percbal.data.messages import MARK, Message
from percbal.data.rows import PLACE
from percbal.data.verl import verl_row, write_parquet

Row = Mapping[str, Any]
Form = Callable[[Row, Sequence[str], list[Message]], Row]  # of a row, its files, its completion
OURS = ("prompt", "completion", "images", PLACE)


def convert(
    data: Dataset, to: str, split: str, out_dir: str | Path, *, source: str, skip: bool = False
) -> Path:
    """Write ``<split>.jsonl`` (for verl ``<split>.parquet``) and ``images/``; returns the file.

    data: of `read_dataset`. The lines grow in ``<split>.jsonl.part``, which takes its final name
    when all are there. Call again after an interruption, and it goes on after the last whole line.
    skip: leave out rows that the columns cannot hold and pictures that cannot be opened.
    ValueError for such a row, and if the folder holds another data set, or this one with rows that
    have changed since.
    """
    folder = Path(out_dir)
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot write to folder {folder}: {error.strerror}") from None
    made_of = {"source": source, "to": to, "rows": len(data), "digest": digest(data)}
    _claim(folder / f"{split}.meta.json", made_of)
    lines, part = folder / f"{split}.jsonl", folder / f"{split}.jsonl.part"
    target = folder / f"{split}.parquet" if to == "verl" else lines
    if target.exists():
        if to == "llama-factory" and not _is_described(folder, split):  # it was interrupted there
            _describe(folder)
        return target
    if not lines.exists():
        _write_lines(with_files(data), FORMS[to], split, part, skip)
        _drop_blank_lines(part)
        os.replace(part, lines)
    if to == "verl":
        write_parquet(lines, target)
        lines.unlink()
    if to == "llama-factory":
        _describe(folder)
    return target


def _write_lines(
    data: Dataset, form: Callable[..., Row], split: str, part: Path, skip: bool
) -> None:
    """From the row after the last whole line on; a skipped row leaves a blank line."""
    done = _cut_to_whole_lines(part)
    with open(part, "a", encoding="utf-8") as lines:
        for i in tqdm(range(done, len(data)), initial=done, total=len(data), desc=f"{split} rows"):
            try:
                line = _line(data[i], form, f"{split}-{i:06d}", part.parent)
            except ValueError as problem:
                if not skip:
                    raise
                line = ""
                tqdm.write(f"skipped: {problem}")
            lines.write(line + "\n")


def _line(row: dict[str, Any], form: Form, name: str, folder: Path) -> str:
    others = {key: value for key, value in row.items() if key not in OURS}
    files = [f"images/{name}-{k}.{end}" for k, (end, _) in enumerate(row["images"])]
    try:
        made = others | {**form(row, files, row.get("completion") or [])}
        line = json.dumps(made, ensure_ascii=False, default=_written)
    except BadRow as problem:
        raise ValueError(f"{row[PLACE]}: {problem}") from None
    for file, (_, content) in zip(files, row["images"], strict=True):
        (folder / file).write_bytes(content)
    return line


def _written(value: Any) -> str:
    if isinstance(value, bytes):
        raise BadRow("a column holds bytes, which lines of JSON cannot")
    return str(value)  # dates


def to_trl(row: Row, files: Sequence[str], completion: list[Message]) -> Row:
    made = {"prompt": row["prompt"], "images": files}
    return made | ({"completion": completion} if completion else {})


def to_llama_factory(row: Row, files: Sequence[str], completion: list[Message]) -> Row:
    """BadRow for a response of several messages: the columns take the last alone for it."""
    _one_response(completion)
    turns = [{**message, "content": as_text(message)} for message in row["prompt"]]
    return {"messages": turns + completion, "images": files}


def to_paper(row: Row, files: Sequence[str], completion: list[Message]) -> Row:
    """BadRow for what is not one question about at most one image, and one response."""
    _one_response(completion)
    _texts_alone("the paper's columns", [*row["prompt"], *completion])
    if len(row["prompt"]) > 1 or row["prompt"][0]["role"] != "user":
        raise BadRow("the paper's columns hold one message of the user, it has more")
    if len(files) > 1:
        raise BadRow(f"the paper's columns hold one image, it has {len(files)}")
    return {
        "query": as_text(row["prompt"][0]).removeprefix(MARK if files else ""),
        "image": files[0] if files else None,
        "ground_truth": _ground_truth(row),
        "response": completion[0]["content"] if completion else "",
    }


def _ground_truth(row: Row) -> Any:
    """The row's own, or what a task's truth says: the clues of a puzzle in one list, 0 for an empty
    cell, a graph, or a table with its question."""
    truth = row.get("truth")
    if row.get("ground_truth") is not None or not isinstance(truth, Mapping):
        return row.get("ground_truth")
    if "clues" in truth:
        return json.dumps([cell for line in truth["clues"] for cell in line])
    for names in (("v", "c", "edges"), ("kind", "values", "question")):
        if all(name in truth for name in names):
            return json.dumps({name: truth[name] for name in names})
    return None


def as_text(message: Message) -> str:
    """A message's content as one text, with the word ``<image>`` where an image stands."""
    content = message["content"]
    if isinstance(content, str):
        return content
    return "".join(MARK if part["type"] == "image" else part["text"] for part in content)


def _one_response(completion: list[Message]) -> None:
    if len(completion) > 1:
        raise BadRow(
            f"the columns hold one message as the response, it has {len(completion)}; write it as "
            "trl or verl"
        )


def _texts_alone(columns: str, messages: list[Message]) -> None:
    """BadRow for what else a message has: it would be lost."""
    for message in messages:
        if further := [key for key in message if key not in ("role", "content")]:
            raise BadRow(
                f"{columns} hold role and content of a message, one has {', '.join(further)}"
            )


def to_verl(row: Row, files: Sequence[str], completion: list[Message]) -> Row:
    """BadRow for messages with more than a role and content, such as tool calls."""
    _texts_alone("verl's columns", [*row["prompt"], *completion])
    turns = [{"role": m["role"], "content": as_text(m)} for m in row["prompt"]]
    return verl_row(row, turns, files, completion)


FORMS: dict[str, Form] = {
    "trl": to_trl,
    "llama-factory": to_llama_factory,
    "verl": to_verl,
    "paper": to_paper,
}


def _describe(folder: Path) -> None:
    """LLaMA-Factory finds a file by its entry in ``dataset_info.json``."""
    tags = {"role_tag": "role", "content_tag": "content", "system_tag": "system"}
    tags |= {"user_tag": "user", "assistant_tag": "assistant"}
    entry = {"formatting": "sharegpt", "columns": {"messages": "messages", "images": "images"}}
    files = sorted(path for path in folder.glob("*.jsonl"))
    described = {path.stem: {"file_name": path.name, **entry, "tags": tags} for path in files}
    (folder / "dataset_info.json").write_text(json.dumps(described, indent=1))


def _is_described(folder: Path, split: str) -> bool:
    try:
        return split in json.loads((folder / "dataset_info.json").read_text())
    except (OSError, ValueError):
        return False


def _claim(meta: Path, made_of: dict[str, Any]) -> None:
    """Note what a folder is made of, or refuse to mix it with another."""
    if not meta.exists():
        meta.write_text(json.dumps(made_of), encoding="utf-8")
        return
    try:
        found = json.loads(meta.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ValueError(f"{meta} cannot be read; choose a new directory") from None
    if found == made_of:
        return
    if isinstance(found, dict) and all(found.get(n) == made_of[n] for n in ("source", "to")):
        rows = "by an earlier version" if "digest" not in found else "of other rows"
        raise ValueError(
            f"{meta.parent} was made {rows} from {made_of['source']}, which has changed or was "
            f"read with other options; remove {meta.parent}, or choose a new directory"
        )
    raise ValueError(f"{meta.parent} holds another data set ({found}); choose a new directory")


def _drop_blank_lines(path: Path) -> None:
    """Of skipped rows; they counted while the file grew."""
    kept = path.with_name(path.name + ".kept")
    with open(path, "rb") as lines, open(kept, "wb") as whole:
        whole.writelines(line for line in lines if line.strip())
    os.replace(kept, path)


def _cut_to_whole_lines(path: Path) -> int:
    """Drop what an interruption left of a last line; returns how many lines remain."""
    if not path.exists():
        return 0
    n, end = 0, 0
    with open(path, "rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                n, end = n + 1, end + len(line)
    os.truncate(path, end)
    return n
