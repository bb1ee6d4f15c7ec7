"""`suguk recipes`, and the help that comes from the same place."""

import json
import tomllib

import pytest

from suguk import config
from tests.cli.calls import suguk

VERBS = (
    "demo", "check", "train", "tune", "predict", "score", "align", "rescore", "encode", "evaluate", "report", "export",
    "card", "bench", "recipes",
)  # fmt: skip


def test_the_list_has_every_recipe_and_every_setting() -> None:
    ran = suguk("recipes")
    assert ran.status == 0
    for name in config.recipes():
        headline = config.recipe(name).split("\n")[0].removeprefix("# ")
        assert any(line.split(None, 1) == [name, headline] for line in ran.lines)
    assert all(f"\n{name} " in ran.out for name in config.names())


def test_a_printed_recipe_is_the_recipe() -> None:
    ran = suguk("recipes", "luong2015")
    assert ran.out == config.recipe("luong2015")
    config.build(tomllib.loads(ran.out))


def test_json() -> None:
    listed = json.loads(suguk("recipes", "--json").out)
    assert set(listed["recipes"]) == set(config.recipes())
    assert [setting["name"] for setting in listed["settings"]] == list(config.names())
    assert json.loads(suguk("recipes", "small", "--json").out) == tomllib.loads(config.recipe("small"))


def test_an_unknown_recipe_is_refused_with_the_nearest_one() -> None:
    ran = suguk("recipes", "luong2016")
    assert (ran.status, ran.out) == (2, "")
    assert "did you mean luong2015?" in ran.err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples(verb: str) -> None:
    ran = suguk(verb, "--help")
    assert ran.status == 0
    assert "Examples:" in ran.out
    assert f"suguk {verb}" in ran.out.split("Examples:")[1]
    assert max(map(len, ran.lines)) <= 110


def test_the_help_of_train_documents_every_setting() -> None:
    shown = " ".join(suguk("train", "--help").out.split())
    for name, default, about in config.documented():
        assert (f"{name} = {default}" if default else f"{name} (unset)") in shown
        assert " ".join(about.split()) in shown


def test_help_lists_the_verbs_in_the_order_of_use() -> None:
    ran = suguk("--help")
    commands = ran.out.split("Commands:\n")[1].splitlines()[: len(VERBS)]
    assert tuple(line.split()[0] for line in commands) == VERBS
    assert all("..." not in line for line in commands)


def test_version() -> None:
    from suguk import __version__

    assert suguk("--version").out == f"suguk {__version__}\n"


def test_an_unknown_verb_is_refused() -> None:
    ran = suguk("predcit")
    assert ran.status == 2
    assert "No such command" in ran.err
