"""Rows as files of a data set."""

from __future__ import annotations

import json

import datasets


def write_jsonl(folder, rows):
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_parquet(folder, rows):
    path = folder / "train.parquet"
    datasets.Dataset.from_list(rows).to_parquet(path)
    return path
