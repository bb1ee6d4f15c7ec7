"""What the light parts load: nothing heavy. Each in a fresh interpreter."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.tiny_task import TINY, write_pairs

HEAVY = ["torch", "pyarrow", "sacrebleu", "matplotlib", "safetensors", "rapidfuzz", "onnxruntime"]
REPORT = f"import sys; print(*(set(sys.modules) & set({HEAVY})))"
HELP = """
import sys
from suguk.cli import main

sys.argv = ["suguk", {arguments}]
try:
    main()
except SystemExit:
    pass
"""


def loaded_by(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{REPORT}"], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize(
    "module",
    [
        "suguk",
        "suguk.errors",
        "suguk.config",
        "suguk.files",
        "suguk.predictor",
        "suguk.fields",
        "suguk.evaluation.metrics",
        "suguk.evaluation.report",
        "suguk.explain.heatmap",
        "suguk.explain.curves",
        "suguk.cli",
    ],
)
def test_a_light_module_loads_nothing_heavy(module: str) -> None:
    assert loaded_by(f"import {module}") == []


def test_the_report_can_fail() -> None:
    assert loaded_by("import safetensors") == ["safetensors"]


def test_data_loads_no_torch() -> None:
    assert "torch" not in loaded_by("import suguk.data.prepare, suguk.data.batch")


@pytest.mark.parametrize("arguments", ["'--help'", "'train', '--help'", "'recipes'", "'recipes', 'small'"])
def test_help_and_recipes_load_nothing_heavy(arguments: str) -> None:
    assert loaded_by(HELP.format(arguments=arguments)) == []


def test_the_package_keeps_its_functions_whatever_is_imported() -> None:
    code = "import suguk, suguk.evaluation.report; print(callable(suguk.evaluate), callable(suguk.train))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["True", "True"]


def test_training_does_not_load_the_compiler(tmp_path: Path) -> None:
    """It costs time and memory at every start, and no update uses it."""
    data = write_pairs(tmp_path / "pairs.tsv", 40)
    settings = TINY | {"train.epochs": 1}
    code = (
        f"import sys, suguk; suguk.train({str(data)!r}, out={str(tmp_path / 'run')!r}, recipe='small', "
        f"overrides={settings}, display='silent'); assert 'torch._dynamo' not in sys.modules"
    )
    assert "torch" in loaded_by(code)
