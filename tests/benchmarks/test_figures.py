"""Every figure from data to picture with models that learn nothing; what is done is not done again."""

import itertools
import json
import random
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.figures import workshop as rooms
from benchmarks.figures.__main__ import FIGURES, make, shown
from benchmarks.figures.words import nearest
from benchmarks.figures.workshop import SPA_ENG, Workshop
from suguk import config
from suguk.explain.heatmap import text_width
from tests.cli.calls import suguk

SVG = "{http://www.w3.org/2000/svg}"
ROOT = Path(__file__).parents[2]
TINY = (
    "model.hidden=8", "model.embedding=8", "train.epochs=1", "train.batch_tokens=211", "predict.beam=2",
    "predict.max_length=9",
)  # fmt: skip
WORDS = {
    "tom": "tomás", "mary": "maría", "loves": "ama a", "saw": "vio a", "the": "el", "old": "viejo", "dog": "perro",
    "today": "hoy", "and": "y", "here": "aquí",
}  # fmt: skip


def sentences(count: int, shortest: int, longest: int, seed: int) -> list[tuple[str, str]]:
    draw = random.Random(seed)
    chosen = [draw.choices(list(WORDS), k=draw.randint(shortest, longest)) for _ in range(count)]
    return [
        (" ".join(words).capitalize() + ".", " ".join(map(WORDS.get, words)).capitalize() + ".")  # type: ignore[arg-type]
        for words in chosen
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data sets that the figures ask for, a few dozen pairs each."""
    folder = tmp_path_factory.mktemp("data")
    for part, other, count, seed in (
        ("train", "train", 61, 1),
        ("valid", "val", 7, 2),
        ("test", "test_2016_flickr", 13, 3),
    ):
        rows = sentences(count, 3, 11, seed)
        (folder / "spa-eng").mkdir(exist_ok=True)
        (folder / "multi30k").mkdir(exist_ok=True)
        table = "es\ten\n" + "".join(f"{es}\t{en}\n" for en, es in rows)
        (folder / "spa-eng" / f"{part}.tsv").write_text(table, encoding="utf-8")
        for side, name in enumerate(("en", "de")):
            text = "".join(f"{row[side]}\n" for row in rows)
            (folder / "multi30k" / f"{other}.{name}").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands run in this process; `align` links words in their order, as the models have learned nothing."""
    ran: list[list[str]] = []

    def call(words: Sequence[str], given: str = "") -> str:
        ran.append(list(words))
        if words[0] == "align":
            rows = Path(words[2]).read_text(encoding="utf-8").splitlines()[1:]
            pairs = ([side.split() for side in row.split("\t")] for row in rows)
            return "".join(" ".join(f"{k}-{k}" for k in range(min(map(len, pair)))) + "\n" for pair in pairs)
        done = suguk(*words, given=given)
        assert done.status == 0, done.err
        return done.out

    monkeypatch.setattr(rooms, "call", call)
    return ran


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("figures")


def check_picture(path: Path, command: str) -> None:
    """Legible in light and dark, nothing from outside, no text beyond the edges, and the command in its caption."""
    text = path.read_text(encoding="utf-8")
    assert "prefers-color-scheme:dark" in text
    assert re.findall(r"(?:href|url\()", text) == []
    assert "nan" not in text.lower().replace("<title>", "")
    root = ET.fromstring(text)
    width = float(root.attrib["width"])
    own = root.findall(f"{SVG}text")
    for element in own:
        if "transform" not in element.attrib:
            size = text_width(element.text or "", float(element.attrib["font-size"]))
            left = float(element.attrib["x"]) - {"middle": size / 2, "end": size}.get(
                element.attrib.get("text-anchor", ""), 0
            )
            assert left >= 0, element.text
            assert left + size <= width, element.text
    assert command in " ".join(" ".join(element.text or "" for element in own).split())


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_made_once(name: str, data: Path, out: Path, called: list[list[str]]) -> None:
    seeds = (1, 2) if name == "reversal" else (1,)
    picture = make(name, Workshop(data, out, TINY, seeds))
    assert picture == out / f"{name}.svg"
    command = shown(name, Workshop(data, out, TINY, seeds))
    check_picture(picture, command)
    numbers = json.loads(picture.with_suffix(".json").read_text(encoding="utf-8"))
    assert numbers["command"] == command
    assert str(out.parent) not in picture.with_suffix(".json").read_text(encoding="utf-8")
    assert str(data.parent) not in picture.read_text(encoding="utf-8")
    assert all(
        typed.startswith("suguk train DATA/") or "OUT/phrases" in typed for typed in numbers["trainings"]
    )
    before = picture.read_bytes()
    assert called or name == "words"  # which asks nothing but what `phrases` did
    called.clear()
    make(name, Workshop(data, out, TINY, seeds))
    assert called == []
    assert picture.read_bytes() == before


def test_phrases_take_the_model_of_alignments(data: Path, tmp_path: Path, called: list[list[str]]) -> None:
    make("alignments", Workshop(data, tmp_path, TINY, (1,)))
    called.clear()
    make("phrases", Workshop(data, tmp_path, TINY, (1,)))
    assert [words[-1] for words in called if words[0] == "train"] == [
        str(tmp_path / "runs" / "phrases-en-es")
    ]
    numbers = json.loads((tmp_path / "phrases.json").read_text(encoding="utf-8"))
    assert len(numbers["trainings"]) == 2
    assert all(pair["count"] >= 2 and pair["counting"] <= 0 for pair in numbers["scores"])


def test_words_are_those_of_the_model(data: Path, tmp_path: Path, called: list[list[str]]) -> None:
    assert nearest(np.array([[2.0, 0], [1, 1], [3, 0.1], [-1, 0]]), 2) == [[2, 1], [2, 0], [0, 1], [1, 2]]
    make("phrases", Workshop(data, tmp_path, TINY, (1,)))
    called.clear()
    make("words", Workshop(data, tmp_path, TINY, (1,)))
    assert called == []
    numbers = json.loads((tmp_path / "words.json").read_text(encoding="utf-8"))
    assert {point["word"] for point in numbers["map"]} == set(WORDS)
    counts = [point["count"] for point in numbers["map"]]
    assert counts == sorted(counts, reverse=True)
    for word, near in numbers["nearest"].items():
        assert len(near) == 5
        assert word not in near


class AskedError(Exception):
    """A figure has trained its model and wants to know something of it."""


@pytest.mark.parametrize("name", FIGURES)
def test_the_settings_of_a_figure_are_possible(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At full size, without training: what `suguk train` would begin with."""
    found: list[config.Config] = []

    def call(words: Sequence[str], given: str = "") -> str:
        del given
        if words[0] == "evaluate":
            bleu = {"bleu": {"score": 1.0, "signature": "BLEU"}}
            return json.dumps({"scores": bleu, "perplexity": 7.0, "unit": "words", "groups": []})
        if words[0] != "train":
            raise AskedError
        settings = [words[k + 1] for k, word in enumerate(words) if word == "--set"]
        found.append(config.load(rooms.BASE, config.assignments(settings)))
        run = Path(words[-1])
        run.mkdir(parents=True)
        (run / "metrics.jsonl").write_text('{"kind": "valid", "step": 1, "loss": 2.0}\n')
        return ""

    monkeypatch.setattr(rooms, "call", call)
    monkeypatch.setattr("benchmarks.figures.alignments.drawn", lambda *_: [])
    pairs = {(f"a {k}", "b"): 2 for k in range(3)}
    monkeypatch.setattr("benchmarks.figures.phrases.extracted", lambda *_: pairs)
    monkeypatch.setattr("benchmarks.figures.words.embeddings", lambda *_: call(["embeddings"]))
    figure = FIGURES[name]
    try:
        figure.measure(Workshop(tmp_path, tmp_path / "out", (), figure.SEEDS))
    except AskedError:
        assert name in ("alignments", "states", "phrases", "words")
    assert len({one.model_dump_json() for one in found}) == len(found) >= 1
    if name == "ladder":
        kinds = [
            (one.reverse_source, one.dropout, one.attention, one.input_feeding)
            for one in (settings.model for settings in found)
        ]
        changed = [sum(a != b for a, b in zip(*pair, strict=True)) for pair in itertools.pairwise(kinds)]
        assert changed == [1] * 5
        assert kinds[-1] == (True, 0.2, "local-p", True)


def test_a_stopped_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    def call(words: Sequence[str], given: str = "") -> str:
        del given
        calls.append(list(words))
        run = tmp_path / "out" / "runs" / "one"
        if len(calls) < 3:
            if len(calls) == 2:
                run.mkdir(parents=True)
                (run / "model.json").touch()
            raise SystemExit(130)
        return ""

    monkeypatch.setattr(rooms, "call", call)
    room = Workshop(tmp_path, tmp_path / "out", ("model.hidden=8",), (1,))
    for _ in range(2):
        with pytest.raises(SystemExit):
            room.train("one", SPA_ENG)
    room.train("one", SPA_ENG)
    room.train("one", SPA_ENG)
    run = str(tmp_path / "out" / "runs" / "one")
    assert calls[0] == calls[1]
    assert calls[0][-2:] == ["--out", run]
    assert calls[2:] == [["train", "--resume", run]]
    with pytest.raises(SystemExit, match="trained with other settings or data"):
        room.train("one", SPA_ENG, "model.layers=2")


def test_an_answer_is_asked_again_where_its_file_changed(tmp_path: Path, called: list[list[str]]) -> None:
    room = Workshop(tmp_path, tmp_path / "out", (), (1,))
    rooms.write(room.out / "pairs.tsv", "en\tes\na b\tc d e\n")
    words = ("align", "run", str(room.out / "pairs.tsv"))
    assert room.ask("links", *words) == room.ask("links", *words) == "0-0 1-1\n"
    rooms.write(room.out / "pairs.tsv", "en\tes\na\tc d e\n")
    assert room.ask("links", *words) == "0-0\n"
    assert len(called) == 2


def test_an_answer_is_asked_again_of_a_model_that_was_trained_anew(
    tmp_path: Path, called: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    room = Workshop(tmp_path, tmp_path / "out", (), (1,))
    monkeypatch.setattr(rooms, "call", lambda words, _: called.append(words) or "said")  # type: ignore[func-returns-value]
    weights = room.out / "runs" / "one" / "model.safetensors"
    for content in ("old", "old", "new"):
        rooms.write(weights, content)
        room.ask("scores", "evaluate", str(weights.parent), "test.tsv")
    assert len(called) == 2


def test_a_command_that_fails_ends_with_its_status(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        rooms.call(["predict", "nowhere"])
    assert ended.value.code == 2
    assert "nowhere" in capfd.readouterr().err


@pytest.mark.parametrize("name", FIGURES)
def test_the_document_has_every_command(name: str) -> None:
    text = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")
    assert f"python -m benchmarks.figures {name} --data DATA --out OUT" in text
