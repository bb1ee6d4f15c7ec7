"""What `suguk bench` counts; how long things take is not tested."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from suguk import config as settings
from suguk.config import Config, ModelConfig
from suguk.data.batch import Batch, Dataset
from suguk.errors import ConfigError, DataError, UserError
from suguk.model import build
from suguk.training import bench
from suguk.training.bench import SENTENCES, WORDS, Count, Figures, Kind, Work
from tests.training.tiny_task import TINY

SMALL: dict[str, Any] = {
    "cell": "lstm",
    "layers": 2,
    "hidden": 13,
    "embedding": 7,
    "encoder_hidden": 5,
    "bidirectional": True,
    "bridge": "linear",
    "attention": "additive",
    "attend": "between",
    "readout": "tanh",
    "readout_word": True,
    "tied": "target",
}
ENCODER = 2 * 4 * 5 * (7 + 5) + 2 * 4 * 5 * (10 + 5)  # two layers in two directions
BRIDGE = 2 * 2 * 10 * 13  # h and c of two layers
DECODER = 4 * 13 * (7 + 13) + 4 * 13 * (13 + 10 + 13)
READOUT = (13 + 10 + 7) * 13
HEAD = 13 * 7 + 7 * 17  # down to the width of the table of 17 words, and that table


def tiny(**more: Any) -> Config:
    given = [f"{name}={value}" for name, value in (TINY | more).items()]
    return settings.load("small", settings.assignments(given))


def work(**changes: Any) -> Work:
    config = ModelConfig(**(SMALL | changes))
    return bench.work(build(config, 11, 17, seed=1), config)


def test_the_work_of_a_small_model_is_that_computed_by_hand() -> None:
    assert work() == Work(
        source=ENCODER + 10 * 13, target=DECODER + 13 * 13 + READOUT + HEAD, sentence=BRIDGE, pair=13 + 10
    )


@pytest.mark.parametrize(
    ("changes", "keys", "query", "pair"),
    [
        ({"attention": "additive", "attention_size": 3}, 10 * 3, 13 * 3, 3 + 10),
        ({"attention": "general"}, 10 * 13, 0, 13 + 10),
        ({"attention": "location", "attention_positions": 19}, 0, 13 * 19, 10),
        ({"attention": "local-p", "local_score": "general"}, 10 * 13, 13 * 13 + 13, 13 + 10),
    ],
)
def test_every_attention_has_its_own_work(changes: dict[str, Any], keys: int, query: int, pair: int) -> None:
    found = work(**changes)
    assert found == Work(ENCODER + keys, DECODER + query + READOUT + HEAD, BRIDGE, pair)


def test_without_attention_no_pair_is_compared() -> None:
    found = work(attention="none", attend="after", context="every-step", tied="none")
    assert found.pair == 0
    assert found.sentence == BRIDGE + 10 * 10  # the context is made once a sentence
    assert found.source == ENCODER


def test_a_table_tied_to_both_sides_is_one_projection() -> None:
    config = ModelConfig(**(SMALL | {"tied": "all"}))
    assert bench.work(build(config, 17, 17, seed=1), config) == work()


def test_the_flop_of_an_update() -> None:
    count = Count(source=2, target=3, sentences=5, pairs=7, positions=10**6)
    assert Work(11, 13, 17, 19).flop(count) == 6 * (2 * 11 + 3 * 13 + 5 * 17 + 7 * 19)


def test_a_batch_is_counted_without_its_padding() -> None:
    ids = [np.full(length, 5, np.int32) for length in (2, 3, 5, 7)]
    batch: Batch = Dataset(ids[:2], ids[2:]).batch(np.array([0, 1]))
    assert Count.of(batch) == Count(2 + 3, 5 + 7, 2, 2 * 5 + 3 * 7, 2 * 3 + 2 * 7)


@pytest.mark.parametrize("kind", [SENTENCES, WORDS])
def test_generated_pairs_have_the_shape_of_real_ones(kind: Kind) -> None:
    found = bench.generated(Config(), kind, pairs=2003)
    assert len(found.dataset) == 2003
    assert (found.source_size, found.target_size) == (kind.vocabulary, kind.vocabulary)
    lengths = np.stack([found.dataset.source_lengths, found.dataset.target_lengths]) - 1
    assert lengths.min() == kind.shortest
    assert kind.mean + 2 * kind.spread < lengths.max() <= kind.longest
    assert abs(lengths.mean() - kind.mean) < 0.5
    centred = lengths - lengths.mean(1, keepdims=True)
    assert centred.prod(0).sum() > 0.8 * (centred**2).sum(1).prod() ** 0.5  # correlation
    batch = found.dataset.batch(np.arange(2003))
    for ids, ends in ((batch.source, batch.source_lengths), (batch.target, batch.target_lengths)):
        assert (ids[np.arange(2003), ends - 1] == 3).all()
        assert (ids == 3).sum() == 2003
        words = ids[ids > 3]
        assert words.max() < kind.vocabulary
        assert len(words) == (ends - 1).sum()
    again = bench.generated(Config(), kind, pairs=2003).dataset.batch(np.arange(2003))
    assert np.array_equal(batch.source, again.source)


def test_vocabularies_are_the_settings_own_where_these_are_smaller() -> None:
    config = settings.build({"source": {"vocab_size": 5}, "target": {"vocab_size": 11}})
    found = bench.generated(config, WORDS, pairs=13)
    assert (found.source_size, found.target_size) == (5, 11)
    shared = settings.build(settings.merge(config.model_dump(), {"target": {"shared": True}}))
    found = bench.generated(shared, WORDS, pairs=13)
    assert (found.source_size, found.target_size) == (5, 5)


def check(found: Figures) -> None:
    figures = [value for value in asdict(found).values() if isinstance(value, float)]
    assert all(map(math.isfinite, figures))
    assert sum(value > 0 for value in figures) >= len(figures) - 1  # padding may be 0
    assert found.share == pytest.approx(found.gflops / found.product_gflops)
    assert 0 <= found.padding < 0.5
    assert found.peak_memory_mb > 50
    assert (found.device, found.precision, found.threads) == ("cpu", "fp32", torch.get_num_threads())


def test_generated_pairs_are_measured() -> None:
    steps: list[object] = []
    config = tiny(**{"train.device": "cpu", "train.precision": "fp32"})
    found = bench.measure(config, WORDS, 3, 2, advance=steps.append)
    assert steps == [1, 2, 3, 4, 5]
    assert found.updates == 3
    check(found)
    model = build(config.model, 40, 40)
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    # Per target token about as much as one goes through; sources are as long.
    each = bench.work(model, config.model)
    target_tokens = found.update_gflop * 1e9 / 6 / (each.source + each.target)
    assert 100 < target_tokens < 300


def test_a_model_that_copies_is_measured(data: Path) -> None:
    given = {"train.device": "cpu", "train.precision": "fp32", "model.copying": True}
    check(bench.measure(tiny(**given), WORDS, 3, 2))
    check(bench.measure(tiny(**given, **{"data.train": f'["{data}"]', "source.vocab_size": 9}), WORDS, 3, 2))


def test_the_users_pairs_are_measured_and_more_than_once_where_they_are_few(data: Path) -> None:
    notes: list[str] = []
    config = tiny(
        **{
            "data.train": f'["{data}"]',
            "train.device": "cpu",
            "train.precision": "fp32",
            "source.tokenizer": "auto",
        }
    )
    before = sorted(data.parent.iterdir())
    found = bench.measure(config, SENTENCES, 23, 1, note=notes.append)
    assert found.updates == 23
    check(found)
    assert any(note.startswith("source.tokenizer = char") for note in notes)
    assert sorted(data.parent.iterdir()) == before


def test_what_training_refuses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.tsv").write_text("a\tb\nc\t\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.tsv:2"):
        bench.measure(tiny(**{"data.train": f'["{tmp_path / "bad.tsv"}"]'}), WORDS, 1, 1)
    with pytest.raises(UserError, match="unknown device"):
        bench.measure(tiny(**{"train.device": "abacus"}), WORDS, 1, 1)
    with pytest.raises(ConfigError, match="no training data"):
        bench.prepared(Config(), print)


def test_a_product_has_a_rate() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        assert bench.product_rate(torch.device("cpu"), dtype, side=64) > 0
