"""Encoder, bridge, decoder and head as one module.

Shapes: B batch, S source length, T target length, Q hypotheses of a row, V vocabulary; log probabilities of a model
that copies are [.., V + S], see `copying`.
"""

import torch
from torch import Tensor, nn

from suguk.fields import SOS
from suguk.kernels.steps import Steps
from suguk.model.attention import looked_again
from suguk.model.copying import copied, extended
from suguk.model.decoder import Decoder
from suguk.model.encoder import Encoder
from suguk.model.heads import Loss, TokenHead
from suguk.model.memory import Memory, State

AT_ONCE = 2**22  # log probabilities of forced decoding: 16 MB


class Seq2Seq(nn.Module):
    """p(target | source). Satisfies `search.step.Stepper`."""

    def __init__(
        self, *, encoder: Encoder, bridge: nn.Module, summary: nn.Module, decoder: Decoder, head: TokenHead
    ) -> None:
        super().__init__()
        self.encoder, self.bridge, self.summary = encoder, bridge, summary
        self.decoder, self.head = decoder, head

    def encode(self, source: Tensor, lengths: Tensor, copies: Tensor | None = None) -> Memory:
        """source: [B, S] ids ending in `<eos>`, padded; lengths: [B]. All that decoding needs, prepared once.

        copies: [B, S], see `copying`; a model that copies needs them to decode.
        """
        encoded = self.encoder(source, lengths)
        context = self.summary(encoded.last[-1][0])
        attention = self.decoder.attention
        keys = encoded.states if attention is None else attention.prepare(encoded.states)
        top = (context, *encoded.last[-1][1:])  # the decoder starts from the context too: h'_0 = tanh(V' c)
        initial = self.bridge((*encoded.last[:-1], top))
        contents = () if attention is None else attention.contents(encoded.states)
        held = () if copies is None else (copies,)
        return Memory(keys, encoded.states, encoded.mask, context, initial, contents, held)

    def start(self, memory: Memory) -> State:
        """Before the first word: see `Decoder.start`."""
        return self.decoder.start(memory)

    def step(self, token: Tensor, state: State, memory: Memory) -> tuple[Tensor, State, Tensor]:
        """token: [B, Q]. Returns log probabilities of the next word [B, Q, V], the new state, weights [B, Q, S]."""
        readout, state, weights, switch = self.decoder.step(token, state, memory)
        return self._log_probs(readout, weights, switch, memory), state, weights

    def force(self, memory: Memory, target: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Teacher forcing of given targets [B, T]: readouts [B, T, R], attention weights [B, T, S], see `Decoder`."""
        sos = torch.full_like(target[:, :1], SOS)
        found: tuple[Tensor, Tensor, tuple[Tensor, ...]]
        found = self.decoder(torch.cat([sos, target[:, :-1]], dim=1), memory)
        return found

    def forced(self, memory: Memory, target: Tensor) -> tuple[Tensor, Tensor]:
        """Log probabilities after each of the given targets [B, T, V], and attention weights [B, T, S]."""
        readouts, weights, switch = self.force(memory, target)
        return self._log_probs(readouts, weights, switch, memory), weights

    def _log_probs(
        self, readout: Tensor, weights: Tensor, switch: tuple[Tensor, ...], memory: Memory
    ) -> Tensor:
        log_probs: Tensor = self.head(readout)
        return extended(log_probs, switch[0], weights, memory.copies[0]) if switch else log_probs

    @torch.no_grad()
    def mix(self, memory: Memory, target: Tensor, truth: float) -> Tensor:
        """Scheduled sampling (Bengio et al. 2015 §2.3): what the decoder is fed, [B, T], in the place of the targets.

        After `<sos>` each is the true one with probability `truth`, else drawn from the model's distribution after what
        it was fed so far. Drawn without dropout in the decoder, from the encoder's states of this update; no gradient
        flows through the draws, so they need none, and the steps that do need one are those of teacher forcing.
        """
        training = self.decoder.training
        self.decoder.eval()
        state, tokens = self.start(memory), [torch.full_like(target[:, :1], SOS)]
        try:
            with Steps(target.shape[1], target.device):
                for true in torch.split(target[:, :-1], 1, dim=1) if target.shape[1] > 1 else ():
                    log_probs, state, _ = self.step(tokens[-1], state, memory)
                    drawn = torch.rand_like(true, dtype=torch.float32) >= truth
                    tokens.append(torch.where(drawn, _drawn(log_probs), true))
        finally:  # a batch that finds no memory here is computed again in halves
            self.decoder.train(training)
            torch.clear_autocast_cache()  # of weights that were cast without a gradient
        return torch.cat(tokens, dim=1)

    @staticmethod
    def contexts(memory: Memory) -> tuple[Tensor, Tensor]:
        """The source as one vector, [B, C] each: the context, and the mean of the encoder's states."""
        real = memory.mask.unsqueeze(-1).to(memory.values.dtype)
        return memory.context, (memory.values * real).sum(1) / real.sum(1)

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self.head.bias.dtype

    @property
    def words(self) -> int:
        """V: in the target's vocabulary."""
        return len(self.head.bias)

    @property
    def copies(self) -> bool:
        """Whether outputs may hold words of the source that the vocabulary lacks."""
        return self.decoder.switch is not None

    def loss(
        self,
        source: Tensor,
        source_lengths: Tensor,
        target: Tensor,
        target_lengths: Tensor,
        copies: Tensor | None = None,
        *,
        label_smoothing: float = 0.0,
        coverage_loss: float = 0.0,
        truth: float | None = None,
        tokens: int | None = None,
    ) -> Loss:
        """Cross-entropy under teacher forcing, over real tokens only. target: [B, T] ending in `<eos>`, padded.

        copies: see `encode`. coverage_loss: what `looked_again` counts for in the total. truth: with scheduled
        sampling, the probability of each true token to be fed, see `mix`. tokens: how many are real; a GPU need
        not be waited for where this is known.
        """
        memory = self.encode(source, source_lengths, copies)
        if truth is None:
            readouts, weights, switch = self.force(memory, target)
        else:
            readouts, weights, switch = self.decoder(self.mix(memory, target, truth), memory)
        real = torch.arange(target.shape[1], device=target.device) < target_lengths.unsqueeze(1)
        at = (
            real.nonzero(as_tuple=True)
            if tokens is None
            else torch.nonzero_static(real, size=tokens).unbind(1)
        )
        mixture = None
        if switch:
            mixture = switch[0][at], copied(switch[0], weights, memory.copies[0], target)[at]
        loss = self.head.loss(readouts[at], target[at], label_smoothing=label_smoothing, mixture=mixture)
        if coverage_loss:
            again = looked_again(weights)[at].sum().to(loss.total.dtype)
            loss = loss._replace(total=loss.total + coverage_loss * again)
        return loss

    def log_probs(
        self, source: Tensor, source_lengths: Tensor, target: Tensor, copies: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Forced decoding: log p of every target token [B, T] (padding included) and attention weights [B, T, S].

        Of [B, T, V] a few steps at a time.
        """
        memory = self.encode(source, source_lengths, copies)
        readouts, weights, switch = self.force(memory, target)
        few = max(AT_ONCE // (len(target) * self.words), 1)
        parts = (torch.split(one, few, dim=1) for one in (readouts, weights, target, *switch))
        found = []
        for readout, seen, wanted, *gate in zip(*parts, strict=True):
            log_probs = self._log_probs(readout, seen, tuple(gate), memory)
            found.append(log_probs.gather(-1, wanted.unsqueeze(-1)).squeeze(-1))
        return torch.cat(found, dim=1), weights


def _drawn(log_probs: Tensor) -> Tensor:
    """A token [B, Q] from each distribution. The largest of log p plus Gumbel noise, which is drawn like p."""
    noise = -torch.empty_like(log_probs).exponential_().log()
    return torch.argmax(log_probs + noise, dim=-1)
