"""The guide for programs shows the keys that the commands print."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.calls import suguk
from tests.house.test_readme import ROOT, run, workplace

__all__ = ["workplace"]  # a fixture
GUIDE = ROOT / "docs/guides/programs.md"
SHOWN = re.compile(
    r"```console\n\$ suguk (?P<command>[^\n]*)\n```\n\n```json\n(?P<json>.*?)^```", re.DOTALL | re.MULTILINE
)
LOG = re.compile(r"```json metrics\n(.*?)^```", re.DOTALL | re.MULTILINE)


def keys(value: Any) -> Any:
    """Names of all depths; of a list those of its first element, where that is an object."""
    if isinstance(value, dict):
        return {key: keys(one) for key, one in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [keys(value[0])]
    return None


@pytest.fixture
def trained(workplace: Path) -> Path:
    run("suguk train pairs.tsv --out runs/es-en")
    return workplace


def test_the_keys_are_those_that_are_printed(trained: Path) -> None:
    found = list(SHOWN.finditer(GUIDE.read_text(encoding="utf-8")))
    assert len(found) == 4
    for one in found:
        ran = suguk(*one["command"].split())
        assert ran.status == 0, ran.err
        printed = ran.out if one["command"].endswith("--json") else ran.out.split("\n")[0]
        assert keys(json.loads(printed)) == keys(json.loads(one["json"])), one["command"]
    log = LOG.search(GUIDE.read_text(encoding="utf-8"))
    assert log is not None
    written = [
        json.loads(line)
        for line in (trained / "runs/es-en/metrics.jsonl").read_text(encoding="utf-8").strip().split("\n")
    ]
    shown = [json.loads(text) for text in re.split(r"\n(?=\{)", log[1].strip())]
    for kind in ("train", "valid"):
        (example,) = (one for one in shown if one["kind"] == kind)
        assert keys(example) == keys(next(one for one in written if one["kind"] == kind))
