"""Decode Multi30k's test sources with suguk and its peers in turn: target tokens a second, greedy and with a beam.

    python -m benchmarks.peers.decode --data DATA --model runs/job [--dir build/peers] [--repeats 3]

MODEL is a run directory of `benchmarks/job.toml`; it is exported first, with eight-bit and with single-precision
weights. The peers' models have the same parts and sizes (settings/) and are trained here for --updates; OpenNMT-py's is
the last that `benchmarks.peers.quality` saved, if it did. A row a way of decoding: a beam of 5 over all sources (peers:
batches of 64; ours: its own batches by tokens), and greedy, one source at a time. Seconds are those of the decoding
alone, as each program reports them (ours: around `predict`; the textbook's: around its search), with the model loaded
and ready; tokens are those that came out, `<eos>` included (Joey NMT's text is cut again to count them); outputs have
at most 60. DIR/decode.json is written after every run.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.peers import contestants
from benchmarks.peers import models as peers
from benchmarks.peers.compare import Plan, environment, prepare, spread
from benchmarks.peers.install import python_of
from benchmarks.record import machine

LONGEST = 60
WAYS = {"beam 5": (5, 64), "greedy, one by one": (1, 1)}  # beam, sentences of a batch
OURS = ("int8", "fp32", "PyTorch")
Row = dict[str, Any]

CUT = """
import sys, sentencepiece
model = sentencepiece.SentencePieceProcessor(model_file=sys.argv[1])
lines = open(sys.argv[2], encoding="utf-8", newline="\\n").read().removesuffix("\\n").split("\\n")
open(sys.argv[3], "w", encoding="utf-8").writelines(" ".join(model.encode(x, out_type=str)) + "\\n" for x in lines)
"""

OUR_PROGRAM = """
import sys, time, json, suguk
engine = "auto" if sys.argv[1].endswith(".onnx") else "torch"
model = suguk.load(sys.argv[1], "cpu", engine, int(sys.argv[4]))
lines = open(sys.argv[2], encoding="utf-8", newline="\\n").read().removesuffix("\\n").split("\\n")
beam, batch = json.loads(sys.argv[3])
options = model.config.predict.model_copy(update={"beam": beam, "n_best": 1, "max_length": int(sys.argv[5])})
model.predict(lines[:3], options)
began = time.perf_counter()
if batch == 1:
    found = [model.predict([line], options)[0] for line in lines]
else:
    found = model.predict(lines, options)
