"""What a job writes, what a restart does, and what is refused."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import suguk
from suguk import files
from suguk.config import PredictConfig
from suguk.corpus import Summary, predict_table
from suguk.corpus.carried import Carried
from suguk.corpus.parquet import Input
from suguk.corpus.parts import Job, begin
from suguk.errors import DataError, MissingExtra, ModelError, UserError
from tests.corpus.tables import OPTIONS, contents, sources, work_of, write_table
from tests.training.tiny_task import TINY, write_pairs

LONG = """
import sys
from pathlib import Path
from suguk.config import PredictConfig
from suguk.corpus import predict_table

model, data, out = sys.argv[1:]
options = PredictConfig(beam=3, n_best=2, max_length=9)
predict_table(model, [data], Path(out), options=options, rows=2, workers=2, quiet=True)
"""


def run(model: Path, data: Path, out: Path, **given: Any) -> Summary:
    return predict_table(
        str(model), [str(data)], out, **{"options": OPTIONS, "rows": 5, "quiet": True, "workers": 1, **given}
    )


def test_a_job_from_beginning_to_end(
    model: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "out"
    summary = run(model, data, out, workers=2, quiet=False)
    assert summary[:3] == (23, 5, 0)
    assert capfd.readouterr().err.startswith("23 rows in 5 parts; 0 parts are there already\n")
    assert sorted(path.name for path in out.iterdir()) == [
        "_SUCCESS",
        "_job.json",
        *(f"part-0000{number}.parquet" for number in range(5)),
    ]
    found, given = pq.read_table(out), pq.read_table(data)
    assert found.drop_columns(["output", "score", "n_best"]).equals(given)
    answers = suguk.load(model).predict(sources(23), OPTIONS)
    assert found["output"].to_pylist() == [answer.output for answer in answers]
    assert found["score"].to_pylist() == pytest.approx([answer.score for answer in answers])
    assert [[each["output"] for each in row] for row in found["n_best"].to_pylist()] == [
        [each.output for each in answer.n_best] for answer in answers
    ]
    assert found["n_best"].to_pylist()[0][0].keys() == {"output", "score"}
    record = json.loads((out / "_job.json").read_text(encoding="utf-8"))
    assert (record["format"], record["source"], record["rows"], record["options"]["beam"]) == (
        1,
        "text",
        5,
        3,
    )
    assert [(file["path"], file["rows"]) for file in record["inputs"]] == [(str(data), 23)]

    one = tmp_path / "one"
    run(model, data, one)
    assert contents(one) == contents(out)


def test_the_best_alone(model: Path, data: Path, tmp_path: Path) -> None:
    run(model, data, tmp_path / "out", options=PredictConfig(beam=3, max_length=9))
    assert pq.read_table(tmp_path / "out").column_names == ["id", "text", "tags", "output", "score"]


def test_a_restart_does_what_is_missing_and_nothing_else(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(model, data, out)
    before, times = contents(out), {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    for name in ("part-00001.parquet", "part-00004.parquet", "_SUCCESS"):
        (out / name).unlink()
    (out / ".part-00001.parquet-0123456789ab").write_bytes(b"half")
    assert run(model, data, out)[:3] == (8, 2, 3)
    assert contents(out) == before
    assert {path.name for path in out.iterdir()} - before.keys() == {"_SUCCESS", "_job.json"}
    again = {name for name, time in times.items() if (out / name).stat().st_mtime_ns != time}
    assert again == {"part-00001.parquet", "part-00004.parquet"}
    assert run(model, data, out)[:3] == (0, 0, 5)


def test_two_are_not_at_one_job(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(model, data, out)
    (out / "part-00001.parquet").unlink()
    half = out / ".part-00001.parquet-0123456789ab"
    half.write_bytes(b"half")
    with files.alone(out), pytest.raises(UserError, match="another process is at work here"):
        run(model, data, out)
    assert half.read_bytes() == b"half"  # it may be the other one's


def test_another_job_is_refused(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(model, data, out)
    before = contents(out)
    other = model.parent / "other.onnx"
    trained_elsewhere = Carried("other", {"model.onnx": b"other"}).fingerprint
    with pytest.raises(
        UserError, match=r"holds another job:\n  options.beam: 3 there, 2 here\n  hint: go on with"
    ):
        run(model, data, out, options=OPTIONS.model_copy(update={"beam": 2}))
    with pytest.raises(UserError, match="rows: 5 there, 7 here"):
        run(model, data, out, rows=7)
    with pytest.raises(ModelError, match="no such file"):
        run(other, data, out)
    job = work_of(model, data, out).job
    with pytest.raises(UserError, match=rf"model: {job.model} there, {trained_elsewhere} here"):
        begin(out, type(job)(trained_elsewhere, job.options, job.source, job.rows, job.inputs))
    write_table(data, 29)
    with pytest.raises(UserError, match=r"inputs\[1\].rows: 23 there, 29 here"):
        run(model, data, out)
    (out / "_job.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"_job.json: cannot be read"):
        run(model, data, out)
    assert contents(out) == before


def test_places_where_no_job_can_begin(model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not a job's directory.*\n.*name a new directory"):
        run(model, data, tmp_path)
    with pytest.raises(UserError, match="not a job's directory"):
        run(model, data, data)
    with pytest.raises(UserError, match="cannot be made a directory"):
        run(model, data, data / "out")


def test_data_are_refused_before_anything_is_written(model: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": ["a", None]}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"1 source cannot be predicted\n  .*rows.parquet:2: null"):
        run(model, tmp_path / "rows.parquet", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_killed_job_goes_on(
    model: Path, tmp_path: Path, script: Callable[..., "subprocess.Popen[str]"]
) -> None:
    data, out, whole = write_table(tmp_path / "rows.parquet", 401), tmp_path / "out", tmp_path / "whole"
    with script(LONG, model, data, out) as process:
        while len(list(out.glob("part-*"))) < 7 and process.poll() is None:
            time.sleep(0.001)
        process.kill()
        process.wait()
    finished = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert len(finished) < 201
    assert not (out / "_SUCCESS").exists()
    summary = run(model, data, out, rows=2)
    assert summary.done + summary.skipped == 201
    assert summary.skipped >= len(finished)
    assert finished == {name: (out / name).stat().st_mtime_ns for name in finished}
    run(model, data, whole, rows=2)
    assert contents(out) == contents(whole)
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in whole.iterdir())


def test_an_interrupt_ends_all(
    model: Path, tmp_path: Path, script: Callable[..., "subprocess.Popen[str]"]
) -> None:
    data, out = write_table(tmp_path / "rows.parquet", 601), tmp_path / "out"
    with script(LONG, model, data, out) as process:
        while len(list(out.glob("part-*"))) < 3 and process.poll() is None:
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
        _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert err.count("Traceback") == 1
    with pytest.raises(ProcessLookupError):
        wait_for_the_end(process.pid)
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []


def wait_for_the_end(group: int) -> None:
    """ProcessLookupError then. Python's own helper process takes a moment to see that it is alone."""
    for _ in range(1000):
        os.killpg(group, 0)
        time.sleep(0.01)


