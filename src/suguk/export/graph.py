"""A model as one ONNX graph: encoder and search, traced from the code that PyTorch runs.

Shapes: B rows (sources), S source length, K seats of the beam, T longest output, A traced steps, F longest prefix,
I input, H hidden, G gates, D directions.
"""

import copy
import logging
import warnings
from collections.abc import Callable

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from suguk.fields import EOS, PAD
from suguk.kernels import reference
from suguk.kernels.reference import CellState
from suguk.model import Seq2Seq
from suguk.model.cells import Cell, Given
from suguk.model.encoder import Encoder
from suguk.search import search
from suguk.search.beam import WIDEST, Beam, Found

NODES = {"lstm": "LSTM", "gru": "GRU", "gru-reset-before": "GRU", "rnn": "RNN"}
ORDER = {
    "lstm": (0, 3, 1, 2),
    "gru": (1, 0, 2),
    "gru-reset-before": (1, 0, 2),
    "rnn": (0,),
}  # ours → ONNX's gates
INPUTS = ("source", "limits", "frame", "trace", "prefix", "alpha", "offset")
OUTPUTS = (*Found._fields[:-1], "attention")


class OnnxEncoder(Encoder):
    """The same encoder with each layer as one node of ONNX, which knows the length of every row."""

    @classmethod
    def of(cls, encoder: Encoder) -> "OnnxEncoder":
        made = cls.__new__(cls)
        made.__dict__.update(encoder.__dict__)
        for index, ways in enumerate(encoder.layers):
            cells = [cell for cell in ways.children() if isinstance(cell, Cell)]
            for name, matrix in zip("wrb", _weights(cells), strict=True):
                made.register_buffer(f"{name}{index}", matrix)
        return made

    def layer(self, index: int, x: Tensor, mask: Tensor) -> tuple[Tensor, CellState]:
        ways = [cell for cell in self.layers[index].children() if isinstance(cell, Cell)]
        kind, hidden, directions = ways[0].kind, ways[0].hidden, len(ways)
        batch, length = mask.shape
        sizes = [[length, directions, batch, hidden], [directions, batch, hidden]]
        sizes += [sizes[1]] * (kind == "lstm")
        form = {"linear_before_reset": int(kind == "gru")} if NODES[kind] == "GRU" else {}
        y, *last = torch.onnx.ops.symbolic_multi_out(
            NODES[kind],
            [
                x.transpose(0, 1),
                *(getattr(self, f"{name}{index}") for name in "wrb"),
                mask.sum(1).to(torch.int32),
            ],
            {
                "hidden_size": hidden,
                "direction": "bidirectional" if directions > 1 else "forward",
                **form,
            },
            dtypes=[x.dtype] * len(sizes),
            shapes=sizes,
            version=14,
        )
        # [S, D, B, H] → [B, S, D·H] and [D, B, H] → [B, D·H]
        state = tuple(part.transpose(0, 1).flatten(1) for part in last)
        return y.permute(2, 0, 1, 3).flatten(2), state


def _weights(ways: list[Cell]) -> tuple[Tensor, Tensor, Tensor]:
    """W [D, G, I], R [D, G, H] and B [D, 2G] as ONNX wants them."""

    def ordered(matrix: Tensor, cell: Cell) -> Tensor:
        blocks = torch.split(matrix.detach(), cell.hidden)
        return torch.cat([blocks[at] for at in ORDER[cell.kind]])

    w = torch.stack([ordered(cell.weight_ih, cell) for cell in ways])
    r = torch.stack([ordered(cell.weight_hh, cell) for cell in ways])
    b = [torch.cat([ordered(cell.bias_ih, cell), ordered(cell.bias_hh, cell)]) for cell in ways]
    return w, r, torch.stack(b)


class OneProduct(Cell):
    """An LSTM or tanh cell whose step is one product, [W U] [x; h] + b."""

    both: Tensor
    bias: Tensor

    @classmethod
    def of(cls, cell: Cell) -> "OneProduct":
        made = cls.__new__(cls)
        made.__dict__.update(cell.__dict__)
        made.register_buffer("both", torch.cat([cell.weight_ih, cell.weight_hh], dim=1).detach())
        made.register_buffer("bias", (cell.bias_ih + cell.bias_hh).detach())
        return made

    def forward(
        self, inputs: Tensor | None, state: CellState, given: Given | None = None
    ) -> tuple[Tensor, CellState]:
        assert inputs is not None
        assert given is None
        gates = F.linear(torch.cat([inputs, state[0]], dim=-1), self.both, self.bias)
        new = reference.lstm(gates, state[1]) if self.kind == "lstm" else (torch.tanh(gates),)
        return new[0], new


class Decoding(nn.Module):
    """From padded ids to ranked hypotheses."""

    def __init__(self, model: Seq2Seq) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).cpu().eval()
        self.model.encoder = OnnxEncoder.of(self.model.encoder)
        for stack in (self.model.decoder.below, self.model.decoder.above):
            layers = nn.ModuleList() if stack is None else stack.layers
            for index, cell in enumerate(layers):
                if isinstance(cell, Cell) and cell.kind in ("lstm", "rnn"):
                    layers[index] = OneProduct.of(cell)

    def forward(
        self,
        source: Tensor,
        limits: Tensor,
        frame: Tensor,
        trace: Tensor,
        prefix: Tensor,
        alpha: Tensor,
        offset: Tensor,
    ) -> Found:
        """source: [B, S]; limits: [B]; frame: [K, T]; trace: [A]; prefix: [B, F]; others: 0-dim. See `search`."""
        lengths = (source != PAD).sum(1)
        memory = self.model.encode(source, lengths)
        return search(
            self.model,
            pytree.tree_map(torch.clone, memory),  # `while_loop` takes no two views of one tensor
            limits + torch.zeros_like(lengths),  # in the graph one limit may stand for all rows
            frame,
            trace=trace.unsqueeze(1) + torch.zeros_like(source[0], dtype=trace.dtype),
            prefix=prefix,
            alpha=alpha,
            offset=offset,
            loop=while_loop,
        )


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


@torch.no_grad()
def traced(model: Seq2Seq) -> onnx.ModelProto:
    """The graph in single precision. All sizes are free; inputs as in `Decoding.forward`, outputs OUTPUTS."""
    dim = torch.export.Dim
    rows, sizes = dim("B", min=1), {name: dim(name, min=1) for name in "STF"}
    example = {
        "source": torch.tensor([[5, 4, EOS], [4, EOS, PAD]]),
        "limits": torch.tensor([4, 3]),
        "frame": torch.zeros(3, 4),
        "trace": torch.zeros(5),
        "prefix": torch.full((2, 6), -1),
        "alpha": torch.tensor(0.6),
        "offset": torch.tensor(5.0),
    }
    shapes = {
        "source": {0: rows, 1: sizes["S"]},
        "limits": {0: rows},
        "frame": {0: dim("K", min=1, max=WIDEST), 1: sizes["T"]},
        "trace": {0: dim("A", min=0)},
        "prefix": {0: rows, 1: sizes["F"]},
        "alpha": {},
        "offset": {},
    }
    with _quiet():
        program = torch.export.export(Decoding(model), (), example, dynamic_shapes=shapes, strict=False)
        made = torch.onnx.export(program, dynamo=True, verbose=False, output_names=list(OUTPUTS))
    assert made is not None
    found: onnx.ModelProto = made.model_proto
    return found


class _quiet(warnings.catch_warnings):  # noqa: N801 - read as a verb
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
