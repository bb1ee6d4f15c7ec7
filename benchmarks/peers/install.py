"""Install each peer into a virtual environment of its own, with the torch that suguk is measured with.

    python benchmarks/peers/install.py --dir build/peers [--only opennmt eole] [--python python3.11]

Everything comes from the package index that pip is set up for. What a peer's own requirements forbid or forget is
done here in the open; README.md says why. An environment that is complete is left alone.
"""

import argparse
import hashlib
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

TORCH = "torch==2.13.0"
CONSTRAINTS = Path(__file__).with_name("constraints")


class Peer(NamedTuple):
    """How one environment comes to be: pip's arguments line by line, and an import that shows that it works."""

    steps: tuple[tuple[str, ...], ...]
    proof: str


PEERS: dict[str, Peer] = {
    # Not a peer: makes the subwords that all peers read.
    "sentencepiece": Peer((("install", "sentencepiece==0.2.0"),), "import sentencepiece"),
    "opennmt": Peer(
        (
            ("install", TORCH),
            # It asks for torch below 2.3. It trains with 2.13, so its other requirements are named one by one.
            ("install", "--no-deps", "OpenNMT-py==3.5.1"),
            (
                *("install", TORCH, "configargparse", "ctranslate2>=4,<5", "fasttext-wheel", "flask"),
                *("pyahocorasick", "pyonmttok>=1.37,<2", "pyyaml", "rapidfuzz", "sacrebleu", "setuptools<80"),
                *("six", "spacy", "tensorboard>=2.3", "waitress"),
            ),
        ),
        "import onmt.bin.train",
    ),
    # aiohttp: imported by every command, not declared.
    "eole": Peer(
        (("install", TORCH), ("install", TORCH, "eole==0.6.4", "aiohttp")),
        "import eole.bin.main",
    ),
    # importlib_metadata: imported, not declared. sentencepiece 0.2.3 has no SetVocabulary any more.
    "joeynmt": Peer(
        (
            ("install", TORCH),
            ("install", TORCH, "joeynmt==2.3.0", "importlib_metadata", "sentencepiece==0.2.0"),
        ),
        "import joeynmt.__main__",
    ),
    # It asks for torchvision and torchaudio, and trains without; the index's builds do not load beside a CPU torch.
    "yoyodyne": Peer(
        (
            ("install", TORCH),
            ("install", TORCH, "yoyodyne==0.5.27"),
            ("uninstall", "--yes", "torchvision", "torchaudio"),
        ),
        "import yoyodyne.cli.main",
    ),
}


def python_of(folder: Path, name: str) -> Path:
    """The interpreter of a peer's environment."""
    return folder / "venvs" / name / "bin" / "python"


def steps(name: str) -> list[list[str]]:
    """pip's arguments, with the exact versions of constraints/NAME.txt where that file exists."""
    pins = CONSTRAINTS / f"{name}.txt"
    pinned = ["-c", str(pins)] if pins.exists() else []
    return [[*step, *(pinned if step[0] == "install" else [])] for step in PEERS[name].steps]


def fingerprint(name: str) -> str:
    """Of all that decides what is installed; kept in the environment once it is complete."""
    pins = CONSTRAINTS / f"{name}.txt"
    text = repr(PEERS[name]) + (pins.read_text(encoding="utf-8") if pins.exists() else "")
    return hashlib.sha256(text.encode()).hexdigest()


def ready(folder: Path, name: str) -> bool:
    """Whether this environment is complete and made by the same steps."""
    mark = folder / "venvs" / name / ".ready"
    return mark.exists() and mark.read_text(encoding="utf-8") == fingerprint(name)


def install(folder: Path, name: str, python: str, extra: list[str]) -> float:
    """Make the environment anew; seconds. SystemExit with the name of the log if a step fails."""
    began = time.monotonic()
    log = folder / "logs" / f"install-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    own = python_of(folder, name)
    with log.open("w", encoding="utf-8") as out:

        def call(command: list[str]) -> None:
            print("$", " ".join(command), file=out, flush=True)
            if subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False).returncode:
                raise SystemExit(f"{name}: `{' '.join(command[-6:])}` failed, see {log}")

        call([python, "-m", "venv", "--clear", str(own.parents[1])])
        for step in steps(name):
            more = extra if step[0] == "install" else []
            call([str(own), "-m", "pip", "--disable-pip-version-check", *step, *more])
        call([str(own), "-c", PEERS[name].proof])
        call([str(own), "-m", "pip", "freeze"])
    (own.parents[1] / ".ready").write_text(fingerprint(name), encoding="utf-8")
    return time.monotonic() - began


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, default=Path("build/peers"), help="where environments go")
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS), metavar="NAME")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environments (3.11)")
    parser.add_argument("--pip", default="", metavar="OPTIONS", help="more options for every pip install")
    arguments = parser.parse_args()
    folder = arguments.dir.absolute()
    for name in arguments.only:
        if ready(folder, name):
            print(f"{name}: is there")
            continue
        print(f"{name}: installing …", flush=True)
        print(f"{name}: {install(folder, name, arguments.python, arguments.pip.split()):.0f} s", flush=True)


if __name__ == "__main__":
    main()
