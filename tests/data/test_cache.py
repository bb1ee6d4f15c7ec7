"""The cache: the same answers with it, without it, and with a damaged one."""

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

import suguk
from suguk import config as settings
from suguk.data import cache, vocabulary
from suguk.data.read import Pairs, read
from suguk.fields import TextField
from tests.training.tiny_task import TINY, records, write_pairs

TEXTS = ["a b", "b c d", "", "e"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "cache"
    monkeypatch.setenv("SUGUK_CACHE", str(found))
    return found


@pytest.fixture
def field() -> TextField:
    return TextField.train("word", TEXTS, 13, lowercase=False)


def pairs(tmp_path: Path) -> Pairs:
    return read(
        [str(write_pairs(tmp_path / "pairs.tsv", 101))], source="", target="", header=False, skip_bad=False
    )


def entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


def check(field: TextField) -> None:
    ids, lengths = cache.token_ids(field, TEXTS)
    rows = field.encode_batch(TEXTS)
    assert lengths.tolist() == [len(row) for row in rows]
    assert ids.tolist() == np.concatenate(rows).tolist()


def test_token_ids_are_remembered(folder: Path, field: TextField, monkeypatch: pytest.MonkeyPatch) -> None:
    check(field)
    (entry,) = entries(folder)
    assert {file.name for file in entry.iterdir()} == {"ids.npy", "lengths.npy"}
    wanted = cache.token_ids(field, TEXTS)
    monkeypatch.setattr(TextField, "encode_batch", None)  # is not called
    found = cache.token_ids(field, TEXTS)
    assert isinstance(found[0], np.memmap)
    assert [part.tolist() for part in found] == [part.tolist() for part in wanted]


@pytest.mark.usefixtures("folder")
def test_texts_are_encoded_block_by_block(field: TextField, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "BLOCK", 3)
    check(field)
    monkeypatch.setenv("SUGUK_CACHE", "off")
    check(field)
    ids, lengths = cache.token_ids(field, [])
    assert (len(ids), len(lengths)) == (0, 0)


def test_other_texts_and_other_fields_are_other_entries(folder: Path, field: TextField) -> None:
    check(field)
    cache.token_ids(field, [*TEXTS, "a"])
    cache.token_ids(field, TEXTS[::-1])
    cache.token_ids(TextField.train("char", TEXTS, 13, lowercase=False), TEXTS)
    assert len(entries(folder)) == 4


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"not numpy at all"])
@pytest.mark.parametrize("name", ["ids.npy", "lengths.npy"])
def test_a_damaged_entry_is_made_again(folder: Path, field: TextField, name: str, damage: bytes) -> None:
    check(field)
    (entry,) = entries(folder)
    (entry / name).write_bytes(damage)
    check(field)
    assert entries(folder) == [entry]
    assert (entry / name).read_bytes() != damage


def test_entries_that_do_not_belong_together_are_made_again(folder: Path, field: TextField) -> None:
    check(field)
    (entry,) = entries(folder)
    np.save(entry / "lengths.npy", np.array([1, 2, 3]))
    check(field)


def test_vocabularies_are_remembered(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = pairs(tmp_path)
    for shared in (False, True):
        chosen = settings.load(
            "small", {"target": {"shared": shared, "tokenizer": "char"}, "source": {"tokenizer": "char"}}
        )
        wanted = vocabulary.vocabulary(train, chosen)
        with monkeypatch.context() as patch:
            patch.setattr(vocabulary, "_made", None)
            found = vocabulary.vocabulary(train, chosen)
        assert (found.source is found.target) == shared
        for side in ("source", "target"):
            assert getattr(found, side).to_json() == getattr(wanted, side).to_json()
        assert found.choices == wanted.choices
    for entry in entries(folder):
        (entry / "vocabulary.json").write_text("[1, 2")
    again = vocabulary.vocabulary(train, chosen)
    assert again.source.to_json() == wanted.source.to_json()


def test_training_is_the_same_with_and_without_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_pairs(tmp_path / "pairs.tsv", 101)
    found = []
    for turn, place in enumerate(("off", str(folder), str(folder))):
        monkeypatch.setenv("SUGUK_CACHE", place)
        suguk.train(data, out=tmp_path / f"run{turn}", recipe="chars", overrides=TINY, display="silent")
        found.append(records(tmp_path / f"run{turn}"))
    assert found[0] == found[1] == found[2]
    assert len(entries(folder)) == 3  # vocabularies, and the ids of both sides


def test_off_leaves_nothing(folder: Path, field: TextField, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUGUK_CACHE", "off")
    check(field)
    assert cache.place() is None
    assert not folder.exists()


def test_the_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SUGUK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.place() == tmp_path / "suguk"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.place() == tmp_path / ".cache" / "suguk"


def test_a_place_that_cannot_be_written_is_done_without(
    tmp_path: Path, field: TextField, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SUGUK_CACHE", str(tmp_path / "file" / "cache"))
    check(field)


def test_what_was_not_used_for_longest_goes_first(
    folder: Path, field: TextField, monkeypatch: pytest.MonkeyPatch
) -> None:
    for turn, texts in enumerate((["a"], ["b"], ["c"])):
        cache.token_ids(field, texts)
        for entry in entries(folder):
            if entry.stat().st_mtime > 1e9:
                os.utime(entry, (turn, turn))
    size = sum(file.stat().st_size for file in entries(folder)[0].iterdir())
    cache.token_ids(field, ["a"])  # used again: now the youngest
    monkeypatch.setattr(cache, "LIMIT", 2 * size)
    monkeypatch.setattr(cache, "KEPT", 1)
    cache.token_ids(field, ["e"])
    monkeypatch.setattr(TextField, "encode_batch", None)
    cache.token_ids(field, ["a"])
    cache.token_ids(field, ["e"])
    assert len(entries(folder)) == 2


def test_what_one_training_uses_stays_however_large(
    folder: Path, field: TextField, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "LIMIT", 1)
    for texts in (["a"], ["b"], ["c"], ["d"], ["e"]):
        cache.token_ids(field, texts)
    assert len(entries(folder)) == cache.KEPT


def test_ids_are_what_numpy_saves(folder: Path, field: TextField, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "BLOCK", 2)
    ids, lengths = cache.token_ids(field, ["ab", "", "b", "aab", "a"])
    wanted = field.encode_batch(["ab", "", "b", "aab", "a"])
    assert ids.dtype == np.int32
    assert ids.tolist() == np.concatenate(wanted).tolist()
    assert lengths.tolist() == [len(row) for row in wanted]
    (entry,) = entries(folder)
    buffer = BytesIO()
    np.save(buffer, np.concatenate(wanted))
    assert (entry / "ids.npy").read_bytes() == buffer.getvalue()
