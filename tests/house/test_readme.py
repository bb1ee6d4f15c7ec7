"""Every command that the README and the quickstart show works, in the order in which a reader meets them.

Data and models are tiny; what the documents print as output is not compared.
"""

import gzip
import re
import shlex
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from tests.cli.calls import suguk

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(?P<kind>console|python)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?:echo (?P<echo>.+?) \| )?suguk (?P<words>[^|<>&;]+?)(?: > (?P<file>\S+))?")
TINY = (
    "model.hidden=8",
    "model.embedding=8",
    "model.layers=2",
    "train.epochs=1",
    "train.minutes=1",
    "train.export=false",  # takes a quarter of a minute; the verb is among the commands
    "predict.max_length=11",
)


def blocks(document: str) -> Iterator[tuple[str, str]]:
    text = (ROOT / document).read_text(encoding="utf-8")
    for block in BLOCK.finditer(text):
        yield block["kind"], block["text"]


def commands(text: str) -> list[str]:
    """What is typed after the prompt; lines that end in a backslash go on."""
    lines = text.replace("\\\n", " ").splitlines()
    typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [command for command in typed if not command.startswith("head ")]


def run(command: str) -> None:
    """The command with a tiny model; its output goes where the command says."""
    found = COMMAND.fullmatch(command.partition(" #")[0].strip())
    assert found is not None, f"not a command that this test can run: {command}"
    words = shlex.split(found["words"])
    if words[0] == "train" and "--resume" not in words:
        words += [word for setting in TINY for word in ("--set", setting)]
    given = " ".join(shlex.split(found["echo"])) + "\n" if found["echo"] else ""
    ran = suguk(*words, given=given)
    assert ran.status == 0, f"{command}\n{ran.err}"
    if found["file"]:
        Path(found["file"]).write_text(ran.out, encoding="utf-8")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the documents speak of: Spanish and English under every name."""
    folder = resources.files("suguk") / "demo_data"
    for part, count, table, names in (
        ("train", 151, "pairs.tsv", ("train.en", "train.de")),
        ("valid", 13, "val.tsv", ("val.en", "val.de")),
        ("test", 11, "test.tsv", ("test.txt", "test.en")),
    ):
        rows = gzip.decompress((folder / f"{part}.tsv.gz").read_bytes()).decode().splitlines()[1:]
        chosen = [row.split("\t") for row in rows[:: len(rows) // count][:count]]
        (tmp_path / table).write_text("".join("\t".join(row) + "\n" for row in chosen), encoding="utf-8")
        for side, name in enumerate(names):
            (tmp_path / name).write_text("".join(row[side] + "\n" for row in chosen), encoding="utf-8")
    (tmp_path / "news.es").write_bytes((tmp_path / "test.txt").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("document", ["README.md", "docs/quickstart.md"])
def test_what_a_document_shows_works(
    document: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("suguk train pairs.tsv --out runs/demo")  # in the place of `make demo`
    kinds = set()
    for kind, text in blocks(document):
        kinds.add(kind)
        if kind == "python":
            exec(compile(text, document, "exec"), {})
            assert capsys.readouterr().out.strip()
            continue
        for command in commands(text):
            run(command)
    assert kinds == {"console", "python"}
    assert len(list(workplace.glob("runs/*/curves.svg"))) >= 1
    assert (workplace / "pictures" / "0001.svg").stat().st_size > 1000


def test_commands_are_found() -> None:
    shown = "$ head -n 3 pairs.tsv\na\tb\n$ suguk check \\\n    pairs.tsv\nfine\n"
    assert [command.split() for command in commands(shown)] == [["suguk", "check", "pairs.tsv"]]


@pytest.mark.parametrize("command", ["suguk chek pairs.tsv", "rm pairs.tsv", "suguk predict nowhere"])
def test_a_command_that_does_not_work_is_told(command: str, workplace: Path) -> None:
    with pytest.raises(AssertionError, match=re.escape(command)):
        run(command)
    assert not list(workplace.glob("runs"))
