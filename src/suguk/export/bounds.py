"""What can be said of the values in an ONNX graph before any are seen: how large they can get.

Only what recurrent models are made of is known: squashing functions, convex sums, what moves values about, and loops.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

PASSING = {  # the result is made of the first input's values
    "Cast", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Reshape", "Slice", "Split",
    "Squeeze", "Transpose", "Unsqueeze",
}  # fmt: skip
RECURRENT = ("LSTM", "GRU", "RNN")


class Scope:
    """A graph, the graph around it, and what is known of the values in it."""

    def __init__(self, graph: onnx.GraphProto, outer: "Scope | None" = None, loop: Any = None) -> None:
        self.graph, self.outer, self.loop = graph, outer, loop
        self.made = {name: node for node in graph.node for name in node.output}
        self.constants = {one.name: one for one in graph.initializer}
        self.widths = {
            value.name: sizes[-1].dim_value
            for value in (*graph.value_info, *graph.input, *graph.output)
            if (sizes := value.type.tensor_type.shape.dim) and sizes[-1].dim_value
        }
        # What a turn begins with: of a Loop after its number and condition, of a Scan with the step's inputs last.
        self.skipped = 2 if loop is not None and loop.op_type == "Loop" else 0
        self.carried = [value.name for value in graph.input][self.skipped :] if loop is not None else []
        self.assumed: dict[str, float] = {}
        self.known: dict[str, float] = {}

    def producer(self, name: str) -> "tuple[onnx.NodeProto | None, Scope]":
        scope: Scope | None = self
        while scope is not None:
            if name in scope.made:
                return scope.made[name], scope
            if name in scope.constants or name in scope.carried:
                return None, scope
            scope = scope.outer
        return None, self

    def constant(self, name: str) -> NDArray[Any] | None:
        """An initializer, or one transposed."""
        node, scope = self.producer(name)
        if node is None:
            held = scope.constants.get(name)
            return None if held is None else numpy_helper.to_array(held)
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            return numpy_helper.to_array(node.attribute[0].t)
        if node.op_type in ("Transpose", "Identity"):
            inner = scope.constant(node.input[0])
            if inner is None or node.op_type == "Identity":
                return inner
            axes = [list(one.ints) for one in node.attribute if one.name == "perm"]
            return np.transpose(inner, axes[0] if axes else None)
        return None

    def bound(self, name: str) -> float:
        """The largest absolute value there can be; infinity where nothing is known."""
        _, scope = self.producer(name)
        if scope is not self:
            return scope.bound(name)
        if name not in self.known:
            self.known[name] = np.inf  # for a cycle, which no graph has but through a loop
            self.known[name] = self._bound(name)
        return self.known[name]

    def _bound(self, name: str) -> float:
        node = self.made.get(name)
        if node is None:
            held = self.constant(name)
            if held is not None:
                return float(np.abs(held).max(initial=0)) if held.dtype.kind == "f" else np.inf
            return self._carried_bound(name) if name in self.carried else np.inf
        kind, given = node.op_type, list(node.input)
        if kind in ("Tanh", "Sigmoid", "Softmax"):
            return 1.0
        if kind in ("Loop", "Scan"):
            body = next(Scope(one, self, node) for one in inside(node))
            at = list(node.output).index(name)
            if at < body.states:
                return body._carried_bound(body.carried[at])
            return body.bound(body.graph.output[at].name)  # of a Scan: what each step gives
        if kind in RECURRENT:
            return 1.0 if list(node.output).index(name) < 2 else np.inf  # the last output is the LSTM's c
        if kind in PASSING:
            return self.bound(given[0])
        if kind == "Concat":
            return max(map(self.bound, given))
        if kind == "Where":
            return max(map(self.bound, given[1:]))
        if kind == "Mul":
            return float(np.prod([self.bound(one) for one in given]))
        if kind in ("Add", "Sub"):
            convex = self._convex(node)
            return sum(map(self.bound, given)) if convex is None else convex
        if kind == "MatMul" and self._weights(given[0]):
            return self.bound(given[1])  # a convex sum
        if kind == "Exp":
            return 1.0 if self._sign(given[0]) < 0 else np.inf
        if kind == "ConstantOfShape":
            value = next((numpy_helper.to_array(one.t) for one in node.attribute), np.zeros(1))
            return float(np.abs(value).max())
        if kind == "Constant":
            held = self.constant(name)
            return np.inf if held is None or held.dtype.kind != "f" else float(np.abs(held).max(initial=0))
        return np.inf

    def _convex(self, node: onnx.NodeProto) -> float | None:
        """z · x + (1 − z) · y; z may be a constant."""
        factors = []
        for one in node.input:
            inner, scope = self.producer(one)
            if inner is None or inner.op_type != "Mul":
                return None
            factors.append((list(inner.input), scope))
        numbers = [[scope.constant(one) for one in given] for given, scope in factors]
        shares = [one for held in numbers for one in held if one is not None]
        if len(shares) == 2 and all(one.size == 1 and one >= 0 for one in shares) and sum(shares) <= 1 + 1e-6:
            others = [
                one
                for (given, _), held in zip(factors, numbers, strict=True)
                for one, number in zip(given, held, strict=True)
                if number is None
            ]
            return max(map(self.bound, others)) if len(others) == 2 else None
        for (first, _), (second, scope) in (factors, factors[::-1]):
            for z in first:
                for one in second:
                    rest, _ = scope.producer(one)
                    if rest is not None and rest.op_type == "Sub" and rest.input[1] == z:
                        others = [a for a in first if a != z] + [b for b in second if b != one]
                        if self.bound(z) <= 1 and len(others) == 2:
                            return max(map(self.bound, others))
        return None

    def _sign(self, name: str) -> int:
        """1: nothing is below 0; -1: nothing is above; 0: not known."""
        node, scope = self.producer(name)
        if scope is not self:
            return scope._sign(name)
        held = self.constant(name)
        if held is not None:
            return 1 if (held >= 0).all() else -1 if (held <= 0).all() else 0
        kind, given = ("", []) if node is None else (node.op_type, list(node.input))
        if kind in ("Softplus", "Sigmoid", "Softmax", "Exp", "Abs", "Relu"):
            return 1
        if kind == "Neg":
            return -self._sign(given[0])
        if kind in PASSING:
            return self._sign(given[0])
        if kind == "Pow":
            power = self.constant(given[1])
            return 1 if power is not None and (power % 2 == 0).all() else 0
        if kind in ("Mul", "Div"):
            return 1 if given[0] == given[1] else self._sign(given[0]) * self._sign(given[1])
        return 0

    def _weights(self, name: str) -> bool:
        """Attention weights: a softmax, perhaps times a factor below one."""
        node, scope = self.producer(name)
        if node is None:
            return False
        if node.op_type in ("Softmax", "Identity", "Reshape", "Cast"):
            return node.op_type == "Softmax" or scope._weights(node.input[0])
        if node.op_type == "Mul":
            return any(scope._weights(one) for one in node.input) and scope.bound(name) <= 1
        return False

    @property
    def states(self) -> int:
        """How many values go from one turn to the next."""
        scanned: int = next((one.i for one in self.loop.attribute if one.name == "num_scan_inputs"), 0)
        return len(self.carried) - scanned

    def _carried_bound(self, name: str) -> float:
        """What a loop carries is bounded if what it begins with is, and one turn keeps the bound."""
        assert self.outer is not None
        at = self.carried.index(name)
        begins = self.outer.bound(self.loop.input[self.skipped + at])
        if at >= self.states:
            return begins  # a slice of it
        if not np.isfinite(begins):
            return np.inf
        begins = max(begins, 1.0)
        trial = Scope(self.graph, self.outer, self.loop)
        trial.known = {**self.assumed, name: begins}
        trial.assumed = trial.known.copy()
        given_back = self.graph.output[self.skipped // 2 + at].name  # of a Loop after its condition
        return begins if trial.bound(given_back) <= begins else np.inf


def scopes(main: Scope) -> Iterator[Scope]:
    """The graph and all graphs in it."""
    yield main
    for node in main.graph.node:
        for graph in inside(node):
            yield from scopes(Scope(graph, main, node))


def inside(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that a node runs."""
    return (one.g for one in node.attribute if one.type == onnx.AttributeProto.GRAPH)
