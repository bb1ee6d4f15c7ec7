"""Coverage against See et al. 2017, in float64: energies, what a step adds, and the loss."""

from typing import Any

import pytest
import torch
from torch import Tensor

from suguk import config
from suguk.config import ModelConfig
from suguk.errors import ConfigError
from suguk.model import Seq2Seq
from suguk.model.attention import CoverageScore, looked_again
from suguk.search import select
from tests.model.compositions import pairs, tiny

RAGGED = pairs((5, 1, 3), (4, 2, 4))
SETTINGS = {"attention": "additive", "coverage": True}


def weights_of(model: Seq2Seq) -> Tensor:
    return model.log_probs(RAGGED.source, RAGGED.source_lengths, RAGGED.target)[1]


@pytest.mark.parametrize("attend", ["before", "after"])
def test_energies_know_what_was_looked_at(attend: str) -> None:
    """Eqs. 10-11: with the decoder's states known, every weight follows from the weights before it."""
    model = tiny(**SETTINGS, attend=attend)
    score = model.decoder.attention.score  # type: ignore[union-attr]
    assert isinstance(score, CoverageScore)
    memory = model.encode(RAGGED.source, RAGGED.source_lengths)
    state, token = model.start(memory), torch.full((3, 1), 2)
    covered = torch.zeros(3, 5, dtype=torch.float64)
    for t in range(4):
        before = state.cells[-1][0][:, 0]
        _, state, weights = model.step(token, state, memory)
        query = before if attend == "before" else state.cells[-1][0][:, 0]
        for b, length in enumerate(RAGGED.source_lengths.tolist()):
            energies = [
                score.v_a
                @ torch.tanh(
                    score.w_a.weight @ query[b]
                    + score.u_a.weight @ memory.values[b, s]
                    + score.w_c * covered[b, s]
                )
                for s in range(length)
            ]
            wanted = torch.softmax(torch.stack(energies), 0)
            torch.testing.assert_close(weights[b, 0, :length], wanted, rtol=0, atol=1e-10)
        covered = covered + weights[:, 0]
        torch.testing.assert_close(state.covered[0][:, 0], covered, rtol=0, atol=1e-10)
        token = RAGGED.target[:, t : t + 1]


def test_it_begins_as_attention_without_it() -> None:
    """w_c is 0 at first, so coverage may be added to a model that was trained without."""
    plain, model = tiny(attention="additive"), tiny(**SETTINGS)
    missing, unexpected = model.load_state_dict(plain.state_dict(), strict=False)
    assert (missing, unexpected) == (["decoder.attention.score.w_c"], [])
    score = model.decoder.attention.score  # type: ignore[union-attr]
    with torch.no_grad():
        score.w_c.zero_()  # type: ignore[operator]
    torch.testing.assert_close(weights_of(model), weights_of(plain))
    assert plain.start(plain.encode(RAGGED.source, RAGGED.source_lengths)).covered == ()


def test_hypotheses_have_a_coverage_of_their_own() -> None:
    model = tiny(**SETTINGS)
    memory = model.encode(RAGGED.source, RAGGED.source_lengths)
    state = select(model.start(memory), torch.zeros(3, 2, dtype=torch.long))
    for words in ([[4, 5]] * 3, [[6, 7]] * 3):
        _, state, _ = model.step(torch.tensor(words), state, memory)
    turned = select(state, torch.tensor([[1, 0]] * 3))
    assert torch.equal(turned.covered[0], state.covered[0].flip(1))
    assert not torch.equal(state.covered[0][0, 0], state.covered[0][0, 1])


def test_looking_again_costs() -> None:
    """Eqs. 12-13, on a ragged batch: the total grows by λ Σ_t Σ_s min(a_ts, c_ts) over real target tokens."""
    model = tiny(**SETTINGS)
    weights, wanted = weights_of(model), torch.zeros((), dtype=torch.float64)
    for b in range(3):
        covered = torch.zeros(5, dtype=torch.float64)
        for t in range(int(RAGGED.target_lengths[b])):
            wanted = wanted + sum(min(weights[b, t, s], covered[s]) for s in range(5))
            covered = covered + weights[b, t]
    plain, found = (model.loss(*RAGGED, coverage_loss=share) for share in (0.0, 0.7))
    torch.testing.assert_close(found.total, plain.total + 0.7 * wanted, rtol=0, atol=1e-10)
    assert torch.equal(found.nll, plain.nll)
    gradients = [torch.autograd.grad(loss.total, list(model.parameters())) for loss in (found, plain)]
    more = torch.autograd.grad(wanted, list(model.parameters()), allow_unused=True)
    for a, b, c in zip(*gradients, more, strict=True):
        torch.testing.assert_close(a, b if c is None else b + 0.7 * c, rtol=0, atol=1e-9)


def test_looking_nowhere_again_is_free() -> None:
    torch.testing.assert_close(looked_again(torch.eye(3).unsqueeze(0)), torch.zeros(1, 3))
    torch.testing.assert_close(looked_again(torch.ones(1, 3, 1)), torch.tensor([[0.0, 1.0, 1.0]]))


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("attention", ["dot", "local-p"])
def test_any_attention_may_be_told_not_to_look_again(attention: str, heads: int) -> None:
    model = tiny(attention=attention, attention_heads=heads)
    assert model.loss(*RAGGED, coverage_loss=1.0).total > model.loss(*RAGGED).total


def test_gradcheck() -> None:
    model = tiny(**SETTINGS, readout="tanh", input_feeding=True)
    batch = pairs((3, 2), (3, 2))
    assert torch.autograd.gradcheck(
        lambda *_: model.loss(*batch, coverage_loss=0.5).total, list(model.parameters()), fast_mode=True
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attention": "dot"}, "found attention = dot"),
        ({"attention": "additive", "attention_heads": 2}, "found attention_heads = 2"),
    ],
)
def test_coverage_that_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig.model_validate({"coverage": True, **settings})


def test_a_loss_of_weights_needs_weights() -> None:
    with pytest.raises(ConfigError, match=r"train\.coverage_loss"):
        config.build({"train": {"coverage_loss": 1.0}})
