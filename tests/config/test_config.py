"""Settings: TOML in and out, overrides, and refusals that name the cure."""

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suguk import config
from suguk.config import AttentionKind, CellKind, Config, ModelConfig
from suguk.errors import ConfigError


def model(**settings: Any) -> ModelConfig:
    return config.build({"model": settings}).model


class TestUnknown:
    @pytest.mark.parametrize(
        ("name", "nearest"),
        [
            ("model.hiden", "model.hidden"),
            ("train.learning_rate", None),
            ("train.batch_token", "train.batch_tokens"),
            ("source.vocabsize", "source.vocab_size"),
            ("predict.beams", "predict.beam"),
            ("data.skipbad", "data.skip_bad"),
        ],
    )
    def test_an_unknown_key_suggests_the_nearest(self, name: str, nearest: str | None) -> None:
        with pytest.raises(ConfigError, match=f"unknown setting {name}") as caught:
            config.build(config.assignments([f"{name}=3"]))
        if nearest is not None:
            assert f"did you mean {nearest}?" in str(caught.value)
        assert "`suguk recipes` lists every setting" in str(caught.value)

    def test_an_unknown_section_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="unknown setting modle"):
            config.build({"modle": {"hidden": 7}})

    def test_what_resembles_nothing_gets_no_suggestion(self) -> None:
        with pytest.raises(ConfigError) as caught:
            config.build({"zzzzzz": 1})
        assert "did you mean" not in str(caught.value)

    def test_an_unknown_recipe_suggests_the_nearest_and_lists_all(self) -> None:
        with pytest.raises(ConfigError) as caught:
            config.load("luong")
        assert "unknown recipe 'luong'" in str(caught.value)
        assert all(name in str(caught.value) for name in config.recipes())


class TestWrongValues:
    @pytest.mark.parametrize(
        ("item", "expected"),
        [
            ("model.hidden=many", "model.hidden: input should be a valid integer.*found 'many'"),
            ("model.hidden=0", "model.hidden: input should be greater than or equal to 1, found 0"),
            ("model.dropout=1.0", "model.dropout: input should be less than 1, found 1.0"),
            ("model.attention=soft", "model.attention: input should be 'none', 'dot'.*found 'soft'"),
            ("model.layers=17", "model.layers: input should be less than or equal to 16, found 17"),
            ("train.minutes=0", "train.minutes: input should be greater than 0, found 0"),
            ("train.lr=nan", "train.lr: .*finite number"),
            ("train.valid_metric=blue", "train.valid_metric: input should be 'auto', 'bleu'.*found 'blue'"),
            ("source.vocab_size=4", "source.vocab_size: input should be greater than or equal to 5, found 4"),
            ("data.valid_share=1", "data.valid_share: input should be less than 1, found 1"),
        ],
    )
    def test_the_message_names_setting_expectation_and_finding(self, item: str, expected: str) -> None:
        with pytest.raises(ConfigError, match=expected):
            config.build(config.assignments([item]))

    def test_a_section_that_is_no_table(self) -> None:
        with pytest.raises(ConfigError, match="model: "):
            config.build({"model": 3})

    def test_all_problems_are_listed_at_once(self) -> None:
        with pytest.raises(ConfigError) as caught:
            config.build({"model": {"hidden": 0, "layrs": 2}, "train": {"lr": -1}}, where="my.toml")
        message = str(caught.value)
        assert message.startswith("my.toml: several settings are wrong:")
        assert all(part in message for part in ("model.hidden", "did you mean model.layers?", "train.lr"))


