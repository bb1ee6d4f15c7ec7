"""The commands of the recorded runs stay valid: a setting that was renamed must not be found out after half an hour."""

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from benchmarks import convert, record
from benchmarks.record import Job
from benchmarks.runs import RUNS, Run
from suguk import config
from suguk.data.read import read
from tests.cli.calls import suguk

PLACES = Path("DATA"), Path("MADE"), Path("runs")


@pytest.mark.parametrize("name", RUNS)
def test_a_recorded_run_has_possible_settings(name: str) -> None:
    run, job = RUNS[name], Job(name, 3, *PLACES)
    settings = chosen(run)
    assert settings.train.minutes is None or settings.train.minutes <= 60
    train, evaluate = job.train(), job.evaluate("test")
    assert train[:2] == ["suguk", "train"]
    assert train[-1] == evaluate[2] == f"runs/{name}-3"
    assert all(word.startswith(("DATA/", "MADE/")) for word in train[2 : 2 + len(run.train)])
    assert evaluate[-1] == "--json"
    assert not {*job.files(run.test)} & {*job.files((*run.train, *run.valid, *run.also))}
    assert not {*job.files(run.test)} & {*train, *job.evaluate("valid")}


def chosen(run: Run) -> config.Config:
    also = ['data.also=[["more.tsv"]]'] if run.also else []
    return config.load(run.recipe, config.assignments((*run.settings, *also)))


