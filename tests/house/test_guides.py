"""Every command of the guide to more data works, in order, with tiny data and models."""

import json
from pathlib import Path

import pytest

from tests.house.test_readme import blocks, commands, run, workplace

__all__ = ["workplace"]  # a fixture
GUIDE = "docs/guides/more-data.md"


@pytest.fixture
def files(workplace: Path) -> Path:
    """What the guide speaks of beside the README's files."""
    lines = {
        side: (workplace / f"train.{side}").read_text(encoding="utf-8").splitlines() for side in ("en", "de")
    }
    for side in ("en", "de"):
        (workplace / f"letters.{side}").write_text("".join(f"{line}\n" for line in lines[side][9:40]))
    (workplace / "news.de").write_text("".join(f"{line}\n" for line in lines["de"][40:80]))
    pairs = zip(lines["en"][50:90], lines["de"][50:90], strict=True)
    (workplace / "more.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
    words = dict.fromkeys(word for line in lines["en"] for word in line.lower().split())
    (workplace / "words.en.vec").write_text(
        f"{len(words)} 8\n" + "".join(f"{word} {' '.join(['0.5'] * 8)}\n" for word in words)
    )
    return workplace


def test_what_the_guide_shows_works(files: Path) -> None:
    ran = [command for _, text in blocks(GUIDE) for command in commands(text)]
    for command in ran:
        run(command)
    assert len(ran) >= 11
    assert len((files / "news.written.en").read_text(encoding="utf-8").splitlines()) == 40
    about = json.loads((files / "runs/letters/model.json").read_text(encoding="utf-8"))
    assert [one["run"] for one in about["lineage"]] == ["general"]
    choices = json.loads((files / "runs/vectors/model.json").read_text(encoding="utf-8"))["choices"]
    assert any("words.en.vec" in choice for choice in choices)
    assert (files / "runs/student/model.safetensors").exists()
