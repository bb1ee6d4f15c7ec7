"""A model as one ONNX graph: encoder and search, traced from the code that PyTorch runs.

Shapes: B rows (sources), S source length, K seats of the beam, T longest output, A traced steps, F longest prefix,
I input, H hidden, G gates, D directions.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan_op
from torch._higher_order_ops.while_loop import while_loop_op
from torch.nn import functional as F
from torch.nn.utils.stateless import _reparametrize_module
from torch.utils import _pytree as pytree

from suguk.asking import COPIES, INPUTS
from suguk.export.shortcuts import shortcuts
from suguk.export.translate import quiet, translate
from suguk.fields import EOS, PAD
from suguk.kernels import reference
from suguk.kernels.reference import CellState
from suguk.model import Ensemble, Seq2Seq
from suguk.model.cells import Cell, Given
from suguk.model.encoder import Encoder
from suguk.search import Menu, Ranking, search
from suguk.search.beam import Beam, Body, Condition, Found, Held
from suguk.search.menu import WIDEST

NODES = {"lstm": "LSTM", "gru": "GRU", "gru-reset-before": "GRU", "rnn": "RNN"}
ORDER = {
    "lstm": (0, 3, 1, 2),
    "gru": (1, 0, 2),
    "gru-reset-before": (1, 0, 2),
    "rnn": (0,),
}  # ours → ONNX's gates
OUTPUTS = (*("attention" if name == "weights" else name for name in Found._fields), "context", "mean_state")


class OnnxEncoder(Encoder):
    """The same encoder with each layer as one node of ONNX, which knows the length of every row, or as a `Scan`."""

    @classmethod
    def of(cls, encoder: Encoder) -> "OnnxEncoder":
        made = cls.__new__(cls)
        made.__dict__.update(encoder.__dict__)
        for index, ways in enumerate(encoder.layers):
            cells = [cell for cell in ways.children() if isinstance(cell, Cell)]
            if not cells[0].fused:
                made.layers[index] = nn.ModuleList(map(Scanned.of, cells))
                continue
            for name, matrix in zip("wrb", _weights(cells), strict=True):
                made.register_buffer(f"{name}{index}", matrix)
        return made

    def layer(self, index: int, x: Tensor, mask: Tensor) -> tuple[Tensor, CellState]:
        ways = [cell for cell in self.layers[index].children() if isinstance(cell, Cell)]
        if not ways[0].fused:
            return super().layer(index, x, mask)
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


class Scanned(Cell):
    """A cell that no node of ONNX computes: its sequence is a `Scan` over the steps."""

    @classmethod
    def of(cls, cell: Cell) -> "Scanned":
        made = cls.__new__(cls)
        made.__dict__.update(cell.__dict__)
        return made

    def sequence(
        self, inputs: Tensor, mask: Tensor | None, state: CellState, *, reverse: bool = False
    ) -> tuple[Tensor, CellState]:
        assert mask is not None
        held = dict(self.named_parameters())  # handed over: PyTorch need not find out what a turn reads

        def turn(*parts: Tensor) -> list[Tensor]:
            before, (known, real, *weights) = parts[: len(state)], parts[len(state) :]
            with _reparametrize_module(self, dict(zip(held, weights, strict=True))):
                rest = self.weights._replace(ih=self.weight_ih[:, :0])
                _, after = self(None, before, Given(known, rest))
            new = [torch.where(real.unsqueeze(1), *both) for both in zip(after, before, strict=True)]
            return [*new, torch.where(real.unsqueeze(1), new[0], 0.0)]

        over = [part.flip(1) if reverse else part for part in (self.project(inputs)[0], mask)]
        along = [part.transpose(0, 1).contiguous() for part in over]
        *last, outputs = scan_op(turn, list(state), along, tuple(held.values()))
        outputs = outputs.transpose(0, 1)
        return (outputs.flip(1) if reverse else outputs), tuple(last)


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

    def advance(self, inputs: Tensor | None, state: CellState, given: Given | None) -> CellState:
        assert inputs is not None
        assert given is None
        gates = F.linear(torch.cat([inputs, state[0]], dim=-1), self.both, self.bias)
        return reference.lstm(gates, state[1]) if self.kind == "lstm" else (torch.tanh(gates),)


class Decoding(nn.Module):
    """From padded ids to ranked hypotheses."""

    def __init__(self, model: Seq2Seq | Ensemble) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).cpu().eval()
        for one in self.model.models() if isinstance(self.model, Ensemble) else [self.model]:
            one.encoder = OnnxEncoder.of(one.encoder)
            if one.decoder.attention is not None:
                one.decoder.attention.be_exact()
            for stack in (one.decoder.below, one.decoder.second, one.decoder.above):
                layers = nn.ModuleList() if stack is None else stack.layers
                for index, cell in enumerate(layers):
                    one_sum = isinstance(cell, Cell) and not cell.habits.layer_norm
                    if isinstance(cell, Cell) and one_sum and cell.kind in ("lstm", "rnn"):
                        layers[index] = OneProduct.of(cell)

    def forward(self, given: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """given: INPUTS, and COPIES if it copies, as docs/guides/anywhere.md describes them. Returns OUTPUTS."""
        source, trace = given["source"], given["trace"]
        real = source != PAD
        memory = self.model.encode(source, real.sum(1), given.get(COPIES))
        # `while_loop` takes no two views of one tensor.
        memory = pytree.tree_map(torch.clone, memory)
        found = search(
            self.model,
            memory,
            given["limits"],
            given["frame"],
            trace=trace.unsqueeze(1) + torch.zeros_like(source[0], dtype=trace.dtype),
            prefix=given["prefix"],
            wishes=Menu(*(given[name] for name in Menu._fields)),
            ranking=Ranking(given["alpha"], given["offset"], given["beta"], real),
            loop=self._while_loop,
        )
        return (*found, *self.model.contexts(memory))

    def _while_loop(self, condition: Condition, body: Body, beam: Beam, given: Held) -> Beam:
        """A loop in the graph. It is handed all that it reads: PyTorch need not compile it to find that out."""
        held = {name: one for name, one in _tensors(self.model) if "encoder" not in name.split(".")}
        names = {id(one): name for name, one in held.items()}  # of weights that are shared, one name
        once = {name: one for name, one in held.items() if names[id(one)] == name}
        leaves, form = pytree.tree_flatten(beam)
        more, rest = pytree.tree_flatten((given, once))

        def part(run: Callable[[Beam, Held], Any]) -> Callable[..., Any]:
            def turn(*parts: Tensor) -> Any:
                inner, once = pytree.tree_unflatten(list(parts[len(leaves) :]), rest)
                weights = {name: once[names[id(one)]] for name, one in held.items()}
                with _reparametrize_module(self.model, weights):
                    return run(pytree.tree_unflatten(list(parts[: len(leaves)]), form), inner)

            return turn

        def whole(*parts: Tensor) -> tuple[Tensor, ...]:
            # What a turn leaves alone has to be copied: a loop gives back nothing that it was given.
            made = pytree.tree_leaves(part(body)(*parts))
            return tuple(one.clone() if any(one is old for old in parts) else one for one in made)

        found = while_loop_op(part(condition), whole, tuple(leaves), tuple(more))
        return pytree.tree_unflatten(list(found), form)  # type: ignore[no-any-return]


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


@torch.no_grad()
def traced(model: Seq2Seq | Ensemble) -> onnx.ModelProto:
    """The graph in single precision. All sizes are free; inputs as in `Decoding.forward`, outputs OUTPUTS."""
    names = (*INPUTS, COPIES) if model.copies else INPUTS
    with quiet(), shortcuts():
        program = torch.export.export(
            Decoding(model), (_example(names),), dynamic_shapes=(_sizes(names, model.words),), strict=False
        )
        return translate(program, names, OUTPUTS)


def _example(names: Sequence[str]) -> dict[str, Tensor]:
    """Sizes of 0 and 1 would be taken for the only ones."""
    numbers = dict.fromkeys(
        ("alpha", "offset", "beta", "diversity", "top_p", "temperature"), torch.tensor(0.6)
    )
    example = numbers | {
        "source": torch.tensor([[5, 4, EOS], [4, EOS, PAD]]),
        COPIES: torch.tensor([[5, 4, EOS], [4, EOS, PAD]]),
        "limits": torch.tensor([4, 3]),
        "frame": torch.zeros(3, 4),
        "trace": torch.zeros(5),
        "prefix": torch.full((2, 6), -1),
        "shortest": torch.tensor(2),
        "banned": torch.full((2, 3, 5), 4),
        "required": torch.full((2, 5, 3), 4),
        "repeat": torch.zeros(4, 7, dtype=torch.long),
        "others": torch.zeros(2, 7, 6, dtype=torch.long),
        "draws": torch.zeros(2, 3, 4),
        "choices": torch.zeros(2, dtype=torch.long),
    }
    return {name: example[name].clone() for name in names}


def _sizes(names: Sequence[str], words: int) -> dict[str, dict[int, Any]]:
    """Which sizes are free, and what they are called. words: in the target's vocabulary."""
    dim = torch.export.Dim
    rows, seats, longest = dim("B", min=1), dim("K", min=1, max=WIDEST), dim("T", min=1)
    length = dim("S", min=1)
    free: dict[str, dict[int, Any]] = {
        "source": {0: rows, 1: length},
        COPIES: {0: rows, 1: length},
        "limits": {0: rows},
        "frame": {0: seats, 1: longest},
        "trace": {0: dim("A", min=0)},
        "prefix": {0: rows, 1: dim("F", min=1)},
        "banned": {0: rows, 1: dim("P", min=0), 2: dim("N", min=1)},
        "required": {0: rows, 1: dim("C", min=0), 2: dim("L", min=1)},
        "repeat": {0: dim("R", min=0), 1: dim("G", min=1)},
        "others": {0: rows, 1: dim("O", min=0), 2: dim("U", min=0)},
        "draws": {0: dim("D", min=0), 1: seats, 2: longest},
        "choices": {0: dim("W", min=0, max=words)},
    }
    return {name: free.get(name, {}) for name in names}