class TestImpossible:
    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            (
                {"input_feeding": True, "readout": "tanh"},
                "input_feeding needs an attention, found attention = none",
            ),
            (
                {"input_feeding": True, "attention": "dot", "attend": "before", "readout": "tanh"},
                "input_feeding feeds what attention made after the cell, found attend = before",
            ),
            (
                {"input_feeding": True, "attention": "dot", "readout": "maxout"},
                "input_feeding feeds the attentional vector of readout = tanh, found readout = maxout",
            ),
            (
                {"attention": "general", "context": "every-step"},
                "context = every-step is for models without attention, found attention = general",
            ),
            (
                {"attention": "additive", "attend": "between", "layers": 1},
                "attend = between needs at least two decoder layers, found layers = 1",
            ),
            ({"bridge": "backward"}, "bridge = backward needs bidirectional = true"),
            (
                {"bridge": "zero"},
                "bridge = zero without attention leaves all of the encoder unread; use an attention",
            ),
            (
                {"bridge": "backward", "bidirectional": True},
                "bridge = backward without attention leaves half of the encoder unread",
            ),
            (
                {"tied": "target", "readout_rank": 3},
                "readout_rank factors a projection of its own, found tied = target",
            ),
            (
                {"hidden": 11, "encoder_hidden": 7},
                r"as wide as the decoder's \(11\), found 7; use bridge = linear or set encoder_hidden",
            ),
            ({"hidden": 11, "bidirectional": True}, "found 22; use bridge = linear"),
            (
                {"layers": 3, "encoder_layers": 2},
                r"bridge = copy needs at least as many encoder layers as decoder layers \(3\), found 2",
            ),
            (
                {"attention": "dot", "hidden": 11, "encoder_hidden": 7, "bridge": "linear"},
                r"a dot score needs encoder states as wide as hidden \(11\), found 7; use general",
            ),
            (
                {"attention": "scaled-dot", "hidden": 11, "bidirectional": True, "bridge": "linear"},
                "a dot score needs .* found 22",
            ),
            (
                {
                    "attention": "local-p",
                    "local_score": "dot",
                    "hidden": 11,
                    "encoder_hidden": 7,
                    "bridge": "zero",
                },
                "a dot score needs .* found 7",
            ),
        ],
    )
    def test_a_model_that_cannot_be(self, settings: dict[str, Any], expected: str) -> None:
        with pytest.raises(ConfigError, match=expected) as caught:
            model(**settings)
        assert str(caught.value).startswith("settings: model: ")

    @pytest.mark.parametrize(
        "settings",
        [
            {"input_feeding": True, "attention": "dot", "readout": "tanh"},
            {"attention": "additive", "attend": "between", "layers": 2},
            {"attention": "additive", "attend": "within"},
            {"bridge": "backward", "bidirectional": True, "attention": "general"},
            {"bridge": "backward", "bidirectional": True, "context": "every-step"},
            {"bridge": "zero", "attention": "general"},
            {"bridge": "zero", "context": "every-step"},
            {"tied": "target"},
            {"readout_rank": 3},
            {"hidden": 14, "encoder_hidden": 7, "bidirectional": True, "attention": "dot"},
            {"layers": 2, "encoder_layers": 3},
            {"attention": "local-m", "hidden": 11, "encoder_hidden": 7, "bridge": "zero"},
            {
                "attention": "general",
                "local_score": "dot",
                "hidden": 11,
                "encoder_hidden": 7,
                "bridge": "zero",
            },
            {"context": "every-step"},
        ],
    )
    def test_its_possible_neighbours_are_accepted(self, settings: dict[str, Any]) -> None:
        model(**settings)

    def test_several_impossibilities_are_told_together(self) -> None:
        with pytest.raises(ConfigError, match=r"context = every-step is .*; bridge = backward needs"):
            model(attention="general", context="every-step", bridge="backward")

    def test_tying_all_needs_one_vocabulary(self) -> None:
        with pytest.raises(ConfigError, match=r"model.tied = all needs one vocabulary.*target.shared = true"):
            model(tied="all")
        assert config.build({"model": {"tied": "all"}, "target": {"shared": True}}).model.tied == "all"

    def test_more_outputs_than_the_beam_holds(self) -> None:
        with pytest.raises(ConfigError, match="n_best = 7 needs a beam at least as wide, found beam = 5"):
            config.build({"predict": {"n_best": 7}})


def test_the_width_of_an_encoder_state() -> None:
    assert model(hidden=11).annotation_size == 11
    assert model(hidden=14, encoder_hidden=7, bidirectional=True).annotation_size == 14
    assert (model().directions, model(bidirectional=True, bridge="linear").directions) == (1, 2)


def test_two_averages_of_the_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"average_last averages weights that ema = 0.99 .* set ema = 0"):
        config.build({"train": {"average_last": 3, "ema": 0.99}})


