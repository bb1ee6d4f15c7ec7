"""`suguk report`."""

import json
import shutil
from pathlib import Path

from tests.cli.calls import suguk

Tables = tuple[Path, Path]


def test_a_page_in_the_run_directory(model: Path, tmp_path: Path) -> None:
    run, page = tmp_path / "run", tmp_path / "page.html"
    shutil.copytree(model, run)
    for more, path in (([], run / "report.html"), (["--out", page], page)):
        ran = suguk("report", run, "--limit", 5, "--examples", 1, *more)
        assert ran.status == 0, ran.err
        assert ran.out == ""
        assert f"the report is {path}" in ran.err
        assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert not (model / "report.html").exists()


def test_the_same_as_data(model: Path, tables: Tables) -> None:
    ran = suguk("report", model, tables[1], "--json", "--quiet", "--beam", 1, "--examples", 2)
    assert ran.status == 0, ran.err
    assert ran.err == ""
    found = json.loads(ran.out)
    assert found["quality"]["sources"] == 13
    assert found["quality"]["search"] == "greedy search"
    assert not (model / "report.html").exists()
    assert len(found["examples"]) == 6


def test_what_is_impossible_is_refused(model: Path, tmp_path: Path) -> None:
    ran = suguk("report", model, "--source", "en")
    assert (ran.status, "found no DATA" in ran.err) == (2, True)
    bad = tmp_path / "bad.tsv"
    bad.write_text("abc\tcba\n\tx\n", encoding="utf-8")
    assert suguk("report", model, bad).status == 2
    assert suguk("report", model, bad, "--skip-bad", "--json").status == 0
    assert suguk("report", tmp_path / "nothing").status == 2
    ran = suguk("report", model, "--out", tmp_path / "none" / "page.html")
    assert (ran.status, "no such directory" in ran.err) == (2, True)


def test_how_to_make_it_again_has_what_was_asked(model: Path, tables: Tables) -> None:
    table = tables[1].with_name("named.tsv")
    table.write_text("id\tfrom\tto\n" + "".join(f"{k}\tab{k}\t{k}ba\n" for k in range(3)), encoding="utf-8")
    asked = [
        "--source=from",
        "--target=to",
        "--limit=2",
        "--seed=4",
        "--beam=2",
        "--set=predict.max_length=5",
    ]
    found = json.loads(suguk("report", model, table, *asked, "--json", "--quiet").out)
    assert found["origin"]["commands"][1].split() == ["suguk", "report", str(model), str(table), *asked]
