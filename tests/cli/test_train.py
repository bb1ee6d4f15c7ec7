"""`suguk train`: how the words of the command reach `suguk.train` and `suguk.resume`."""

import json
from pathlib import Path
from typing import Any

import pytest

import suguk as package
from suguk.config import build, parse
from tests.cli.calls import suguk
from tests.cli.conftest import TINY

Tables = tuple[Path, Path]
SET = [word for item in TINY for word in ("--set", item)]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `suguk.train` and `suguk.resume` were called with, instead of training."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(package, "train", lambda data, **given: calls.append({"data": data, **given}))
    monkeypatch.setattr(package, "resume", lambda path, **given: calls.append({"path": path, **given}))
    return calls


def test_the_contracts_line(called: list[dict[str, Any]]) -> None:
    data = ("train.en", "train.de", "--valid", "val.en", "val.de")
    ran = suguk("train", *data, "--recipe", "luong2015", "--set", "model.hidden=256", "--out", "runs/en-de")
    assert ran.status == 0
    assert called == [
        {
            "data": ["train.en", "train.de"],
            "valid": ["val.en", "val.de"],
            "recipe": "luong2015",
            "overrides": ["model.hidden=256"],
            "out": Path("runs/en-de"),
            "source": "",
            "target": "",
            "also": [],
            "start_from": None,
            "display": "auto",
        }
    ]


def test_options_that_stand_for_settings(called: list[dict[str, Any]]) -> None:
    line = "train a.csv --source q --target 3 --no-header --skip-bad --seed 5 --device cpu --quiet --out r"
    assert suguk(*line.split()).status == 0
    (given,) = called
    assert (given["source"], given["target"], given["display"], given["valid"]) == ("q", "3", "silent", ())
    assert sorted(given["overrides"]) == [
        "data.header=false",
        "data.skip_bad=true",
        'train.device="cpu"',
        "train.seed=5",
    ]


def test_more_data_and_a_run_to_start_from(called: list[dict[str, Any]]) -> None:
    line = "train a.en a.de --also b.tsv --also c.en,c.de --weights 2,1,.5 --from runs/a --out runs/b"
    assert suguk(*line.split()).status == 0
    (given,) = called
    assert given["also"] == [["b.tsv"], ["c.en", "c.de"]]
    assert given["overrides"] == ["data.weights=[2.0, 1.0, 0.5]"]
    assert given["start_from"] == Path("runs/a")


def test_resuming(called: list[dict[str, Any]]) -> None:
    assert suguk("train", "--resume", "runs/a", "--set", "train.epochs=9").status == 0
    assert called == [{"path": Path("runs/a"), "overrides": ["train.epochs=9"], "display": "auto"}]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train", "train needs DATA"),
        ("train a.tsv", "train needs --out DIR"),
        ("train --resume r a.tsv", "found also DATA"),
        ("train --resume r --out b --seed 0", "found also --out, --seed"),
        ("train --resume r --from b", "found also --from"),
        ("train --resume r --also c.tsv", "found also --also"),
        ("train --resume r --source 7 --no-header --skip-bad", "found also --skip-bad, --source, --header"),
        ("train a.tsv --out r --also b.tsv --weights 1;2", "expected numbers with commas"),
        ("train a b c --out r", "found 3 paths"),
        ("train a.tsv --out r --sed 3", "No such option"),
    ],
)
def test_words_that_make_no_sense(called: list[dict[str, Any]], line: str, message: str) -> None:
    ran = suguk(*line.split())
    assert ran.status == 2
    assert message in ran.err
    assert called == []


def test_training_and_going_on(tables: Tables, tmp_path: Path) -> None:
    out = tmp_path / "run"
    ran = suguk(
        "train", tables[0], "--valid", tables[1], "--recipe", "small", *SET, "--seed", 3, "--out", out
    )
    assert (ran.status, ran.out) == (0, "")
    assert "suguk predict" in ran.err
    config = build(parse((out / "config.toml").read_text(encoding="utf-8"), "config.toml"))
    assert (config.train.seed, config.model.hidden) == (3, 8)
    more = suguk("train", "--resume", out, "--set", "train.epochs=2", "--json")
    assert more.status == 0
    found = json.loads(more.out)
    assert found["model"] == str(out)
    assert found["validations"] == 2
    assert found["last"]["epoch"] == 2
    assert found["best"]["score"] >= found["last"]["score"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "model.hiden=7"), "did you mean model.hidden?"),
        (("--set", "model.hidden=many"), "model.hidden"),
        (("--set", "hidden=7"), "expected section.key=value"),
        (("--set", "model.attention=none", "--set", "model.input_feeding=true"), "input_feeding"),
        (("--recipe", "smal"), "did you mean small?"),
        (("--recipe", "missing.toml"), "cannot read the recipe"),
    ],
)
def test_settings_that_are_wrong(
    tables: Tables, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    ran = suguk("train", tables[0], "--out", tmp_path / "run", *options)
    assert ran.status == 2
    assert message in ran.err
    assert not (tmp_path / "run").exists()


def test_a_run_is_never_overwritten(tables: Tables, model: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in model.rglob("*")}
    ran = suguk("train", tables[0], "--recipe", "small", *SET, "--out", model)
    assert ran.status == 2
    assert f"--resume {model}" in ran.err
    assert before == {path: path.stat().st_mtime_ns for path in model.rglob("*")}


def test_an_unwritable_place(tables: Tables, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = suguk("train", tables[0], "--recipe", "small", *SET, "--out", tmp_path / "file" / "run")
    assert ran.status == 2
    assert "name another --out" in ran.err
