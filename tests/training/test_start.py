"""Training from weights that are there: fine-tuning, vectors of words, parts that stay as they are."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import suguk
from suguk import config as settings
from suguk.errors import ConfigError, DataError, ModelError
from suguk.model import build
from suguk.run_directory import read_metrics
from suguk.training.freeze import freeze
from suguk.training.start import START
from tests.training.test_resume import same
from tests.training.tiny_task import TINY, records, write_pairs

LOOP = {name: value for name, value in TINY.items() if name.startswith("train.")}
PARTS = ("embeddings", "encoder", "bridge", "attention", "decoder", "readout", "head")


@pytest.fixture(scope="module")
def parent(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("parent") / "general"
    suguk.train(data, out=out, recipe="small", overrides=TINY, display="silent")
    return out


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other pairs of the same letters."""
    return write_pairs(tmp_path_factory.mktemp("more") / "more.tsv", 151, seed=5)


def tune(
    data: Path,
    out: Path,
    parent: Path,
    given: dict[str, Any] | None = None,
    stop: int = 0,
    display: Literal["plain", "silent"] = "silent",
) -> Any:
    return suguk.train(
        data,
        out=out,
        start_from=parent,
        overrides=LOOP | (given or {}),
        display=display,
        stop=(lambda step: step == stop) if stop else None,
    )


