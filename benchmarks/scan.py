"""Would the encoder of an exported file be faster as a Scan with products in eight bits?

    python -m benchmarks.scan --threads 1 2

Two layers, both directions, 256 hidden units each, as in job.toml: ONNX's LSTM in single precision, as files have it,
against a Scan of both directions at once whose products are as `export/int8.py` makes them. Weights are drawn.
"""

import argparse
import itertools
import statistics
import time
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

HIDDEN, INPUT, LAYERS = 256, 512, 2
SHAPES = ((11, 1), (13, 1), (30, 1), (13, 8), (13, 64), (13, 200))  # steps, sentences
OWN = "com.microsoft"


class Graph:
    """Nodes and constants, one after the other."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.held: dict[str, onnx.TensorProto] = {}
        self.random = np.random.default_rng(0)
        self.numbers = itertools.count()

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.held[name] = numpy_helper.from_array(value, name)
        return name

    def real(self, name: str, *shape: int) -> str:
        return self.constant(name, (self.random.standard_normal(shape) * 0.05).astype(np.float32))

    def add(self, kind: str, inputs: list[str], outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        names = [f"{kind}{next(self.numbers)}" for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, domain=domain, **attributes))
        return names if outputs > 1 else names[0]

    def product(self, x: str, name: str, size: int, *bias: str) -> str:
        """x [.., size] in eight bits times drawn weights [size, 4H]."""
        weights = self.random.integers(-63, 64, (size, 4 * HIDDEN)).astype(np.int8)
        unit = np.full(4 * HIDDEN, 1e-5, np.float32)
        given = [x, self.constant(f"{name}.q", weights), "one", self.constant(f"{name}.t", unit), "zero"]
        found: str = self.add("MatMulIntegerToFloat", [*given, *(("", *bias) if bias else ())], domain=OWN)
        return found

    def session(self, inputs: list[Any], y: str, threads: int) -> onnxruntime.InferenceSession:
        result = helper.make_tensor_value_info(y, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "encoder", inputs, [result], list(self.held.values()))
        sets = [helper.make_opsetid("", 18), helper.make_opsetid(OWN, 1)]
        model = helper.make_model(graph, opset_imports=sets, ir_version=9)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )


def value(name: str, kind: int = TensorProto.FLOAT, shape: list[Any] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def as_nodes(threads: int) -> onnxruntime.InferenceSession:
    """Inputs x [S, B, I] and lengths [B]."""
    graph, x = Graph(), "x"
    sizes = graph.constant("sizes", np.array([0, 0, 2 * HIDDEN]))
    for layer in range(LAYERS):
        shapes = {"w": (2, 4 * HIDDEN, INPUT), "r": (2, 4 * HIDDEN, HIDDEN), "b": (2, 8 * HIDDEN)}
        weights = [graph.real(f"{name}{layer}", *shape) for name, shape in shapes.items()]
        y = graph.add("LSTM", [x, *weights, "lengths"], hidden_size=HIDDEN, direction="bidirectional")
        x = graph.add("Reshape", [graph.add("Transpose", [y], perm=[0, 2, 1, 3]), sizes])
    inputs = [value("x", shape=["S", "B", INPUT]), value("lengths", TensorProto.INT32, ["B"])]
    return graph.session(inputs, x, threads)


def turn(graph: Graph, layer: int) -> onnx.GraphProto:
    """A step of both directions: h, c [2B, H], what the inputs give [2B, 4H] and whether a row goes on [2B, 1]."""
    outer, graph.nodes = graph.nodes, []
    q = graph.add("QuantizeLinear", ["h", "step", "zero"])
    ways = graph.add("Split", [q], 2, axis=0, num_outputs=2)
    known = graph.add(
        "Concat",
        [graph.product(one, f"r{layer}.{at}", HIDDEN) for at, one in enumerate(ways)],
        axis=0,
    )
    gates, candidate = graph.add("Split", [graph.add("Add", [known, "p"]), "parts"], 2, axis=1)
    i, f, o = graph.add("Split", [graph.add("Sigmoid", [gates])], 3, axis=1, num_outputs=3)
    new = graph.add("Mul", [i, graph.add("Tanh", [candidate])])
    c = graph.add("Add", [graph.add("Mul", [f, "c"]), new])
    h = graph.add("Mul", [o, graph.add("Tanh", [c])])
    for given, name in (([h, "h"], "h2"), ([c, "c"], "c2"), ([h, "nought"], "y")):
        graph.nodes.append(helper.make_node("Where", ["goes", *given], [name]))
    inputs = [value("h"), value("c"), value("p"), value("goes", TensorProto.BOOL)]
    made = helper.make_graph(graph.nodes, f"turn{layer}", inputs, [value("h2"), value("c2"), value("y")])
    graph.nodes = outer
    return made


def as_scan(threads: int) -> onnxruntime.InferenceSession:
    """Inputs x [S, B, I] and real [S, B]."""
    graph, x = Graph(), "x"
    for name, number in (("one", 1), ("nought", 0), ("step", 1 / 127)):
        graph.constant(name, np.array(number, np.float32))
    graph.constant("zero", np.array(128, np.uint8))
    graph.constant("parts", np.array([3 * HIDDEN, HIDDEN]))
    ends = [graph.constant(f"end{at}", np.array([one])) for at, one in enumerate((-1, -(2**62), 0, -1))]

    def flip(what: str) -> str:
        return str(graph.add("Slice", [what, *ends]))

    rows = graph.add("Concat", ["real", flip("real")], axis=1)
    goes = graph.add("Unsqueeze", [rows, graph.constant("last", np.array([2]))])
    width = graph.constant("width", np.array([HIDDEN]))
    shape = graph.add("Concat", [graph.add("Shape", [rows], start=1, end=2), width], axis=0)
    begin = graph.add("Expand", ["nought", shape])
    for layer in range(LAYERS):
        q = graph.add("QuantizeLinear", [x, "step", "zero"])
        ways = [
            graph.product(q, f"w{layer}.{at}", INPUT, graph.real(f"b{layer}.{at}", 4 * HIDDEN))
            for at in (0, 1)
        ]
        given = graph.add("Concat", [ways[0], flip(ways[1])], axis=1)
        body = turn(graph, layer)
        *_, y = graph.add("Scan", [begin, begin, given, goes], 3, num_scan_inputs=2, body=body)
        onward, back = graph.add("Split", [y], 2, axis=1, num_outputs=2)
        x = graph.add("Concat", [onward, flip(back)], axis=2)
    inputs = [value("x", shape=["S", "B", INPUT]), value("real", TensorProto.BOOL, ["S", "B"])]
    return graph.session(inputs, x, threads)


def median(session: onnxruntime.InferenceSession, given: dict[str, Any], times: int) -> float:
    """Milliseconds of a run."""
    session.run(None, given)
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        session.run(None, given)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e3


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(
        "| threads | steps | sentences | LSTM, ms | Scan, ms | Scan is × as fast |\n|---|---|---|---|---|---|"
    )
    for threads in arguments.threads:
        nodes, scan = as_nodes(threads), as_scan(threads)
        for steps, rows in SHAPES:
            x = np.tanh(np.random.default_rng(1).standard_normal((steps, rows, INPUT))).astype(np.float32)
            pairs = [
                (
                    median(nodes, {"x": x, "lengths": np.full(rows, steps, np.int32)}, 5 + 200 // rows),
                    median(scan, {"x": x, "real": np.ones((steps, rows), bool)}, 5 + 200 // rows),
                )
                for _ in range(arguments.rounds)
            ]
            one, two = (statistics.median(side) for side in zip(*pairs, strict=True))
            ratios = sorted(a / b for a, b in pairs)
            spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"
            print(f"| {threads} | {steps} | {rows} | {one:.2f} | {two:.2f} | {spread} |", flush=True)


if __name__ == "__main__":
    main()
