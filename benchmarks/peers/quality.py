"""Time to quality: how soon we reach the validation chrF that OpenNMT-py's RNN has after ten epochs of Multi30k En→De.

    python -m benchmarks.peers.quality --data DATA [--dir build/peers] [--epochs 10] [--recipe small ...]

OpenNMT-py trains with the settings of the comparison (settings/opennmt.yaml), saves once an epoch and translates
the validation sources with its last model, greedily and with a beam of 5; its time is that of the training alone, at
the median pace that its log reports. Ours is one `suguk train` a recipe, from its start, preparation and validations
(greedy, all sources) included, ended by the first validation that is at least as good as the better of the two.
Scores are sacrebleu's chrF of plain text. DIR/quality.json is written after every step. Run it on an otherwise idle
machine.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from sacrebleu.metrics.chrf import CHRF

from benchmarks.peers import contestants
from benchmarks.peers.compare import Plan, environment, prepare
from benchmarks.peers.contestants import Job
from benchmarks.peers.install import python_of
from benchmarks.record import machine

POLL = 1.0  # seconds between two looks at our log
Found = dict[str, Any]


def plain(pieces: str) -> str:
    """Text from sentencepiece's pieces."""
    return pieces.replace(" ", "").replace("▁", " ").strip()


def chrf(outputs: list[str], references: list[str]) -> float:
    """Of all of them together."""
    return float(CHRF().corpus_score(outputs, [references]).score)


def lines(path: Path) -> list[str]:
    """Without their ends."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def opennmt(plan: Plan, epochs: int, updates: int) -> Found:
    """Train, unless the last model is there, and translate; seconds of the training, and scores."""
    out = plan.folder / "runs" / "quality-opennmt"
    log, last = out / "log.txt", out / f"model_step_{epochs * updates}.pt"
    programs = python_of(plan.folder, "opennmt").parent
    # Its own files hold more than tensors, which PyTorch no longer reads unasked.
    given = environment(plan.threads) | {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}

    def call(*words: str) -> None:
        with log.open("a", encoding="utf-8") as file:
            command = [str(programs / words[0]), *words[1:]]
            subprocess.run(command, cwd=out, env=given, check=True, stdout=file, stderr=file)

    if not last.exists():
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        job = Job(plan.folder, plan.data, out, plan.recipe, seed=1)
        text = contestants.settings("opennmt", job)
        for key, value in {"train_steps": epochs * updates, "save_checkpoint_steps": updates}.items():
            text = re.sub(rf"^{key}: .*$", f"{key}: {value}", text, flags=re.MULTILINE)
        (out / "settings.yaml").write_text(text, encoding="utf-8")
        call("onmt_train", "-config", str(out / "settings.yaml"))
    references, scores = lines(plan.data / "multi30k" / "val.de"), {}
    for beam in (1, 5):
        found = out / f"val.beam{beam}.txt"
        source = str(plan.folder / "data" / "val.en")
        call(
            "onmt_translate", "-model", str(last), "-src", source, "-output", str(found),
            "-beam_size", str(beam), "-batch_size", "64", "-gpu", "-1",
        )  # fmt: skip
        scores[f"beam {beam}"] = chrf([plain(line) for line in lines(found)], references)
    seconds = steady(log.read_text(encoding="utf-8"), epochs * updates)
    about = {"machine": machine(), "threads": plan.threads, "epochs": epochs}
    return {**about, "date": time.strftime("%Y-%m-%d"), "seconds": seconds, "chrf": scores}


def steady(log: str, updates: int) -> float:
    """Seconds for so many updates at the median pace of what the log reports: an hour may have other work in it."""
    reports = re.findall(r"Step (\d+)/.*?;\s+(\d+) sec;", log)
    stamps = [(int(step), int(seconds)) for step, seconds in reports]
    paces = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(stamps)]
    return statistics.median(paces) * updates


def ours(plan: Plan, recipe: str, wanted: float) -> Found:
    """Train until a validation has the wanted chrF, or the time is up."""
    raw = plan.data / "multi30k"
    out = plan.folder / "runs" / f"quality-{Path(recipe).stem}-{int(time.time())}"
    out.mkdir(parents=True)
    command = [sys.executable, "-m", "suguk", "train", str(raw / "train.en"), str(raw / "train.de")]
    command += [
        "--valid",
        str(raw / "val.en"),
        str(raw / "val.de"),
        "--recipe",
        recipe,
        "--out",
        str(out / "model"),
    ]
    settings = ("epochs=1000", f"minutes={plan.minutes}", "valid_metric=chrf", "valid_samples=100000")
    for setting in (*settings, "early_stopping=0", "device=cpu"):
        command += ["--set", f"train.{setting}"]
    began = time.monotonic()
    with (out / "log.txt").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, env=environment(plan.threads), stdout=log, stderr=log)
        try:
            while process.poll() is None and not reached(out / "model", wanted):
                time.sleep(POLL)
        finally:
            process.kill()
            process.wait()
    seconds = time.monotonic() - began
    validations = list(read(out / "model"))
    if not validations:
        raise SystemExit(f"training ended without a validation, see {out / 'log.txt'}")
    row = {"name": recipe, "command": command, "seconds": seconds, "validations": validations}
    return row | {"reached": reached(out / "model", wanted)}


def read(run: Path) -> Iterator[Found]:
    """The validations of a run so far."""
    path = run / "metrics.jsonl"
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0] if path.exists() else ""
    for line in filter(None, whole.split("\n")):
        record = json.loads(line)
        if record["kind"] == "valid":
            yield {key: record[key] for key in ("epoch", "seconds", "score")}


def reached(run: Path, wanted: float) -> bool:
    """Whether one of its validations is good enough."""
    return any(one["score"] >= wanted for one in read(run))


def write(path: Path, found: Found) -> None:
    """Replaced whole: it holds hours."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(found, indent=1), encoding="utf-8")
    new.replace(path)