class TestFineTuning:
    def test_it_begins_with_the_runs_model(self, parent: Path, more: Path, tmp_path: Path) -> None:
        model = tune(more, tmp_path / "run", parent, {"train.lr": 1e-30, "train.ema": 0.0})
        first, then = (load_file(folder / "model.safetensors") for folder in (parent, tmp_path / "run"))
        torch.testing.assert_close(then, first, atol=1e-6, rtol=0)
        for name in ("source.json", "target.json"):
            assert (tmp_path / "run" / name).read_bytes() == (parent / name).read_bytes()
        earlier = suguk.load(parent, engine="torch").config
        assert model.config.model == earlier.model
        assert model.config.predict == earlier.predict
        assert model.config.data.train == (str(more),)
        assert model.config.train.optimizer == "adam"

    def test_the_lineage_is_recorded(self, parent: Path, more: Path, tmp_path: Path) -> None:
        tune(more, tmp_path / "second", parent)
        tune(more, tmp_path / "third", tmp_path / "second")
        about = json.loads((tmp_path / "third/model.json").read_text(encoding="utf-8"))
        assert about["lineage"] == [
            {
                "run": folder.name,
                "weights_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
            }
            for folder in (parent, tmp_path / "second")
        ]
        assert "starts from" in about["choices"][0]

    def test_resumed_equals_uninterrupted(self, parent: Path, more: Path, tmp_path: Path) -> None:
        """Also where nothing was saved yet, and the run that it started from is gone."""
        moved = tmp_path / "parent"
        shutil.copytree(parent, moved)
        tune(more, tmp_path / "whole", parent)
        tune(more, tmp_path / "cut", moved, stop=3)
        shutil.rmtree(moved)
        suguk.resume(tmp_path / "cut", display="silent")
        same(tmp_path / "whole", tmp_path / "cut")
        shutil.rmtree(tmp_path / "cut/training")
        for name in ("model.safetensors", "metrics.jsonl"):
            (tmp_path / "cut" / name).unlink()
        suguk.resume(tmp_path / "cut", display="silent")
        same(tmp_path / "whole", tmp_path / "cut")

    @pytest.mark.parametrize(
        "setting",
        [
            {"model.hidden": 17},
            {"model.attention_size": 17},
            {"source.tokenizer": "bpe"},
            {"target.vocab_size": 99},
            {"data.lowercase": True},
            {"source.embeddings": "some.vec"},
        ],
    )
    def test_what_cannot_change(
        self, parent: Path, more: Path, tmp_path: Path, setting: dict[str, Any]
    ) -> None:
        (name,) = setting
        with pytest.raises(ConfigError, match=rf"{name} = .*does not go with.*\n.*without --from"):
            tune(more, tmp_path / "run", parent, setting)
        assert not (tmp_path / "run").exists()

    def test_what_can_change(self, parent: Path, more: Path, tmp_path: Path) -> None:
        given = {"model.dropout": 0.0, "model.hidden": 13, "predict.beam": 2, "model.zoneout": 0.1}
        config = tune(more, tmp_path / "run", parent, given, stop=1).config
        assert (config.model.dropout, config.predict.beam, config.model.zoneout) == (0.0, 2, 0.1)

    def test_coverage_may_be_added(self, parent: Path, more: Path, tmp_path: Path) -> None:
        """It begins without effect (See et al. 2017 add it at the end)."""
        given = {"model.coverage": True, "train.coverage_loss": 1.0, "train.lr": 1e-30, "train.ema": 0.0}
        tune(more, tmp_path / "run", parent, given)
        first, then = (suguk.load(folder, engine="torch") for folder in (parent, tmp_path / "run"))
        for one, other in zip(first.predict(["abc", "bca"]), then.predict(["abc", "bca"]), strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-5)
        with pytest.raises(ConfigError, match=r"model\.coverage = False does not go with"):
            tune(more, tmp_path / "back", tmp_path / "run", {"model.coverage": False})

    def test_what_makes_the_model_worse_is_not_kept(
        self, parent: Path, more: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ruin = {"train.lr": 50.0, "train.warmup": 0, "train.epochs": 1, "train.average_last": 0}
        tune(more, tmp_path / "run", parent, ruin, display="plain")
        told = capsys.readouterr().err
        assert "the model that this run starts from:\nvalidation at step 0, epoch 0.00" in told
        assert "warning: no validation was better than the model that this run starts from" in told
        scored = [record for record in read_metrics(tmp_path / "run") if record["kind"] == "valid"]
        assert [record["step"] for record in scored if record["best"]] == [0]
        first, then = (suguk.load(folder, engine="torch") for folder in (parent, tmp_path / "run"))
        for one, other in zip(first.predict(["abc", "bca"]), then.predict(["abc", "bca"]), strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-5)

    @pytest.mark.parametrize("damage", ["gone", "cut"])
    def test_weights_to_begin_with_that_are_not_there(
        self, parent: Path, more: Path, tmp_path: Path, damage: str
    ) -> None:
        tune(more, tmp_path / "run", parent, stop=1)
        shutil.rmtree(tmp_path / "run/training")
        (tmp_path / "run/model.safetensors").unlink()  # as if killed before it was written
        weights = tmp_path / "run" / START
        content = weights.read_bytes()
        weights.unlink()
        if damage == "cut":
            weights.write_bytes(content[: len(content) // 2])
        with pytest.raises(ModelError, match="begins with are missing or damaged"):
            suguk.resume(tmp_path / "run", display="silent")

    def test_tokens_that_the_vocabulary_does_not_know_are_told(
        self, parent: Path, more: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "greek.tsv"
        path.write_text(more.read_text(encoding="utf-8").replace("a\t", "α\t"), encoding="utf-8")
        for data, told in ((more, 0), (path, 1)):
            tune(data, tmp_path / str(told), parent, stop=1)
            choices = json.loads((tmp_path / str(told) / "model.json").read_text())["choices"]
            assert sum("source tokens are unknown" in choice for choice in choices) == told
            assert not any("target tokens are unknown" in choice for choice in choices)

    def test_unknown_settings_are_still_told(self, parent: Path, more: Path, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"did you mean model\.hidden"):
            tune(more, tmp_path / "run", parent, {"model.hiden": 17})

    def test_no_run_to_start_from(self, more: Path, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="no such run directory"):
            tune(more, tmp_path / "run", tmp_path / "nowhere")
        assert not (tmp_path / "run").exists()


class TestVectors:
    def given(self, path: Path, **more: Any) -> dict[str, Any]:
        path.write_text("".join(f"{letter} {' '.join([str(i)] * 7)}\n" for i, letter in enumerate("abc")))
        return TINY | {"source.embeddings": str(path), "target.embeddings": str(path)} | more

    @pytest.mark.parametrize("scaled", [False, True])
    def test_they_are_where_embeddings_begin(self, data: Path, tmp_path: Path, scaled: bool) -> None:
        """Also where embeddings enter the networks times √E."""
        plain = {"train.lr": 1e-30, "model.scale_embeddings": scaled}
        with_, without = (
            suguk.train(data, out=tmp_path / name, recipe="small", overrides=settings_, display="silent")
            for name, settings_ in (
                ("with", self.given(tmp_path / "a.vec", **plain)),
                ("without", TINY | plain),
            )
        )
        for part in ("encoder", "decoder"):
            field = with_.source if part == "encoder" else with_.target
            everything = torch.arange(field.size)
            table, usual = (
                getattr(one.model.eval(), part).embedding(everything).detach() for one in (with_, without)
            )
            for row, piece in enumerate(field.pieces(range(field.size))):
                wanted = torch.full((7,), float("abc".index(piece))) if piece in "abc" else usual[row]
                torch.testing.assert_close(table[row], wanted)
        choices = json.loads((tmp_path / "with/model.json").read_text())["choices"]
        assert f"source.embeddings: 3 of 11 entries (27.3%) are in {tmp_path / 'a.vec'}" in choices
        assert not (tmp_path / "without" / START).exists()

    def test_a_resume_does_without_the_file(self, data: Path, tmp_path: Path) -> None:
        given = self.given(tmp_path / "a.vec")
        suguk.train(data, out=tmp_path / "whole", recipe="small", overrides=given, display="silent")
        suguk.train(
            data,
            out=tmp_path / "cut",
            recipe="small",
            overrides=given,
            display="silent",
            stop=lambda step: step == 3,
        )
        (tmp_path / "a.vec").unlink()
        suguk.resume(tmp_path / "cut", display="silent")
        same(tmp_path / "whole", tmp_path / "cut")

    def test_faults_leave_nothing_behind(self, data: Path, tmp_path: Path) -> None:
        given = self.given(tmp_path / "a.vec")
        (tmp_path / "a.vec").write_text("a 1 2 3 4 5 6 7\nb 1 2\n")
        with pytest.raises(DataError, match=r"a\.vec:2"):
            suguk.train(data, out=tmp_path / "run", recipe="small", overrides=given, display="silent")
        assert not (tmp_path / "run").exists()

    def test_one_table_has_one_file(self) -> None:
        side = {"embeddings": "a.vec"}
        with pytest.raises(ConfigError, match=r"source\.embeddings only"):
            settings.build({"source": side, "target": side | {"shared": True}, "model": {"tied": "all"}})


def weights(out: Path) -> dict[str, Tensor]:
    return load_file(out / "model.safetensors")


class TestFreezing:
    def test_every_weight_is_in_a_part_and_in_one_only(self) -> None:
        for attend, context, extra in (
            ("before", "start", {"attention": "additive", "readout": "maxout"}),
            ("after", "every-step", {"bridge": "linear", "readout_rank": 5}),
        ):
            config = settings.build({"model": {"attend": attend, "context": context, "hidden": 11, **extra}})
            model = build(config.model, 17, 19, seed=1)
            everything = {id(one) for one in model.parameters()}
            seen: list[int] = []
            for part in PARTS:
                left = {id(one) for one in freeze(model, [part])}  # type: ignore[list-item]
                assert left == {id(one) for one in model.parameters() if one.requires_grad}
                seen += everything - left
            assert sorted(seen) == sorted(everything)

    def test_a_tied_table_stays_with_either_part(self) -> None:
        config = settings.build({"target": {"shared": True}, "model": {"tied": "all", "hidden": 11}})
        model = build(config.model, 17, 17, seed=1)
        for part in ("embeddings", "head"):
            freeze(model, [part])
            assert not model.head.weight.requires_grad

    def test_nothing_left_is_refused(self) -> None:
        model = build(settings.build({}).model, 17, 19, seed=1)
        with pytest.raises(ConfigError, match="every weight of the model is frozen"):
            freeze(model, PARTS)  # type: ignore[arg-type]

    @pytest.mark.parametrize("feeding", [False, True])
    def test_frozen_parts_stay_and_the_others_move(self, data: Path, tmp_path: Path, feeding: bool) -> None:
        given = TINY | {"train.freeze": ["encoder", "embeddings", "attention"], "train.ema": 0.9}
        if feeding:
            given |= {"model.attend": "after", "model.input_feeding": True, "model.readout_word": False}
        model = suguk.train(data, out=tmp_path / "run", recipe="small", overrides=given, display="silent")
        first = dict(
            build(model.config.model, model.source.size, model.target.size, seed=1).named_parameters()
        )
        found = weights(tmp_path / "run")
        moved = {name for name, value in found.items() if not torch.equal(value, first[name])}
        still = {
            name
            for name in found
            if name.startswith("encoder.") or "embedding" in name or "attention" in name
        }
        assert moved == found.keys() - still
        state = load_file(tmp_path / "run/training/state.safetensors")
        kept = {key for key in state if key.startswith("optimizer.") and key.endswith("exp_avg")}
        assert len(kept) == len(moved)

    def test_the_gradient_of_the_rest_is_the_same(self, data: Path, tmp_path: Path) -> None:
        """With plain SGD and no clipping, one update moves the others as if nothing were frozen."""
        plain = {"train.optimizer": "sgd", "train.schedule": "constant", "train.clip": 0.0, "train.ema": 0.0}
        given = TINY | plain | {"train.batch_tokens": 10**6, "train.epochs": 1}
        for name, frozen in (("free", []), ("frozen", ["encoder", "head"])):
            extra = {"train.freeze": frozen}
            suguk.train(data, out=tmp_path / name, recipe="small", overrides=given | extra, display="silent")
        free, frozen_ = weights(tmp_path / "free"), weights(tmp_path / "frozen")
        for name in free.keys() - {key for key in free if key.startswith(("encoder.layers", "head."))}:
            if name != "decoder.embedding.weight":  # tied with the head
                torch.testing.assert_close(free[name], frozen_[name])

    def test_resumed_equals_uninterrupted(self, data: Path, tmp_path: Path) -> None:
        given = TINY | {"train.freeze": ["embeddings", "decoder"]}
        for name, stop in (("whole", 0), ("cut", 4)):
            suguk.train(
                data,
                out=tmp_path / name,
                recipe="small",
                overrides=given,
                display="silent",
                stop=lambda step, stop=stop: step == stop,  # type: ignore[misc]
            )
        suguk.resume(tmp_path / "cut", display="silent")
        same(tmp_path / "whole", tmp_path / "cut")
        with pytest.raises(ConfigError, match=r"train\.freeze cannot change"):
            suguk.resume(tmp_path / "cut", overrides={"train.freeze": []}, display="silent")

    def test_unknown_parts_are_told_with_the_known_ones(self) -> None:
        with pytest.raises(ConfigError, match=r"train\.freeze.*'encoder', 'bridge'.*found 'encodr'"):
            settings.build({"train": {"freeze": ["encodr"]}})

    def test_fine_tuning_with_a_frozen_encoder(self, parent: Path, more: Path, tmp_path: Path) -> None:
        tune(more, tmp_path / "run", parent, {"train.freeze": ["encoder"]})
        first, then = weights(parent), weights(tmp_path / "run")
        same_ = {name for name in first if torch.equal(first[name], then[name])}
        assert same_ == {name for name in first if name.startswith("encoder.layers")}
        assert records(tmp_path / "run")
