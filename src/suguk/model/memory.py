"""What passes between encoder, decoder and search: one `Memory` a source, one `State` a hypothesis.

Shapes: B batch, S source length, Q queries (T in training, 1 in greedy search, K in a beam), H hidden, C width of an
encoder state, A width of an attention key, R readout.
"""

from typing import NamedTuple

from torch import Tensor

from suguk.kernels.reference import CellState


class Memory(NamedTuple):
    """All that the decoder knows of the source; made once, never tiled by the beam."""

    keys: Tensor  # [B, S, A] what attention compares with (W_a h_s, U_a h_s, …); of several heads, see `multihead`
    values: Tensor  # [B, S, C] the encoder states
    mask: Tensor  # [B, S] True on real positions
    context: Tensor  # [B, C] the fixed-size context of models without attention
    initial: tuple[CellState, ...]  # from the bridge: what each decoder layer starts from, each [B, H]
    contents: tuple[Tensor, ...] = ()  # [B, N, S, C / N] what N heads make contexts of, else nothing
    copies: tuple[
        Tensor, ...
    ] = ()  # [B, S] the id that each position stands for, of a model that copies, else nothing


class State(NamedTuple):
    """All that a hypothesis carries from one step to the next; search only ever selects rows of it."""

    cells: tuple[CellState, ...]  # one a layer, each [B, Q, H]
    feed: tuple[Tensor, ...]  # the attentional vector [B, Q, R] with input feeding, else nothing
    position: Tensor  # [B, Q] index of the target position to come
    covered: tuple[Tensor, ...] = ()  # the sum of all weights so far [B, Q, S] with coverage, else nothing
