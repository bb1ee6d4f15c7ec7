"""Training on epochs that differ resumes exactly, also in the middle of one."""

from pathlib import Path
from typing import Any

import pytest

import suguk
from suguk import config as settings
from suguk.errors import ConfigError, ModelError
from tests.training.test_resume import same
from tests.training.tiny_task import TINY, records, write_pairs

SAMPLING = {
    "source.tokenizer": "bpe",
    "target.tokenizer": "unigram",
    "source.vocab_size": 61,
    "target.vocab_size": 61,
    "source.sampling": 0.2,
    "target.sampling": 0.3,
}


def whole_and_cut(data: Path, folder: Path, given: dict[str, Any], *stops: int, **more: Any) -> None:
    """One training at once, one that is stopped at each of these steps."""

    def until(step: int) -> Any:
        return lambda done: done == step

    suguk.train(data, out=folder / "whole", recipe="small", overrides=given, display="silent", **more)
    suguk.train(
        data,
        out=folder / "cut",
        recipe="small",
        overrides=given,
        display="silent",
        stop=until(stops[0]),
        **more,
    )
    for stop in stops[1:]:
        suguk.resume(folder / "cut", display="silent", stop=until(stop))
    suguk.resume(folder / "cut", display="silent")
    same(folder / "whole", folder / "cut")


def test_words_cut_anew(tmp_path: Path, data: Path) -> None:
    given = TINY | SAMPLING | {"train.epochs": 3, "train.save_every": 5}
    whole_and_cut(data, tmp_path, given, 2, 13)
    found = records(tmp_path / "whole")
    suguk.train(
        data,
        out=tmp_path / "plain",
        recipe="small",
        overrides=given | {"source.sampling": 0.0, "target.sampling": 0.0},
        display="silent",
    )
    plain = records(tmp_path / "plain")
    for name in ("source.json", "target.json"):  # what predicts cuts as it always did
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert [one["loss"] for one in found] != [one["loss"] for one in plain]


def test_a_finished_training_on_words_cut_anew_trains_on(tmp_path: Path, data: Path) -> None:
    """The epoch that nobody trains on is not made, and has another number of batches than the last one."""
    given = TINY | SAMPLING | {"train.schedule": "constant"}
    for name, epochs in (("whole", 3), ("more", 2)):
        overrides = given | {"train.epochs": epochs}
        suguk.train(data, out=tmp_path / name, recipe="small", overrides=overrides, display="silent")
    suguk.resume(tmp_path / "more", overrides={"train.epochs": 3}, display="silent")
    assert records(tmp_path / "more") == records(tmp_path / "whole")
    whole, more = (tmp_path / name / "model.safetensors" for name in ("whole", "more"))
    assert more.read_bytes() == whole.read_bytes()


def test_corpora_mixed_by_weights(tmp_path: Path, data: Path) -> None:
    more = write_pairs(tmp_path / "more.tsv", 101, seed=9)
    given = TINY | {"data.weights": [0.7, 2.5], "train.epochs": 3, "train.save_every": 5}
    whole_and_cut(data, tmp_path, given, 2, 9, also=[more])
    write_pairs(more, 101, seed=10)
    with pytest.raises(ModelError, match="the data are not those"):
        suguk.resume(tmp_path / "cut", display="silent")


def test_a_weight_of_two_is_the_data_twice(tmp_path: Path, data: Path) -> None:
    """And weights of one change nothing."""
    counts = {}
    for name, weights in (("none", []), ("one", [1]), ("two", [2])):
        given = TINY | {"data.weights": weights, "train.epochs": 1}
        suguk.train(data, out=tmp_path / name, recipe="small", overrides=given, display="silent")
        counts[name] = records(tmp_path / name)[-1]["step"]
    assert records(tmp_path / "none") == records(tmp_path / "one")
    assert counts["two"] == pytest.approx(2 * counts["one"], abs=2)


@pytest.mark.parametrize("kind", ["char", "word", "byte", "symbols"])
def test_only_subwords_are_cut_anew(kind: str) -> None:
    with pytest.raises(ConfigError, match=f"target: sampling needs tokenizer = bpe or unigram, found {kind}"):
        settings.build({"target": {"tokenizer": kind, "sampling": 0.1}})


def test_also_where_the_tokenizer_is_chosen(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "pairs.tsv", 97)
    given = {name: value for name, value in TINY.items() if "tokenizer" not in name}
    with pytest.raises(ConfigError, match="sampling needs tokenizer = bpe or unigram, found char"):
        suguk.train(data, out=tmp_path / "run", overrides=given | {"source.sampling": 0.1}, display="silent")
    assert not (tmp_path / "run").exists()
