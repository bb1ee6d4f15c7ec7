"""Copying against See et al. 2017, in float64: distribution, loss and its gradient, and what must not matter."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from suguk.config import ModelConfig
from suguk.model import Ensemble, Seq2Seq, build, seq2seq
from suguk.model.copying import copied, extended
from suguk.search import search
from tests.model.compositions import SOURCE_V, TARGET_V, Pairs, pairs, tiny

V = TARGET_V
RAGGED = pairs((5, 1, 3), (4, 2, 4))
# What each source position stands for: known words, unknown ones (one of them twice), `<eos>`, padding.
COPIES = torch.tensor([[5, V + 1, 7, V + 1, 3], [3, 0, 0, 0, 0], [V, V + 1, 3, 0, 0]])
# Generated, copied, copied though known, neither.
TARGET = torch.tensor([[V + 1, 7, 9, 3], [4, 3, 0, 0], [V, V + 1, 1, 3]])
COMPOSITIONS: list[dict[str, Any]] = [
    {"attention": "additive", "attend": "before", "readout": "maxout", "readout_word": True},
    {"attention": "general", "readout": "tanh", "input_feeding": True},
    {"attention": "dot", "layers": 2, "attend": "between", "tied": "target", "cell": "gru"},
    {"attention": "scaled-dot", "attention_heads": 2, "readout": "tanh", "scale_embeddings": True},
    {"attention": "additive", "coverage": True, "readout_state": "previous"},
]
every = pytest.mark.parametrize("composition", COMPOSITIONS, ids=lambda one: one["attention"])


def encoded(model: Seq2Seq, batch: Pairs = RAGGED, copies: Tensor = COPIES) -> Any:
    return model.encode(batch.source, batch.source_lengths, copies)


@torch.no_grad()
def distribution(model: Seq2Seq, target: Tensor = TARGET) -> Tensor:
    """Eqs. 8-9, word by word: P [B, T, V + S]."""
    memory = encoded(model)
    readouts, weights, (logits,) = model.force(memory, target)
    vocabulary = model.head(readouts).exp()
    found = torch.zeros(*target.shape, V + COPIES.shape[1], dtype=torch.float64)
    for b in range(len(target)):
        for t in range(target.shape[1]):
            p_gen = 1 / (1 + math.exp(-float(logits[b, t])))
            for word in range(V + COPIES.shape[1]):
                attended = sum(
                    float(weights[b, t, i])
                    for i in range(int(RAGGED.source_lengths[b]))
                    if COPIES[b, i] == word
                )
                generated = float(vocabulary[b, t, word]) if word < V else 0.0
                found[b, t, word] = p_gen * generated + (1 - p_gen) * attended
    return found


@every
def test_is_the_paper(composition: dict[str, Any]) -> None:
    model = tiny(copying=True, **composition)
    found, _ = model.forced(encoded(model), TARGET)
    wanted = distribution(model)
    torch.testing.assert_close(found.exp(), wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(wanted.sum(-1), torch.ones(3, 4, dtype=torch.float64))


def test_the_switch_is_of_context_state_and_word() -> None:
    """Eq. 8, with an attention after the cell: all three can be had from outside."""
    model = tiny(copying=True, attention="general")
    memory = encoded(model)
    switch = model.decoder.switch
    assert switch is not None
    token = torch.tensor([[V + 1], [4], [9]])
    readout, state, weights, (logit,) = model.decoder.step(token, model.start(memory), memory)
    context, hidden = (weights @ memory.values)[:, 0], state.cells[-1][0][:, 0]
    words = model.decoder.embedding.weight[torch.tensor([1, 4, 9])]  # a word that is not known is `<unk>`
    wanted = torch.cat([context, hidden, words], dim=-1) @ switch.w_p.weight[0] + switch.w_p.bias[0]
    torch.testing.assert_close(logit[:, 0], wanted)
    assert readout.shape[:2] == (3, 1)


@every
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_and_its_gradient_are_those_of_the_formula(
    composition: dict[str, Any], smoothing: float
) -> None:
    """Smoothing is of what is generated: (1 − ε) · −log P(y) − ε · mean over V of log P_vocab."""
    model = tiny(copying=True, **composition)
    batch = (RAGGED.source, RAGGED.source_lengths, TARGET, RAGGED.target_lengths, COPIES)
    real = torch.arange(4) < RAGGED.target_lengths.unsqueeze(1)
    loss = model.loss(*batch, label_smoothing=smoothing)

    readouts, weights, (logits,) = model.force(encoded(model), TARGET)
    log_vocabulary = model.head(readouts)
    p_gen = torch.sigmoid(logits)
    known = (TARGET < V).unsqueeze(-1)
    generated = (log_vocabulary.exp().gather(-1, TARGET.clamp(max=V - 1).unsqueeze(-1)) * known).squeeze(-1)
    there = (COPIES.unsqueeze(1) == TARGET.unsqueeze(-1)).double()
    log_p = (p_gen * generated + (1 - p_gen) * (weights * there).sum(-1)).log()
    nll = -log_p[real].sum()
    total = (1 - smoothing) * nll - smoothing * log_vocabulary.mean(-1)[real].sum()

    torch.testing.assert_close(loss.nll, nll.detach())
    torch.testing.assert_close(loss.total, total)
    parameters = dict(model.named_parameters())
    found, wanted = (torch.autograd.grad(one, list(parameters.values())) for one in (loss.total, total))
    for name, a, b in zip(parameters, found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9, msg=name)


@every
def test_forward_equals_stepping(composition: dict[str, Any]) -> None:
    model = tiny(copying=True, **composition)
    memory = encoded(model)
    wanted, weights = model.forced(memory, TARGET)
    state, token = model.start(memory), torch.full((3, 1), 2)
    for t in range(4):
        found, state, seen = model.step(token, state, memory)
        torch.testing.assert_close(found[:, 0], wanted[:, t])
        torch.testing.assert_close(seen[:, 0], weights[:, t])
        token = TARGET[:, t : t + 1]


@every
def test_padded_equals_alone(composition: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(copying=True, **composition)
    monkeypatch.setattr(seq2seq, "AT_ONCE", 100)  # two steps of all, six of one
    whole, _ = model.log_probs(RAGGED.source, RAGGED.source_lengths, TARGET, COPIES)
    for b in range(3):
        one = RAGGED.row(b)
        s, t = one.source.shape[1], one.target.shape[1]
        alone, _ = model.log_probs(
            one.source, one.source_lengths, TARGET[b : b + 1, :t], COPIES[b : b + 1, :s]
        )
        torch.testing.assert_close(alone[0], whole[b, :t])


def found_by(model: Seq2Seq | Ensemble, beam: int) -> Any:
    memory = model.encode(RAGGED.source, RAGGED.source_lengths, COPIES)
    return search(model, memory, torch.tensor([7, 7, 7]), torch.zeros(beam, 7, dtype=torch.float64))


@every
def test_a_search_writes_copied_words_and_knows_what_they_cost(composition: dict[str, Any]) -> None:
    model = tiny(copying=True, **composition)
    with torch.no_grad():
        assert model.decoder.switch is not None
        model.decoder.switch.w_p.bias.fill_(-3)
    for beam in (1, 3):
        found = found_by(model, beam)
        assert (found.tokens[0] >= V).any()
        scored, _ = model.log_probs(RAGGED.source, RAGGED.source_lengths, found.tokens[:, 0], COPIES)
        real = torch.arange(7) < found.lengths[:, :1]
        torch.testing.assert_close(found.log_probs[:, 0], (scored * real).sum(1))
    # Greedy search is a beam of one.
    memory = encoded(model)
    state, token = model.start(memory), torch.full((3, 1), 2)
    for t in range(4):
        log_probs, state, _ = model.step(token, state, memory)
        token = log_probs[..., 1:].argmax(-1) + 1
        if t == 0:
            assert torch.equal(token[:, 0], found_by(model, 1).tokens[:, 0, 0])


def test_an_ensemble_copies() -> None:
    models = [tiny(copying=True, attention=kind) for kind in ("general", "additive")]
    ensemble = Ensemble(models)
    both = torch.stack([model.forced(encoded(model), TARGET)[0].exp() for model in models]).mean(0)
    found, _ = ensemble.log_probs(RAGGED.source, RAGGED.source_lengths, TARGET, COPIES)
    wanted = both.log().gather(-1, TARGET.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(found, wanted)
    assert found_by(ensemble, 2).tokens.shape == (3, 2, 7)


def test_scheduled_sampling_may_feed_a_copied_word() -> None:
    model = tiny(copying=True, attention="general")
    assert model.decoder.switch is not None
    with torch.no_grad():
        model.decoder.switch.w_p.bias.fill_(-9)
    torch.manual_seed(1)
    fed = model.mix(encoded(model), TARGET, 0.0)
    assert (fed >= V).any()
    batch = (RAGGED.source, RAGGED.source_lengths, TARGET, RAGGED.target_lengths, COPIES)
    assert torch.isfinite(model.loss(*batch, truth=0.3).total)


def test_a_copied_word_without_attention_has_a_finite_loss() -> None:
    """In single precision a weight may be 0 though the word stands there."""
    weights = torch.tensor([[[1.0, 0.0]]])
    switch = torch.zeros(1, 1)
    mass = copied(switch, weights, torch.tensor([[4, V + 1]]), torch.tensor([[V + 1]]))
    assert 0 < float(mass) < 1e-20
    assert float(copied(switch, weights, torch.tensor([[4, V + 1]]), torch.tensor([[5]]))) == 0.0
    log_probs = extended(
        torch.full((1, 1, V), -200.0), torch.zeros(1, 1), weights, torch.tensor([[4, V + 1]])
    )
    assert float(log_probs[0, 0, 5]) == pytest.approx(-200 + math.log(0.5), abs=1e-3)
    assert float(log_probs[0, 0, 4]) == pytest.approx(math.log(0.5))
    assert float(log_probs[0, 0, V + 1]) == pytest.approx(float(mass.log()))  # what the loss says of it


def test_off_there_is_nothing_of_it() -> None:
    plain, model = tiny(attention="general"), tiny(attention="general", copying=True)
    more = set(dict(model.named_parameters())) - set(dict(plain.named_parameters()))
    assert more == {"decoder.switch.w_p.weight", "decoder.switch.w_p.bias"}
    assert plain.encode(RAGGED.source, RAGGED.source_lengths).copies == ()
    fresh = build(ModelConfig(attention="general", copying=True, hidden=6, embedding=5), SOURCE_V, V, seed=1)
    assert fresh.decoder.switch is not None
    assert fresh.decoder.switch.w_p.bias.tolist() == [0]  # as likely to copy as to generate


@pytest.mark.parametrize("attention", ["none", "location", "local-m", "local-p"])
def test_an_attention_that_does_not_reach_everything_is_refused(attention: str) -> None:
    with pytest.raises(ValueError, match=f"found attention = {attention}"):
        ModelConfig.model_validate({"copying": True, "attention": attention})
