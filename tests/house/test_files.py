"""What stands at a place already: links, pipes, devices, folders that cannot be replaced."""

import os
import stat
import subprocess
import sys
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


def test_a_folder_that_is_there_is_filled(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / ".half-0123456789ab").mkdir(parents=True)  # of one that was killed
    before = out.stat().st_ino
    files.write_folder(out, {"a": b"1"})
    assert out.stat().st_ino == before
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(out) == ["a"]
    with pytest.raises(UserError, match="not an empty directory"):
        files.write_folder(out, {"b": b"1"})


def test_a_fault_leaves_the_folder_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_standard_output_may_be_a_file_and_stays_it(tmp_path: Path) -> None:
    program = (
        "from suguk import files; files.free('/dev/stdout'); print('before', flush=True);"
        "files.write('/dev/stdout', b'page\\n'); print('after')"
    )
    log = tmp_path / "log"
    log.write_text("earlier\n", encoding="utf-8")
    with log.open("a", encoding="utf-8") as out:
        subprocess.run([sys.executable, "-c", program], stdout=out, check=True)
    assert log.read_text(encoding="utf-8") == "earlier\nbefore\npage\nafter\n"
    assert os.listdir(tmp_path) == ["log"]


def test_a_loop_of_links_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UserError):
        files.write(tmp_path / "a", b"x")
    with pytest.raises(UserError):
        files.write_folder(tmp_path / "a", {"x": b""})
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    path.chmod(0o600)
    files.write(path, b"2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_free_can_be_written(tmp_path: Path) -> None:
    files.free("/dev/null")
    (tmp_path / "link").symlink_to("nowhere/a")
    with pytest.raises(UserError, match="no such directory"):
        files.free(tmp_path / "link")
    (tmp_path / "nowhere").mkdir()
    files.free(tmp_path / "link")
