"""Scheduled sampling: its probabilities, what the decoder is fed, and the gradient that follows."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import suguk
from suguk.config import ModelConfig, TrainConfig
from suguk.fields import SOS
from suguk.model import Seq2Seq, build
from suguk.training.optimise import truth
from tests.training.tiny_task import TINY

B, S, T, V = 5, 3, 7, 13
LUONG: dict[str, Any] = {"attention": "general", "input_feeding": True, "readout": "tanh"}
BAHDANAU: dict[str, Any] = {"cell": "gru", "attention": "additive", "attend": "before", "readout": "maxout"}
PLAIN: dict[str, Any] = {"layers": 2}
COMPOSITIONS = [LUONG, BAHDANAU, PLAIN]


def model(settings: dict[str, Any], **more: Any) -> Seq2Seq:
    return build(ModelConfig(hidden=10, embedding=6, **settings, **more), 17, V, seed=2)


def given() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(3)
    lengths = torch.tensor([3, 1, 2, 3, 2])
    target_lengths = torch.tensor([7, 2, 5, 6, 1])
    source, target = torch.randint(4, 17, (B, S)), torch.randint(4, V, (B, T))
    source[torch.arange(S) >= lengths[:, None]] = 0
    target[torch.arange(T) >= target_lengths[:, None]] = 0
    return source, lengths, target, target_lengths


def test_the_probabilities_of_the_paper() -> None:
    """Bengio et al. 2015 §2.4."""
    for i in (0, 1, 37, 400, 10**6):
        linear, exponential, inverse = (
            truth(TrainConfig(sampling=kind, sampling_scale=300.0), i)
            for kind in ("linear", "exponential", "inverse-sigmoid")
        )
        assert linear == pytest.approx(max(0, 1 - i / 300))
        assert exponential == pytest.approx((math.e ** (-1 / 300)) ** i)
        assert inverse == pytest.approx(0 if i > 10**5 else 300 / (300 + math.exp(i / 300)))
    floor = TrainConfig(sampling="linear", sampling_scale=10.0, sampling_floor=0.25)
    assert [truth(floor, i) for i in (0, 5, 8, 99)] == [1, 0.5, 0.25, 0.25]
    assert truth(TrainConfig(), 5) is None


@pytest.mark.parametrize("settings", COMPOSITIONS, ids=["luong", "bahdanau", "plain"])
def test_the_gradient_is_that_of_steps_fed_with_the_same_tokens(settings: dict[str, Any]) -> None:
    """Written out: each step is fed what was chosen before it, and nothing flows through the choice."""
    one = model(settings).double()
    source, lengths, target, target_lengths = given()
    torch.manual_seed(11)
    loss = one.loss(source, lengths, target, target_lengths, truth=0.4)
    found = torch.autograd.grad(loss.total, list(one.parameters()), allow_unused=True)
    torch.manual_seed(11)
    memory = one.encode(source, lengths)
    fed = one.mix(memory, target, 0.4)
    state, total = one.start(memory), torch.zeros(()).double()
    for t in range(T):
        log_probs, state, _ = one.step(fed[:, t : t + 1], state, memory)
        real = t < target_lengths
        total = total - log_probs[:, 0].gather(1, target[:, t : t + 1])[real].sum()
    wanted = torch.autograd.grad(total, list(one.parameters()), allow_unused=True)
    torch.testing.assert_close(loss.total, total)
    torch.testing.assert_close(found, wanted)


def test_what_is_fed_is_true_as_often_as_asked_else_of_the_model() -> None:
    one = model(LUONG).double()
    source, lengths, target, _ = given()
    many = 4000
    memory = one.encode(source[:1].expand(many, -1), lengths[:1].expand(many))
    target = target[:1].expand(many, -1)
    torch.manual_seed(5)
    fed = one.mix(memory, target, 0.3)
    assert bool((fed[:, 0] == SOS).all())
    small = one.encode(source[:1], lengths[:1])
    log_probs, *_ = one.step(torch.full((1, 1), SOS), one.start(small), small)
    wanted = 0.7 * log_probs[0, 0].exp()
    wanted[target[0, 0]] += 0.3
    shares = torch.bincount(fed[:, 1], minlength=V) / many
    torch.testing.assert_close(shares.double(), wanted.detach(), atol=4 * (0.25 / many) ** 0.5, rtol=0)
    assert torch.equal(one.mix(memory, target, 1.0)[:, 1:], target[:, :-1])


def test_it_draws_without_dropout_and_leaves_the_model_training() -> None:
    one = model(LUONG, dropout=0.9).train()
    source, lengths, target, target_lengths = given()
    with torch.no_grad():
        one.head.weight.mul_(1000)  # certain of its choice
        memory = one.eval().encode(source, lengths)
    one.train()
    first, second = one.mix(memory, target, 0.0), one.mix(memory, target, 0.0)
    assert torch.equal(first, second)
    assert one.decoder.training
    assert all(module.training for module in one.modules())
    assert bool(torch.isfinite(one.loss(source, lengths, target, target_lengths, truth=0.0).total))


def test_no_memory_for_a_draw_leaves_the_model_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the batch is then computed in halves, with dropout as before."""
    one = model(LUONG, dropout=0.3).train()
    step = Seq2Seq.step

    def small(of: Seq2Seq, token: Tensor, *rest: Any) -> Any:
        if len(token) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        return step(of, token, *rest)

    monkeypatch.setattr(Seq2Seq, "step", small)
    with pytest.raises(RuntimeError, match="allocate"):
        one.loss(*given(), truth=0.4)
    assert all(module.training for module in one.modules())


def test_under_autocast_every_weight_has_its_gradient() -> None:
    """Casts of weights that were made for the draws, without a gradient, are not used again."""
    found = []
    for probability in (None, 1.0):
        one = model(LUONG)
        with torch.autocast("cpu", torch.bfloat16):
            loss = one.loss(*given(), truth=probability)
            torch.autograd.backward(loss.total)
        found.append({name: weight.grad for name, weight in one.named_parameters()})
    for name, gradient in found[0].items():
        assert (gradient is None) == (found[1][name] is None)
    torch.testing.assert_close(found[0], found[1])


def test_one_token_targets_and_rows_of_a_batch() -> None:
    """Nothing to draw where there is one step."""
    one = model(BAHDANAU)
    source, lengths, target, _ = given()
    memory = one.encode(source, lengths)
    assert torch.equal(one.mix(memory, target[:, :1], 0.0), torch.full((B, 1), SOS))


def test_a_run_with_it_differs_from_one_without(data: Path, tmp_path: Path) -> None:
    weights = {}
    for kind in ("none", "linear", "inverse-sigmoid"):
        settings = TINY | {"train.sampling": kind, "train.sampling_scale": 5, "train.epochs": 1}
        suguk.train(data, out=tmp_path / kind, recipe="small", overrides=settings, display="silent")
        weights[kind] = load_file(tmp_path / kind / "model.safetensors")["head.bias"]
    assert not torch.equal(weights["none"], weights["linear"])
    assert not torch.equal(weights["linear"], weights["inverse-sigmoid"])