seconds = time.perf_counter() - began
print(json.dumps({"seconds": seconds, "tokens": sum(len(one.token_scores) for one in found)}))
"""


class Decoder:
    """Everything that a run needs."""

    def __init__(
        self, folder: Path, data: Path, models: dict[str, Path], threads: int, sentences: int | None
    ) -> None:
        self.folder, self.models, self.threads = folder, models, threads
        self.plain, self.pieces = (
            folder / "data" / f"{name}.en" for name in ("sources", "pieces-of-sources")
        )
        lines = (data / "multi30k" / "test_2016_flickr.en").read_text(encoding="utf-8").splitlines()
        lines = lines[:: max(len(lines) // (sentences or len(lines)), 1)][:sentences]
        self.plain.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        self.plain.with_suffix(".de").write_text("x\n" * len(lines), encoding="utf-8")  # Joey NMT wants both
        self._cut(self.plain, self.pieces)

    def ours(self, name: str, way: tuple[int, int]) -> Row:
        words = [str(self.models[name]), str(self.plain), json.dumps(way), str(self.threads), str(LONGEST)]
        ran = self._run([sys.executable, "-c", OUR_PROGRAM, *words])
        found: Row = json.loads(ran.splitlines()[-1])
        return found

    def peer(self, name: str, way: tuple[int, int]) -> Row:
        out = self.folder / "runs" / f"decode-{name}"
        out.mkdir(parents=True, exist_ok=True)
        if name == "textbook":
            log = self._run(self._textbook(way))
            found: Row = json.loads(log.splitlines()[-1])
            return found
        text = out / "found.txt"
        text.unlink(missing_ok=True)
        log = self._run(self._joey(out, way) if name == "joeynmt" else self._open(name, text, way))
        (out / "log.txt").write_text(log, encoding="utf-8")
        if name == "joeynmt":
            self._cut(out / "found.test", text)
        seconds = re.findall(
            r"(?:otal translation time|prediction time including all) \(s\): ([\d.]+)|Generation took ([\d.]+)",
            log,
        )
        lines = text.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        return {
            "seconds": float("".join(seconds[-1])),
            "tokens": sum(len(line.split()) + 1 for line in lines),
        }

    def _open(self, name: str, text: Path, way: tuple[int, int]) -> list[str]:
        """OpenNMT-py, or eole, which has its options."""
        beam, batch = way
        programs = python_of(self.folder, name).parent
        options = {"batch_size": batch, "beam_size": beam, "max_length": LONGEST, "batch_type": "sents"}
        options |= {"output": text, "src": self.pieces}
        start = [str(programs / "onmt_translate"), "-model", str(self.models[name]), "-gpu", "-1"]
        dash = "-"
        if name == "eole":
            start, dash = [str(programs / "eole"), "predict", "--model_path", str(self.models[name])], "--"
        given = [word for key, value in options.items() for word in (dash + key, str(value))]
        return [*start, *given, f"{dash}report_time"]

    def _joey(self, out: Path, way: tuple[int, int]) -> list[str]:
        """Its settings name data, beam and batch; sources are plain text, which it cuts while it decodes."""
        beam, batch = way
        trained = self.models["joeynmt"]
        text = (trained.parent.parent / "settings.yaml").read_text(encoding="utf-8")
        text = re.sub(r"^  dev: .*$", f"  test: {self.plain.with_suffix('')}", text, flags=re.MULTILINE)
        for key, value in (("beam_size", beam), ("batch_size", batch), ("max_output_length", LONGEST)):
            text = re.sub(rf"^  {key}: .*$", f"  {key}: {value}", text, flags=re.MULTILINE)
        file = out / "settings.yaml"
        file.write_text(text, encoding="utf-8")
        python = str(python_of(self.folder, "joeynmt"))
        return [python, "-m", "joeynmt", "test", str(file), "-o", str(out / "found")]

    def _textbook(self, way: tuple[int, int]) -> list[str]:
        beam, batch = way
        words = ["--data", self.folder / "data", "--model", self.models["textbook"], "--source", self.pieces]
        words += ["--beam", beam, "--batch", batch, "--longest", LONGEST]
        return [sys.executable, "-m", "benchmarks.peers.textbook_search", *map(str, words)]

    def _cut(self, text: Path, pieces: Path) -> None:
        python = str(python_of(self.folder, "sentencepiece"))
        joint = str(self.folder / "data" / "joint.model")
        subprocess.run([python, "-c", CUT, joint, str(text), str(pieces)], check=True)

    def _run(self, command: list[str]) -> str:
        given = environment(self.threads) | {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
        ran = subprocess.run(
            command, env=given, cwd=os.getcwd(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if ran.returncode:
            raise SystemExit(f"{' '.join(command[:3])} …: {ran.stdout[-3000:]}")
        return ran.stdout


def report(found: Row) -> Iterator[str]:
    """A table a way of decoding."""
    rounds = max(row["repeat"] for row in found["runs"])
    yield f"{found['machine']}, {found['threads']} threads, {found['date']}; median of {rounds} runs (least–greatest)."
    for way in WAYS:
        rows = [row for row in found["runs"] if row["way"] == way]
        speeds = {(row["name"], row["repeat"]): row["tokens"] / row["seconds"] for row in rows}
        yield ""
        yield f"| {way} | target tokens/s | ms/sentence | tokens | int8 is × as fast |"
        yield "|---|---|---|---|---|"
        for name in dict.fromkeys(row["name"] for row in rows):
            own = [row for row in rows if row["name"] == name]
            per = [1000 * row["seconds"] / found["sentences"] for row in own]
            ratio = [speeds["int8", row["repeat"]] / speeds[name, row["repeat"]] for row in own]
            shown = "" if name == "int8" else spread(ratio, ".2f")
            speed = spread([row["tokens"] / row["seconds"] for row in own])
            yield f"| {name} | {speed} | {spread(per, '.1f')} | {own[0]['tokens']:,} | {shown} |"


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with multi30k/")
    parser.add_argument("--model", type=Path, required=True, help="a run directory of benchmarks/job.toml")
    parser.add_argument("--dir", type=Path, default=Path("build/peers"), help="where install.py installed")
    parser.add_argument("--only", nargs="+", default=[*OURS, "opennmt", "eole", "joeynmt", "textbook"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--sentences", type=int, help="how many of the test sources, evenly drawn (default: all)"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--updates", type=int, default=300, help="of the peers' models (default: 300)")
    given = parser.parse_args()
    folder, data = given.dir.absolute(), given.data.absolute()
    models = {"PyTorch": given.model}
    for name in ("int8", "fp32"):
        models[name] = folder / "runs" / f"job-{name}.onnx"
        single = ["--fp32"] if name == "fp32" else []
        check = [
            word for side in ("en", "de") for word in ("--check", str(data / "multi30k" / f"val.{side}"))
        ]
        command = [
            sys.executable,
            "-m",
            "suguk",
            "export",
            str(given.model),
            str(models[name]),
            *single,
            *check,
        ]
        subprocess.run(command, check=True)
    plan = Plan(folder, data, contestants.RECIPE, [], 0, 0, given.threads, 0)
    prepare(plan)
    for name in given.only:
        if name not in OURS:
            models[name] = peers.model(name, folder, data, given.updates, given.threads)
    decoder = Decoder(folder, data, models, given.threads, given.sentences)
    sentences = len(decoder.pieces.read_text(encoding="utf-8").splitlines())
    found: Row = {"machine": machine(), "date": time.strftime("%Y-%m-%d"), "threads": given.threads}
    found |= {"sentences": sentences, "runs": []}
    for repeat in range(1, given.repeats + 1):
        for way, how in WAYS.items():
            for name in given.only:
                row = decoder.ours(name, how) if name in OURS else decoder.peer(name, how)
                found["runs"].append({"name": name, "way": way, "repeat": repeat, **row})
                speed = row["tokens"] / row["seconds"]
                print(f"{repeat} {way} {name}: {speed:,.0f} tokens/s", file=sys.stderr, flush=True)
                (folder / "decode.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    print("\n".join(report(found)))


if __name__ == "__main__":
    main()
