"""The base install, without PyTorch: a verb that needs it says so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("verb", ["train pairs.tsv --out run", "predict run", "evaluate run pairs.tsv"])
def test_a_verb_that_needs_torch_names_the_extra(verb: str, tmp_path: Path) -> None:
    blocker = "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n"
    (tmp_path / "torch.py").write_text(blocker, encoding="utf-8")
    (tmp_path / "pairs.tsv").write_text("a b\tc d\n" * 3 + "e f\tg h\n", encoding="utf-8")
    (tmp_path / "run").mkdir()
    ran = subprocess.run(
        [sys.executable, "-m", "suguk", *verb.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "'torch', which is not installed" in ran.stderr
    assert "pip install 'suguk[train]'" in ran.stderr
    assert "Traceback" not in ran.stderr
