"""`suguk demo` on a few pairs, and the bundled extract itself."""

import gzip
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from suguk.cli import demo
from suguk.data.read import read
from tests.cli.calls import suguk
from tests.cli.conftest import TINY


def test_the_bundled_parts_share_no_source() -> None:
    train, valid, test = (set(read([str(part)]).sources) for part in demo.parts())
    assert not train & valid
    assert not train & test
    assert not valid & test
    assert max(len(source.split()) for source in train | valid | test) == 6
    assert min(len(train), len(valid), len(test)) > 600


def test_the_extract_is_small_and_attributed() -> None:
    folder = Path(str(demo.parts()[0])).parent
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2_000_000
    attribution = (folder / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert "www.manythings.org/anki and tatoeba.org" in attribution
    assert "creativecommons.org/licenses/by/2.0" in attribution
    for part in demo.parts():
        rows = gzip.decompress(part.read_bytes()).count(b"\n") - 1
        assert f"`{part.name}` | {rows:,} |" in attribution


def test_a_name_that_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert demo.free(tmp_path / "demo") == tmp_path / "demo"
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo-2").mkdir()
    assert demo.free(tmp_path / "demo") == tmp_path / "demo-3"
    monkeypatch.chdir(tmp_path / "demo")
    assert demo.free(Path()) == tmp_path / "demo-3"


def test_the_whole_way(tables: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "parts", lambda: [tables[0], tables[1], tables[1]])
    monkeypatch.setattr(demo, "SETTINGS", TINY)
    out = tmp_path / "runs" / "demo"
    ran = suguk("demo", "--out", out, "--minutes", 1, "--device", "cpu", "--quiet")
    assert (ran.status, ran.err) == (0, "")
    assert "13 sources" in ran.out
    assert "chrF2|nrefs:1" in ran.out
    assert ran.out.count("\n  → ") == demo.SHOWN
    assert f"suguk predict {out}" in ran.out
    pictures = [out / "curves.svg", out / "by-length.svg", *sorted((out / "attention").iterdir())]
    assert len(pictures) == 2 + demo.SHOWN
    assert all(ElementTree.parse(picture).getroot().tag.endswith("svg") for picture in pictures)
