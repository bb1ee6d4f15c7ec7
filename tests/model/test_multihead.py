"""Attention of several heads against its equations, one head and one query at a time, in float64."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from suguk.config import ModelConfig
from suguk.model import Memory, build
from suguk.model.multihead import MultiHeadAttention
from tests.model.compositions import SOURCE_V, TARGET_V, pairs, tiny

B, S, Q, N, H, C = 3, 7, 5, 2, 6, 4
LENGTHS = torch.tensor([7, 1, 4])
RAGGED = pairs((5, 1, 3), (4, 2, 4))


def drawn(**settings: Any) -> tuple[MultiHeadAttention, Tensor, Tensor]:
    """The attention of a model with drawn weights, queries and encoder states."""
    model = tiny(
        bidirectional=True, encoder_hidden=C // 2, bridge="linear", attention_heads=N, hidden=H, **settings
    )
    attention = model.decoder.attention
    assert isinstance(attention, MultiHeadAttention)
    torch.manual_seed(0)
    return (
        attention,
        torch.randn(B, Q, H, dtype=torch.float64),
        torch.randn(B, S, C, dtype=torch.float64),
    )


def head(p: Mapping[str, Tensor], kind: str, i: int, query: Tensor, value: Tensor) -> Tensor:
    """The energy of head i for one query [H] and one encoder state [C]."""
    if kind == "additive":
        inner = slice(i * 12 // N, (i + 1) * 12 // N)
        w_a, u_a, v_a = p["score.w_a.weight"][inner], p["score.u_a.weight"][inner], p["score.v_a"][inner]
        return v_a @ torch.tanh(w_a @ query + u_a @ value)
    rows = slice(i * H // N, (i + 1) * H // N)
    key = p["score.w_k.weight"][rows] @ value
    if kind == "general":
        return query[rows] @ key
    energy = (p["score.w_q.weight"][rows] @ query) @ key
    return energy / (H / N) ** 0.5 if kind == "scaled-dot" else energy


@pytest.mark.parametrize("kind", ["dot", "scaled-dot", "general", "additive"])
def test_heads_are_those_of_the_equations(kind: str) -> None:
    attention, query, values = drawn(attention=kind)
    mask = torch.arange(S) < LENGTHS.unsqueeze(1)
    memory = Memory(attention.prepare(values), values, mask, values[:, 0], (), attention.contents(values))
    context, weights = attention(query, memory, torch.zeros(B, Q, dtype=torch.long))
    assert weights.shape == (B, Q, S)
    p = dict(attention.named_parameters())
    for b, length in enumerate(LENGTHS.tolist()):
        for q in range(Q):
            outputs, total = [], torch.zeros(length, dtype=torch.float64)
            for i in range(N):
                energies = torch.stack([head(p, kind, i, query[b, q], values[b, s]) for s in range(length)])
                alpha = torch.softmax(energies, 0)
                w_v = p["w_v.weight"][i * C // N : (i + 1) * C // N]
                outputs.append(sum((alpha[s] * (w_v @ values[b, s]) for s in range(length)), torch.zeros(())))
                total = total + alpha / N
            torch.testing.assert_close(
                context[b, q], p["w_o.weight"] @ torch.cat(outputs), rtol=0, atol=1e-10
            )
            torch.testing.assert_close(weights[b, q, :length], total, rtol=0, atol=1e-10)
            assert (weights[b, q, length:] == 0).all()


@pytest.mark.parametrize("kind", ["scaled-dot", "additive", "local-p"])
def test_gradcheck(kind: str) -> None:
    model = tiny(attention=kind, attention_heads=3, readout="tanh", input_feeding=True)
    batch = pairs((3, 2), (2, 1))
    assert torch.autograd.gradcheck(
        lambda *_: model.loss(*batch).total, list(model.parameters()), fast_mode=True
    )


def test_heads_need_no_equal_widths() -> None:
    """Each has projections of its own, so even a dot score takes encoder states of another width."""
    settings = {"attention": "dot", "encoder_hidden": 4, "bridge": "linear"}
    with pytest.raises(ValueError, match="use general"):
        ModelConfig.model_validate({"hidden": 6, **settings})
    assert tiny(attention_heads=2, **settings).loss(*RAGGED).total.isfinite()


def test_one_head_is_the_attention_there_was() -> None:
    settings = {"hidden": 6, "embedding": 5, "attention": "dot"}
    plain, one = (
        build(ModelConfig.model_validate({**settings, **more}), SOURCE_V, TARGET_V, seed=1)
        for more in ({}, {"attention_heads": 1})
    )
    assert plain.state_dict().keys() == one.state_dict().keys()
    assert len(one.encode(RAGGED.source, RAGGED.source_lengths).contents) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attention": "none"}, "found attention = none"),
        ({"attention": "location"}, "found attention = location"),
        ({"attention": "dot", "hidden": 7}, "has to divide hidden .7."),
        ({"attention": "additive", "attention_size": 5}, "has to divide attention_size .5."),
        ({"attention": "dot", "encoder_hidden": 5, "bridge": "linear"}, "width of an encoder state .5."),
    ],
)
def test_heads_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig.model_validate({"hidden": 6, "attention_heads": 2, **settings})
