"""What a person sees: plain lines, a live table, nothing; on stderr."""

import io
import time

import pytest
from rich.console import Console

from suguk.training.display import (
    Display,
    PlainDisplay,
    RichDisplay,
    SilentDisplay,
    Status,
    choose,
    clock,
    one_line,
)
from suguk.training.validate import Example, Validation

STATUS = Status(
    step=1234,
    epoch=2.5,
    epochs=20,
    loss=3.14159,
    lr=0.002,
    tokens_per_second=5678.9,
    padding=0.0371,
    seconds=61.0,
    seconds_left=3723.0,
)
RESULT = Validation("chrf", 45.678, 2.0, 3.21, Example("I am\there", "estoy aquí", "estoy ahí"))


def play(display: Display) -> None:
    display.note("bpe on both sides")
    display.update(STATUS)
    display.validation(1234, 2.5, RESULT, best=True)
    display.validation(1300, 2.6, RESULT, best=False)
    display.close()
    display.close()


def test_plain_lines() -> None:
    stream = io.StringIO()
    play(PlainDisplay(stream))
    assert stream.getvalue().splitlines() == [
        "bpe on both sides",
        "step 1,234  epoch 2.50/20  loss 3.142  lr 2.00e-03  5,679 tokens/s  padding 3.7%  1:02:03 left",
        "validation at step 1,234, epoch 2.50: chrF 45.68, loss 2.000, perplexity 7.39 (3.2 s), "
        "the best so far",
        "  I am here",
        "  → estoy ahí",
        "validation at step 1,300, epoch 2.60: chrF 45.68, loss 2.000, perplexity 7.39 (3.2 s)",
        "  I am here",
        "  → estoy ahí",
    ]


def test_plain_lines_come_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([100.0, 100.0, 101.0, 109.0, 110.5, 110.5, 120.0, 121.0, 121.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    stream = io.StringIO()
    display = PlainDisplay(stream)
    for _ in range(6):
        display.update(STATUS)
    assert next(times, None) is None
    assert len(stream.getvalue().splitlines()) == 3


def test_the_live_table_shows_everything() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    play(RichDisplay(console))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    wanted = (
        "bpe on both sides|2.50/20|1,234|3.142|5,679|3.7%|2.00e-03|1:02:03|chrF|45.68|7.39|best|I am here"
    )
    for part in [*wanted.split("|"), "estoy aquí", "estoy ahí"]:
        assert part in shown


def test_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    play(SilentDisplay())
    assert capsys.readouterr() == ("", "")


def test_a_pipe_gets_plain_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    display = choose("auto")
    assert isinstance(display, PlainDisplay)
    display.note("한국어")
    assert capsys.readouterr() == ("", "한국어\n")


def test_a_display_of_ones_own() -> None:
    own = SilentDisplay()
    assert choose(own) is own
    assert isinstance(choose("rich"), RichDisplay)
    assert isinstance(choose("silent"), SilentDisplay)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (59.7, "1:00"), (754, "12:34"), (36_000, "10:00:00")]
)
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_one_line_keeps_scripts_and_drops_controls() -> None:
    assert one_line("नमस्ते 👩‍🚒 \u200fשלום\n\x1b[1m") == "नमस्ते 👩‍🚒 \u200fשלום  [1m"
    assert one_line("x" * 200) == "x" * 160 + "…"
