"""A model that copies learns to repeat names that it has never seen; without copying it cannot."""

import random
from pathlib import Path
from typing import Any

import pytest

import suguk
from suguk.report.forcing import forced
from suguk.trained import TrainedModel

SETTINGS: dict[str, Any] = {
    "source.tokenizer": "word",
    "target.tokenizer": "word",
    "source.vocab_size": 10,
    "target.vocab_size": 7,
    "model.hidden": 31,
    "model.embedding": 17,
    "model.encoder_hidden": 19,
    "model.bidirectional": True,
    "model.bridge": "linear",
    "model.attention": "additive",
    "model.dropout": 0.0,
    "train.batch_tokens": 499,
    "train.epochs": 6,
    "train.warmup": 10,
    "train.ema": 0,
    "train.lr": 0.01,
    "train.export": False,
    "train.valid_metric": "exact",
    "predict.max_length": 17,
    "predict.replace_unknown": False,
}
FORMS = (("call {}", "{} called"), ("tell {} to come", "{} comes"), ("{} and {} met", "{1} met {0}"))


def write(path: Path, count: int, seed: int) -> list[tuple[str, str]]:
    """Names are drawn anew in every pair, so next to all of them are unknown."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        names = ["".join(draw.choices("abdefgiklmnoprstuvz", k=7)) for _ in range(2)]
        source, target = draw.choice(FORMS)
        found.append((source.format(*names), target.format(*names)))
    path.write_text("".join(f"{a}\t{b}\n" for a, b in found), encoding="utf-8")
    return found


def trained(folder: Path, **more: Any) -> TrainedModel:
    write(folder / "train.tsv", 1009, 1)
    return suguk.train(
        folder / "train.tsv",
        valid=folder / "valid.tsv",
        out=folder / "run",
        overrides=SETTINGS | more,
        display="silent",
    )


@pytest.mark.parametrize("copying", [True, False])
def test_unseen_names(copying: bool, tmp_path: Path) -> None:
    asked = write(tmp_path / "valid.tsv", 101, 2)
    model = trained(tmp_path, **{"model.copying": copying})
    found = model.predict([source for source, _ in asked])
    right = [one.output == target for one, (_, target) in zip(found, asked, strict=True)]
    assert all(right) if copying else not any(right)
    if not copying:
        return
    loaded = TrainedModel.load(tmp_path / "run", "cpu")
    (one,) = loaded.predict(["call qqq"], attention=True)
    assert (one.output, one.tokens) == ("qqq called", ("▁qqq", "▁called"))
    assert one.attention is not None
    assert one.attention.target_tokens == ("▁qqq", "▁called", "<eos>")
    assert one.attention.weights[0].argmax() == 1
    (score,) = loaded.score(["call qqq"], ["qqq called"])
    assert score.tokens == ("▁qqq", "▁called", "<eos>")
    assert score.log_prob == pytest.approx(one.log_prob, abs=1e-4)
    (other,) = loaded.score(["call qqq"], ["xyz called"])
    assert other.tokens[0] == "<unk>"
    assert other.log_prob < score.log_prob - 3
    sources, targets = [list(side) for side in zip(*asked[:23], strict=True)]
    both = forced(loaded, sources, targets)
    assert both.nll == pytest.approx(-sum(one.log_prob for one in loaded.score(sources, targets)), rel=1e-4)
    assert both.right == both.tokens