def kinds() -> dict[object, str]:
    """A name for each definition: languages differ in their files only, sizes and loops break no command."""
    definitions: dict[object, str] = {}
    for name, run in RUNS.items():
        settings = {re.sub(r"=[\d.]+$|^train\..*", "", item) for item in run.settings}
        same = run.recipe, frozenset(settings), run.read, run.evaluate, bool(run.also)
        definitions.setdefault(same, name)
    return definitions


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Every file that a run names, with some pairs that anything can be made of; and what convert.py makes."""
    data, made = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("made")
    for run in RUNS.values():
        for part, (files, count) in enumerate(
            ((run.train, 40), (run.valid, 5), (run.test, 6), (run.also, 10))
        ):
            if files and not files[0].startswith("made/"):
                write(data, files, run, range(100 * part, 100 * part + count))
    for kind in convert.SCAN:
        write_table(data / f"scan/{kind}-train.tsv", "command\tactions", range(50))
        write_table(data / f"scan/{kind}-test.tsv", "command\tactions", range(100, 106))
    for first, (french, ending) in enumerate((("train", "trn"), ("dev", "dev"), ("test", "tst"))):
        rows = range(100 * first, 100 * first + 40)
        write_table(data / f"sigmorphon2021-g2p/kor_{french}.tsv", "", rows, "가 나")
        for language in convert.INFLECTION:
            write_table(data / f"sigmorphon2023-inflection/{language}.{ending}", "", rows, "V;NOM(3,SG)\ta b")
    small = dict.fromkeys(convert.REPORTS, 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convert, "REPORTS", small)
        convert.convert(data, made)
    return data, made


def write(data: Path, files: tuple[str, ...], run: Run, rows: range) -> None:
    if len(files) == 2:
        for file in files:
            (data / file).parent.mkdir(parents=True, exist_ok=True)
            (data / file).write_text("".join(f"{left(row)} lunch\n" for row in rows), encoding="utf-8")
        return
    head = "text\tcode" if "--source" in run.read else "word\tname"
    write_table(data / files[0], "" if "--no-header" in run.read else head, rows)


def write_table(path: Path, head: str, rows: range, right: str = "K AE1 T") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [head] * bool(head) + [f"{left(row)}\t{right}" for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def left(row: int) -> str:
    return f"{'abcdefghij'[row % 10]}{'klmnopqrst'[row // 10 % 10]} {'uvwxyz'[row // 100]}"


@pytest.mark.parametrize("name", kinds().values())
def test_the_tiny_twin_of_a_run_trains_and_is_scored(
    name: str, data: tuple[Path, Path], tmp_path: Path
) -> None:
    run, job = RUNS[name], Job(name, 1, *data, tmp_path, minutes=1)
    two_ways = chosen(run).model.bidirectional
    small = (
        "model.hidden=16", "model.embedding=16", f"model.encoder_hidden={8 if two_ways else 16}",
        "model.readout_size=16", "model.attention_size=8", "source.vocab_size=60", "target.vocab_size=60",
        "train.epochs=1", "train.valid_every=1", "train.batch_tokens=211", "train.device=cpu", "predict.max_length=7",
    )  # fmt: skip
    trained = suguk(*job.train()[1:], *(word for setting in small for word in ("--set", setting)))
    assert trained.status == 0, trained.err
    scored = suguk(*job.evaluate("test")[1:])
    assert scored.status == 0, scored.err
    assert json.loads(scored.out)["scores"]["exact"]["score"] >= 0


class TestConvert:
    def test_features_and_letters_of_an_inflected_form(self, data: tuple[Path, Path]) -> None:
        assert convert.tags("V;PRS;NOM(3,SG)") == "+V +PRS +NOM +3 +SG"
        assert convert.tags("ADJ;ACC(ANIM;MASC;SG)") == "+ADJ +ACC +ANIM +MASC +SG"
        pairs = read([data[1] / "inflection-hun" / "train.tsv"])
        assert (pairs.sources[0], pairs.targets[0]) == ("+V +NOM +3 +SG a k ▁ u", "a ▁ b")

    def test_jamo_can_be_put_together_again(self) -> None:
        apart = convert.letters("각 가까", "NFD")
        assert apart.split(" ") == ["ᄀ", "ᅡ", "ᆨ", "▁", "ᄀ", "ᅡ", "ᄁ", "ᅡ"]
        assert unicodedata.normalize("NFC", apart) == apart  # what a tokenizer makes of it
        assert unicodedata.normalize("NFC", apart.replace(" ", "").replace("▁", " ")) == "각 가까"

    def test_pronunciations_that_differ_by_stress_only_become_one(self, tmp_path: Path) -> None:
        (tmp_path / "cmudict").mkdir()
        rows = [
            "word\tphonemes",
            "record\tR AH0 K AO1 R D",
            "record\tR AH1 K AO0 R D",
            "record\tR EH1 K ER0 D",
        ]
        for split in ("train", "valid", "test"):
            (tmp_path / f"cmudict/{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        made = convert.pronunciation_without_stress(tmp_path)
        assert list(made["test"]) == [("record", "R AH K AO R D"), ("record", "R EH K ER D")]

    def test_scan_keeps_rows_and_lone_words(self, tmp_path: Path) -> None:
        (tmp_path / "scan").mkdir()
        rows = [("jump", "I_JUMP")] * 7 + [(f"walk {row % 20}", f"I_WALK {row}") for row in range(40)]
        for split in ("train", "test"):
            lines = ["command\tactions", *map("\t".join, rows)]
            (tmp_path / f"scan/jump-{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        made = {split: list(pairs) for split, pairs in convert.scan(tmp_path, "jump").items()}
        assert sorted(made["train"] + made["valid"]) == sorted(made["test"]) == sorted(rows)
        assert len(made["valid"]) == 8  # both rows of four of twenty commands
        assert made["train"].count(("jump", "I_JUMP")) == 7
        assert not {source for source, _ in made["train"]} & {source for source, _ in made["valid"]}

    def test_a_report_says_how_many_sentences_are_wanted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(convert, "REPORTS", {"valid": 50})
        made = list(convert.reports(Path())["valid"])
        assert made == list(convert.reports(Path())["valid"])
        for source, target in made:
            wanted, told = source.split(" : ")
            sentences = told.split(" .")
            assert target.count(" .") == int(wanted) < len(sentences)
            for short, long in zip(target.split(" .")[: int(wanted)], sentences, strict=False):
                assert long.startswith(f"{short} in ")

    def test_what_is_not_there_is_left_out(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(convert, "REPORTS", {"train": 3})
        convert.convert(tmp_path, tmp_path / "made")
        assert [path.name for path in (tmp_path / "made").iterdir()] == ["reports"]
        assert "scan-length: left out, there is no" in capsys.readouterr().err


def finished(folder: Path) -> None:
    """What a training that was stopped once leaves for the record."""
    folder.mkdir()
    records = (
        {"kind": "valid", "step": 97, "epoch": 0.7, "seconds": 40.0},
        {"kind": "valid", "step": 211, "epoch": 1.5, "seconds": 83.41},
        {"kind": "train", "step": 211},
    )
    (folder / "metrics.jsonl").write_text(
        "".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8"
    )


class TestRecord:
    job = Job("reports", 2, *PLACES)

    def test_a_row_has_the_means_of_its_seeds(self, tmp_path: Path) -> None:
        for seed, score in ((1, 9.876), (2, 5.0)):
            trained = {
                "name": "one",
                "seed": seed,
                "seconds": 60 * seed,
                "peak_memory_mb": 678,
                "beside": "39",
            }
            (tmp_path / f"one-{seed}.json").write_text(json.dumps(trained), encoding="utf-8")
            found = {"scores": {"bleu": {"score": score}}, "perplexity": 5.4321}
            scored = {"name": "one", "seed": seed, "on": "test", "seconds": 4.5, "peak_memory_mb": 1234}
            (tmp_path / f"one-{seed}.test.json").write_text(
                json.dumps({**scored, "evaluation": found}), encoding="utf-8"
            )
        head, rule, row = record.table(tmp_path)
        assert head.count("|") == rule.count("|") == row.count("|")
        assert row == (
            "| one | test | 1 2 | 1.5 (1.0–2.0) | 4 (4–4) | 1,234 "
            "| 7.44 (5.00–9.88) |  |  |  |  | 5.43 (5.43–5.43) | 39 |"
        )

    def test_a_mean_over_runs_waits_for_the_last_of_them(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(record, "MEANS", {"mean": ("a", "b")})
        rows = []
        for name, seed, score in (("a", 1, 10.0), ("a", 2, 20.0), ("b", 1, 40.0)):
            trained = {"name": name, "seed": seed, "seconds": 60, "peak_memory_mb": 6, "beside": ""}
            (tmp_path / f"{name}-{seed}.json").write_text(json.dumps(trained), encoding="utf-8")
            scored: dict[str, Any] = {
                **trained,
                "on": "test",
                "evaluation": {"scores": {"exact": {"score": score}}},
            }
            scored["evaluation"]["perplexity"] = None
            (tmp_path / f"{name}-{seed}.test.json").write_text(json.dumps(scored), encoding="utf-8")
            rows.append(list(record.table(tmp_path)))
        assert [row[-1].startswith("| mean |") for row in rows] == [False, False, True]
        assert rows[-1][-1] == "| mean | test |  |  |  |  |  |  | 27.50 |  |  |  |  |"
        assert rows[-1][-1].count("|") == rows[-1][0].count("|")

    def test_the_spread_of_one_is_itself(self) -> None:
        assert [record.spread(values, 1) for values in ([], [1.25], [1.0, 3.0])] == [
            "",
            "1.2",
            "2.0 (1.0–3.0)",
        ]

    def test_minutes_override_the_budget(self) -> None:
        words = self.job._replace(minutes=1.5).train()
        budgets = [word for word in words if word.startswith("train.minutes=")]
        assert budgets == ["train.minutes=15", "train.minutes=1.5"]

    def test_what_is_finished_is_not_done_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ran: list[list[str]] = []
        finished(tmp_path / "reports-2")

        def call(_: Job, command: list[str]) -> tuple[str, dict[str, Any]]:
            ran.append(command)
            return "{}", {"command": " ".join(command), "seconds": 1.0, "peak_memory_mb": 1}

        monkeypatch.setattr(record, "_call", call)
        job = self.job._replace(out=tmp_path)
        for _ in range(2):
            record.train(job)
            record.score(job, "valid")
        assert ran == [job.train(), job.evaluate("valid")]
        record.score(job, "test")
        assert ran[2:] == [job.evaluate("test")]
        with pytest.raises(SystemExit, match="another command"):
            record.train(job._replace(minutes=1))

    def test_a_training_that_was_stopped_goes_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = self.job._replace(out=tmp_path)
        finished(job.folder)
        (job.folder / "model.json").touch()
        ran: list[list[str]] = []

        def call(_: Job, command: list[str]) -> tuple[str, dict[str, Any]]:
            ran.append(command)
            return "", {"seconds": 1.0}

        monkeypatch.setattr(record, "_call", call)
        record.train(job)
        assert ran == [["suguk", "train", "--resume", str(job.folder), "--set", "train.minutes=15"]]
        row = json.loads((tmp_path / "reports-2.json").read_text(encoding="utf-8"))
        assert (row["resumed"], row["seconds"], row["updates"], row["epochs"]) == (True, 83.4, 211, 1.5)

    def test_seconds_memory_and_faults_of_a_command(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        job = self.job._replace(out=tmp_path)
        printed, step = record._call(job, ["suguk", "--version"])
        assert printed.startswith("suguk ")
        assert 0 < step["seconds"] < 60
        assert step["peak_memory_mb"] > 5
        with pytest.raises(SystemExit, match="reports-2: exit status 2"):
            record._call(job, ["suguk", "trian"])
        assert "No such command" in (tmp_path / "reports-2.log").read_text(encoding="utf-8")
        assert capsys.readouterr().err.startswith("$ suguk --version\n")
