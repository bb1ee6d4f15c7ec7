"""What stands at a place already: links, pipes, devices, folders that cannot be replaced."""

import os
import stat
import threading
from pathlib import Path

import pytest

from suguk import files
from suguk.errors import UserError


def test_a_link_stays_and_what_it_names_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.txt").write_text("before", encoding="utf-8")
    link = tmp_path / "link.txt"
    link.symlink_to(Path("there") / "a.txt")
    files.write(link, b"after")
    assert link.is_symlink()
    assert (tmp_path / "there" / "a.txt").read_bytes() == b"after"
    assert os.listdir(tmp_path / "there") == ["a.txt"]


def test_a_link_to_what_is_not_there_yet(tmp_path: Path) -> None:
    link = tmp_path / "link.txt"
    link.symlink_to("new.txt")
    files.write(link, b"first")
    assert link.is_symlink()
    assert (tmp_path / "new.txt").read_bytes() == b"first"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("content", [b"abc", lambda path: path.write_bytes(b"abc")])
def test_a_pipe_is_written_to(content: object, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    files.write(pipe, content)  # type: ignore[arg-type]
    reader.join(10)
    assert found == [b"abc"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_device_stays_one() -> None:
    files.write("/dev/null", b"abc")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        files.write(tmp_path, b"abc")
    assert not os.listdir(tmp_path)


def test_the_folder_one_is_in_stays_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = tmp_path.stat().st_ino
    files.write_folder(".", {"b": b"1", "a": lambda path: path.write_bytes(b"2")})
    assert tmp_path.stat().st_ino == before
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"b": b"1", "a": b"2"}


def test_a_mounted_folder_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    before = (tmp_path / "out").stat().st_ino
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == tmp_path / "out")
    files.write_folder(tmp_path / "out", {"a": b"1"})
    assert (tmp_path / "out").stat().st_ino == before
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(tmp_path / "out") == ["a"]


def test_a_fault_leaves_a_mounted_folder_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="No space left"):
        files.write_folder(".", {"a": b"1", "b": fails})
    assert not os.listdir(tmp_path)


def test_a_link_to_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    files.write_folder(tmp_path / "link", {"a": b"1"})
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "a").read_bytes() == b"1"
