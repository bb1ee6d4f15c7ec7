"""A table that is looked up and multiplied with stands in a file once."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from suguk.export import int8
from suguk.export.tied import share
from suguk.export.write import finished
from tests.export.conftest import graph

V, E = 37, 13


def tied(random: np.random.Generator) -> onnx.ModelProto:
    """Rows of a table and tanh(x) times its transpose, as the exporter writes it: twice. A square one is not tied."""
    table = random.uniform(-2, 2, (V, E)).astype(np.float32) * np.linspace(0.5, 1.5, E, dtype=np.float32)
    held = {"table": table, "projection": table.T.copy(), "other": random.uniform(-1, 1, (E, V)).astype("f")}
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], axis=0),
        helper.make_node("Tanh", ["x"], ["bounded"]),
        helper.make_node("MatMul", ["bounded", "projection"], ["y"]),
        helper.make_node("MatMul", ["x", "projection"], ["z"]),
        helper.make_node("MatMul", ["bounded", "other"], ["w"]),
    ]
    made = helper.make_graph(
        nodes,
        "tied",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["B"]),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", E]),
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", None])
            for name in ("rows", "y", "z", "w")
        ],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def answers(model: onnx.ModelProto, ids: np.ndarray, x: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(["rows", "y", "z", "w"], {"ids": ids, "x": x}))


@pytest.mark.parametrize("single", [True, False])
def test_a_tied_table_is_held_once(single: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "SMALLEST", 1)
    random = np.random.default_rng(3)
    plain, packed = tied(random), onnx.ModelProto()
    packed.CopyFrom(plain)
    packed = share(packed)
    if not single:
        packed = int8.Packer(packed).run()
    sizes = sorted(tuple(one.dims) for one in packed.graph.initializer if np.prod(one.dims) >= V * E)
    assert sizes == [(E, V), (V, E)]  # the other projection, the table
    ids, x = random.integers(0, V, 50), random.normal(0, 1, (50, E)).astype(np.float32)
    for found, wanted in zip(answers(packed, ids, x), answers(plain, ids, x), strict=True):
        if single:
            np.testing.assert_array_equal(found, wanted)
        else:  # half a step of a weight, 1/63 of its row's largest, is the most that one of 13 is off by
            assert 0 < np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()


@pytest.mark.parametrize("single", [True, False])
def test_a_tied_model_has_as_many_tables_as_vocabularies(
    single: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`small`: of the source, and of the target, whose table is the output projection too."""
    monkeypatch.setattr(int8, "SMALLEST", 1)
    trained, made = graph("small")
    copy = onnx.ModelProto()
    copy.CopyFrom(made)
    held = finished(copy, single=single).graph.initializer
    words, width = trained.target.size, trained.config.model.embedding
    assert [tuple(one.dims) for one in held if {*one.dims} == {words, width}] == [(words, width)] * 2
