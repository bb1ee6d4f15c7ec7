"""A model of each peer to decode with: trained here for some updates, unless it is there.

Its speed hangs on its sizes, not on how good it is; how long its outputs are does hang on that, so compare tokens a
second.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers import contestants
from benchmarks.peers.compare import environment
from benchmarks.peers.contestants import Job

# What of a peer's settings says when to stop and save, and what it is replaced by.
STOPS = {
    "opennmt": (r"^(train_steps|save_checkpoint_steps): .*$", r"\1: {updates}"),
    "eole": (r"^(  train_steps|  save_checkpoint_steps): .*$", r"\1: {updates}"),
    "joeynmt": (r"^(  updates|  validation_freq|  logging_freq): .*$", r"\1: {updates}"),
}


def model(name: str, folder: Path, data: Path, updates: int, threads: int) -> Path:
    """What the peer's own decoder is given; SystemExit with the name of the log if training fails."""
    if name == "opennmt":  # the best there is: of benchmarks.peers.quality
        saved = list((folder / "runs" / "quality-opennmt").glob("model_step_*.pt"))
        if saved:
            return max(saved, key=lambda path: int(re.findall(r"\d+", path.stem)[-1]))
    out = folder / "runs" / f"decode-{name}-train"
    made = {
        "opennmt": out / f"model_step_{updates}.pt",
        "eole": out / "model" / "config.json",
        "joeynmt": out / "model" / "best.ckpt",
        "textbook": out / "model.safetensors",
    }[name]
    if not made.exists():
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        with (out / "log.txt").open("w", encoding="utf-8") as log:
            ran = subprocess.run(
                _command(name, folder, data, out, updates),
                cwd=Path.cwd() if name == "textbook" else out,
                env=environment(threads),
                stdout=log,
                stderr=log,
                check=False,
            )
        if ran.returncode or not made.exists():
            raise SystemExit(f"{name}: no model, see {out / 'log.txt'}")
    return made.parent if name == "eole" else made


def _command(name: str, folder: Path, data: Path, out: Path, updates: int) -> list[str]:
    if name == "textbook":
        words = [
            "--data",
            str(folder / "data"),
            "--model",
            str(out / "model.safetensors"),
            "--updates",
            str(updates),
        ]
        return [sys.executable, "-m", "benchmarks.peers.textbook_search", *words]
    job = Job(folder, data, out, contestants.RECIPE, seed=1)
    pattern, stop = STOPS[name]
    text = contestants.settings(name, job)
    text = re.sub(pattern, stop.format(updates=updates), text, flags=re.MULTILINE)
    file = out / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    python = contestants.python(name, folder)
    programs = Path(python).parent
    return {
        "opennmt": [str(programs / "onmt_train"), "-config", str(file)],
        "eole": [str(programs / "eole"), "train", "-config", str(file)],
        "joeynmt": [python, "-m", "joeynmt", "train", str(file), "--skip-test"],
    }[name]
