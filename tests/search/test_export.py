"""Start, step and loop as one ONNX graph: the same tokens in ONNX Runtime, whatever the sizes.

The encoder is not part of it: the memory comes in as inputs.
"""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from suguk import config
from suguk.model import Memory, Seq2Seq, build
from suguk.search import search
from suguk.search.beam import Beam

SOURCE_V, TARGET_V, PAD, EOS = 23, 19, 0, 3
SHAPES = [
    (3, 7, 4, 11),
    (1, 1, 1, 5),
    (5, 13, 7, 23),
    (2, 3, 1, 17),
]  # rows, source length, beam, longest output


def while_loop(condition: Callable[[Beam], Tensor], body: Callable[[Beam], Beam], beam: Beam) -> Beam:
    """`torch.while_loop` over the leaves of the beam."""
    leaves, form = pytree.tree_flatten(beam)

    def whole(parts: tuple[Tensor, ...]) -> Beam:
        return pytree.tree_unflatten(list(parts), form)  # type: ignore[no-any-return]

    found = torch.while_loop(  # type: ignore[no-untyped-call]
        lambda *parts: condition(whole(parts)),
        lambda *parts: tuple(pytree.tree_leaves(body(whole(parts)))),
        tuple(leaves),
    )
    return whole(found)


class Searching(nn.Module):
    def __init__(self, model: Seq2Seq) -> None:
        super().__init__()
        self.model = model

    def forward(self, memory: Memory, limits: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
        trace = frame.new_zeros(0, memory.mask.shape[1])
        found = search(self.model, memory, limits, frame, trace=trace, alpha=0.6, loop=while_loop)
        return found.tokens, found.scores


class Inputs(NamedTuple):
    memory: Memory
    limits: Tensor
    frame: Tensor


def inputs(model: Seq2Seq, shape: tuple[int, int, int, int], seed: int) -> Inputs:
    rows, length, beam, longest = shape
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, length + 1, (rows,), generator=generator)
    lengths[0] = length
    source = torch.randint(4, SOURCE_V, (rows, length), generator=generator)
    for b, end in enumerate(lengths.tolist()):
        source[b, end - 1], source[b, end:] = EOS, PAD
    limits = torch.randint(1, longest + 1, (rows,), generator=generator)
    memory = pytree.tree_map(torch.clone, model.encode(source, lengths))  # no two inputs may be one tensor
    return Inputs(memory, limits, torch.zeros(beam, longest))


def exported(model: Seq2Seq) -> Callable[[Inputs], list[Any]]:
    """The search in ONNX Runtime."""
    example = inputs(model, SHAPES[0], seed=0)
    dim = torch.export.Dim
    row = {0: dim("B", min=1)}
    position = {0: dim("B", min=1), 1: dim("S", min=1)}
    initial = tuple(tuple(row for _ in layer) for layer in example.memory.initial)
    program = torch.export.export(
        Searching(model),
        tuple(example),
        dynamic_shapes={
            "memory": Memory(position, position, position, row, initial),  # type: ignore[arg-type]
            "limits": row,
            "frame": {0: dim("K", min=1), 1: dim("T", min=1)},
        },
        strict=False,
    )
    graph = torch.onnx.export(program, dynamo=True, verbose=False)
    assert graph is not None
    session = onnxruntime.InferenceSession(graph.model_proto.SerializeToString())
    names = program.graph_signature.user_inputs
    wanted = [value.name for value in session.get_inputs()]

    def run(given: Inputs) -> list[Any]:
        named = dict(zip(names, pytree.tree_leaves(given), strict=True))
        return list(session.run(None, {name: named[name].numpy() for name in wanted}))

    return run


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore::DeprecationWarning:onnxscript")
@pytest.mark.parametrize("name", ["small", "bahdanau2014", "luong2015-local-p"])
@torch.no_grad()
def test_the_exported_search_finds_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "disabled", True)  # pytest would keep every line
    sizes = {"hidden": 32, "embedding": 16, "readout_size": 16, "layers": 1}  # deeper ones only take longer
    if name == "small":
        sizes |= {"encoder_hidden": 16, "layers": 2}
    model = build(config.load(name, {"model": sizes}).model, SOURCE_V, TARGET_V, seed=3).eval()
    torch.manual_seed(5)
    for parameter in model.parameters():
        parameter.uniform_(-0.6, 0.6)
    model.head.bias[EOS] += 1  # so that hypotheses end
    run = exported(model)
    finished = 0
    for shape in SHAPES:
        given = inputs(model, shape, seed=1)
        wanted = search(model, given.memory, given.limits, given.frame, alpha=0.6)
        tokens, scores = run(given)
        np.testing.assert_array_equal(tokens, wanted.tokens.numpy())
        np.testing.assert_allclose(scores, wanted.scores.numpy(), rtol=1e-4, atol=1e-4)
        finished += int(wanted.finished.sum())
    assert finished > 0
