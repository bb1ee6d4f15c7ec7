"""The kernels on a GPU against the definition on the CPU. Skipped, visibly, where there is none."""

from typing import Any

import pytest
import torch

from suguk.config import TrainConfig
from suguk.kernels import additive, fast, projection, reference
from suguk.kernels.dropout import dropout
from suguk.kernels.reference import GATES
from suguk.model.replay import SEEN, Replay
from suguk.training.precision import precision
from suguk.training.update import Updater
from tests.kernels.test_sequence import LENGTHS, drawn, mask_of, results
from tests.model.compositions import Pairs, every, pairs, tiny

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
RAGGED = pairs((5, 1, 3), (4, 2, 4))
GPU = torch.device("cuda")


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("kind", GATES)
def test_sequences(kind: str, steps: int, reverse: bool) -> None:
    inputs, state, weights = drawn(kind, LENGTHS[steps], torch.float64)
    moved = (
        inputs.detach().to(GPU).requires_grad_(),
        tuple(part.detach().to(GPU).requires_grad_() for part in state),
        type(weights)(*(part.detach().to(GPU).requires_grad_() for part in weights)),
    )
    for mask in (mask_of(LENGTHS[steps]), None):
        wanted = results(reference.sequence, kind, mask, (inputs, state, weights), reverse)
        on_gpu = None if mask is None else mask.to(GPU)
        for run in (fast.sequence, fast.recomputed):
            found = results(run, kind, on_gpu, moved, reverse)
            for a, b in zip(found, wanted, strict=True):
                torch.testing.assert_close(a.cpu(), b, rtol=0, atol=1e-9)


@every
def test_losses_and_gradients_of_every_composition(composition: dict[str, Any]) -> None:
    model = tiny(**composition)
    wanted = model.loss(*RAGGED, label_smoothing=0.1).total
    gradients = torch.autograd.grad(wanted, list(model.parameters()))
    model = model.to(GPU)
    found = model.loss(*Pairs(*(part.to(GPU) for part in RAGGED)), label_smoothing=0.1).total
    torch.testing.assert_close(found.cpu(), wanted, rtol=0, atol=1e-9)
    for a, b in zip(torch.autograd.grad(found, list(model.parameters())), gradients, strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=0, atol=1e-8)


@every
def test_recorded_loops_of_every_composition(composition: dict[str, Any]) -> None:
    model = tiny(**{**composition, "zoneout": 0.0, "zoneout_cell": 0.0})  # nothing drawn in training
    wanted = model.loss(*RAGGED, label_smoothing=0.1).total
    gradients = torch.autograd.grad(wanted, list(model.parameters()))
    model = model.to(GPU).train()
    model.decoder.replay = Replay(model.decoder)
    batch = Pairs(*(part.to(GPU) for part in RAGGED))
    for _ in range(SEEN + 2):
        found = model.loss(*batch, label_smoothing=0.1).total
        torch.testing.assert_close(found.cpu(), wanted, rtol=0, atol=1e-9)
        for a, b in zip(torch.autograd.grad(found, list(model.parameters())), gradients, strict=True):
            torch.testing.assert_close(a.cpu(), b, rtol=0, atol=1e-8)
        del found
    assert None not in model.decoder.replay.recorded.values()


def test_gradients_of_two_recorded_batches_add_up() -> None:
    model = tiny(cell="lstm", attention="general", attend="after", input_feeding=True, readout="tanh")
    model = model.to(GPU).train()
    batch = Pairs(*(part.to(GPU) for part in RAGGED))
    once = torch.autograd.grad(model.loss(*batch).total, list(model.parameters()))
    model.decoder.replay = Replay(model.decoder)
    for _ in range(SEEN + 2):
        model.zero_grad()
        for _ in range(2):
            torch.autograd.backward(model.loss(*batch).total)
        for parameter, gradient in zip(model.parameters(), once, strict=True):
            torch.testing.assert_close(parameter.grad, 2 * gradient, rtol=0, atol=1e-8)


def test_a_recorded_loop_in_bfloat16() -> None:
    model = tiny(cell="lstm", attention="general", attend="after", input_feeding=True, readout="tanh").float()
    model = model.to(GPU).train()
    batch = Pairs(*(part.to(GPU) for part in RAGGED))
    model.decoder.replay = Replay(model.decoder)
    losses = []
    for _ in range(SEEN + 2):
        with torch.autocast("cuda", torch.bfloat16):
            losses.append(float(model.loss(*batch).total.detach()))
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-3)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_an_update_does_not_wait_for_the_gpu() -> None:
    model = tiny(cell="lstm", attention="general", attend="after", input_feeding=True, readout="tanh").float()
    updater = Updater(model.to(GPU).train(), TrainConfig(), GPU)
    batch = Pairs(*(part.to(GPU) for part in RAGGED))
    tokens = int(RAGGED.target_lengths.sum())
    updater(*batch, lr=1e-3, tokens=tokens)
    torch.cuda.set_sync_debug_mode("error")
    try:
        updater(*batch, lr=1e-3, tokens=tokens)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_small_kernels() -> None:
    torch.manual_seed(0)
    query, keys, v = (torch.randn(shape) for shape in ((5, 2, 7), (5, 3, 7), (7,)))
    found = additive.energies(query.to(GPU), keys.to(GPU), v.to(GPU)).cpu()
    torch.testing.assert_close(found, reference.additive(query, keys, v), rtol=1e-5, atol=1e-5)
    readout, weight, bias, targets = (
        torch.randn(29, 7),
        torch.randn(13, 7),
        torch.randn(13),
        torch.randint(0, 13, (29,)),
    )
    totals = [
        function(*(part.to(device) for part in (readout, weight, bias, targets)), label_smoothing=0.1)[
            0
        ].cpu()
        for function, device in ((projection.cross_entropy, GPU), (reference.cross_entropy, "cpu"))
    ]
    torch.testing.assert_close(totals[0], totals[1], rtol=1e-4, atol=1e-4)
    zeros = float((dropout(torch.ones(101, 97, device=GPU), 0.3, True) == 0).float().mean())
    assert abs(zeros - 0.3) < 0.03


def test_auto_is_bfloat16_where_the_gpu_has_it() -> None:
    wanted = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    assert precision("auto", GPU) is wanted
