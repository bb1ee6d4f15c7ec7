"""The space that is searched."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suguk import config as settings
from suguk.errors import ConfigError
from suguk.tuning import space as spaces
from suguk.tuning.plan import Plan, best_recipe
from suguk.tuning.space import Choice, Interval
from suguk.tuning.summary import _command

SPACE = """
[model]
cell = ["lstm", "gru"]
hidden = { low = 8, high = 24, step = 8 }

[train]
lr = { low = 0.001, high = 0.02, log = true }

[together.depth]
one = { model.layers = 1, model.attend = "before" }
two = { model.layers = 2, model.attend = "between" }
"""


class Last:
    """Proposes what comes last."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        self.asked.append((name, *choices))
        return choices[-1]

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        self.asked.append((name, low, high, step, log))
        return high

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        self.asked.append((name, low, high, step, log))
        return high


def test_what_is_written_is_what_is_proposed() -> None:
    last = Last()
    chosen = [one.suggest(last) for one in spaces.parse(SPACE, "here")]
    assert last.asked == [
        ("model.cell", "lstm", "gru"),
        ("model.hidden", 8, 24, 8, False),
        ("train.lr", 0.001, 0.02, None, True),
        ("together.depth", "one", "two"),
    ]
    assert chosen == [
        {"model": {"cell": "gru"}},
        {"model": {"hidden": 24}},
        {"train": {"lr": 0.02}},
        {"model": {"layers": 2, "attend": "between"}},
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[model]\nhiden = [1]", "did you mean model.hidden"),
        ("[model]\nhidden = 3", "choices or an interval"),
        ("[model]\nhidden = []", "choices or an interval"),
        ("[model]\nhidden = { low = 1 }", "choices or an interval"),
        ("[model]\nhidden = { low = 1, hihg = 3 }", "choices or an interval"),
        ("[model]\nhidden = { low = 5, high = 3 }", "low ≤ high"),
        ("[train]\nlr = { low = 0.0, high = 3.0, log = true }", "above 0"),
        ('[train]\nlr = { low = "a", high = 3.0 }', "expected numbers"),
        ("[train]\nlr = { low = 1e-4, high = inf }", "expected numbers"),
        ("[model]\nhidden = { low = 8, high = 16, step = -8 }", "a step above 0"),
        ("[model]\nhidden = { low = 8, high = 16, step = 0.5 }", "whole between whole numbers"),
        ('[model]\ncell = [["lstm"], "gru"]', "choices or an interval"),
        ("[model]\nhidden = [8, 16]\n[together.size]\na = { model.hidden = 12 }", "searched more than once"),
        ("[train]\nepochs = [1, 2]", "cannot be searched"),
        ("[predict]\nbeam = [1, 2]", "cannot be searched"),
        ("[data]\nlowercase = [true, false]", "cannot be searched"),
        ("[together]\nsize = [1, 2]", "several settings"),
        ("[together.size]\none = { model.hiden = 1 }", "unknown setting model.hiden"),
        ("[together.size]\none = 1", "unknown setting together.size.one"),
        ("hidden = [1]", "expected a section"),
        ("", "nothing to search"),
        ("[", "not valid TOML"),
    ],
)
def test_what_cannot_be_searched_is_told(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)) as fault:
        spaces.parse(text, "mine.toml")
    assert fault.value.where == "mine.toml"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the space"):
        spaces.read(tmp_path / "nowhere.toml")


def test_a_byte_order_mark_is_no_part_of_a_space(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(SPACE, encoding="utf-8-sig")
    assert spaces.read(tmp_path / "mine.toml")[1] == spaces.parse(SPACE, "here")


def test_the_best_is_trained_from_anywhere_and_on_the_same_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    base = {"data": {"train": ["a.tsv"], "also": [["b.tsv"]]}, "source": {"embeddings": "words.vec"}}
    plan = Plan(base, {}, "small", "", 1, None, "chrf", {})
    found = settings.parse(best_recipe(plan, plan.config, 1.0, 3), "best.toml")
    assert found["data"]["also"] == [[str(tmp_path / "b.tsv")]]
    assert found["source"]["embeddings"] == str(tmp_path / "words.vec")
    assert "train" not in found["data"]
    assert "--device" not in _command(plan, Path("best.toml"), tmp_path)
    plan = replace(plan, base=base | {"train": {"device": "cpu"}})
    assert "--recipe best.toml --device cpu --out" in _command(plan, Path("best.toml"), tmp_path)


def test_a_dimension_without_any_possible_choice_is_refused() -> None:
    base = settings.load("small")
    spaces.check(spaces.parse(SPACE, "here"), base, "here")
    for text in ('[model]\ncell = ["lsmt"]', "[model]\ndropout = { low = 3.0, high = 4.0 }"):
        with pytest.raises(ConfigError, match="no choice is possible"):
            spaces.check(spaces.parse(text, "here"), base, "here")
    fractions = spaces.parse("[model]\nhidden = { low = 8.0, high = 16.0 }", "here")
    with pytest.raises(ConfigError, match=r"valid integer.*\n.*whole numbers at both ends"):
        spaces.check(fractions, base, "here")


@pytest.mark.parametrize("recipe", ["small", "chars"])
def test_all_of_the_default_space_is_possible(recipe: str) -> None:
    _, space = spaces.read()
    base = settings.load(recipe).model_dump(exclude_none=True)
    together = [one for one in space if isinstance(one, Choice)]
    units = next(one for one in together if one.name == "together.units")
    for one in together:
        for given in one.settings.values():
            for size in units.settings.values():
                settings.build(settings.merge(settings.merge(base, size), given))
    ends = {one.name: (one.low, one.high) for one in space if isinstance(one, Interval)}
    low, high = ends["train.lr"]
    assert low <= settings.load(recipe).train.lr <= high
