"""How large values in a graph can get, on graphs of a few nodes."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from suguk.export.bounds import Scope

Node = tuple[str, list[str], str] | tuple[str, list[str], str, dict[str, Any]]


def graph(*nodes: Node, **constants: Any) -> onnx.GraphProto:
    made = [
        helper.make_node(node[0], node[1], [node[2]], **(node[3] if len(node) > 3 else {})) for node in nodes
    ]
    held = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in constants.items()]
    last = helper.make_tensor_value_info(nodes[-1][2], TensorProto.FLOAT, None)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    return helper.make_graph(made, "made", [x], [last], held)


@pytest.mark.parametrize(
    ("nodes", "constants", "bound"),
    [
        ([("Tanh", ["x"], "y")], {}, 1),
        ([("Identity", ["x"], "y")], {}, np.inf),
        ([("Sigmoid", ["x"], "a"), ("Mul", ["a", "c"], "y")], {"c": [3.0, -7.0]}, 7),
        ([("Tanh", ["x"], "a"), ("Add", ["a", "c"], "y")], {"c": [0.5]}, 1.5),
        ([("Tanh", ["x"], "a"), ("Sub", ["a", "a"], "y")], {}, 2),
        ([("Tanh", ["x"], "a"), ("Concat", ["a", "c"], "y", {"axis": 0})], {"c": [4.0]}, 4),
        ([("Tanh", ["x"], "a"), ("Concat", ["a", "x"], "y", {"axis": 0})], {}, np.inf),
        ([("Softmax", ["x"], "w"), ("MatMul", ["w", "c"], "y")], {"c": [[2.0], [-5.0]]}, 5),
        ([("Tanh", ["x"], "w"), ("MatMul", ["w", "c"], "y")], {"c": [[2.0], [-5.0]]}, np.inf),
        ([("Relu", ["x"], "y")], {}, np.inf),
        ([("Exp", ["x"], "y")], {}, np.inf),
        ([("Neg", ["x"], "a"), ("Exp", ["a"], "y")], {}, np.inf),
        ([("Softplus", ["x"], "a"), ("Neg", ["a"], "b"), ("Exp", ["b"], "y")], {}, 1),
        ([("Mul", ["x", "x"], "a"), ("Div", ["a", "c"], "b"), ("Exp", ["b"], "y")], {"c": -2.0}, 1),
        ([("Mul", ["x", "x"], "a"), ("Div", ["a", "c"], "b"), ("Exp", ["b"], "y")], {"c": 2.0}, np.inf),
        ([("Pow", ["x", "c"], "a"), ("Mul", ["a", "d"], "b"), ("Exp", ["b"], "y")], {"c": 2.0, "d": -0.5}, 1),
        (
            [("Pow", ["x", "c"], "a"), ("Mul", ["a", "d"], "b"), ("Exp", ["b"], "y")],
            {"c": 3.0, "d": -0.5},
            np.inf,
        ),
    ],
)
def test_what_operators_do(nodes: list[Node], constants: dict[str, Any], bound: float) -> None:
    assert Scope(graph(*nodes, **constants)).bound("y") == pytest.approx(bound)


def test_a_gated_mean_is_no_larger_than_what_it_mixes() -> None:
    """z · a + (1 − z) · b, the GRU's new state."""
    nodes: list[Node] = [
        ("Sigmoid", ["x"], "z"), ("Sub", ["one", "z"], "rest"), ("Tanh", ["x"], "new"),
        ("Mul", ["z", "old"], "kept"), ("Mul", ["rest", "new"], "taken"), ("Add", ["kept", "taken"], "y"),
    ]  # fmt: skip
    assert Scope(graph(*nodes, one=1.0, old=[1.0, -1.0])).bound("y") == 1
    assert Scope(graph(*nodes, one=1.0, old=[3.0])).bound("y") == 3


def test_a_mean_with_constant_shares_is_no_larger_than_what_it_mixes() -> None:
    """Zoneout's expectation; in single precision some shares add up to a little more than one."""
    nodes: list[Node] = [
        ("Tanh", ["x"], "new"), ("Sigmoid", ["x"], "old"), ("Mul", ["old", "z"], "kept"),
        ("Mul", ["new", "rest"], "taken"), ("Add", ["kept", "taken"], "y"),
    ]  # fmt: skip
    assert Scope(graph(*nodes, z=0.15, rest=np.float32(1 - 0.15))).bound("y") == 1
    assert Scope(graph(*nodes, z=0.5, rest=0.6)).bound("y") > 1


def test_what_a_scan_carries_and_gives() -> None:
    """One state h and one input a step; given: the last state, each state, and each sum of state and input."""

    def scan(begins: float) -> Scope:
        made = [
            helper.make_node("Tanh", ["sum"], ["next"]),
            helper.make_node("Add", ["h", "a"], ["sum"]),
            helper.make_node("Identity", ["next"], ["each"]),
        ]
        given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("h", "a")]
        back = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("next", "each", "sum")
        ]
        body = helper.make_graph([made[1], made[0], made[2]], "body", given, back)
        node = helper.make_node(
            "Scan", ["first", "inputs"], ["last", "all", "sums"], body=body, num_scan_inputs=1
        )
        main = graph(("Identity", ["x"], "y"), first=[begins], inputs=[[3.0], [-5.0]])
        main.node.append(node)
        return Scope(main)

    assert [scan(0.0).bound(name) for name in ("last", "all", "sums")] == [1, 1, 6]
    assert [scan(2.0).bound(name) for name in ("last", "all", "sums")] == [2, 1, 7]


def loop(body: list[Node], begins: float, **constants: Any) -> Scope:
    """A loop that carries h; x comes from outside."""
    made = [helper.make_node(node[0], node[1], [node[2]]) for node in body]
    given = [
        helper.make_tensor_value_info("turn", TensorProto.INT64, []),
        helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
        helper.make_tensor_value_info("h", TensorProto.FLOAT, None),
    ]
    back = [
        helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
        helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
    ]
    inner = helper.make_graph(made, "body", given, back)
    main = graph(("Loop", ["", "", "first"], "y", {"body": inner}), first=[begins], **constants)
    return Scope(main)


def test_what_a_loop_carries() -> None:
    assert loop([("Tanh", ["h"], "next")], 0.5).bound("y") == 1
    assert loop([("Tanh", ["h"], "next")], -3.0).bound("y") == 3  # no turn may come at all
    assert loop([("Add", ["h", "c"], "next")], 0.0, c=[1.0]).bound("y") == np.inf
    assert loop([("Mul", ["h", "c"], "next")], 2.0, c=[0.5]).bound("y") == 2
    assert loop([("Identity", ["x"], "next")], 0.0).bound("y") == np.inf


def test_values_stay_within_their_bound() -> None:
    """What is said of a random graph of known operators holds when ONNX Runtime computes it."""
    import onnxruntime

    random = np.random.default_rng(1)
    for _ in range(20):
        nodes: list[Node] = [("Tanh", ["x"], "v0")]
        for at in range(1, 8):
            kind = random.choice(["Tanh", "Add", "Mul", "Sub", "Sigmoid"])
            one, two = (f"v{random.integers(at)}" for _ in range(2))
            nodes.append((str(kind), [one] if kind in ("Tanh", "Sigmoid") else [one, two], f"v{at}"))
        made = graph(*nodes)
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        x = random.normal(size=1000).astype(np.float32) * 3
        assert np.abs(session.run(None, {"x": x})[0]).max() <= Scope(made).bound("v7") + 1e-5
