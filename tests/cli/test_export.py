"""`suguk export`, and every verb that takes a model with the file that it wrote."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from suguk.runtime import OnnxModel
from tests.cli.calls import suguk

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "anywhere.md"
LINES = "abc\n\ndcba\ncab\n"


@pytest.fixture(scope="session")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    ran = suguk("export", model, path, "--languages", "letters", "--license", "CC0", "--fp32")
    assert ran.status == 0
    assert "100.0% of outputs the same" in ran.err
    assert str(path) in ran.err
    return path


def test_the_file_answers_as_the_run_directory_does(
    exported: Path, model: Path, tables: tuple[Path, Path]
) -> None:
    for options in ([], ["--beam", "1"], ["--n-best", "3"], ["--beam", "3", "--length-penalty", "0"]):
        both = [suguk("predict", one, *options, given=LINES) for one in (exported, model)]
        assert both[0].status == 0
        if options[:1] != ["--n-best"]:  # their scores may differ in the last digit
            assert both[0].out == both[1].out
        assert [line.partition("\t")[0] for line in both[0].lines] == [
            line.partition("\t")[0] for line in both[1].lines
        ]
    scores = [suguk("score", one, tables[1], "--quiet").lines for one in (exported, model)]
    for one, other in zip(*scores, strict=True):
        assert float(one.split("\t")[0]) == pytest.approx(float(other.split("\t")[0]), abs=2e-4)
    aligned = [suguk("align", one, tables[1]) for one in (exported, model)]
    assert aligned[0].status == 0
    assert aligned[0].out == aligned[1].out
    ran = suguk("evaluate", exported, tables[1])
    assert ran.status == 0
    assert "perplexity" in ran.out


def test_the_card_says_what_the_model_is(exported: Path) -> None:
    about = OnnxModel.load(exported).about
    assert about["card"] == {"languages": "letters", "license": "CC0"}
    assert about["precision"] == "fp32"
    assert about["data"]["training_pairs"] == 83
    assert about["validation"]["metric"]
    assert about["parity"]["same_outputs"] == 1
    assert str(exported.parent) not in str(about)
    plain = suguk("card", exported)
    assert plain.status == 0
    assert "card.license: CC0" in plain.lines
    assert "data.training_pairs: 83" in plain.lines
    assert json.loads(suguk("card", exported, "--json").out) == about


def test_a_file_knows_the_columns_that_training_took(
    exported: Path, tables: tuple[Path, Path], tmp_path: Path
) -> None:
    rows = [line.split("\t") for line in tables[1].read_text(encoding="utf-8").splitlines()]
    swapped = tmp_path / "t.tsv"
    swapped.write_text("".join(f"{target}\t{source}\n" for source, target in rows), encoding="utf-8")
    ran = suguk("score", exported, swapped)
    assert ran.status == 0, ran.err
    assert ran.out == suguk("score", exported, tables[1]).out


def test_no_card_of_what_is_not_an_export(model: Path, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    assert "not an ONNX file" in suguk("card", tmp_path / "x.onnx").err
    (tmp_path / "x.onnx").write_bytes(b"")
    assert "the file is empty" in suguk("card", tmp_path / "x.onnx").err
    ran = suguk("card", model)
    assert ran.status == 2
    assert f"{model / 'model.onnx'}: no such file" in ran.err


def test_a_damaged_export_in_a_run_directory(exported: Path, model: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(model, run)
    shutil.copy(exported, run / "model.onnx")
    assert suguk("card", run).out == suguk("card", exported).out
    os.truncate(run / "model.onnx", 1000)
    ran = suguk("predict", run, "--engine", "onnx", given=LINES)  # what is taken where there is no GPU
    assert ran.status == 2
    assert f"`suguk export {run} {run / 'model.onnx'}` makes it anew; `--engine torch`" in ran.err
    assert suguk("predict", run, "--engine", "torch", given=LINES).status == 0


def test_names_joined_by_plus(exported: Path, model: Path) -> None:
    ran = suguk("predict", f"{exported}+{exported}", given=LINES)
    assert ran.status == 2
    assert "export the run directories together, `suguk export RUN+RUN FILE.onnx`" in ran.err
    ran = suguk("predict", f"{model}+", given=LINES)
    assert ran.status == 2
    assert "nothing stands before or after a +" in ran.err


def test_without_torch(exported: Path, tmp_path: Path) -> None:
    """Nor anything else of the extra `train`."""
    for package in ("torch", "onnx", "onnxscript", "pyarrow", "safetensors", "sacrebleu", "matplotlib"):
        blocker = f'raise ModuleNotFoundError("No module named {package!r}", name={package!r})\n'
        (tmp_path / f"{package}.py").write_text(blocker, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "suguk", "predict", str(exported)],
        input=LINES,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == suguk("predict", exported, given=LINES).out


def test_the_guides_lines_answer_without_suguk(exported: Path, tmp_path: Path) -> None:
    match = re.search(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert match is not None
    code = match[1].replace("es-en.onnx", str(exported)).replace("estoy en casa", "abc").replace("200", "13")
    assert "suguk" not in re.sub(r'"suguk\.\w+"', "", code)
    (tmp_path / "plain.py").write_text(code, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, str(tmp_path / "plain.py")], capture_output=True, text=True, check=True
    )
    options = ["--n-best", "1", "--length-penalty", "0.6"]
    wanted = suguk("predict", exported, *options, given="abc\nquiero ser actriz\n").lines
    for line, (output, score) in zip(
        ran.stdout.splitlines(), (one.split("\t") for one in wanted), strict=True
    ):
        found = line.rpartition(" ")
        assert found[0].strip() == output.strip()
        assert float(found[2]) == pytest.approx(float(score), abs=1e-3)


def test_what_cannot_be_exported(model: Path, tmp_path: Path) -> None:
    for name, message in {
        ".": "ends in .onnx",
        "x.bin": "ends in .onnx",
        "none/x.onnx": "no such directory",
    }.items():
        ran = suguk("export", model, tmp_path / name)
        assert ran.status == 2
        assert message in ran.err
    (tmp_path / "folder.onnx").mkdir()
    assert "there is a directory of this name" in suguk("export", model, tmp_path / "folder.onnx").err
    ran = suguk("export", tmp_path / "none", tmp_path / "x.onnx")
    assert (ran.status, ran.out) == (2, "")
    assert "no such run directory" in ran.err
    ran = suguk("export", model, tmp_path / "x.onnx", "--check", tmp_path / "none.tsv")
    assert ran.status == 2
    assert "no sentences to check the export on" in ran.err
    assert "--check DATA" in ran.err
    bad = tmp_path / "bad.tsv"
    bad.write_bytes(b"abc\tcba\nm\xe9tro\tx\n\tempty\n")
    ran = suguk("export", model, tmp_path / "x.onnx", "--check", bad)
    assert (ran.status, "x.onnx" in os.listdir(tmp_path)) == (2, False)
    assert f"{bad}:2: not valid UTF-8" in ran.err
    assert f"{bad}:3: the source is empty" in ran.err
    ran = suguk("export", model, tmp_path / "x.onnx", "--note", "caf\udce9")
    assert (ran.status, "--note: half a surrogate pair" in ran.err) == (2, True)
    ran = suguk("predict", tmp_path / "x.onnx", given=LINES)
    assert ran.status == 2
    assert "no such file" in ran.err


def test_an_export_that_answers_otherwise_is_not_kept(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("suguk.export.write.TOLERANCE", {"int8": -1.0})
    ran = suguk("export", model, tmp_path / "x.onnx")
    assert ran.status == 2
    assert "does not answer as PyTorch does" in ran.err
    assert "--fp32" in ran.err
    assert not list(tmp_path.iterdir())


def has_node() -> bool:
    """Node with onnxruntime-node, as `make node` installs it."""
    try:
        asked = ["node", "-e", "require.resolve('onnxruntime-node')"]
        return subprocess.run(asked, stderr=subprocess.DEVNULL, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not has_node(), reason="needs node with onnxruntime-node: make node")
def test_the_guides_javascript_answers(exported: Path, tmp_path: Path) -> None:
    script = tmp_path / "decode.js"
    code = GUIDE.read_text(encoding="utf-8").split("```js\n")[1].split("```")[0]
    script.write_text(code.replace("200", "13"), encoding="utf-8")  # tokens at most
    model = OnnxModel.load(exported)
    options = model.config.predict.model_copy(
        update={"beam": 5, "length_penalty": 0.6, "penalty": "wu", "max_length": 13}
    )
    for text in ("abc", "", "dcba"):
        ids = ",".join(map(str, model.source.encode(text)))
        ran = subprocess.run(["node", script, exported, ids], capture_output=True, text=True, check=True)
        found = [int(one) for one in ran.stdout.strip().split(",")]
        assert model.target.decode(found) == model.predict([text], options)[0].output
