"""Without Optuna the verb says what to install."""

import builtins
from pathlib import Path
from typing import Any

import pytest

from tests.cli.calls import suguk


def test_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def blocked(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "optuna":
            raise ImportError(name)
        return original(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", blocked)
    ran = suguk("tune", tmp_path / "pairs.tsv", "--trials", 1, "--out", tmp_path / "out")
    assert ran.status == 2
    assert "pip install 'suguk[train,tune]'" in ran.err
