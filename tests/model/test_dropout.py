"""What is dropped in training: how often, for how long, and never outside of it."""

from typing import Any

import pytest
import torch
from torch import Tensor

from suguk.config import ModelConfig
from suguk.kernels.dropout import chosen, dropout
from suguk.kernels.steps import Steps
from suguk.model import build
from suguk.model.cells import Cell, Habits
from suguk.model.dropout import Dropout, drop_rows, drop_words
from suguk.model.inputs import TokenEmbedding
from tests.model.compositions import SOURCE_V, TARGET_V, pairs, tiny

RAGGED = pairs((5, 1, 3), (4, 2, 4))
CPU = torch.device("cpu")
B, T, D = 3, 5, 211


def test_a_variational_mask_is_one_for_all_steps() -> None:
    torch.manual_seed(0)
    place = Dropout(0.3, variational=True)
    found = place(torch.ones(B, T, D))
    assert (found == found[:, :1]).all()
    assert not torch.equal(found[0], found[1])
    torch.testing.assert_close(found[found > 0].unique(), torch.tensor([1 / 0.7]), rtol=1e-4, atol=0)
    assert 0.2 < (found == 0).float().mean() < 0.4
    assert not torch.equal(place(torch.ones(B, T, D)), found)
    assert torch.equal(place.eval()(torch.ones(B, T, D)), torch.ones(B, T, D))


def test_a_loop_has_one_mask_a_place() -> None:
    torch.manual_seed(0)
    one, other = Dropout(0.5, variational=True), Dropout(0.5, variational=True)
    x = torch.ones(B, 1, D)
    with Steps(T, CPU):
        first = [one(x) for _ in range(T)]
        second = other(x)
    with Steps(T, CPU):
        third = one(x)
    assert all(torch.equal(found, first[0]) for found in first)
    assert not torch.equal(second, first[0])
    assert not torch.equal(third, first[0])


def test_attention_within_a_step_has_a_mask_of_its_own() -> None:
    """What the second cell is given is as wide as an encoder state; what the layer above is given, wider."""
    model = tiny(
        layers=2, attention="additive", attend="within", dropout=0.4, variational_dropout=True, readout="tanh"
    ).train()
    masks = list[Tensor]()
    for place in (model.decoder.dropout_within, model.decoder.dropout_between):
        place.register_forward_hook(lambda _, given, found: masks.append((found == 0) & (given[0] != 0)))
    model.loss(*RAGGED)
    steps = RAGGED.target.shape[1]
    assert len(masks) == 2 * steps
    assert masks[0].shape != masks[1].shape
    assert all(torch.equal(mask, masks[k % 2]) for k, mask in enumerate(masks))


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "gru-reset-before"])
def test_step_by_step_drops_what_all_at_once_drops(cell: str) -> None:
    """Both draw the same masks in the same order, so with one mask a sequence they are equal in training too."""
    settings = {"dropout": 0.4, "variational_dropout": True, "recurrent_dropout": 0.3, "word_dropout": 0.3}
    model = tiny(cell=cell, layers=3, attention="additive", readout="tanh", embedding_dropout=0.2, **settings)
    model.train()
    memory = model.encode(RAGGED.source, RAGGED.source_lengths)
    parameters = [p for name, p in model.decoder.named_parameters() if "u_a" not in name]
    results = []
    for forward in (model.decoder._at_once, model.decoder._stepwise):
        torch.manual_seed(3)
        readouts, weights, _ = forward(RAGGED.target, memory)
        gradients = torch.autograd.grad((readouts**2).sum(), parameters, retain_graph=True)
        results.append((readouts, weights, *gradients))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def test_dropped_recurrent_weights_learn_nothing() -> None:
    torch.manual_seed(0)
    cell = Cell(kind="lstm", inputs=5, hidden=31, habits=Habits(recurrent_dropout=0.3))
    for parameter in cell.parameters():
        torch.nn.init.uniform_(parameter, -0.5, 0.5)
    x, mask = torch.randn(2, 7, 5), torch.ones(2, 7, dtype=torch.bool)
    used = cell.weights.hh
    dropped = used == 0
    assert 0.25 < dropped.float().mean() < 0.35
    torch.testing.assert_close(used[~dropped], cell.weight_hh[~dropped] / 0.7, rtol=1e-4, atol=0)
    torch.manual_seed(4)
    y, _ = cell.sequence(x, mask, cell.initial(x, 2))
    y.sum().backward()  # type: ignore[no-untyped-call]
    torch.manual_seed(4)
    assert cell.weight_hh.grad is not None
    assert ((cell.weight_hh.grad == 0) == (cell.weights.hh == 0)).all()
    assert cell.eval().weights.hh is cell.weight_hh


