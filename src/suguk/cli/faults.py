"""How a command ends: one message and the right exit status, whatever happens.

0 done, also when the reader of a pipe has left; 1 a fault of ours; 2 something to mend; 130 Ctrl-C.
"""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from suguk.errors import MissingExtra, UserError, is_full

TRACEBACK = "SUGUK_TRACEBACK"
_EXTRA = (
    "matplotlib",
    "onnx",
    "onnxscript",
    "pyarrow",
    "rapidfuzz",
    "sacrebleu",
    "safetensors",
    "tomli_w",
    "torch",
)
_MENDABLE = {
    errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EFBIG, errno.EIO, errno.EISDIR, errno.ENAMETOOLONG,
    errno.ENOENT, errno.ENOSPC, errno.ENOTDIR, errno.EPERM, errno.EROFS,
}  # fmt: skip


class Verbs(TyperGroup):
    """The group of all verbs, with every ending in one place."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        with ending(lambda: "suguk"):
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        with ending(lambda: f"suguk {ctx.invoked_subcommand or ''}".rstrip()):
            return super().invoke(ctx)


@contextmanager
def ending(verb: Callable[[], str]) -> Iterator[None]:
    """Turn what was raised into a message on standard error and an exit status; flush what was written.

    verb: names the command, asked only once something was raised, as parsing comes first.
    """
    try:
        yield
        if sys.stdout is not None:  # else it is closed, and a verb that has something to say has said so
            sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
        raise typer.Exit(0) from None
    except KeyboardInterrupt:
        say("interrupted")
        _forget_output()
        raise typer.Exit(130) from None
    except UserError as fault:
        raise _refused(fault) from None
    except ModuleNotFoundError as fault:
        package = (fault.name or "").partition(".")[0]
        if package not in _EXTRA:
            raise _ours(fault) from fault
        raise _refused(MissingExtra(package.replace("_", "-"), "train", f"`{verb()}`")) from None
    except OSError as fault:
        if fault.errno not in _MENDABLE:
            raise _ours(fault) from fault
        _forget_output()
        hint = "free some space" if fault.errno in (errno.ENOSPC, errno.EDQUOT) else None
        raise _refused(
            UserError(fault.strerror or str(fault), where=fault.filename or "standard output", hint=hint)
        ) from None
    except Exception as fault:
        if is_full(fault):
            hint = "smaller train.batch_tokens or predict.batch_tokens need less"
            raise _refused(UserError("not enough memory", hint=hint)) from None
        if type(fault).__module__.startswith(("typer", "click")):  # wrong usage or an ending chosen already
            raise
        raise _ours(fault) from fault


def say(text: str) -> None:
    """One message on standard error; nobody listening there is no fault."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        return


def _refused(fault: UserError) -> typer.Exit:
    say(f"error: {fault}")
    return typer.Exit(2)


def _ours(fault: Exception) -> typer.Exit:
    if os.environ.get(TRACEBACK):
        import traceback

        traceback.print_exception(fault)
    first = (str(fault).splitlines() or [""])[0]
    say(f"error: a fault in suguk: {type(fault).__name__}: {first}")
    if not os.environ.get(TRACEBACK):
        say(f"  hint: run again with {TRACEBACK}=1 for the traceback, and report it")
    return typer.Exit(1)


def _forget_output() -> None:
    """Drop what is still buffered and cannot be written; Python would try again at its exit, and complain."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError):  # standard output is no file of the system, as in tests
        return
