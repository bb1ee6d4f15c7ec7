"""Who takes part in the comparison, and the command that each is started with."""

import string
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers.install import python_of

HERE = Path(__file__).parent
RECIPE = HERE.parent / "job.toml"


class Job(NamedTuple):
    """One run: where everything is, and the seed (another one each repeat, so that other batches are drawn)."""

    folder: Path  # of the comparison: venvs/, data/, runs/
    data: Path  # data sets by name, as a user has them
    out: Path  # of this run
    recipe: Path
    seed: int


class Contestant(NamedTuple):
    """kind: ours, textbook, or a peer's name. options: of our `train` or of textbook.py."""

    kind: str
    program: tuple[str, ...]
    options: tuple[str, ...] = ()
    note: str = ""


def _ours(precision: str) -> Contestant:
    return Contestant("ours", ("suguk", "train"), ("--set", f"train.precision={precision}"), "by length")


def _textbook(*options: str) -> Contestant:
    order = "by length" if "--sorted" in options else "random"
    return Contestant("textbook", (str(HERE / "textbook.py"),), options, order)


CONTESTANTS: dict[str, Contestant] = {
    "ours": _ours("auto"),
    "ours-bf16": _ours("bf16"),
    "ours-fp32": _ours("fp32"),
    "opennmt": Contestant("opennmt", ("onmt_train", "-config"), note="by length"),
    "eole": Contestant("eole", ("eole", "train", "-config"), note="by length; encoder not packed"),
    "joeynmt": Contestant("joeynmt", ("joeynmt", "train", "--skip-test"), note="random"),
    "yoyodyne": Contestant("yoyodyne", ("yoyodyne", "fit", "--config"), note="random; an easier model"),
    "textbook": _textbook(),
    "textbook-sorted": _textbook("--sorted"),
    "textbook-bf16": _textbook("--bf16"),
    "textbook-sorted-bf16": _textbook("--sorted", "--bf16"),
    "nn-lstm": _textbook("--nn-lstm"),
    "nn-lstm-sorted": _textbook("--nn-lstm", "--sorted"),
}
# Without those that say nothing new.
DEFAULT = [name for name in CONTESTANTS if name not in ("ours-bf16", "textbook-bf16", "nn-lstm")]


def needs(name: str) -> str | None:
    """The environment that install.py has to make for it."""
    kind = CONTESTANTS[name].kind
    return None if kind in ("ours", "textbook") else kind


def python(name: str, folder: Path) -> str:
    """The interpreter: the peer's own, or the one that runs the comparison."""
    environment = needs(name)
    return str(python_of(folder, environment)) if environment else sys.executable


def settings(name: str, job: Job) -> str:
    """A peer's settings with its paths and its seed filled in."""
    template = string.Template((HERE / "settings" / f"{name}.yaml").read_text(encoding="utf-8"))
    return template.substitute(
        data=job.folder / "data", raw=job.data / "multi30k", out=job.out, seed=job.seed
    )


def command(name: str, job: Job) -> list[str]:
    """Program and arguments, without the interpreter; writes the settings file if there is one."""
    entry = CONTESTANTS[name]
    if entry.kind == "ours":
        raw = job.data / "multi30k"
        files = [str(raw / file) for file in ("train.en", "train.de")]
        valid = ["--valid", *(str(raw / file) for file in ("val.en", "val.de"))]
        more = ["--recipe", str(job.recipe), "--set", "train.device=cpu", "--seed", str(job.seed)]
        return [*entry.program, *files, *valid, *more, *entry.options, "--out", str(job.out / "model")]
    if entry.kind == "textbook":
        return [*entry.program, "--data", str(job.folder / "data"), "--seed", str(job.seed), *entry.options]
    file = job.out / "settings.yaml"
    file.write_text(settings(name, job), encoding="utf-8")
    return [*entry.program, str(file)]
