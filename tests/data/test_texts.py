"""Texts in little memory: what a list would say, with and without a file."""

import copy
import pickle
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suguk.data import lines, texts
from suguk.data.read import read
from suguk.data.texts import Texts
from suguk.errors import UserError

LISTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=5), max_size=23)


@given(LISTS, st.integers(0, 11), st.integers(-30, 30), st.integers(-30, 30), st.sampled_from([-2, -1, 1, 3]))
def test_they_are_what_a_list_is(wanted: list[str], held: int, begin: int, end: int, step: int) -> None:
    found = Texts(wanted, held=held)
    assert len(found) == len(wanted)
    assert found == wanted
    assert list(found) == wanted
    assert [found[i] for i in range(-len(wanted), len(wanted))] == wanted * 2
    assert found[begin:end:step] == wanted[begin:end:step]
    assert found != [*wanted, "more"]
    assert found != "".join(wanted)


def test_beyond_the_end() -> None:
    for held in (0, 1000):
        with pytest.raises(IndexError):
            Texts(["a", "bc"], held=held)[2]


def test_blocks_of_all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "BLOCK", 3)
    wanted = [f"no. {i}" for i in range(11)]
    for held in (0, 20, 1000):
        found = Texts(wanted, held=held)
        assert list(found) == wanted
        assert found[1:9] == wanted[1:9]


def test_it_grows_while_it_is_read() -> None:
    found = Texts(held=7)
    for i in range(13):
        found.append(f"{i}é")
        assert found[0] == "0é"
        assert found[i] == f"{i}é"


def test_threads_may_read_one() -> None:
    wanted = [f"text {i}" for i in range(997)]
    found, wrong = Texts(wanted, held=100), []

    def reads(first: int) -> None:
        for i in range(first, 997, 5):
            if found[i] != wanted[i]:
                wrong.append(i)

    several = [threading.Thread(target=reads, args=(first,)) for first in range(5)]
    for one in several:
        one.start()
    for one in several:
        one.join()
    assert not wrong


def test_threads_may_read_what_grows() -> None:
    found, faults, done = Texts(held=64), [], threading.Event()

    def reads() -> None:
        while not done.is_set():
            try:
                for at, text in enumerate(found[:]):
                    assert text == f"text {at}"
            except Exception as fault:
                faults.append(fault)
                return

    several = [threading.Thread(target=reads) for _ in range(3)]
    for one in several:
        one.start()
    found.extend(f"text {i}" for i in range(2000))
    done.set()
    for one in several:
        one.join()
    assert not faults


def test_copies_are_their_own() -> None:
    for held in (0, 100):
        found = Texts(["a", "bc"], held=held)
        for other in (copy.copy(found), copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
            other.append("d")
            assert found == ["a", "bc"]
            assert other == ["a", "bc", "d"]
    assert Texts() != b""


def test_the_folder_of_temporary_files_is_the_users_choice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"No such file.*\n.*TMPDIR"):
        Texts(["abc"], held=0).append("d")


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1000])
def test_a_file_in_blocks_is_the_file(block: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(
        b"\xef\xbb\xbfes\ten\r\nuno\tone\ndos\ttwo\xff\ntr\xc3\xa9s\tth\xe2\x80\xa8ree\r\n\ncinco\tfive"
    )
    whole = read([path], skip_bad=True)
    monkeypatch.setattr(lines, "BLOCK", block + 3)  # a byte order mark is looked for in the first of them
    found = read([path], skip_bad=True)
    assert (found.sources[:], found.targets[:]) == (["uno", "trés", "cinco"], ["one", "th\u2028ree", "five"])
    assert (found.sources, found.lines, found.problems) == (whole.sources, whole.lines, whole.problems)
    assert [problem.line for problem in found.problems] == [3, 5]
