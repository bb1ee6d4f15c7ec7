"""Lines in, lines out: UTF-8 checked, one line per source, and nothing that breaks the count."""

import json
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

from suguk.errors import TooManyConstraintsError, UserError

# Where str.splitlines, editors and other readers see a line end, and the tab that separates columns.
_BREAKS = dict.fromkeys(map(ord, "\t\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"), " ")


_MOST = 2**20  # bytes of a line that are held


class Lines:
    """The sources of a file or of standard input, as they come; split at \\n and \\r\\n only.

    Iteration ends before a line that cannot be used; `fault` says then what is wrong, so that all lines
    before it are answered first. With `skip_bad` such a line is an empty one, and `bad` says why.
    """

    def __init__(self, path: str | None, longest: int, *, skip_bad: bool = False) -> None:
        """path: None or "-" for standard input, .gz is read through gzip; longest: characters of a line."""
        self.skip_bad = skip_bad
        self.bad: dict[int, str] = {}  # by number, from 1
        self.standard = path in (None, "-")
        self.name = "standard input" if self.standard else str(path)
        self.longest = longest
        self.fault: UserError | None = None
        self._file = _standard() if self.standard else _open(Path(str(path)))

    @property
    def interactive(self) -> bool:
        return self.standard and sys.stdin.isatty()

    def __iter__(self) -> Iterator[str]:
        try:
            for number, raw in enumerate(self._raw(), start=1):
                if number == 1:
                    self._look(raw)
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                yield self._usable(number, raw.removesuffix(b"\n").removesuffix(b"\r"))
        except UserError as fault:
            self.fault = fault
        except (EOFError, OSError, zlib.error) as fault:  # gzip: cut short, damaged or not gzip at all
            self.fault = UserError(f"cannot be read: {fault}", where=self.name)

    def _look(self, first: bytes) -> None:
        """UserError for what is no text in UTF-8 from its first bytes on."""
        from suguk.data.lines import GZIP, encoding

        kind = encoding(first)
        if kind:
            raise UserError(
                f"is {kind}, expected UTF-8",
                where=self.name,
                hint=f"convert it first: iconv -f {kind} -t UTF-8",
            )
        if first.startswith(GZIP):
            hint = "a name that ends in .gz is unpacked; a pipe is with `gzip -cd`"
            raise UserError("is compressed", where=self.name, hint=hint)

    def _raw(self) -> Iterator[bytes]:
        """Every line; of one that has too many bytes for any use the first ones."""
        while line := self._file.readline(_MOST):
            yield line
            while len(line) == _MOST and not line.endswith(b"\n"):
                line = self._file.readline(_MOST)

    def _usable(self, number: int, raw: bytes) -> str:
        try:
            return self._text(number, raw)
        except UserError as fault:
            if not self.skip_bad:
                raise
            self.bad[number] = fault.message
            return ""

    def _text(self, number: int, raw: bytes) -> str:
        if len(raw) >= _MOST:
            raise UserError(
                f"a source of over {_MOST:,} bytes, at most {self.longest:,} characters are decoded",
                where=f"{self.name}:{number}",
                hint="split it into sentences, one a line",
            )
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as fault:
            raise UserError(
                f"not UTF-8: byte {fault.start + 1} is 0x{raw[fault.start]:02x}",
                where=f"{self.name}:{number}",
                hint="convert it first, for example with `iconv -f latin1 -t utf-8`",
            ) from None
        if len(text) > self.longest:
            raise UserError(
                f"a source of {len(text):,} characters, at most {self.longest:,} are decoded",
                where=f"{self.name}:{number}",
                hint="split it into sentences, one a line",
            )
        return text

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        """Closes a file; raises what ended the iteration early, unless something before that line was wrong."""
        if not self.standard:
            self._file.close()
        # Too many constraints are the consequence of sources that ended early.
        if self.fault is not None and (fault[0] is None or isinstance(fault[1], TooManyConstraintsError)):
            raise self.fault from None


def _standard() -> BinaryIO:
    if sys.stdin is None:  # closed
        raise UserError("there is no standard input", hint="name a file of sources")
    return sys.stdin.buffer


def _open(path: Path) -> BinaryIO:
    if path.is_dir():
        hint = "name a file of sources, one a line"
        raise UserError("expected a text file, found a directory", where=path, hint=hint)
    if not path.exists():
        hint = "name a file of sources, one a line, or give them on standard input"
        raise UserError("no such file", where=path, hint=hint)
    if path.suffix == ".parquet":
        hint = "`suguk predict MODEL FILE.parquet --source COLUMN --output DIR` answers a table"
        raise UserError("expected a text file, found a table", where=path, hint=hint)
    if path.suffix.lower() == ".gz":
        import gzip

        return cast(BinaryIO, gzip.open(path, "rb"))
    return path.open("rb")


def one_line(text: str) -> str:
    """Line breaks and tabs as spaces, so that a line stays a line and a column a column."""
    return text.translate(_BREAKS)


def write_line(*columns: str) -> None:
    """Tab-separated columns on standard output, at once."""
    line = "\t".join(map(one_line, columns)) + "\n"
    _write(line)


def write_json(value: Any, *, indent: int | None = None) -> None:
    """One JSON value on standard output, at once."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    _write(text + "\n")


def write_text(text: str) -> None:
    """Text of several lines on standard output."""
    _write(text.rstrip("\n") + "\n")


def _write(text: str) -> None:
    if sys.stdout is None:  # closed
        raise UserError("there is no standard output")
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))
    sys.stdout.buffer.flush()


def chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    from itertools import islice

    remaining = iter(items)
    while part := list(islice(remaining, size)):
        yield part
