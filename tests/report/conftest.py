"""A tiny run on text that a page could stumble over, with validation pairs that were split off."""

import random
from pathlib import Path

import pytest

import suguk

WORDS = ("<b>", "&amp;", '"so"', "it's", "שלום", "مرحبا", "안녕", "</script>", "a\u202eb", "$x", "${y}")
SETTINGS = (
    "source.tokenizer=char",
    "target.tokenizer=char",
    "model.hidden=10",
    "model.embedding=6",
    "model.encoder_hidden=5",
    "train.batch_tokens=301",
    "train.epochs=2",
    "train.valid_every=0.5",
    "train.export=false",
    "data.valid_share=0.1",
    "predict.max_length=17",
)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = random.Random(3)
    path = tmp_path_factory.mktemp("data") / "pairs.tsv"
    texts = sorted({" ".join(draw.choices(WORDS, k=draw.randint(1, 4))) for _ in range(170)})
    draw.shuffle(texts)
    rows = [("en", "he"), *((text, " ".join(reversed(text.split()))) for text in texts)]
    path.write_text("".join(f"{source}\t{target}\n" for source, target in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def run(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "odd & <tiny>"
    suguk.train(pairs, out=out, recipe="small", overrides=SETTINGS, display="silent")
    return out