class _Refuses:
    """A model that cannot answer "bad", nor more than `most` sources at once."""

    def __init__(self, most: int = 99) -> None:
        self.most = most

    def predict(self, texts: list[str], options: PredictConfig) -> list[object]:
        del options
        if "bad" in texts or len(texts) > self.most:
            raise ZeroDivisionError("oh")
        return [object()] * len(texts)


@pytest.mark.parametrize(("most", "place"), [(99, "rows.parquet:9"), (3, "rows 6 to 10 of .*rows.parquet")])
def test_a_fault_names_the_part_and_the_row(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, place: str
) -> None:
    texts = ["good"] * 13
    if most == 99:
        texts[8] = "bad"
    pq.write_table(pa.table({"x": texts}), tmp_path / "rows.parquet")
    work = work_of(model, tmp_path / "rows.parquet", tmp_path / "out")
    monkeypatch.setattr(Carried, "open", lambda _: _Refuses(most))
    with pytest.raises(ZeroDivisionError) as raised:
        work.open()(1)
    (note,) = raised.value.__notes__
    assert note.startswith("part-00001.parquet, ")
    assert re.search(place, note)


def test_a_worker_that_does_not_find_the_job(model: Path, data: Path, tmp_path: Path) -> None:
    work = work_of(model, data, tmp_path / "out")
    (tmp_path / "out" / "_job.json").unlink()
    with pytest.raises(
        UserError, match=r"a worker does not find the job here\n.*every node has at the same path"
    ):
        work.open()


def test_a_run_directory(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an export it is its weights, through PyTorch; with one it is the export."""
    folder = tmp_path / "run"
    pairs = write_pairs(tmp_path / "pairs.tsv", 60)
    settings = TINY | {"train.epochs": 1, "train.export": False}
    suguk.train(pairs, out=folder, recipe="small", overrides=settings, display="silent")
    run(folder, data, tmp_path / "out", options=PredictConfig(beam=1, max_length=9))
    answers = suguk.load(folder).predict(sources(23), PredictConfig(beam=1, max_length=9))
    assert pq.read_table(tmp_path / "out")["output"].to_pylist() == [answer.output for answer in answers]
    carried = Carried.read(folder)
    assert carried.fingerprint == Carried.read(folder).fingerprint
    damaged = Carried(carried.name, {**carried.contents, "source.json": b"{}"})
    assert damaged.fingerprint != carried.fingerprint
    with pytest.raises(ModelError, match=str(folder)):
        damaged.open()
    (folder / "model.onnx").write_bytes(b"exported")
    assert Carried.read(folder).contents == {"model.onnx": b"exported"}
    (folder / "model.onnx").unlink()
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="there are no weights yet"):
        Carried.read(folder)
    monkeypatch.setattr("suguk.corpus.carried.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"holds no export.*'torch'"):
        Carried.read(folder)


def test_the_package_loads_nothing_heavy() -> None:
    code = "import sys, suguk.corpus; print({'torch', 'pyarrow', 'onnxruntime', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_names_of_many_parts_sort_as_the_parts_do() -> None:
    job = Job("model", {}, "text", 1, (Input("a.parquet", 9, "2026", 100_001),))
    names = [part.name for part in job.parts()]
    assert names == sorted(names)
    assert names[0] == "part-000000.parquet"
