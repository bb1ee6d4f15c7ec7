"""What a person sees on stderr while a model trains: live on a terminal, plain lines in a pipe, nothing."""

import sys
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from suguk.errors import UserError
from suguk.evaluation.metrics import LABELS
from suguk.training.validate import Validation

Kind = Literal["auto", "rich", "plain", "silent"]
EVERY = 10.0  # seconds between two plain lines


@dataclass(frozen=True)
class Status:
    """One record of training; tokens are real target tokens, padding is a share of both sides' positions."""

    step: int
    epoch: float
    epochs: int
    loss: float  # nats per token, since the record before
    lr: float
    tokens_per_second: float
    padding: float
    seconds: float
    seconds_left: float


class Display(Protocol):
    """Notes come first, then updates and validations; `close` comes last, also after a fault."""

    def note(self, text: str) -> None: ...
    def update(self, status: Status) -> None: ...
    def validation(self, step: int, epoch: float, result: Validation, *, best: bool) -> None: ...
    def close(self) -> None: ...


def choose(kind: Kind | Display) -> Display:
    """auto: rich on a terminal, plain lines elsewhere. A display of the caller's own is taken as it is."""
    if not isinstance(kind, str):
        return kind
    if kind == "auto":
        kind = "rich" if sys.stderr.isatty() else "plain"
    if kind not in ("rich", "plain", "silent"):
        raise UserError(
            f"unknown display {kind!r}", hint="auto, rich, plain, silent, or an object of your own"
        )
    displays: dict[str, type[Display]] = {"rich": RichDisplay, "plain": PlainDisplay, "silent": SilentDisplay}
    return displays[kind]()


class SilentDisplay:
    """Nothing."""

    def note(self, text: str) -> None:
        del text

    def update(self, status: Status) -> None:
        del status

    def validation(self, step: int, epoch: float, result: Validation, *, best: bool) -> None:
        del step, epoch, result, best

    def close(self) -> None:
        pass


class PlainDisplay:
    """One line each ten seconds and three for each validation."""

    def __init__(self, stream: TextIO | None = None, every: float = EVERY) -> None:
        self.stream, self.every, self._next = stream, every, 0.0

    def note(self, text: str) -> None:
        print(text, file=self.stream or sys.stderr, flush=True)

    def update(self, status: Status) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self.every
        self.note(
            f"step {status.step:,}  epoch {status.epoch:.2f}/{status.epochs}  loss {status.loss:.3f}  "
            f"lr {status.lr:.2e}  {status.tokens_per_second:,.0f} tokens/s  padding {status.padding:.1%}  "
            f"{clock(status.seconds_left)} left"
        )

    def validation(self, step: int, epoch: float, result: Validation, *, best: bool) -> None:
        self.note(
            f"validation at step {step:,}, epoch {epoch:.2f}: {summary(result)}{', the best so far' * best}"
        )
        self.note(f"  {one_line(result.example.source)}\n  → {one_line(result.example.output)}")

    def close(self) -> None:
        pass


class RichDisplay:
    """A bar over the epochs, a table of the figures, the last validations and one example."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.bar = Progress(
            TextColumn("epoch"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[shown]}"),
            console=self.console,
        )
        self.task = self.bar.add_task("epoch", total=1.0, shown="")
        self.status: Status | None = None
        self.validations: list[tuple[int, float, Validation, bool]] = []
        self.live: Live | None = None

    def note(self, text: str) -> None:
        self.console.print(Text(text))

    def update(self, status: Status) -> None:
        self.status = status
        self.bar.update(
            self.task,
            total=status.epochs,
            completed=status.epoch,
            shown=f"{status.epoch:.2f}/{status.epochs}",
        )
        self._show()

    def validation(self, step: int, epoch: float, result: Validation, *, best: bool) -> None:
        self.validations = [*self.validations, (step, epoch, result, best)][-5:]
        self._show()

    def _show(self) -> None:
        if self.live is None:
            self.live = Live(console=self.console, refresh_per_second=4, redirect_stdout=False)
            self.live.start()
        self.live.update(Group(*self._parts()))

    def _parts(self) -> list[Any]:
        parts: list[Any] = [self.bar]
        if self.status is not None:
            parts.append(_figures(self.status))
        if self.validations:
            parts += [_validations(self.validations), _example(self.validations[-1][2])]
        return parts

    def close(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None


def _figures(status: Status) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for name in ("step", "loss", "tokens/s", "padding", "learning rate", "time left"):
        table.add_column(name, justify="right")
    table.add_row(
        f"{status.step:,}",
        f"{status.loss:.3f}",
        f"{status.tokens_per_second:,.0f}",
        f"{status.padding:.1%}",
        f"{status.lr:.2e}",
        clock(status.seconds_left),
    )
    return table


def _validations(rows: Sequence[tuple[int, float, Validation, bool]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    metric = rows[-1][2].metric
    for name in ("validation", "epoch", LABELS.get(metric, metric), "loss", "perplexity", ""):
        table.add_column(name, justify="right")
    for step, epoch, result, best in rows:
        figures = (f"{result.score:.2f}", f"{result.loss:.3f}", f"{result.perplexity:.2f}")
        table.add_row(f"{step:,}", f"{epoch:.2f}", *figures, "best" if best else "")
    return table


def _example(result: Validation) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, text in result.example._asdict().items():
        table.add_row(Text(name, style="dim"), Text(one_line(text)))
    return table


def summary(result: Validation) -> str:
    score = f"{LABELS.get(result.metric, result.metric)} {result.score:.2f}"
    return f"{score}, loss {result.loss:.3f}, perplexity {result.perplexity:.2f} ({result.seconds:.1f} s)"


def clock(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def one_line(text: str, most: int = 160) -> str:
    """Without line breaks and control characters, cut to `most` characters."""
    shown = "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in text)
    return shown if len(shown) <= most else shown[:most] + "…"
