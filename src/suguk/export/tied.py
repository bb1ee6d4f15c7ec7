"""One table for an embedding and the output projection tied to it, which the exporter writes twice.

Shapes: V rows of a table, E embedding.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from suguk.export.bounds import Scope, scopes


def tables(main: Scope) -> list[str]:
    """Constants of the outermost graph whose rows are looked up, anywhere."""
    found = {
        node.input[0]
        for scope in scopes(main)
        for node in scope.graph.node
        if node.op_type == "Gather" and scope.producer(node.input[0]) == (None, main)
    }
    return [one.name for one in main.graph.initializer if one.name in found and len(one.dims) == 2]


def share(model: onnx.ModelProto) -> onnx.ModelProto:
    """Changes the model, and returns it: a matrix [E, V] that is a table [V, E] becomes the table's transpose.

    ONNX Runtime transposes it once, when the file is loaded.
    """
    graph = model.graph
    held = {one.name: one for one in graph.initializer}
    for table in (held[name] for name in tables(Scope(graph))):
        values = numpy_helper.to_array(table).T
        for one in list(graph.initializer):
            if tuple(one.dims) == values.shape and np.array_equal(numpy_helper.to_array(one), values):
                graph.initializer.remove(one)
                node = helper.make_node("Transpose", [table.name], [one.name], one.name, perm=[1, 0])
                graph.node.insert(0, node)
    return model
