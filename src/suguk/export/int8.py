"""Products in eight bits without calibration, and without a row's neighbours mattering.

Shapes: I inputs, O outputs, V rows of a table, E embedding, H hidden, G gates, D directions.

y = x W + b becomes y = t · (q Q) + b: q are 8-bit integers with x = s · q, one constant s for each column of x; s is
folded into the rows of W, and Q are 8-bit integers with s W = t · Q, one t for each column. The constants need no data:
tanh keeps hidden states, contexts (convex sums of them) and attentional vectors within ±1, and an embedding is within
its own table, which is stored as q itself. Where nothing bounds x, each row is measured when it comes.

State, attention, softmax and scores stay in float32, and so do the encoder's recurrences: only the file holds their
weights in eight bits, and they are unpacked when it is loaded.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from suguk.export.bounds import RECURRENT, Scope, inside, scopes
from suguk.export.tied import tables

SMALLEST = 4096  # weights of a matrix that is worth it
STEPS = 127  # of an input on each side of zero
ZERO = 128  # what stands for zero in an unsigned byte
# Of a weight on each side of zero. Seven bits, not eight: processors without VNNI add two products in 16 bits, and two
# of 255 · 127 are too many for them, so that answers would differ from one machine to the next.
WEIGHT_STEPS = 63

DOMAIN = "com.microsoft"  # of ONNX Runtime's own operators


class Part(NamedTuple):
    """Some columns of a product's input, in eight bits."""

    name: str  # uint8, ZERO is zero
    scale: NDArray[np.float32]  # s of each column


