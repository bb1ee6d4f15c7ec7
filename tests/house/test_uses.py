"""The guide to recipes names every recipe that is for use, and its commands have possible settings."""

import itertools
import re
import shlex

import pytest

from suguk import config
from tests.house.test_readme import ROOT, blocks, commands

GUIDE = "docs/guides/recipes.md"
PAPER = re.compile(r"20\d\d")
COMMANDS = [command for _, text in blocks(GUIDE) for command in commands(text)]


def test_the_guide_names_every_recipe_that_is_for_use() -> None:
    named = re.findall(r"^\| `(\w+)` \|", (ROOT / GUIDE).read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) == {name for name in config.recipes() if not PAPER.search(name)}
    assert set(named) <= {word for command in COMMANDS for word in shlex.split(command)}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_guide_has_possible_settings(command: str) -> None:
    words = shlex.split(command)
    assert words[:2] == ["suguk", "train"]
    values = dict(itertools.pairwise(words))
    settings = [value for option, value in itertools.pairwise(words) if option == "--set"]
    config.load(values["--recipe"], config.assignments(settings))
    assert values["--out"].startswith("runs/")
