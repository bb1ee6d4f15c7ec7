"""One command of the command line, called in this process."""

from dataclasses import dataclass

from typer.testing import CliRunner

from suguk.cli import app


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.split("\n")[:-1]


def suguk(*words: object, given: str | bytes = b"") -> Ran:
    """`suguk WORDS...` with bytes or text on standard input."""
    result = CliRunner().invoke(app, [str(word) for word in words], input=given, prog_name="suguk")
    return Ran(result.exit_code, result.stdout, result.stderr)
