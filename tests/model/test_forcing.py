"""What has to hold for every composition: forcing is stepping, the batch does not matter, nothing is dead."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from suguk.config import ModelConfig
from suguk.model import Seq2Seq, seq2seq
from suguk.search import select
from tests.model.compositions import CHOICES, COMPOSITIONS, PAIRED, TARGET_V, Pairs, every, pairs, tiny

RAGGED = pairs((5, 1, 3), (4, 2, 4))
SOS = 2


def test_every_choice_is_covered() -> None:
    for name, values in CHOICES.items():
        assert {settings[name] for settings in COMPOSITIONS} == set(values)
    for names in PAIRED:
        pairs = {tuple(settings[name] for name in names) for settings in COMPOSITIONS}
        possible = set(product(*(CHOICES[name] for name in names))) - {("none", True)}  # nothing to feed
        assert pairs == possible


def stepped(model: Seq2Seq, batch: Pairs, hypotheses: int) -> tuple[Tensor, Tensor]:
    """Log probabilities [B, T, V] and weights [B, T, S] of the last of equal hypotheses, step by step."""
    memory = model.encode(batch.source, batch.source_lengths)
    state = select(model.start(memory), torch.zeros(len(batch.source), hypotheses, dtype=torch.long))
    token = torch.full((len(batch.source), hypotheses), SOS)
    log_probs, weights = [], []
    for t in range(batch.target.shape[1]):
        found, state, seen = model.step(token, state, memory)
        log_probs.append(found[:, -1])
        weights.append(seen[:, -1])
        token = batch.target[:, t : t + 1].expand(-1, hypotheses)
    return torch.stack(log_probs, 1), torch.stack(weights, 1)


@every
@torch.no_grad()
def test_forcing_is_stepping(composition: dict[str, Any]) -> None:
    model = tiny(**composition)
    readouts, weights, _ = model.force(model.encode(RAGGED.source, RAGGED.source_lengths), RAGGED.target)
    for hypotheses in (1, 2):
        log_probs, seen = stepped(model, RAGGED, hypotheses)
        torch.testing.assert_close(model.head(readouts), log_probs, rtol=0, atol=1e-10)
        torch.testing.assert_close(weights, seen, rtol=0, atol=1e-10)


@every
@torch.no_grad()
def test_forced_a_few_steps_at_a_time(composition: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(**composition)
    wanted = model.log_probs(*RAGGED[:3])
    for few in (1, 3 * TARGET_V * 3):
        monkeypatch.setattr(seq2seq, "AT_ONCE", few)
        for one, other in zip(model.log_probs(*RAGGED[:3]), wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@every
def test_padded_is_alone(composition: dict[str, Any]) -> None:
    model = tiny(**composition)
    parameters = list(model.parameters())
    log_probs, weights = model.log_probs(RAGGED.source, RAGGED.source_lengths, RAGGED.target)
    for b in range(3):
        alone = RAGGED.row(b)
        own, seen = model.log_probs(alone.source, alone.source_lengths, alone.target)
        t, s = own.shape[1], seen.shape[2]
        torch.testing.assert_close(log_probs[b, :t], own[0], rtol=0, atol=1e-10)
        torch.testing.assert_close(weights[b, :t, :s], seen[0], rtol=0, atol=1e-10)
        together = torch.autograd.grad(log_probs[b, :t].sum(), parameters, retain_graph=True)
        apart = torch.autograd.grad(own.sum(), parameters)
        for a, c in zip(together, apart, strict=True):
            torch.testing.assert_close(a, c, rtol=0, atol=1e-10)


@every
@torch.no_grad()
def test_attention_stays_on_the_source(composition: dict[str, Any]) -> None:
    model = tiny(**composition)
    _, weights = model.log_probs(RAGGED.source, RAGGED.source_lengths, RAGGED.target)
    padding = torch.arange(5) >= RAGGED.source_lengths.unsqueeze(1)
    assert (weights.transpose(1, 2)[padding] == 0).all()
    assert (weights >= 0).all()
    sums = weights.sum(-1)
    if composition["attention"] == "none":
        assert (sums == 0).all()
    elif composition["attention"] == "local-p":
        assert (sums > 0).all()
        assert (sums <= 1).all()
    else:
        torch.testing.assert_close(sums, torch.ones_like(sums))


@every
def test_every_parameter_learns(composition: dict[str, Any]) -> None:
    model = tiny(**composition)
    model.loss(*RAGGED).total.backward()  # type: ignore[no-untyped-call]
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


@every
def test_padding_does_not_enter_the_loss(composition: dict[str, Any]) -> None:
    model = tiny(**composition)
    wanted, found = (
        model.loss(*batch, label_smoothing=0.1) for batch in (RAGGED, pairs((5, 1, 3), (4, 2, 4), more=3))
    )
    assert found.tokens == wanted.tokens == 10
    torch.testing.assert_close(found.total, wanted.total, rtol=0, atol=1e-10)
    torch.testing.assert_close(found.nll, wanted.nll, rtol=0, atol=1e-10)
    gradients = [torch.autograd.grad(loss.total, list(model.parameters())) for loss in (found, wanted)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_the_number_of_tokens_may_be_known() -> None:
    model = tiny(coverage=True, attention="additive", attend="after")
    wanted = model.loss(*RAGGED, label_smoothing=0.1, coverage_loss=0.5)
    found = model.loss(*RAGGED, label_smoothing=0.1, coverage_loss=0.5, tokens=10)
    assert found.tokens == wanted.tokens == 10
    assert torch.equal(found.total, wanted.total)
    leaves = list(model.parameters())
    for a, b in zip(*(torch.autograd.grad(loss.total, leaves) for loss in (found, wanted)), strict=True):
        assert torch.equal(a, b)


@every
def test_bfloat16_stays_near(composition: dict[str, Any]) -> None:
    model = tiny(**composition).float()
    wanted = model.loss(*RAGGED).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model.loss(*RAGGED).total
    assert found.dtype == torch.float32
    assert abs(found - wanted) / wanted < 0.05
    found.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


IMPOSSIBLE = {
    "zero bridge, nothing of the source": {"bridge": "zero"},
    "half of the encoder unread": {"bridge": "backward", "bidirectional": True},
    "rank of a projection that is tied": {"tied": "target", "readout_rank": 2},
}


@pytest.mark.parametrize("settings", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_settings_that_would_be_dead_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        ModelConfig.model_validate(settings)


@pytest.mark.parametrize(
    "kind",
    [
        {"attention": "local-p", "readout": "tanh", "input_feeding": True},
        {"attention": "additive", "attend": "before", "readout": "maxout"},
        {"attention": "additive", "attend": "within", "readout": "tanh"},
        {"attention": "additive", "attend": "between", "readout": "tanh"},
    ],
    ids=lambda kind: kind.get("attend", "after"),
)
@pytest.mark.parametrize("cell", CHOICES["cell"])
def test_gradcheck(cell: str, kind: dict[str, Any]) -> None:
    model = tiny(cell=cell, layers=2, **kind)
    batch = pairs((3, 2), (2, 1))
    parameters = list(model.parameters())

    def loss(*_: Tensor) -> Tensor:
        return model.loss(*batch, label_smoothing=0.2).total

    assert torch.autograd.gradcheck(loss, parameters, fast_mode=True)


def test_vocabulary_is_the_targets() -> None:
    model = tiny()
    readouts, *_ = model.force(model.encode(RAGGED.source, RAGGED.source_lengths), RAGGED.target)
    log_probs = model.head(readouts)
    assert log_probs.shape == (3, 4, TARGET_V)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(3, 4, dtype=torch.float64))
