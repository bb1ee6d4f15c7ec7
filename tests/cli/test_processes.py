"""What only a real process shows: pipes, signals, full disks, and what an import costs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SUGUK = (sys.executable, "-m", "suguk")
HEAVY = ("torch", "pyarrow", "sacrebleu", "matplotlib", "pydantic", "numpy", "tokenizers")


def start(*words: object, **streams: object) -> "subprocess.Popen[bytes]":
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.Popen([*SUGUK, *map(str, words)], **pipes)  # type: ignore[call-overload, no-any-return]


def test_help_is_light() -> None:
    """How long it takes is measured in benchmarks/RESULTS.md."""
    code = (
        "import sys; from suguk.cli import app\n"
        "try: app(['--help'], prog_name='suguk')\n"
        f"except SystemExit: print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr == "[]\n"
    assert "Commands:" in ran.stdout


@pytest.mark.parametrize("locale", ["latin-1", "cp1252", "ascii"])
def test_help_in_letters_that_a_locale_lacks(locale: str) -> None:
    for words in (["--help"], ["train", "--help"]):
        ran = subprocess.run(
            [*SUGUK, *words], env={**os.environ, "PYTHONIOENCODING": locale}, capture_output=True, check=False
        )
        assert (ran.returncode, ran.stderr) == (0, b"")
        assert b"Usage: suguk" in ran.stdout


def test_a_reader_that_leaves_ends_it_cleanly(model: Path) -> None:
    with start("predict", model) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"abc\n" * 40)
        process.stdin.flush()
        assert process.stdout.readline()
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(b"abc\n" * 5000, timeout=180)
    assert (process.returncode, err) == (0, b"")


def test_a_reader_that_leaves_a_listing() -> None:
    with start("recipes") as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=180)
    assert (process.returncode, err) == (0, b"")


def test_interrupting_a_prediction(model: Path) -> None:
    # A test run in the background inherits an ignored SIGINT; a person's shell does not.
    heeded = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with start("predict", model, **heeded) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"abc\n" * 16)
        process.stdin.flush()
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=180)
    assert (process.returncode, err) == (130, b"interrupted\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("words", [("recipes",), ("--version",)])
def test_output_that_cannot_be_written(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full, start(*words, stdout=full) as process:
        _, err = process.communicate(timeout=180)
    assert process.returncode == 2
    assert err.startswith(b"error: standard output: No space left on device")
    assert b"Exception ignored" not in err


def test_a_person_is_answered_line_by_line(model: Path) -> None:
    ours, theirs = os.openpty()
    with start("predict", model, stdin=theirs) as process:
        os.close(theirs)
        assert process.stdout is not None
        for _ in range(2):
            os.write(ours, b"abc\n")
            assert process.stdout.readline().endswith(b"\n")
        os.write(ours, b"\x04")  # Ctrl-D on an empty line: the end
        assert process.wait(180) == 0
    os.close(ours)


def test_a_program_that_waits_for_each_answer(model: Path) -> None:
    with start("predict", model, "--line-buffered") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(2):
            process.stdin.write(b"abc\n")
            process.stdin.flush()
            assert process.stdout.readline().endswith(b"\n")
        process.stdin.close()
        assert process.wait(180) == 0
