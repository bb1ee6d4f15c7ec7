"""Which type products are computed in."""

import pytest
import torch

from suguk import config as settings
from suguk.errors import ConfigError
from suguk.training import precision as room
from suguk.training.precision import precision

CPU = torch.device("cpu")


def test_auto_asks_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for native, wanted in ((True, torch.bfloat16), (False, None)):
        monkeypatch.setattr(room, "native", lambda _, native=native: native)
        assert precision("auto", CPU) is wanted


def test_what_is_asked_for_is_taken_even_where_it_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "native", lambda _: False)
    assert precision("bf16", CPU) is torch.bfloat16
    assert precision("fp32", CPU) is None


def test_a_gpu_without_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "native", lambda _: False)
    with pytest.raises(ConfigError, match="this GPU does not compute in bfloat16"):
        precision("bf16", torch.device("cuda"))


def test_a_torch_that_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert room.native(CPU) is False


def test_fp16_is_refused_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"train\.precision: input should be 'auto', 'fp32' or 'bf16'"):
        settings.build({"train": {"precision": "fp16"}})
