"""Vectors of words from files."""

import gzip
from pathlib import Path

import pytest

from suguk.data.embeddings import read_vectors
from suguk.errors import ConfigError, DataError
from suguk.fields import TextField

WORDS = ["the cat sat", "the dog sat down", "the caterpillar"]
WIDTH = 3


@pytest.fixture(scope="module")
def field() -> TextField:
    return TextField.train("word", WORDS, 97)


def write(path: Path, *lines: str, head: str = "") -> str:
    path.write_text("".join(f"{line}\n" for line in [*([head] if head else []), *lines]), encoding="utf-8")
    return str(path)


def table(path: str, field: TextField, setting: str = "source") -> dict[str, list[float]]:
    found = read_vectors(path, field, WIDTH, setting)
    return dict(zip(field.pieces(found.ids), found.values.tolist(), strict=True))


LINES = ("the 1 2 3", "cat -0.5 25e-2 7", "unseen 9 9 9")
WANTED = {"▁the": [1, 2, 3], "▁cat": [-0.5, 0.25, 7]}


@pytest.mark.parametrize("head", ["", "3 3"], ids=["GloVe", "word2vec"])
def test_with_and_without_a_head(tmp_path: Path, field: TextField, head: str) -> None:
    assert table(write(tmp_path / "a.vec", *LINES, head=head), field) == WANTED


def test_packed_with_spaces_at_the_ends_of_lines(tmp_path: Path, field: TextField) -> None:
    path = tmp_path / "a.vec.gz"
    path.write_bytes(gzip.compress("".join(f"{line} \r\n" for line in ("3 3", *LINES)).encode()))
    assert table(str(path), field) == WANTED


@pytest.mark.parametrize("head", ["", "3 3\n"], ids=["GloVe", "word2vec"])
def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path: Path, field: TextField, head: str) -> None:
    path = tmp_path / "a.vec"
    path.write_text(head + "\n".join(LINES), encoding="utf-8-sig")
    assert table(str(path), field) == WANTED


def test_an_entry_as_it_stands_goes_before_the_word(tmp_path: Path, field: TextField) -> None:
    for lines in (("the 1 2 3", "▁the 4 5 6"), ("▁the 4 5 6", "the 1 2 3")):
        assert table(write(tmp_path / "a.vec", *lines), field) == {"▁the": [4, 5, 6]}


def test_the_first_of_two_counts(tmp_path: Path, field: TextField) -> None:
    assert table(write(tmp_path / "a.vec", "cat 1 2 3", "cat 4 5 6"), field) == {"▁cat": [1, 2, 3]}


def test_subwords_and_letters(tmp_path: Path) -> None:
    bpe = TextField.train("bpe", WORDS, 41)
    assert "▁the" in table(write(tmp_path / "a.vec", "▁the 1 2 3", "a 4 5 6"), bpe)
    chars = TextField.train("char", WORDS, 41)
    assert table(write(tmp_path / "b.vec", "t 1 2 3", "th 4 5 6"), chars) == {"t": [1, 2, 3]}


def test_words_with_spaces_are_read_over(tmp_path: Path, field: TextField) -> None:
    assert table(write(tmp_path / "a.vec", ". . . 1 2 3", *LINES, head="4 3"), field) == WANTED


def test_every_malformed_line_is_told(tmp_path: Path, field: TextField) -> None:
    bad = ("cat 1 2", "dog 1 2 x", "sat 1 2 3 4", "down 1 nan 3", "")
    path = write(tmp_path / "a.vec", *LINES, *bad)
    with pytest.raises(DataError, match=r"a\.vec: 5 malformed lines") as caught:
        read_vectors(path, field, WIDTH, "source")
    assert [problem.line for problem in caught.value.problems] == [4, 5, 6, 7, 8]
    assert "a.vec:4: expected a word and 3 numbers, found 2" in str(caught.value)
    assert "a.vec:5: not numbers: 1 2 x" in str(caught.value)


def test_another_width_is_refused_with_the_cure(tmp_path: Path, field: TextField) -> None:
    for head in ("", "2 5"):
        path = write(tmp_path / "a.vec", "the 1 2 3 4 5", "cat 1 2 3 4 5", head=head)
        with pytest.raises(
            ConfigError, match=r"target.embeddings.*5 numbers.*is 3\n.*--set model.embedding=5"
        ):
            read_vectors(path, field, WIDTH, "target")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nothing 1 2 3\n", "none of the .* entries"),
        (b"3 3\nthe \x00\x80\x3f\x00\n", "is binary"),
        (b"the\t1\t2\t3\n", "malformed"),
        (b"", "none of the"),
    ],
)
def test_files_of_other_kinds(tmp_path: Path, field: TextField, content: bytes, message: str) -> None:
    path = tmp_path / "a.vec"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_vectors(str(path), field, WIDTH, "source")
    with pytest.raises(DataError, match="no such file"):
        read_vectors(str(path) + "s", field, WIDTH, "source")


def test_a_file_cut_short(tmp_path: Path, field: TextField) -> None:
    path = tmp_path / "a.vec.gz"
    path.write_bytes(gzip.compress(b"the 1 2 3\n" * 1000)[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        read_vectors(str(path), field, WIDTH, "source")