class Packer:
    """Puts the products of one model into eight bits. steps: of a weight on each side of zero."""

    def __init__(self, model: onnx.ModelProto, steps: int = WEIGHT_STEPS) -> None:
        self.model, self.steps = model, steps
        self.main = Scope(model.graph)
        self.made: dict[tuple[str, ...], str] = {}  # initializers by what they are made of
        self.numbers = itertools.count()
        self.gone = set[str]()  # what sums were called that are part of a product now
        self.tables = set(tables(self.main))
        self.first: list[onnx.NodeProto] = []  # what is made of constants alone, before all else
        self.from_table: dict[str, str] = {}  # weights that are made of a table

    def run(self) -> onnx.ModelProto:
        """Changes the model, and returns it."""
        for change in (self._product, self._lookup):
            for scope in reversed(list(scopes(self.main))):  # inner ones first: a changed graph is a copy
                self._rewrite(scope, change)
        self._rewrite(self.main, self._recurrence)
        rest = list(self.model.graph.node)
        del self.model.graph.node[:]
        self.model.graph.node.extend([*self.first, *rest])
        self.model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
        for scope in reversed(list(scopes(self.main))):
            forget_unused(scope.graph)
        return self.model

    def _rewrite(
        self, scope: Scope, change: Callable[[Scope, onnx.NodeProto], Iterable[onnx.NodeProto]]
    ) -> None:
        nodes = [new for node in list(scope.graph.node) for new in change(scope, node)]
        del scope.graph.node[:]
        scope.graph.node.extend(nodes)
        scope.made = {name: node for node in nodes for name in node.output}

    def _product(self, scope: Scope, node: onnx.NodeProto) -> Iterable[onnx.NodeProto]:
        """A product with constant weights, in eight bits."""
        if node.op_type == "Add" and node.output[0] in self.gone:
            return []
        weight = scope.constant(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
        table = self._tied(scope, node)
        if weight is None or weight.ndim != 2 or weight.size < SMALLEST or weight.dtype != np.float32:
            return [node]
        options = {one.name: one for one in node.attribute}
        if "transB" in options and options["transB"].i:
            weight = weight.T
        x, y = node.input[0], node.output[0]
        nodes: list[onnx.NodeProto] = []
        split: list[onnx.NodeProto] = []
        parts = self._parts(scope, x, split, len(weight))
        row: str | None = None
        if parts is None:
            entered, row = self._measured(x, nodes)
            scale = np.ones(len(weight), np.float32)
        else:
            nodes += split
            entered = parts[0].name
            if len(parts) > 1:
                entered = self._add(nodes, "Concat", [part.name for part in parts], axis=-1)
            scale = np.concatenate([part.scale for part in parts])
        if table is not None:
            q, t = self._from_table(table, scale)
        else:
            packed, unit = pack(weight * scale[:, None], self.steps, axis=0)
            # Both loops of the search have the same weights under names of their own; they are held once.
            key = hashlib.sha256(packed.tobytes() + unit.tobytes()).hexdigest()[:16]
            q, t = self._constant((key, "q"), packed), self._constant((key, "t"), unit.reshape(-1))
        one = self._constant(("one",), np.array(1, np.float32))
        given = [entered, q, one, t, self._zero()]
        bias, last = (None, y) if row is not None or len(node.input) > 2 else self._bias(scope, y)
        if bias is not None:
            given += ["", bias]
        found = self._add(nodes, "MatMulIntegerToFloat", given, domain=DOMAIN)
        if row is not None:
            found = self._add(nodes, "Mul", [found, row])
        if len(node.input) > 2:
            self._add(nodes, "Add", [found, node.input[2]])
        nodes[-1].output[0] = last
        return nodes

    def _tied(self, scope: Scope, node: onnx.NodeProto) -> str | None:
        """The table whose transpose a product's weights are."""
        made = scope.producer(node.input[1])[0] if node.op_type == "MatMul" else None
        if made is None or made.op_type != "Transpose" or made.input[0] not in self.tables:
            return None
        return str(made.input[0])

    def _from_table(self, name: str, scale: NDArray[np.float32]) -> tuple[str, str]:
        """The weights Q [E, V] and their units t [V] that a packed table has, made when the file is loaded."""
        table = self.main.constant(name)
        assert table is not None
        held, unit = self._table(name, table)
        packed = self.main.constant(held)
        assert packed is not None
        columns = unit * scale
        rows = (packed.astype(np.float32) - ZERO) * columns
        units = np.abs(rows).max(axis=1, keepdims=True) / np.float32(self.steps)
        units = np.maximum(units, np.finfo(np.float32).tiny)
        key = hashlib.sha256(name.encode() + columns.tobytes()).hexdigest()[:16]
        t = self._constant((key, "t"), units.reshape(-1))
        if key not in self.from_table:
            nodes = self.first
            found = self._add(nodes, "Cast", [held], to=onnx.TensorProto.FLOAT)
            found = self._add(nodes, "Sub", [found, self._constant(("moved",), np.array(ZERO, np.float32))])
            found = self._add(nodes, "Mul", [found, self._constant((key, "columns"), columns)])
            found = self._add(nodes, "Div", [self._add(nodes, "Transpose", [found], perm=[1, 0]), t])
            found = self._add(nodes, "Cast", [self._add(nodes, "Round", [found])], to=onnx.TensorProto.INT8)
            self.from_table[key] = found
        return self.from_table[key], t

    def _bias(self, scope: Scope, y: str) -> tuple[str | None, str]:
        """A constant that is added to y and nothing else done with it, and the name of the sum; the Add goes."""
        users = [node for node in scope.graph.node if y in node.input]
        if len(users) != 1 or users[0].op_type != "Add" or y in _used_inside(scope.graph):
            return None, y
        other = next(name for name in users[0].input if name != y)
        held = scope.constant(other)
        if held is None or held.ndim != 1:
            return None, y
        self.gone.add(users[0].output[0])
        return other, users[0].output[0]

    def _parts(
        self, scope: Scope, x: str, nodes: list[onnx.NodeProto], size: int | None = None
    ) -> list[Part] | None:
        """x [..., size] in eight bits by constant scales, in parts side by side; None where it is not bounded."""
        node, home = scope.producer(x)
        if node is not None and home is scope and node.op_type == "Concat" and node.attribute[0].i in (-1, 2):
            found: list[Part] = []
            made: list[onnx.NodeProto] = []
            for one in node.input:
                inner = self._parts(scope, one, made)
                if inner is None:
                    return None
                found += inner
            if {one.op_type for one in made} != {"QuantizeLinear"} or len({one.input[1] for one in made}) > 1:
                nodes += made
                return found  # else all have one scale: x as a whole
        if node is not None and node.op_type == "Gather":
            table = home.constant(node.input[0])
            if table is not None and table.ndim == 2 and table.dtype == np.float32 and not axis_of(node):
                held, unit = self._table(node.input[0], table)
                return [Part(self._add(nodes, "Gather", [held, node.input[1]], axis=0), unit)]
        if node is not None and home is scope and node.op_type == "Mul":  # of an embedding by √E, say
            factor = scope.constant(node.input[1])
            inner = (
                None if factor is None or factor.size != 1 else self._parts(scope, node.input[0], nodes, size)
            )
            if factor is not None and inner is not None:
                return [part._replace(scale=part.scale * np.float32(factor.item())) for part in inner]
        bound, width = scope.bound(x), scope.widths.get(x, size)
        if not np.isfinite(bound) or width is None:
            return None
        unit = np.array(bound / STEPS, np.float32)
        inputs = [x, self._constant((f"{unit}", "scale"), unit), self._zero()]
        return [Part(self._add(nodes, "QuantizeLinear", inputs), np.full(width, unit, np.float32))]

    def _measured(self, x: str, nodes: list[onnx.NodeProto]) -> tuple[str, str]:
        """x in eight bits by its own largest value in each row, and the scale of each row [..., 1]."""
        last = self._constant(("last axis",), np.array([-1]))
        largest = self._add(nodes, "ReduceMax", [self._add(nodes, "Abs", [x]), last], keepdims=1)
        steps = self._constant(("steps",), np.array(STEPS, np.float32))
        least = self._constant(("least",), np.array(1e-20, np.float32))  # of a row of zeros
        row = self._add(nodes, "Div", [self._add(nodes, "Max", [largest, least]), steps])
        moved = self._add(
            nodes,
            "Add",
            [
                self._add(nodes, "Round", [self._add(nodes, "Div", [x, row])]),
                self._constant(("moved",), np.array(ZERO, np.float32)),
            ],
        )
        return self._add(nodes, "Cast", [moved], to=onnx.TensorProto.UINT8), row

    def _lookup(self, scope: Scope, node: onnx.NodeProto) -> Iterable[onnx.NodeProto]:
        """An embedding that is used as numbers: from the packed table."""
        if node.op_type != "Gather" or axis_of(node):
            return [node]
        _, home = scope.producer(node.input[0])
        table = home.constant(node.input[0])
        if table is None or table.ndim != 2 or table.size < SMALLEST or table.dtype != np.float32:
            return [node]
        held, unit = self._table(node.input[0], table)
        nodes: list[onnx.NodeProto] = []
        found = self._add(nodes, "Gather", [held, node.input[1]], axis=0)
        found = self._add(nodes, "Cast", [found], to=onnx.TensorProto.FLOAT)
        moved = self._constant(("moved",), np.array(ZERO, np.float32))
        found = self._add(nodes, "Sub", [found, moved])
        self._add(nodes, "Mul", [found, self._constant((node.input[0], "unit"), unit)])
        nodes[-1].output[0] = node.output[0]
        return nodes

    def _recurrence(self, scope: Scope, node: onnx.NodeProto) -> Iterable[onnx.NodeProto]:
        """Weights of the encoder: packed in the file, and unpacked once when it is loaded."""
        if node.op_type not in RECURRENT:
            return [node]
        nodes: list[onnx.NodeProto] = []
        for at in (1, 2):  # W, R: [D, G, I or H]
            weight = scope.constant(node.input[at])
            if weight is None or weight.size < SMALLEST:
                continue
            packed, unit = pack(weight, 127, axis=2)
            name = node.input[at]
            whole = self._add(nodes, "Cast", [self._constant((name, "q"), packed)], to=onnx.TensorProto.FLOAT)
            node.input[at] = self._add(nodes, "Mul", [whole, self._constant((name, "unit"), unit)])
        return [*nodes, node]

    def _table(self, name: str, table: NDArray[np.float32]) -> tuple[str, NDArray[np.float32]]:
        """An embedding table in eight bits, one scale a column."""
        packed, unit = pack(table, STEPS, axis=0)
        held = self._constant((name, "packed"), (packed.astype(np.int16) + ZERO).astype(np.uint8))
        return held, unit.reshape(-1)

    def _zero(self) -> str:
        return self._constant(("zero",), np.array(ZERO, np.uint8))

    def _constant(self, key: tuple[str, ...], value: NDArray[Any]) -> str:
        if key not in self.made:
            name = self.made[key] = "int8." + ".".join(key)
            self.model.graph.initializer.append(numpy_helper.from_array(value, name))
            self.main.constants[name] = self.model.graph.initializer[-1]
        return self.made[key]

    def _add(self, nodes: list[onnx.NodeProto], kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"int8.{next(self.numbers)}"
        nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name


def pack(weight: NDArray[Any], steps: int, axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers q within ±steps and units u with weight ≈ u · q; one unit for all values along `axis`."""
    unit = np.abs(weight).max(axis=axis, keepdims=True).astype(np.float32) / steps
    unit = np.maximum(unit, np.finfo(np.float32).tiny)
    return np.rint(weight / unit).astype(np.int8), unit


def axis_of(node: onnx.NodeProto) -> int:
    return next((int(one.i) for one in node.attribute if one.name == "axis"), 0)


def forget_unused(graph: onnx.GraphProto) -> None:
    """Drop nodes and constants that nothing needs any more."""
    while True:
        used = {value.name for value in graph.output} | _used(graph)
        nodes = [node for node in graph.node if used & set(node.output)]
        if len(nodes) == len(graph.node):
            break
        del graph.node[:]
        graph.node.extend(nodes)
    kept = [one for one in graph.initializer if one.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _used(graph: onnx.GraphProto) -> set[str]:
    found = set[str]()
    for node in graph.node:
        found.update(node.input)
    return found | _used_inside(graph)


def _used_inside(graph: onnx.GraphProto) -> set[str]:
    """Names that the graphs inside a graph use, and what it gives back."""
    inner = [_used(one) for node in graph.node for one in inside(node)]
    return {value.name for value in graph.output}.union(*inner)
