"""`make runtime`: a fresh environment with `pip install .` alone, without PyTorch, answers as this one does.

    python -m tests.fresh

Trains a tiny model here, exports it, and asks both. Not one of pytest's tests: it installs packages.
"""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES = "abc\n\ndcba\nunknown é\n"
TINY = (
    "model.hidden=8",
    "model.embedding=8",
    "model.encoder_hidden=4",
    "model.attention_size=8",
    "train.epochs=1",
)


def call(*command: str | Path, given: str = "") -> str:
    """What it printed. CalledProcessError, with all that it said shown, if it fails."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        input=given,
        text=True,
        stdout=subprocess.PIPE,
        check=True,
        env=environment,
    )
    return done.stdout


def main() -> None:
    """Leaves with an AssertionError where the two differ."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        table = place / "pairs.tsv"
        words = [f"{'abcd'[i % 4]}{'abcd'[i // 4 % 4]}{'abcd'[i // 16 % 4]}" for i in range(64)]
        table.write_text("".join(f"{word}\t{word[::-1]}\n" for word in words), encoding="utf-8")
        settings = [part for setting in TINY for part in ("--set", setting)]
        here = Path(sys.executable).parent / "suguk"
        call(here, "train", table, "--recipe", "chars", *settings, "--out", place / "run")
        exported = place / "run" / "model.onnx"
        wanted = call(here, "predict", exported, "--beam", "3", given=LINES)

        venv.create(place / "fresh", with_pip=True)
        python = place / "fresh" / "bin" / "python"
        call(
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-c",
            ROOT / "constraints.txt",
            ROOT,
        )
        found = call(place / "fresh" / "bin" / "suguk", "predict", exported, "--beam", "3", given=LINES)
        assert found == wanted, f"expected {wanted!r}, found {found!r}"
        probe = (
            "import importlib.util as u; print([n for n in ('torch', 'onnx', 'pyarrow') if u.find_spec(n)])"
        )
        assert call(python, "-c", probe).strip() == "[]"
        assert "parity.sentences" in call(place / "fresh" / "bin" / "suguk", "card", exported)
        call(
            python,
            "-m",
            "pip",
            "uninstall",
            "--quiet",
            "--yes",
            "--disable-pip-version-check",
            "pip",
            "setuptools",
        )
        size = sum(
            file.stat().st_size
            for file in (place / "fresh").rglob("*")
            if file.is_file() and not file.is_symlink()
        )
    print(f"the same answers from an environment without PyTorch, {size / 1e6:.0f} MB without pip")


if __name__ == "__main__":
    main()
