"""Files that appear whole or not at all: written under a temporary name, synced, renamed."""

import errno
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suguk.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF = re.compile(r"\.half-[0-9a-f]{12}")  # what `write_folder` makes in a folder that is there


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Inside, no other process is `alone` with this folder; the system ends it with the process, however that ends.

    UserError where one is. Where the system knows no such locks, or the file system does not, nothing is locked.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                "another process is at work here", where=folder, hint="wait until it is done, or stop it"
            ) from None
        except OSError:  # of a file system without locks
            pass
        yield
    finally:
        os.close(handle)


def write(path: str | Path, content: bytes | Callable[[Path], object]) -> None:
    """Replace `path`. UserError where the disk is full or the place unwritable; the earlier content stays then.

    A symbolic link stays one, and what it names is replaced. What is no file of a disk, as a pipe, /dev/null or
    /dev/stdout, is written to. content: or what writes it into the file that it is given the path of; raises OSError.
    """
    path = Path(path)
    try:
        if _streams(path):
            _into(path, content)
        else:
            _replace(_named(path), content)
    except BrokenPipeError:  # whoever read it has seen enough
        raise
    except OSError as fault:
        raise _refused(path, fault) from None


def _streams(path: Path) -> bool:
    """Whether it is a place to write to, not a file to replace. Standard output may be a file, and stays the same."""
    given = os.path.abspath(path)
    if given in ("/dev/stdout", "/dev/stderr") or given.startswith(("/dev/fd/", "/proc/")):
        return True
    return path.exists() and not path.is_file() and not path.is_dir()


def _named(path: Path) -> Path:
    """What it names through symbolic links; OSError if they lead in a circle."""
    found = Path(os.path.realpath(path))
    if found.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return found


def _replace(path: Path, content: bytes | Callable[[Path], object]) -> None:
    temporary = _beside(path)
    try:
        if isinstance(content, bytes):
            _written(temporary, content)
        else:
            content(temporary)
            _sync(temporary)
        if path.is_file():
            shutil.copymode(path, temporary)
        temporary.replace(path)
        _sync_names(path.parent)
    finally:
        _forget(temporary)


def _into(path: Path, content: bytes | Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as folder, path.open("ab") as there:
        if isinstance(content, bytes):
            there.write(content)
            return
        held = Path(folder) / path.name
        content(held)
        with held.open("rb") as whole:
            shutil.copyfileobj(whole, there)


def free(path: str | Path, ending: str = "") -> None:
    """UserError unless a file of this name could be written; nothing is. Before the work, not after it."""
    path = Path(path)
    if ending and path.suffix.lower() != ending:
        raise UserError(f"expected a name that ends in {ending}", where=path, hint=f"name it {path}{ending}")
    if path.is_dir():
        raise UserError("there is a directory of this name", where=path, hint="name another file")
    if _streams(path):
        if not os.access(path, os.W_OK):
            raise UserError("nothing can be written here", where=path, hint="name another place")
        return
    above = Path(os.path.realpath(path)).parent
    if not above.is_dir():
        raise UserError("no such directory", where=above, hint="make it, or name another file")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError("nothing can be written here", where=above, hint="name another place")


def empty(folder: Path) -> bool:
    """Whether nothing is in it but what a killed `write_folder` has left."""
    return not any(HALF.fullmatch(path.name) is None for path in folder.iterdir())


def write_folder(
    path: str | Path, contents: Mapping[str, bytes | memoryview | Callable[[Path], object]]
) -> None:
    """A new folder with these files. UserError if it exists and is not empty, or cannot be written.

    contents: of each file, or what writes it, see `write`; one after the other. Where there is an empty folder, which
    may be mounted or the one that the shell is in, they come into it one by one when all are written, in their order.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or not empty(path)):
        raise UserError(
            "exists already and is not an empty directory", where=path, hint="choose another place"
        )
    try:
        place = _named(path)
    except OSError as fault:
        raise _refused(path, fault) from None
    there = place.is_dir()
    temporary = _beside(place / "half" if there else place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        for name, content in contents.items():
            if isinstance(content, bytes | memoryview):
                _written(temporary / name, content)
            else:
                content(temporary / name)
                _sync(temporary / name)
        if there:
            for name in contents:
                (temporary / name).replace(place / name)
            for left in place.glob(".half-*"):
                shutil.rmtree(left, ignore_errors=True)
        else:
            temporary.replace(place)
        _sync_names(place if there else place.parent)
    except OSError as fault:
        raise _refused(path, fault) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_rows(path: Path, blocks: "Iterable[NDArray[Any]]", like: "NDArray[Any]") -> int:
    """As `np.save` of all blocks, one after another, whose number of rows is known at the end; returns it.

    like: an array of their type whose rows have their shape. Raises OSError.
    """
    import numpy as np

    def header(rows: int) -> None:  # numpy's leaves room for a larger first number
        about = {
            "descr": np.lib.format.dtype_to_descr(like.dtype),
            "fortran_order": False,
            "shape": (rows, *like.shape[1:]),
        }
        np.lib.format.write_array_header_1_0(file, about)

    with path.open("xb") as file:
        header(0)
        begin, rows = file.tell(), 0
        for block in blocks:
            file.write(block.astype(like.dtype, copy=False).tobytes())
            rows += len(block)
        file.seek(0)
        header(rows)
        assert file.tell() == begin
    return rows


def _beside(path: Path) -> Path:
    """A free name in the same folder. Not `tempfile`'s: its files are for their owner only, whatever the umask."""
    return path.with_name(f".{path.name}-{secrets.token_hex(6)}")


def _written(path: Path, content: bytes | memoryview) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _forget(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # its folder is no folder: nothing was written
        return


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_names(folder: Path) -> None:
    """A rename reaches the disk only with its folder; not every system lets a folder be synced or even opened."""
    with suppress(OSError):
        _sync(folder)


def _refused(path: Path, fault: OSError) -> UserError:
    full = fault.errno in (errno.ENOSPC, errno.EDQUOT)
    return UserError(
        f"cannot be written: {fault.strerror or fault}",
        where=path,
        hint="free disk space" if full else "choose a place that can be written to",
    )
