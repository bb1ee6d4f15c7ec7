"""Trains and asks by the command line that a user would type; what is done is kept and not done again."""

import hashlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Corpus(NamedTuple):
    """Files relative to the data folder, and options that say which columns and how to compare."""

    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]
    columns: tuple[str, ...] = ()


MULTI30K = Corpus(
    ("multi30k/train.en", "multi30k/train.de"),
    ("multi30k/val.en", "multi30k/val.de"),
    ("multi30k/test_2016_flickr.en", "multi30k/test_2016_flickr.de"),
)
SPA_ENG = Corpus(
    ("spa-eng/train.tsv",),
    ("spa-eng/valid.tsv",),
    ("spa-eng/test.tsv",),
    ("--source", "en", "--target", "es"),
)
BASE = str(Path(__file__).with_name("base.toml"))


def call(words: Sequence[str], given: str = "") -> str:
    """What `suguk WORDS` prints; SystemExit with its status if it fails. On Ctrl-C training saves its state."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(
        [sys.executable, "-m", "suguk", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        encoding="utf-8", env=environment,
    ) as child:  # fmt: skip
        printed, _ = child.communicate(given)
    if child.returncode:
        print(f"suguk {words[0]} ended with status {child.returncode}", file=sys.stderr)
        raise SystemExit(child.returncode)
    return printed


class Workshop:
    """One folder of runs and answers.

    data: the data sets; out: where all goes; settings: `section.key=value` for every training, over its own.
    """

    def __init__(self, data: Path, out: Path, settings: Sequence[str], seeds: Sequence[int]) -> None:
        self.data, self.out = data.absolute(), out.absolute()
        self.settings, self.seeds = tuple(settings), tuple(seeds)
        self.trained: list[str] = []  # commands

    def train(self, name: str, data: Corpus, *settings: str, seed: int = 1) -> str:
        """The run directory OUT/runs/NAME, trained once; goes on with one that was stopped.

        SystemExit if it is there, trained with other settings or data.
        """
        folder = self.out / "runs" / name
        words = ["train", *self.files(data.train), *data.columns]
        words += ["--valid", *self.files(data.valid)] if data.valid else []
        words += ["--recipe", BASE]
        for setting in (*settings, f"train.seed={seed}", *self.settings):
            words += ["--set", setting]
        words += ["--out", str(folder)]
        record = self.out / "runs" / f"{name}.json"
        kept = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
        shown = self.shown(words)
        begun = {"command": shown, "made": self._made(words), "finished": False}
        if kept and {**kept, "finished": False} != begun:
            raise SystemExit(
                f"{folder} was trained with other settings or data; remove it and {record.name}, or name another --out"
            )
        if not kept.get("finished"):
            write(record, json.dumps(begun, ensure_ascii=False, indent=1) + "\n")
            self._call(["train", "--resume", str(folder)] if (folder / "model.json").exists() else words)
            write(record, json.dumps({**begun, "finished": True}, ensure_ascii=False, indent=1) + "\n")
        if shown not in self.trained:
            self.trained.append(shown)
        return str(folder)

    def ask(self, name: str, *words: str, given: str = "", makes: Path | None = None) -> str:
        """What a command prints about a trained model, kept in OUT/answers/NAME.json. makes: a file it writes."""
        record = self.out / "answers" / f"{name}.json"
        asked = {
            "command": self.shown(words),
            "given": given,
            "made": self._made(words, makes) | self._weights(words),
        }
        if record.exists() and (makes is None or makes.exists()):
            kept: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
            if {key: kept.get(key) for key in asked} == asked:
                return str(kept["printed"])
        printed = self._call(words, given)
        write(record, json.dumps({**asked, "printed": printed}, ensure_ascii=False) + "\n")
        return printed

    def _made(self, words: Sequence[str], makes: Path | None = None) -> dict[str, str]:
        """Digests of the recipe and of the files in OUT that a command reads, which may have changed since."""
        ours = [Path(word) for word in words if word == BASE or word.startswith(f"{self.out}/")]
        files = [path for path in ours if path.is_file() and path != makes]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def _weights(self, words: Sequence[str]) -> dict[str, str]:
        """Digests of the weights of runs in OUT that a command asks: a run may have been trained anew."""
        held = [self.out / word / "model.safetensors" for word in words if word.startswith(f"{self.out}/")]
        return {
            path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in held if path.is_file()
        }

    def files(self, names: Sequence[str]) -> list[str]:
        return [str(self.data / name) for name in names]

    def shown(self, words: Sequence[str]) -> str:
        """A command without the places of this machine."""
        text = shlex.join(["suguk", *words])
        places = {str(self.out): "OUT", str(self.data): "DATA", str(Path(BASE).parent): "benchmarks/figures"}
        for place in sorted(places, key=len, reverse=True):
            text = text.replace(place + "/", places[place] + "/")
        return text

    def _call(self, words: Sequence[str], given: str = "") -> str:
        print("$", self.shown(words), file=sys.stderr, flush=True)
        return call(words, given)


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def scored(workshop: Workshop, name: str, data: Corpus, *settings: str, seed: int = 1) -> dict[str, Any]:
    """Train, decode the test part, and say how it went.

    bleu, perplexity: of the test part; updates, losses: of the validations, nats per target token;
    groups: of test sources of like length, with their BLEU.
    """
    from suguk.run_directory import read_metrics

    run = workshop.train(name, data, *settings, seed=seed)
    words = ["evaluate", run, *workshop.files(data.test), *data.columns, "--metrics", "bleu"]
    words += ["--lowercase", "--json"]
    found = json.loads(workshop.ask(name, *words))
    losses: dict[int, float] = {}
    for record in read_metrics(Path(run)):
        if record["kind"] == "valid":
            losses[record["step"]] = record["loss"]
    return {
        "seed": seed,
        "bleu": found["scores"]["bleu"]["score"],
        "signature": found["scores"]["bleu"]["signature"],
        "perplexity": found["perplexity"],
        "updates": sorted(losses),
        "losses": [losses[step] for step in sorted(losses)],
        "unit": found["unit"],
        "groups": [
            {key: group[key] for key in ("low", "high", "count", "bleu")} for group in found["groups"]
        ],
    }