def test_dropped_words_are_unknown_and_nothing_else_is() -> None:
    torch.manual_seed(0)
    ids = torch.arange(4 * 2500).reshape(4, -1) % 20
    found = drop_words(ids, 0.3)
    assert (found[ids < 4] == ids[ids < 4]).all()
    dropped = found != ids
    assert (found[dropped] == 1).all()
    assert 0.28 < dropped[ids >= 4].float().mean() < 0.32


def test_a_dropped_row_is_gone_wherever_it_is_used() -> None:
    torch.manual_seed(0)
    table, ids = torch.randn(1000, 7), torch.arange(2000).reshape(2, -1) % 1000
    factors = drop_rows(table, ids, 0.2)
    assert factors.shape == (2, 1000, 1)
    assert torch.equal(factors[0], factors[1])
    torch.testing.assert_close(torch.unique(factors), torch.tensor([0, 1 / 0.8]), rtol=1e-4, atol=0)
    assert 0.15 < (factors == 0).float().mean() < 0.25


def test_an_embedding_drops_in_training_only() -> None:
    torch.manual_seed(0)
    part = TokenEmbedding(size=50, embedding=7, words=0.5, rows=0.5)
    ids = torch.arange(4, 50).expand(2, -1)
    found = {tuple(row) for row in part(ids).flatten(0, 1).tolist()}
    assert (0.0,) * 7 in found
    assert len(found) < 40  # of 46 words
    plain = part.eval()(ids)
    assert torch.equal(plain, part.weight[ids])


def test_chosen_is_as_often_as_asked() -> None:
    torch.manual_seed(0)
    for share in (0.0, 1e-6, 0.05, 0.5, 0.999999, 1.0):
        assert chosen(torch.zeros(100_000), share).float().mean() == pytest.approx(share, abs=0.01)


def test_a_share_that_rounds_to_nothing_drops_nothing() -> None:
    ones = torch.ones(100, 100)
    assert torch.equal(dropout(ones, 1e-6, True), ones)
    assert float((dropout(ones, 1 - 1e-9, True) == 0).float().mean()) > 0.99


SETTINGS: dict[str, dict[str, Any]] = {
    "variational": {"dropout": 0.3, "variational_dropout": True},
    "recurrent": {"recurrent_dropout": 0.3},
    "words": {"word_dropout": 0.3},
    "rows": {"embedding_dropout": 0.3},
}


@pytest.mark.parametrize("attention", ["dot", "none"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_only_training_drops(settings: dict[str, Any], attention: str) -> None:
    plain = tiny(layers=2, attention=attention)
    model = tiny(layers=2, attention=attention, **settings)
    assert model.state_dict().keys() == plain.state_dict().keys()
    wanted = float(plain.loss(*RAGGED).total.detach())
    assert float(model.loss(*RAGGED).total.detach()) == wanted
    model.train()
    torch.manual_seed(1)
    first, second = (float(model.loss(*RAGGED).total.detach()) for _ in range(2))
    assert len({first, second, wanted}) == 3
    torch.manual_seed(1)
    assert float(model.loss(*RAGGED).total.detach()) == first


def test_what_is_off_draws_no_random_number() -> None:
    model = build(ModelConfig(hidden=6, embedding=5), SOURCE_V, TARGET_V, seed=1).train()
    before = torch.get_rng_state()
    model.loss(*RAGGED)
    assert torch.equal(torch.get_rng_state(), before)


def test_variational_dropout_needs_a_share() -> None:
    with pytest.raises(ValueError, match="dropout = 0"):
        ModelConfig(variational_dropout=True)
