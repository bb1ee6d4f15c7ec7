"""A tiny trained model, made once."""

import random
from pathlib import Path

import pytest

import suguk

TINY = (
    "model.hidden=8",
    "model.embedding=8",
    "model.encoder_hidden=4",
    "source.tokenizer=char",
    "target.tokenizer=char",
    "train.batch_tokens=211",
    "train.epochs=1",
    "train.export=false",
    "predict.max_length=13",
)


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Training and validation tables, 83 and 13 pairs: a few letters, and the same backwards."""
    draw = random.Random(7)
    words = sorted({"".join(draw.choices("abcdé한", k=draw.randint(2, 5))) for _ in range(140)})[:96]
    draw.shuffle(words)
    folder = tmp_path_factory.mktemp("data")
    write_table(folder / "train.tsv", words[:83])
    write_table(folder / "valid.tsv", words[83:])
    return folder / "train.tsv", folder / "valid.tsv"


def write_table(path: Path, words: list[str]) -> None:
    rows = [("source", "target"), *((word, word[::-1]) for word in words)]
    path.write_text("".join(f"{source}\t{target}\n" for source, target in rows), encoding="utf-8")


@pytest.fixture(scope="session")
def model(tables: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory whose model has seen the pairs once: it answers, badly."""
    train, valid = tables
    out = tmp_path_factory.mktemp("runs") / "tiny"
    suguk.train(train, valid=valid, out=out, recipe="small", overrides=TINY, display="silent")
    return out
