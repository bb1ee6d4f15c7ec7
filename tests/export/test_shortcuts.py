"""PyTorch is as it was after an export, and one without what is changed for it only takes longer."""

from typing import Any

import onnx
import pytest
import torch
from onnxscript import optimizer
from onnxscript.rewriter._matcher import SimplePatternMatcher
from torch._higher_order_ops.while_loop import while_loop_op
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.onnx._internal.exporter._registration import ONNXRegistry
from torch.onnx._internal.fx.passes import type_promotion

from suguk.export import shortcuts as own
from suguk.export.shortcuts import shortcuts


def _state() -> tuple[Any, ...]:
    return (
        while_loop_op.python_key_table[FakeTensorMode],
        type_promotion._TypePromotionInterpreter.run_node,
        SimplePatternMatcher.match,
        torch._dynamo.config.fake_tensor_cache_enabled,
        vars(ONNXRegistry)["from_torchlib"],
    )


def test_pytorch_is_as_before_even_after_a_fault() -> None:
    before, seen = _state(), list[tuple[Any, ...]]()

    def fail() -> None:
        with shortcuts():
            seen.append(_state())
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        fail()
    assert _state() == before
    assert all(new != old for new, old in zip(seen[0], before, strict=True))


def test_another_version_of_pytorch_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: str) -> Any:
        raise ImportError

    monkeypatch.setattr(own, "import_module", gone)
    monkeypatch.setattr(own, "while_loop_op", object())
    before = _state()
    with shortcuts():
        assert _state()[:3] == before[:3]


def test_what_a_loop_gives_back_is_like_what_it_carries() -> None:
    """Its body is not run: this one could not be."""
    with FakeTensorMode() as mode, shortcuts():
        carried = torch.zeros(2, 3), torch.zeros(4, dtype=torch.long)
        found = while_loop_op.python_key_table[FakeTensorMode](mode, None, None, carried, ())
    assert [(one.shape, one.dtype) for one in found] == [(one.shape, one.dtype) for one in carried]


def test_a_list_of_translations_is_the_callers_own() -> None:
    whole = ONNXRegistry.from_torchlib()
    with shortcuts():
        first, second = ONNXRegistry.from_torchlib(), ONNXRegistry().from_torchlib(opset_version=18)
        first.register_op(torch.ops.aten.add.Tensor, lambda *_: None)
    target = torch.ops.aten.add.Tensor
    assert len(first.get_decomps(target)) == len(second.get_decomps(target)) + 1
    assert second.functions.keys() == whole.functions.keys()
    assert second.opset_version == whole.opset_version


def test_patterns_are_found_as_before() -> None:
    """x · 1 + 0 is x, and two casts are one."""
    text = """<ir_version: 8, opset_import: ["" : 18]> g (float[2] x) => (float[2] y)
        <float one = {1.0}, float zero = {0.0}>
        { a = Mul (x, one)  b = Add (a, zero)  c = Cast <to = 11> (b)  d = Cast <to = 1> (c)  y = Neg (d) }"""
    usual = optimizer.optimize(onnx.parser.parse_model(text))
    with shortcuts():
        found = optimizer.optimize(onnx.parser.parse_model(text))
    assert found == usual
    assert len(usual.graph.node) < 5