class TestAssignments:
    @pytest.mark.parametrize(
        ("item", "value"),
        [
            ("model.hidden=7", 7),
            ("model.hidden = 7 ", 7),
            ("model.cell=gru", "gru"),
            ('model.cell="gru"', "gru"),
            ("model.bidirectional=true", True),
            ("train.lr=1e-3", 1e-3),
            ('data.train=["a.tsv", "b.tsv"]', ["a.tsv", "b.tsv"]),
            ("data.source=a=b", "a=b"),
            ("data.source=", ""),
        ],
    )
    def test_values_are_toml_and_bare_words_strings(self, item: str, value: object) -> None:
        [(section, settings)] = config.assignments([item]).items()
        assert f"{section}.{next(iter(settings))}" == item.split("=")[0].strip()
        assert list(settings.values()) == [value]

    def test_the_last_one_wins_and_the_others_stay(self) -> None:
        items = ["model.hidden=3", "train.lr=0.5", "model.layers=2", "model.hidden=7"]
        assert config.assignments(items) == {"model": {"hidden": 7, "layers": 2}, "train": {"lr": 0.5}}

    @pytest.mark.parametrize("item", ["model.hidden", "hidden=7", ".hidden=7", "model.=7", "=7", ""])
    def test_another_form_is_refused(self, item: str) -> None:
        with pytest.raises(ConfigError, match=r"--set: expected section\.key=value, found"):
            config.assignments([item])

    def test_a_second_statement_cannot_be_smuggled_in(self) -> None:
        settings = config.assignments(["data.source=1\ntrain = 2"])
        assert set(settings) == {"data"}


class TestOneOfSeveral:
    def test_one_needs_no_brackets(self) -> None:
        given = ["train.freeze=encoder", "data.train=a.tsv", "data.weights=2"]
        built = config.load("small", config.assignments(given))
        assert built.train.freeze == ("encoder",)
        assert built.data.train == ("a.tsv",)
        assert built.data.weights == (2.0,)
        assert config.load("small", config.assignments(["data.also=b.tsv"])).data.also == (("b.tsv",),)
        assert config.load("small", {"data": {"also": ["b.tsv"]}}).data.also == (("b.tsv",),)

    def test_columns_by_number(self) -> None:
        data = config.load("small", config.assignments(["data.source=2", "data.target=1"])).data
        assert (data.source, data.target) == ("2", "1")

    @pytest.mark.parametrize("item", ["data.columns=a", "data.source=true", "model.hidden=[3]"])
    def test_what_is_wrong_stays_wrong(self, item: str) -> None:
        with pytest.raises(ConfigError, match=item.partition("=")[0]):
            config.load("small", config.assignments([item]))


class TestMerge:
    def test_overrides_beat_the_recipe_and_the_recipe_the_defaults(self) -> None:
        recipe = config.load("luong2015")
        assert recipe.model.attention != ModelConfig().attention
        changed = config.load("luong2015", {"model": {"hidden": 7}})
        assert changed.model.hidden == 7
        assert changed.model.attention == recipe.model.attention
        assert changed.train == recipe.train

    def test_neither_side_is_changed(self) -> None:
        base, over = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 5}, "d": {"e": 7}}
        assert config.merge(base, over) == {"a": {"b": 5, "c": 2}, "d": {"e": 7}}
        assert base == {"a": {"b": 1, "c": 2}, "d": 3}

    @given(
        st.dictionaries(st.text(max_size=2), st.integers()),
        st.dictionaries(st.text(max_size=2), st.integers()),
    )
    def test_flat_tables_merge_like_dictionaries(self, base: dict[str, int], over: dict[str, int]) -> None:
        assert config.merge(base, over) == base | over
        assert config.merge({"s": base}, {"s": over}) == {"s": base | over}


