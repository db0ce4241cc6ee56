"""Facts about sealed directories: every file that changed is named, and nothing else is."""

from __future__ import annotations

import pytest
from damages import DAMAGES

from percbal.models.manifest import MANIFEST, damage, is_sealed, publish, seal
from percbal.models.resume import checkpoints, last_checkpoint

KINDS = {damage.__name__: damage for damage in DAMAGES} | {
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
}
FILES = ("model.safetensors", "trainer_state.json", "optimizer/rank0/shard.bin")


@pytest.fixture
def sealed(tmp_path):
    folder = tmp_path / "checkpoint-4"
    for number, name in enumerate(FILES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(range(10 * number, 100)))
    seal(folder)
    return folder


def test_a_sealed_directory_is_whole(sealed):
    assert is_sealed(sealed) and damage(sealed) is None
    assert not (sealed / f"{MANIFEST}.partial").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_every_change_to_a_file_names_the_file(sealed, kind, name):
    KINDS[kind](sealed / name)
    assert name in damage(sealed)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"files": 3}', '{"files": {"a": {}}}'])
def test_a_manifest_that_cannot_be_read_is_damage(sealed, content):
    (sealed / MANIFEST).write_text(content)
    assert damage(sealed) == f"its {MANIFEST} cannot be read"


def test_files_that_were_added_later_do_no_harm(sealed):
    (sealed / "notes.txt").write_text("mine")
    assert damage(sealed) is None


def test_what_is_skipped_is_not_looked_at(sealed):
    (sealed / FILES[2]).unlink()
    assert damage(sealed, skip=(".bin",)) is None
    assert FILES[2] in damage(sealed, skip=(".pt",))


def test_publishing_replaces_what_has_the_name(tmp_path, sealed):
    written = tmp_path / "aside" / "checkpoint-4"
    written.mkdir(parents=True)
    (written / "new").write_text("new")
    seal(written)
    publish(written, sealed)
    assert (sealed / "new").is_file() and not (sealed / FILES[0]).exists()
    assert damage(sealed) is None and not list((tmp_path / "aside").iterdir())


def test_checkpoints_are_ordered_by_their_number(tmp_path):
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-x", "checkpoint-2"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-11").touch()  # no directory
    names = [path.name for path in checkpoints(tmp_path)]
    assert names == ["checkpoint-10", "checkpoint-9", "checkpoint-2"]
    assert last_checkpoint(tmp_path / "nowhere") is None
