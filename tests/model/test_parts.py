"""The parts by themselves: windows, location, loss, dropout, initialisation, tying."""

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from suguk import config
from suguk.config import ModelConfig
from suguk.model import Memory, build
from suguk.model.attention import Attention, DotScore, PredictiveWindow
from suguk.model.cells import Cell
from tests.model.compositions import SOURCE_V, TARGET_V, Pairs, pairs, tiny

RAGGED = pairs((7, 1, 4), (5, 6, 3))
ONLY_END = Pairs(torch.tensor([[3]]), torch.tensor([1]), torch.tensor([[5, 3]]), torch.tensor([2]))


def weights_of(**settings: Any) -> torch.Tensor:
    with torch.no_grad():
        _, weights = tiny(**settings).log_probs(RAGGED.source, RAGGED.source_lengths, RAGGED.target)
    return weights


@pytest.mark.parametrize("attend", ["before", "after"])
@pytest.mark.parametrize("window", [1, 2])
def test_local_m_looks_around_the_target_position(attend: str, window: int) -> None:
    weights = weights_of(attention="local-m", attend=attend, attention_window=window)
    for b, length in enumerate(RAGGED.source_lengths.tolist()):
        for t in range(6):
            centre = min(t, length - 1)
            inside = [s for s in range(7) if abs(s - centre) <= window and s < length]
            assert (weights[b, t] > 0).nonzero().flatten().tolist() == inside


def test_local_p_predicts_where_to_look() -> None:
    torch.manual_seed(1)
    lengths, hidden, window = torch.tensor([11, 2, 7]), 5, 2
    part = PredictiveWindow(hidden=hidden, window=window).double()
    for parameter in part.parameters():
        torch.nn.init.uniform_(parameter, -2, 2)
    attention = Attention(score=DotScore(hidden=hidden), window=part)
    mask = torch.arange(11) < lengths.unsqueeze(1)
    values = torch.randn(3, 11, hidden, dtype=torch.float64)
    query = torch.randn(3, 13, hidden, dtype=torch.float64)
    memory = Memory(values, values, mask, values[:, 0], ())
    context, weights = attention(query, memory, torch.zeros(3, 13, dtype=torch.long))
    w_p, v_p = part.w_p.weight.detach(), part.v_p.weight[0].detach()
    for b, length in enumerate(lengths.tolist()):
        for t in range(13):
            p_t = float(length * torch.sigmoid(v_p @ torch.tanh(w_p @ query[b, t])))
            inside = [s for s in range(length) if abs(s - p_t) <= window]
            powers = {s: math.exp(float(query[b, t] @ values[b, s])) for s in inside}
            wanted = torch.zeros(11, dtype=torch.float64)
            for s in inside:
                wanted[s] = powers[s] / sum(powers.values()) * math.exp(-2 * (s - p_t) ** 2 / window**2)
            torch.testing.assert_close(weights[b, t], wanted, rtol=0, atol=1e-12)
            torch.testing.assert_close(context[b, t], wanted @ values[b], rtol=0, atol=1e-12)


@pytest.mark.parametrize("positions", [1, 3, 50])
def test_location_never_looks_beyond_what_it_knows(positions: int) -> None:
    weights = weights_of(attention="location", attention_positions=positions)
    assert (weights[:, :, positions:] == 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 6, dtype=torch.float64))


def test_scaled_dot_divides_by_the_root_of_the_width() -> None:
    query, values = torch.randn(2, 3, 16), torch.randn(2, 5, 16)
    torch.testing.assert_close(
        DotScore(hidden=16, scaled=True)(query, values), DotScore(hidden=16)(query, values) / 4
    )


