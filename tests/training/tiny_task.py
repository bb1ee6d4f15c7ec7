"""A tiny task that a tiny model learns in seconds: reverse a word of up to five letters."""

import json
import random
from pathlib import Path
from typing import Any

LETTERS = "abcdefg"
# Different primes for every size; dropout, so that random states matter.
TINY: dict[str, Any] = {
    "source.tokenizer": "char",
    "target.tokenizer": "char",
    "model.hidden": 13,
    "model.embedding": 7,
    "model.encoder_hidden": 5,
    "model.dropout": 0.2,
    "train.batch_tokens": 211,
    "train.epochs": 2,
    "train.warmup": 10,
    "train.export": False,
    "predict.max_length": 17,
}


def write_pairs(path: Path, count: int, seed: int = 1) -> Path:
    draw = random.Random(seed)
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(draw.choices(LETTERS, k=draw.randint(2, 5)))] = None
    path.write_text("".join(f"{word}\t{word[::-1]}\n" for word in words), encoding="utf-8")
    return path


def records(folder: Path, *, timed: bool = False) -> list[dict[str, Any]]:
    """Of metrics.jsonl; without what a clock decides."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    drop = set() if timed else {"seconds", "tokens_per_second"}
    return [{key: value for key, value in json.loads(line).items() if key not in drop} for line in lines]
