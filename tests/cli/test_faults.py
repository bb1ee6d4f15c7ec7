"""Every ending has its message and its exit status."""

import errno
import os
from collections.abc import Callable

import pytest
import typer
from typer.testing import CliRunner

from suguk.cli.faults import TRACEBACK, Verbs, ending
from suguk.errors import DataError, Problem, UserError

End = Callable[[BaseException], tuple[int, str]]


@pytest.fixture
def end() -> End:
    """A verb that raises; its exit status and its standard error."""

    def run(fault: BaseException) -> tuple[int, str]:
        app = typer.Typer(cls=Verbs, rich_markup_mode=None, pretty_exceptions_enable=False)

        @app.callback()
        def group() -> None:
            pass

        @app.command()
        def fail() -> None:
            raise fault

        result = CliRunner().invoke(app, ["fail"])
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        return result.exit_code, result.stderr

    return run


def test_what_a_user_can_mend(end: End) -> None:
    assert end(UserError("too short", where="a:3", hint="make it longer")) == (
        2,
        "error: a:3: too short\n  hint: make it longer\n",
    )
    status, err = end(DataError("2 problems", [Problem("a", 3, "empty"), Problem("a", 5, "empty")]))
    assert (status, err) == (2, "error: 2 problems\n  a:3: empty\n  a:5: empty\n")


def test_a_missing_package_names_the_verb_and_the_extra(end: End) -> None:
    status, err = end(ModuleNotFoundError("No module named 'torch'", name="torch.nn"))
    assert status == 2
    assert "`suguk fail` needs the package 'torch'" in err
    assert "pip install 'suguk[train]'" in err
    assert end(ModuleNotFoundError("No module named 'elsewhere'", name="elsewhere"))[0] == 1


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "error: /full: No space left on device\n  hint: free some space\n"),
        (errno.EACCES, "error: /full: Permission denied\n"),
        (errno.EISDIR, "error: /full: Is a directory\n"),
    ],
)
def test_the_systems_refusals(end: End, number: int, message: str) -> None:
    assert end(OSError(number, os.strerror(number), "/full")) == (2, message)


def test_nobody_reads_any_more(end: End) -> None:
    assert end(BrokenPipeError(errno.EPIPE, "Broken pipe")) == (0, "")


def test_interrupted(end: End) -> None:
    assert end(KeyboardInterrupt()) == (130, "interrupted\n")


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes."),
        RuntimeError(
            "[ONNXRuntimeError] : 1 : FAIL : Failed to allocate memory for requested buffer of size 64"
        ),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory."),
    ],
)
def test_memory(end: End, fault: Exception) -> None:
    status, err = end(fault)
    assert status == 2
    assert "predict.batch_tokens" in err


@pytest.mark.parametrize(
    "fault", [ValueError("first\nsecond"), RuntimeError("first"), OSError(errno.EPROTO, "first")]
)
def test_our_own_faults_are_short(end: End, fault: Exception) -> None:
    status, err = end(fault)
    assert status == 1
    assert err.startswith(f"error: a fault in suguk: {type(fault).__name__}: ")
    assert "first" in err
    assert "second" not in err
    assert TRACEBACK in err


def test_a_traceback_for_those_who_ask(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(TRACEBACK, "1")
    with pytest.raises(typer.Exit), ending(lambda: "suguk x"):
        raise ZeroDivisionError("here")
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.endswith("error: a fault in suguk: ZeroDivisionError: here\n")


def test_endings_already_chosen_stay(end: End) -> None:
    assert end(typer.Exit(7)) == (7, "")
    status, err = end(typer.BadParameter("not so"))
    assert status == 2
    assert "not so" in err