@pytest.mark.parametrize("kind", ["none", "dot", "additive", "location", "local-m", "local-p"])
def test_a_source_of_its_end_alone(kind: str) -> None:
    model = tiny(attention=kind, reverse_source=True)
    log_probs, weights = model.log_probs(ONLY_END.source, ONLY_END.source_lengths, ONLY_END.target)
    assert log_probs.isfinite().all()
    if kind not in ("none", "local-p"):
        assert (weights == 1).all()
    model.loss(*ONLY_END).total.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_the_loss_is_torchs_cross_entropy(smoothing: float) -> None:
    model = tiny(attention="general", readout_rank=3)
    readouts, *_ = model.force(model.encode(RAGGED.source, RAGGED.source_lengths), RAGGED.target)
    logits = F.linear(model.head.factor(readouts), model.head.weight, model.head.bias).flatten(0, 1)
    wanted, plain = (
        F.cross_entropy(
            logits, RAGGED.target.flatten(), ignore_index=0, reduction="sum", label_smoothing=value
        )
        for value in (smoothing, 0.0)
    )
    loss = model.loss(*RAGGED, label_smoothing=smoothing)
    torch.testing.assert_close(loss.total, wanted)
    torch.testing.assert_close(loss.nll, plain.detach())
    assert loss.tokens == 14
    assert not loss.nll.requires_grad


@pytest.mark.parametrize("recipe", config.recipes())
def test_dropout_is_for_training_only(recipe: str) -> None:
    sizes = {"hidden": 8, "encoder_hidden": 4, "embedding": 5, "readout_size": 7}
    if not config.load(recipe).model.bidirectional:
        sizes["encoder_hidden"] = 8
    settings = config.load(recipe, {"model": sizes | {"word_dropout": 0.0}}).model
    losses = {}
    for dropout in (0.0, 0.5):
        settings = settings.model_copy(update={"dropout": dropout})
        size = max(SOURCE_V, TARGET_V)
        model = build(settings, size, size, seed=1)
        torch.manual_seed(2)
        for parameter in model.parameters():  # the papers' initial ones are nearly zero
            torch.nn.init.uniform_(parameter, -0.5, 0.5)
        for training in (True, False):
            model.train(training)
            losses[dropout, training] = [
                float(model.loss(*RAGGED, RAGGED.source if model.copies else None).total.detach())
                for _ in range(2)
            ]
    for dropout, training in losses:
        first, second = losses[dropout, training]
        assert (first != second) == (dropout > 0 and training)
    assert losses[0.0, True] == losses[0.5, False] == losses[0.0, False]


