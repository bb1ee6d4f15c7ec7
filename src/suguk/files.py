"""Files that appear whole or not at all: written under a temporary name, synced, renamed."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from suguk.errors import UserError


def write(path: str | Path, content: bytes) -> None:
    """Replace `path`. UserError where the disk is full or the place unwritable; the earlier content stays then."""
    path = Path(path)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync(path.parent)
    except OSError as fault:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise _refused(path, fault) from None


def write_folder(path: str | Path, contents: Mapping[str, bytes]) -> None:
    """A new folder with these files. UserError if it exists and is not empty, or cannot be written."""
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError("exists already and is not an empty directory", where=path, hint="choose another place")
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
        for name, content in contents.items():
            with (temporary / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(0o755)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as fault:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        raise _refused(path, fault) from None


def _sync(folder: Path) -> None:
    """The rename itself reaches the disk only with its folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refused(path: Path, fault: OSError) -> UserError:
    return UserError(
        f"cannot be written: {fault.strerror or fault}", where=path, hint="free disk space or choose another place"
    )
