"""An exported model with drawn weights, and tables of a prime number of rows."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from suguk.export.graph import traced
from suguk.export.write import finished, with_metadata
from tests.corpus.tables import write_table
from tests.export.conftest import drawn


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    trained = drawn("small")
    copy = onnx.ModelProto()
    copy.CopyFrom(traced(trained.model))
    path = tmp_path_factory.mktemp("exported") / "drawn.onnx"
    path.write_bytes(with_metadata(finished(copy, single=False), trained, {}))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """23 rows in groups of 7."""
    return write_table(tmp_path / "rows.parquet", 23)


@pytest.fixture
def script() -> Callable[..., "subprocess.Popen[str]"]:
    """Starts a program of its own: code, then its arguments. It heeds Ctrl-C wherever the tests run."""

    def start(code: str, *words: object) -> "subprocess.Popen[str]":
        heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        return subprocess.Popen(
            [sys.executable, "-c", heed + code, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,
        )

    return start