def test_a_seed_fixes_the_weights_and_leaves_the_global_generator_alone() -> None:
    settings = config.load("small", {"model": {"hidden": 8, "encoder_hidden": 4, "embedding": 5}}).model
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again, other = (build(settings, SOURCE_V, TARGET_V, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    unseeded = build(settings, SOURCE_V, TARGET_V)
    assert not torch.equal(torch.get_rng_state(), before)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        if "bias" not in name:
            assert not torch.equal(value, other.state_dict()[name])
            assert not torch.equal(value, unseeded.state_dict()[name])


@pytest.mark.parametrize("kind", ["xavier", "uniform", "normal"])
@pytest.mark.parametrize("cell", ["lstm", "gru-reset-before"])
def test_initial_weights(kind: str, cell: str) -> None:
    settings = ModelConfig.model_validate(
        {
            "hidden": 12,
            "embedding": 5,
            "cell": cell,
            "attention": "additive",
            "init": kind,
            "init_scale": 0.02,
        }
    )
    model = build(settings, SOURCE_V, TARGET_V, seed=2)
    if kind == "uniform":
        assert all(p.abs().max() <= 0.02 and p.abs().max() > 0.005 for p in model.parameters())
        return
    for part in model.modules():
        if isinstance(part, Cell):
            for block in part.weight_hh.split(12):  # type: ignore[no-untyped-call]
                torch.testing.assert_close(block @ block.T, torch.eye(12), rtol=0, atol=1e-5)
            forget = part.bias_ih[12:24] + part.bias_hh[12:24]
            assert (forget == (1.0 if cell == "lstm" and kind == "xavier" else 0.0)).all()
            assert (part.bias_ih[:12] == 0).all()
    v_a = dict(model.named_parameters())["decoder.attention.score.v_a"]
    assert (v_a == 0).all() == (kind == "normal")


@pytest.mark.parametrize("tied", ["none", "target", "all"])
def test_tied_tables_are_one_tensor(tied: str) -> None:
    model = tiny(tied=tied)
    source, target = model.encoder.embedding.weight, model.decoder.embedding.weight
    assert (model.head.weight is target) == (tied != "none")
    assert (source is target) == (tied == "all")
    names = [name for name, _ in model.named_parameters()]
    assert (
        len(names) == len(tiny().state_dict()) + (tied != "none") - {"none": 0, "target": 1, "all": 2}[tied]
    )


def test_reversing_the_source_leaves_its_end_at_the_end() -> None:
    """What attention sees stays in the order of the source."""
    plain, reversing = tiny(), tiny(reverse_source=True)
    source, flipped = torch.tensor([[4, 5, 6, 3, 0]]), torch.tensor([[6, 5, 4, 3, 0]])
    length = torch.tensor([4])
    wanted, found = plain.encode(flipped, length), reversing.encode(source, length)
    torch.testing.assert_close(found.initial, wanted.initial)
    torch.testing.assert_close(found.values, wanted.values[:, [2, 1, 0, 3, 4]])


def test_the_copy_bridge_takes_the_topmost_layers() -> None:
    model = tiny(layers=1, encoder_layers=3, cell="lstm")
    memory = model.encode(RAGGED.source, RAGGED.source_lengths)
    last = model.encoder(RAGGED.source, RAGGED.source_lengths).last
    assert len(last) == 3
    torch.testing.assert_close(memory.initial, last[2:])


@pytest.mark.parametrize("score", ["dot", "scaled-dot", "general"])
@pytest.mark.parametrize("heads", [1, 4])
def test_exact_sums_do_not_depend_on_the_longest_source(score: str, heads: int) -> None:
    """Contexts that eight-bit products read are the same to the last bit, whatever a row is padded to."""
    settings = config.load("luong2015", {"model": {"hidden": 64, "layers": 1, "attention": score}}).model
    settings = settings.model_copy(update={"attention_heads": heads})
    attention = build(settings, 30, 30, seed=1).decoder.attention
    assert attention is not None
    attention = attention.float()
    attention.be_exact()
    torch.manual_seed(2)
    query, values = torch.randn(40, 5, 64), torch.randn(40, 90, 64)
    position = torch.zeros(40, 5, dtype=torch.long)
    keys, contents = attention.prepare(values), attention.contents(values)
    found = []
    for longest in (13, 40, 90):
        mask = (torch.arange(longest) < 13).expand(40, longest)
        shown = tuple(part.narrow(-2, 0, longest) for part in (keys, values, *contents))
        memory = Memory(shown[0], shown[1], mask, shown[1][:, 0], (), shown[2:])
        context, weights = attention(query, memory, position)
        assert context.dtype == weights.dtype == torch.float32
        found.append(torch.cat([context, weights[:, :, :13]], dim=-1))
    assert torch.equal(found[1], found[0])
    assert torch.equal(found[2], found[0])


@pytest.mark.parametrize(("score", "scale"), [("dot", 1.0), ("scaled-dot", 1 / 8)])
def test_exact_sums_are_those_of_float64(score: str, scale: float) -> None:
    """Bit by bit, which sums in float32 are not."""
    settings = config.load("luong2015", {"model": {"hidden": 64, "layers": 1, "attention": score}}).model
    attention = build(settings, 30, 30, seed=1).decoder.attention
    assert attention is not None
    torch.manual_seed(2)
    query, values = torch.randn(40, 5, 64), torch.randn(40, 90, 64)
    mask, position = torch.ones(40, 90, dtype=torch.bool), torch.zeros(40, 5, dtype=torch.long)
    memory = Memory(values, values, mask, values[:, 0], ())
    weights = (query.double() @ values.double().transpose(1, 2) * scale).softmax(-1)
    wanted = (weights @ values.double()).float()
    assert not torch.equal(attention(query, memory, position)[0], wanted)
    attention.be_exact()
    assert torch.equal(attention(query, memory, position)[0], wanted)