def report(found: Found) -> Iterator[str]:
    """A row each."""
    peer = found["peer"]
    yield f"{found['machine']}, {found['threads']} threads, {found['date']}"
    yield ""
    yield "| | epochs | seconds | validation chrF | share of the peer's time |"
    yield "|---|---|---|---|---|"
    scores = ", ".join(f"{score:.2f} ({how})" for how, score in peer["chrf"].items())
    yield f"| OpenNMT-py ({peer['date']}) | {peer['epochs']} | {peer['seconds']:.0f} | {scores} | |"
    for one in found["ours"]:
        last = one["validations"][-1]
        share = f"{one['seconds'] / peer['seconds']:.0%}" if one["reached"] else "not reached"
        cells = [f"`{Path(one['name']).stem}`", f"{last['epoch']:.1f}", f"{one['seconds']:.0f}"]
        yield "| " + " | ".join([*cells, f"{last['score']:.2f} (greedy)", share]) + " |"


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with multi30k/")
    parser.add_argument("--dir", type=Path, default=Path("build/peers"), help="where install.py installed")
    parser.add_argument("--recipe", nargs="+", default=[str(contestants.RECIPE), "small"], help="ours")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=60, help="most for each of ours (default: 60)")
    given = parser.parse_args()
    places = (given.dir.absolute(), given.data.absolute(), contestants.RECIPE)
    plan = Plan(*places, [], 0, 1, given.threads, given.minutes)
    path = plan.folder / "quality.json"
    found: Found = {"machine": machine(), "date": time.strftime("%Y-%m-%d"), "threads": plan.threads}
    known = json.loads(path.read_text(encoding="utf-8")).get("peer", {}) if path.exists() else {}
    same = {"machine": machine(), "threads": given.threads, "epochs": given.epochs}
    if same.items() <= known.items():
        found["peer"] = known  # an hour's work: delete the file to have it done again
    else:
        found["peer"] = opennmt(plan, given.epochs, prepare(plan)["updates"])
    found["ours"] = []
    for recipe in given.recipe:
        write(path, found)
        found["ours"].append(ours(plan, recipe, max(found["peer"]["chrf"].values())))
    write(path, found)
    print("\n".join(report(found)))


if __name__ == "__main__":
    main()
