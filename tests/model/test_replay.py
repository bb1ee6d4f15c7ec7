"""Loops that are recorded for a GPU: what surrounds the recording, on the CPU. The GPU's part is in tests/kernels."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suguk.model import Seq2Seq, replay
from suguk.model.cells import Cell
from suguk.model.replay import Replay
from tests.model.compositions import Pairs, every, pairs, tiny

RAGGED = pairs((5, 1, 3), (4, 2, 4))


class Recorder:
    """Takes the place of `make_graphed_callables`, with its demands: the same shapes and types every time."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(
        self, loop: Callable[..., tuple[Tensor, ...]], samples: tuple[Tensor, ...], **options: Any
    ) -> Callable[..., tuple[Tensor, ...]]:
        assert options == {"allow_unused_input": True, "pool": None}
        assert all(sample.is_leaf for sample in samples)
        self.shapes.append(tuple(samples[0].shape))

        def run(*given: Tensor) -> tuple[Tensor, ...]:
            for sample, one in zip(samples, given, strict=True):
                assert (sample.shape, sample.dtype, sample.requires_grad) == (
                    one.shape,
                    one.dtype,
                    one.requires_grad,
                )
            found: tuple[Tensor, ...] = loop(*given)
            return found

        return run


def gradients(model: Seq2Seq, batch: Pairs) -> tuple[Tensor, ...]:
    model.zero_grad()
    loss = model.loss(*batch, label_smoothing=0.1).total
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach(), *(
        torch.zeros_like(one) if one.grad is None else one.grad for one in model.parameters()
    )


@every
def test_the_loss_and_gradients_of_a_padded_loop(composition: dict[str, Any]) -> None:
    model = tiny(**composition).train()
    for settled in model.modules():  # nothing drawn: zoneout's expectation needs eval
        if isinstance(settled, Cell):
            settled.habits = settled.habits._replace(zoneout=())
    wanted = gradients(model, RAGGED)
    model.decoder.replay = Replay(model.decoder, Recorder())
    for _ in range(replay.SEEN + 1):
        found = gradients(model, RAGGED)
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


def test_a_size_that_comes_again_is_recorded_once() -> None:
    model = tiny(cell="lstm", attention="general", attend="after", input_feeding=True, readout="tanh").train()
    recorder = Recorder()
    model.decoder.replay = Replay(model.decoder, recorder)
    one, other = pairs((5, 1, 3), (4, 2, 4)), pairs((8, 7), (8, 8))
    longer = pairs((9, 1), (3, 4))
    gradients(model, one)
    assert recorder.shapes == []
    gradients(model, longer)
    gradients(model, other)  # the same once it is padded
    gradients(model, one)
    assert recorder.shapes == [(16, 8, 5)]
    gradients(model, longer)
    assert recorder.shapes == [(16, 8, 5), (16, 8, 5)]  # of other sources


def test_no_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MOST", 1)
    model = tiny(cell="gru", attention="additive", attend="before", readout="tanh").train()
    recorder = Recorder()
    model.decoder.replay = Replay(model.decoder, recorder)
    for _ in range(3):
        for batch in (RAGGED, pairs((9, 1), (3, 4))):
            gradients(model, batch)
    assert len(recorder.shapes) == 1


def test_not_where_nothing_is_trained() -> None:
    model = tiny(cell="gru", attention="additive", attend="before", readout="tanh")

    def record(*_: object, **__: object) -> Any:
        raise AssertionError

    model.decoder.replay = Replay(model.decoder, record)
    for _ in range(3):
        model.loss(*RAGGED)
        with torch.no_grad():
            model.train().loss(*RAGGED)
        model.eval()


def test_a_frozen_loop_is_not_recorded() -> None:
    """The readout behind it learns all the same."""
    model = tiny(cell="gru", attention="additive", attend="before", readout="tanh").train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("readout" in name or "head" in name)
    recorder = Recorder()
    model.decoder.replay = Replay(model.decoder, recorder)
    wanted = gradients(model, RAGGED)
    for _ in range(replay.SEEN):
        for one, other in zip(gradients(model, RAGGED), wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    assert recorder.shapes == []
    assert list(model.decoder.replay.recorded.values()) == [None]


def test_recordings_are_given_up_for_room() -> None:
    model = tiny(cell="gru", attention="additive", attend="before", readout="tanh").train()
    recorder = Recorder()
    replay_ = model.decoder.replay = Replay(model.decoder, recorder)
    assert not replay_.forget()
    replay_ = model.decoder.replay = Replay(model.decoder, recorder)
    for _ in range(3):
        gradients(model, RAGGED)
    assert replay_.forget()
    assert not replay_.forget()
    for _ in range(3):
        gradients(model, RAGGED)
    assert len(recorder.shapes) == 1


def test_gradients_are_not_those_of_the_recording() -> None:
    """A recording returns the same memory every time; two batches of one update add up all the same."""
    model = tiny(cell="gru", attention="additive", attend="before", readout="tanh").train()
    weight = next(iter(model.decoder.parameters()))
    replay_ = model.decoder.replay = Replay(model.decoder, Recorder())
    assert added_up(weight) == 6.0  # as long as nothing was recorded, nothing is copied
    for _ in range(replay.SEEN):
        gradients(model, RAGGED)
    assert added_up(weight) == 4.0
    replay_.end()
    assert added_up(weight) == 6.0  # what would happen without
    assert not replay_.recorded


class Graphed(torch.autograd.Function):
    """As PyTorch's: the gradient is always in the same place."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, place: Tensor, value: float) -> Tensor:
        ctx.place, ctx.value = place, value
        return weight.sum()

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.place.fill_(ctx.value).detach(), None, None


def added_up(weight: nn.Parameter) -> float:
    """The gradient after two backward passes with gradients of 1 and 3."""
    weight.grad, place = None, torch.empty_like(weight)
    for value in (1.0, 3.0):
        torch.autograd.backward(Graphed.apply(weight, place, value))  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    return float(weight.grad.mean())


def test_weights_may_change_and_some_may_be_frozen() -> None:
    composition = {"cell": "lstm", "attention": "general", "attend": "after", "input_feeding": True}
    models = [tiny(**composition, readout="tanh").train() for _ in range(2)]
    for model in models:
        next(iter(model.decoder.below.parameters())).requires_grad_(False)
    models[1].decoder.replay = Replay(models[1].decoder, Recorder())
    for _ in range(replay.SEEN + 2):
        for a, b in zip(*(gradients(model, RAGGED) for model in models), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-11)
        for model in models:
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.grad is not None:
                        parameter.sub_(parameter.grad, alpha=0.1)


@pytest.mark.parametrize("fault", [RuntimeError("operation not permitted"), torch.OutOfMemoryError("full")])
def test_what_cannot_be_recorded_goes_on_without(fault: RuntimeError) -> None:
    model = tiny(cell="gru", attention="additive", attend="before", readout="tanh").train()
    wanted, tried = gradients(model, RAGGED), []

    def record(*_: object, **__: object) -> Any:
        tried.append(1)
        raise fault

    model.decoder.replay = Replay(model.decoder, record)
    for _ in range(5):
        for a, b in zip(gradients(model, RAGGED), wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-11)
    gradients(model, pairs((9, 1), (3, 4)))
    gradients(model, pairs((9, 1), (3, 4)))
    assert len(tried) == (1 if isinstance(fault, torch.OutOfMemoryError) else 2)
