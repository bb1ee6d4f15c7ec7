"""A program that `torch.export` has traced, as ONNX.

PyTorch's exporter first takes a program apart into its smallest operators, for which it traces all of it twice more:
more than half of the time that an export took. ONNX has what our models are made of as it is, or under another name. So
names are changed, and if nothing is left that ONNX does not know, nothing is taken apart.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import onnx
import onnxscript
import torch
from torch.onnx._internal.exporter import _fx_passes
from torch.onnx._internal.exporter._registration import ONNXRegistry

aten = torch.ops.aten
OTHER_NAMES = {
    aten.__and__.Tensor: aten.logical_and.default,
    aten.__or__.Tensor: aten.logical_or.default,
    # Of `model.copying`, which uses what these return, not what they change.
    aten.scatter_.src: aten.scatter.src,
    aten.scatter_.value: aten.scatter.value,
    aten.scatter_add_.default: aten.scatter_add.default,
}


def translate(
    program: torch.export.ExportedProgram, inputs: Sequence[str], outputs: Sequence[str]
) -> onnx.ModelProto:
    """The graph, its inputs and outputs called so. Changes the program."""
    for module in _graphs(program.graph_module):
        _rename(module)
    own: dict[Any, Any] = {
        aten.sym_stride.int: _stride,
        aten.rsub.Scalar: _rsub,
        aten.flatten.using_ints: _flatten,
    }
    with _whole(_known(program.graph_module, own)):
        made = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=list(inputs),
            output_names=list(outputs),
            custom_translation_table=own,
        )
    assert made is not None
    found: onnx.ModelProto = made.model_proto
    return found


class quiet(warnings.catch_warnings):  # noqa: N801 - read as a verb
    """What PyTorch's exporter warns and logs of is not for our users."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
        self.loggers = [
            logging.getLogger(name) for name in ("torch.onnx", "torch.__trace", "onnxscript", "onnx_ir")
        ]
        self.levels = [logger.level for logger in self.loggers]
        for logger in self.loggers:
            logger.setLevel(logging.ERROR)

    def __exit__(self, *fault: object) -> None:
        for logger, level in zip(self.loggers, self.levels, strict=True):
            logger.setLevel(level)
        super().__exit__(*fault)  # type: ignore[arg-type]


def _graphs(module: torch.fx.GraphModule) -> Iterator[torch.fx.GraphModule]:
    """The graph and those of the loops in it."""
    yield module
    for inner in module.children():
        if isinstance(inner, torch.fx.GraphModule):
            yield from _graphs(inner)


def _rename(module: torch.fx.GraphModule) -> None:
    for node in list(module.graph.nodes):
        if node.target in OTHER_NAMES:
            node.target = OTHER_NAMES[node.target]
        elif node.target is aten.to.dtype:
            node.target, node.args, node.kwargs = (
                aten._to_copy.default,
                node.args[:1],
                {"dtype": node.args[1]},
            )
        elif node.target is aten._assert_tensor_metadata.default:
            module.graph.erase_node(node)
    module.recompile()


def _known(module: torch.fx.GraphModule, own: dict[Any, Any]) -> bool:
    """Whether there is a translation of every operator."""
    registry = ONNXRegistry.from_torchlib()
    return all(
        node.target in own or registry.is_registered(node.target)
        for graph in _graphs(module)
        for node in graph.graph.nodes
        if node.op == "call_function"
    )


@contextmanager
def _whole(wanted: bool) -> Iterator[None]:
    """Inside, PyTorch's exporter takes nothing apart, if that is wanted."""
    passes: Any = _fx_passes
    taken_apart = passes.decompose_with_registry
    if wanted:
        passes.decompose_with_registry = lambda program, _: program
    try:
        yield
    finally:
        passes.decompose_with_registry = taken_apart


def _stride(tensor: Any, dim: int) -> Any:
    """A stride, which ONNX does not know: PyTorch takes it for a size where both are the same number.

    What a loop is given lies row after row, so it is the product of the sizes after it.
    """
    op = onnxscript.opset18
    return op.ReduceProd(op.Shape(tensor, start=dim + 1), keepdims=0)


def _rsub(tensor: Any, other: float) -> Any:
    """other − tensor."""
    op: Any = onnxscript.opset18
    return op.Sub(op.CastLike(op.Constant(value_float=float(other)), tensor), tensor)


def _flatten(tensor: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """PyTorch's own translation has no answer where a size is 0."""
    op: Any = onnxscript.opset18
    end = end_dim + 1 if end_dim != -1 else len(tensor.shape)
    joined = op.ReduceProd(op.Shape(tensor, start=start_dim, end=end), keepdims=1)
    sizes = [op.Shape(tensor, start=0, end=start_dim), joined, op.Shape(tensor, start=end)]
    return op.Reshape(tensor, op.Concat(*sizes, axis=0), allowzero=1)
