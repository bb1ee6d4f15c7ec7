"""The decoder: from the memory and the words so far to the next readout.

Shapes: B batch, T target length, S source length, Q hypotheses of a row, E embedding, H hidden, C context, R readout.

One step, whatever the paper (Sutskever 2014; Cho 2014; Bahdanau 2014; Luong 2015):

    x_t = [E y_{t−1}; what is fed back; the context, if attention looked before the cell]
    s_t = cell(x_t, s_{t−1})                          attention may look before, within, between or after the layers
    r_t = readout([s_t; c_t; E y_{t−1}])              the parts that the paper has

Teacher forcing takes all steps at once where no step's input depends on an earlier step's output; `step` is the
definition, and a test proves them equal.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from suguk.fields import UNK
from suguk.kernels.reference import CellState, Weights
from suguk.kernels.steps import Steps
from suguk.model.attention import Attention
from suguk.model.cells import Given, Stack
from suguk.model.copying import Switch
from suguk.model.dropout import Dropout
from suguk.model.inputs import TokenEmbedding
from suguk.model.memory import Memory, State
from suguk.model.replay import Replay


class Decoder(nn.Module):
    """Parts put together. below: layers under the attention (all of them unless it looks within or between); second:
    of attention within the first layer, its second cell; above: the rest."""

    def __init__(
        self,
        *,
        embedding: TokenEmbedding,
        below: Stack,
        second: Stack | None,
        above: Stack | None,
        attention: Attention | None,
        attend: str,
        readout: nn.Module,
        context_every_step: bool = False,
        input_feeding: bool = False,
        readout_word: bool = False,
        readout_previous: bool = False,
        dropout: float = 0.0,
        variational: bool = False,
        coverage: bool = False,
        switch: Switch | None = None,
    ) -> None:
        super().__init__()
        self.embedding, self.below, self.second, self.above = embedding, below, second, above
        self.attention, self.attend, self.readout = attention, attend, readout
        self.context_every_step, self.input_feeding = context_every_step, input_feeding
        self.readout_word, self.readout_previous = readout_word, readout_previous
        self.coverage, self.switch = coverage, switch
        self.dropout_within, self.dropout_between, self.dropout = (
            Dropout(dropout, variational=variational) for _ in range(3)
        )
        self.replay: Replay | None = None  # in training on a GPU

    def start(self, memory: Memory) -> State:
        """The state before the first word, one hypothesis a row (Q = 1); fed back is zero (Luong 2015 §3.3)."""
        cells = tuple(tuple(part.unsqueeze(1) for part in layer) for layer in memory.initial)
        values = memory.values
        size = int(self.readout.size)  # type: ignore[arg-type]
        feed = (values.new_zeros(values.shape[0], 1, size),) if self.input_feeding else ()
        position = torch.zeros_like(memory.mask[:, :1], dtype=torch.long)
        covered = (torch.zeros_like(memory.mask, dtype=values.dtype).unsqueeze(1),) if self.coverage else ()
        return State(cells, feed, position, covered)

    def step(
        self, token: Tensor, state: State, memory: Memory
    ) -> tuple[Tensor, State, Tensor, tuple[Tensor, ...]]:
        """One step of every hypothesis. token: [B, Q], the previous words.

        Returns the readout [B, Q, R], the new state, the attention weights [B, Q, S] (zero without attention) and, of a
        model that copies, the logit of p_gen [B, Q], else nothing.
        """
        word = self._word(token)
        y, context, weights, cells = self._cells(word, None, state, memory)
        seen = self._seen(y, state)
        readout = self._readout(seen, context, word)
        return readout, self._next(state, cells, readout, weights), weights, self._switch(seen, context, word)

    def _word(self, token: Tensor) -> Tensor:
        """Embeddings [B, Q, E]; a copied word that the vocabulary lacks is read as `<unk>` (See et al. 2017, §2.2)."""
        if self.switch is not None:
            token = torch.where(token < self.embedding.weight.shape[0], token, UNK)
        found: Tensor = self.embedding(token)
        return found

    def _switch(self, seen: Tensor, context: Tensor, word: Tensor) -> tuple[Tensor, ...]:
        return () if self.switch is None else (self.switch(context, seen, word),)

    def _cells(
        self, word: Tensor, given: Given | None, state: State, memory: Memory
    ) -> tuple[Tensor, Tensor, Tensor, tuple[CellState, ...]]:
        """A step up to the readout. given: what the first cell makes of the word, if that is known already.

        Returns the top layer's output [B, Q, H], the context [B, Q, C], weights [B, Q, S] and the cells' new states.
        """
        context, weights = self._nothing(memory, word)
        if self.attention is not None and self.attend == "before":
            context, weights = self.attention(state.cells[-1][0], memory, state.position, *state.covered)
        x = self._cell_input([word] if given is None else [], context, state.feed)
        depth = len(self.below.layers)
        y, cells = self.below(x, state.cells[:depth], given)
        if self.attention is not None and self.attend != "before":
            context, weights = self.attention(y, memory, state.position, *state.covered)
        if self.second is not None:
            # s_t = cell₂(c_t, s′_t), where s′_t = cell₁(E y_{t−1}, s_{t−1}) has looked (Sennrich et al. 2017)
            y, cells = self.second(self.dropout_within(context), cells)
        if self.above is not None:
            y, upper = self.above(self._between(y, context), state.cells[depth:])
            cells = cells + upper
        return y, context, weights, cells

    def _seen(self, y: Tensor, state: State) -> Tensor:
        """The state that the readout sees."""
        return state.cells[-1][0] if self.readout_previous else y

    def _next(
        self, state: State, cells: tuple[CellState, ...], readout: Tensor | None, weights: Tensor
    ) -> State:
        feed = () if readout is None or not self.input_feeding else (readout,)
        return State(cells, feed, state.position + 1, tuple(sum_ + weights for sum_ in state.covered))

    def forward(self, inputs: Tensor, memory: Memory) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Teacher forcing. inputs: [B, T], `<sos>` and the target without its last token.

        Returns readouts [B, T, R], attention weights [B, T, S] and what `step` gives of p_gen, [B, T].
        """
        looks_back = self.attention is not None and self.attend == "before"
        # The previous state is the cell's own; a residual stack at once only gives its sums.
        inside = self.readout_previous and (self.above or self.below).residual
        if self.input_feeding or looks_back or inside or self.coverage or self.second is not None:
            return self._stepwise(inputs, memory)
        return self._at_once(inputs, memory)

    def _stepwise(self, inputs: Tensor, memory: Memory) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """One step after the other, with all that does not depend on an earlier step taken out of the loop."""
        words = self._word(inputs)
        replay = self.replay if self.training and torch.is_grad_enabled() else None
        loop = self.loop if replay is None else replay
        readouts, contexts, weights, *seen = loop(words, memory)
        readout = readouts if self.input_feeding else self._readout(readouts, contexts, words)
        return readout, weights, self._switch(seen[0], contexts, words) if seen else ()

    def loop(self, words: Tensor, memory: Memory) -> tuple[Tensor, ...]:
        """What `_steps` gives of every step, [B, T, …]. words: embeddings [B, T, E]."""
        with Steps(words.shape[1], words.device):
            projected, rest = self.below.first.project(words)
            found = list(self._steps(words, projected, rest, memory))
        return tuple(torch.cat(parts, dim=1) for parts in zip(*found, strict=True))

    def _steps(
        self, words: Tensor, projected: Tensor, rest: Weights, memory: Memory
    ) -> Iterator[tuple[Tensor, ...]]:
        """Readout, or without input feeding the state that it sees; context; weights; of every step.

        Of a model that copies, the state that the readout sees stands at the end too.
        """
        state = self.start(memory)
        for word, known in zip(torch.split(words, 1, dim=1), torch.split(projected, 1, dim=1), strict=True):
            y, context, weights, cells = self._cells(word, Given(known, rest), state, memory)
            seen = self._seen(y, state)
            readout = self._readout(seen, context, word) if self.input_feeding else None
            more = () if self.switch is None else (seen,)
            yield (seen if readout is None else readout), context, weights, *more
            state = self._next(state, cells, readout, weights)

    def _at_once(self, inputs: Tensor, memory: Memory) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        word = self._word(inputs)
        context, weights = self._nothing(memory, word)
        depth = len(self.below.layers)
        x = self._cell_input([word], context, ())
        assert x is not None
        y, _ = self.below.sequence(x, memory.initial[:depth])
        if self.attention is not None:
            position = torch.arange(inputs.shape[1], device=inputs.device).expand_as(inputs)
            context, weights = self.attention(y, memory, position)
        if self.above is not None:
            y, _ = self.above.sequence(self._between(y, context), memory.initial[depth:])
        if self.readout_previous:
            y = torch.cat([memory.initial[-1][0].unsqueeze(1).to(y.dtype), y[:, :-1]], dim=1)
        return self._readout(y, context, word), weights, self._switch(y, context, word)

    def _nothing(self, memory: Memory, word: Tensor) -> tuple[Tensor, Tensor]:
        """Without attention: the fixed context for every query, and no weights."""
        context = memory.context.unsqueeze(1).expand(-1, word.shape[1], -1)
        weights = memory.mask.unsqueeze(1).expand(-1, word.shape[1], -1) * word.new_zeros(())
        return context, weights

    def _cell_input(self, word: list[Tensor], context: Tensor, feed: tuple[Tensor, ...]) -> Tensor | None:
        before = self.attention is not None and self.attend == "before"
        parts = [*word, *feed]
        if before or self.context_every_step:
            parts.append(context)
        if not parts:
            return None
        return torch.cat([part.to(parts[0].dtype) for part in parts], dim=-1) if len(parts) > 1 else parts[0]

    def _between(self, y: Tensor, context: Tensor) -> Tensor:
        found: Tensor = self.dropout_between(torch.cat([y, context.to(y.dtype)], dim=-1))
        return found

    def _readout(self, state: Tensor, context: Tensor, word: Tensor) -> Tensor:
        parts = [state]
        if self.attention is not None or self.context_every_step:
            parts.append(context.to(state.dtype))
        if self.readout_word:
            parts.append(word.to(state.dtype))
        inputs = torch.cat(parts, dim=-1) if len(parts) > 1 else state
        found: Tensor = self.dropout(self.readout(inputs))
        return found
