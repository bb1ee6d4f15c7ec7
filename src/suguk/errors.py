"""What goes wrong, told so that a user can mend it: where, what was found, what to do.

Every exception here ends a command with exit status 2 and no traceback; anything else is a fault of ours (status 1).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# What PyTorch's and ONNX Runtime's allocators say, a GPU's driver and libraries, and oneDNN of code or a buffer for
# which there was no room; of what it cannot compute it says "could not create a primitive descriptor for …".
FULL = re.compile(
    r"can't allocate memory|Failed to allocate memory|could not create a (primitive|memory( object)?)$"
    r"|bad_alloc|bad allocation|CUDA error: out of memory|CU(BLAS|DNN)_STATUS_ALLOC_FAILED"
)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the data, at a place a user can open."""

    path: str
    line: int | None  # 1-based, as editors count; None: the file as a whole
    message: str
    kind: str = ""  # short key to count by, e.g. "empty source"
    fatal: bool = True  # False: a warning, the data is still accepted

    def __str__(self) -> str:
        place = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{place}: {self.message}"


class UserError(Exception):
    """Something that the user can mend.

    message: what was expected and what was found; where: a path, `path:line` or a setting's name; hint: the cure.
    """

    def __init__(self, message: str, *, where: str | Path | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = None if where is None else str(where)
        self.hint = hint

    def __str__(self) -> str:
        head = self.message if self.where is None else f"{self.where}: {self.message}"
        return head if self.hint is None else f"{head}\n  hint: {self.hint}"


class ConfigError(UserError):
    """A setting that is unknown, of the wrong type, or impossible together with another."""


class DataError(UserError):
    """Data that cannot be used; carries every problem found, not only the first."""

    def __init__(
        self,
        message: str,
        problems: Sequence[Problem] = (),
        *,
        where: str | Path | None = None,
        hint: str | None = None,
        shown: int = 20,
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.problems = tuple(problems)
        self.shown = shown

    def __str__(self) -> str:
        lines = [self.message if self.where is None else f"{self.where}: {self.message}"]
        lines += [f"  {problem}" for problem in self.problems[: self.shown]]
        if len(self.problems) > self.shown:
            lines.append(f"  … and {len(self.problems) - self.shown:,} more")
        if self.hint is not None:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class ModelError(UserError):
    """A model directory or file that is missing, damaged, half copied or of another version."""


class MissingExtra(UserError):  # noqa: N818 - not every ending is an error of the code
    """A verb that needs packages of an extra which is not installed."""

    def __init__(self, package: str, extra: str, need: str) -> None:
        super().__init__(
            f"{need} needs the package {package!r}, which is not installed",
            hint=f"pip install 'suguk[{extra}]'",
        )


class TooManyConstraintsError(UserError):
    """More constraints than sources."""


def is_full(fault: BaseException) -> bool:
    """Whether a fault is that of a full memory, of a GPU or of this machine, whichever library tells it."""
    # By name: PyTorch need not be there.
    return (
        isinstance(fault, MemoryError)
        or type(fault).__name__ == "OutOfMemoryError"
        or bool(FULL.search(str(fault)))
    )