class TestRecipes:
    def test_the_promised_ones_are_bundled(self) -> None:
        promised = {
            "sutskever2014",
            "cho2014",
            "bahdanau2014",
            "luong2015",
            "luong2015-local-p",
            "small",
            "chars",
        }
        assert promised <= set(config.recipes())

    @pytest.mark.parametrize("name", config.recipes())
    def test_a_recipe_is_valid_and_headed_by_source_command_and_score(self, name: str) -> None:
        assert config.load(name) == config.build(tomllib.loads(config.recipe(name)))
        head = config.recipe(name).partition("\n[")[0]
        assert head.startswith("#")
        assert f"--recipe {name}" in head
        assert "Source:" in head
        assert "Recorded (benchmarks/RESULTS.md)" in head

    @pytest.mark.parametrize("name", config.recipes())
    def test_what_is_recorded_has_possible_settings_a_score_and_a_time(self, name: str) -> None:
        head = config.recipe(name).partition("\n[")[0].replace("\n#   ", " ")
        recorded = [line.removeprefix("# - ") for line in head.splitlines() if line.startswith("# - ")]
        assert recorded
        for one in recorded:
            assert re.search(r": .*\d[^;,]*[;,] [\d.]+ minutes", one), one
            given = re.search(r" \[(\S.*?)\](?=[,:])", one)
            config.load(name, config.assignments(re.split(r" (?=[a-z]+\.)", given[1]) if given else []))

    @pytest.mark.parametrize("name", config.recipes())
    def test_a_recipe_can_be_made_small(self, name: str) -> None:
        assert config.load(name, {"model": {"hidden": 256, "embedding": 256}}).model.hidden == 256

    def test_a_byte_order_mark_before_a_recipe(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.toml"
        path.write_text("[model]\nhidden = 7\n", encoding="utf-8-sig")
        assert config.load(str(path)).model.hidden == 7

    def test_a_file_of_the_users(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.toml"
        path.write_text("[model]\nhidden = 7\n", encoding="utf-8")
        assert config.load(str(path)).model.hidden == 7

    def test_faults_in_a_file_are_told_with_its_name(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.toml"
        with pytest.raises(ConfigError, match=r"mine\.toml: cannot read the recipe"):
            config.load(str(path))
        path.write_bytes(b"\xff\xfe")
        with pytest.raises(ConfigError, match=r"mine\.toml: cannot read the recipe"):
            config.load(str(path))
        path.write_text("[model\n", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"mine\.toml: not valid TOML: .*line 1"):
            config.load(str(path))
        path.write_text("[model]\nhiden = 7\n", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"mine\.toml: unknown setting model\.hiden"):
            config.load(str(path))

    def test_faults_of_the_overrides_are_not_blamed_on_the_recipe(self) -> None:
        with pytest.raises(
            ConfigError, match=r"^settings: unknown setting model\.hiden; did you mean model\.hidden"
        ):
            config.load("small", {"model": {"hiden": 7}})

    def test_an_unknown_section_is_like_a_section(self) -> None:
        with pytest.raises(ConfigError, match=r"unknown setting modle; did you mean model\?"):
            config.load("small", {"modle": {"hidden": 7}})


class TestDocumented:
    def test_every_setting_has_a_description(self) -> None:
        settings = list(config.documented())
        assert [name for name, _, _ in settings] == list(config.names())
        assert [name for name, _, description in settings if len(description) < 10] == []

    def test_the_contract_with_users_holds(self) -> None:
        promised = (
            "model: cell layers hidden embedding bidirectional attention dropout; "
            "source: tokenizer vocab_size; target: tokenizer vocab_size; "
            "predict: beam length_penalty max_length; "
            "train: epochs minutes batch_tokens lr seed precision valid_metric"
        )
        wanted = {
            f"{section}.{key}"
            for part in promised.split("; ")
            for section, keys in [part.split(": ")]
            for key in keys.split()
        }
        assert wanted <= set(config.names())

    def test_defaults_are_shown_as_toml_would_have_them(self) -> None:
        shown = {name: default for name, default, _ in config.documented()}
        assert shown["model.bidirectional"] == "false"
        assert shown["model.hidden"] == "256"
        assert shown["train.minutes"] == ""
        assert shown["data.train"] == ""

    def test_the_choices_of_a_setting_are_explained(self) -> None:
        described = {name: text for name, _, text in config.documented()}
        assert all(kind in described["model.cell"] for kind in get_args(CellKind))
        for kind in get_args(config.TokenizerKind):
            assert kind in described["source.tokenizer"]


SMALL = {
    "model": st.fixed_dictionaries(
        {
            "hidden": st.integers(1, 997),
            "dropout": st.floats(0, 0.9),
            "cell": st.sampled_from(get_args(CellKind)),
        },
        optional={"attention": st.sampled_from(get_args(AttentionKind)), "readout_size": st.integers(1, 97)},
    ),
    "data": st.fixed_dictionaries(
        {"train": st.lists(st.text(), max_size=2)}, optional={"header": st.booleans(), "source": st.text()}
    ),
    "train": st.fixed_dictionaries({"lr": st.floats(1e-9, 1e3)}, optional={"minutes": st.floats(0.1, 1e6)}),
}


class TestToml:
    @given(st.fixed_dictionaries(SMALL))
    def test_out_and_in_again_is_the_same(self, settings: dict[str, Any]) -> None:
        built = config.build(settings)
        text = config.to_toml(built)
        assert config.build(config.parse(text, "config.toml")) == built

    @pytest.mark.parametrize("name", config.recipes())
    def test_recipes_too(self, name: str) -> None:
        built = config.load(name)
        assert config.build(tomllib.loads(config.to_toml(built))) == built

    def test_what_is_unset_is_left_out(self) -> None:
        assert "minutes" not in config.to_toml(Config())

    def test_settings_cannot_be_changed_in_place(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            Config().model.hidden = 3  # type: ignore[misc]
