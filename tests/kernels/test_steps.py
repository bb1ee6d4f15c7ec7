"""Products of a loop with one gradient for all steps: the same numbers as autograd's, wherever they are used."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from suguk.kernels import reference, steps
from suguk.kernels.reference import GATES, CellState, Weights
from suguk.kernels.steps import Steps, linear, mix, scores
from suguk.model import Seq2Seq
from tests.model.compositions import COMPOSITIONS, Pairs, every, pairs, tiny

B, T, Q, IN, OUT, S, H, GIVEN = 2, 7, 3, 5, 11, 13, 6, 4
RAGGED = pairs((5, 1, 3), (4, 2, 4))
SOS = 2


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


def close(found: Sequence[Tensor], wanted: Sequence[Tensor], atol: float) -> None:
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("queries", [1, Q])
def test_linear(bias: bool, queries: int) -> None:
    torch.manual_seed(0)
    weight, offset = drawn(OUT, IN), drawn(OUT) if bias else None
    xs = [drawn(B, queries, IN) for _ in range(T)]
    leaves = [weight, *([] if offset is None else [offset]), *xs]

    def run(loop: bool) -> tuple[Tensor, ...]:
        with Steps(T, weight.device) if loop else torch.enable_grad():
            outputs = torch.stack([linear(x, weight, offset) for x in xs])
        return outputs, *torch.autograd.grad((outputs**2).sum(), leaves)

    close(run(loop=True), run(loop=False), 1e-10)


@pytest.mark.parametrize("queries", [1, Q])
def test_attention_s_products_with_one_tensor_as_keys_and_values(queries: int) -> None:
    torch.manual_seed(0)
    memory = drawn(B, S, IN)
    xs = [drawn(B, queries, IN) for _ in range(T)]

    def run(loop: bool) -> tuple[Tensor, ...]:
        with Steps(T, memory.device) if loop else torch.enable_grad():
            contexts = [mix(torch.softmax(scores(x, memory), -1), memory) for x in xs]
        outputs = torch.stack(contexts)
        return outputs, *torch.autograd.grad((outputs**2).sum(), [memory, *xs])

    close(run(loop=True), run(loop=False), 1e-10)


def test_products_of_several_heads() -> None:
    torch.manual_seed(0)
    keys, values = drawn(B, 3, S, IN), drawn(B, 3, S, OUT)
    xs = [drawn(B, 3, Q, IN) for _ in range(T)]

    def run(loop: bool) -> tuple[Tensor, ...]:
        with Steps(T, keys.device) if loop else torch.enable_grad():
            outputs = torch.stack([mix(torch.softmax(scores(x, keys), -1), values) for x in xs])
        return outputs, *torch.autograd.grad((outputs**2).sum(), [keys, values, *xs])

    close(run(loop=True), run(loop=False), 1e-10)


def weights_of(kind: str, inputs: int) -> Weights:
    gates = GATES[kind] * H
    return Weights(drawn(gates, inputs), drawn(gates, H), drawn(gates), drawn(gates))


@pytest.mark.parametrize("parts", ["given", "inputs", "both"])
@pytest.mark.parametrize("kind", GATES)
def test_cells(kind: str, parts: str) -> None:
    torch.manual_seed(0)
    known = {"given": IN, "inputs": 0, "both": GIVEN}[parts]  # columns of W_ih used before the loop
    weights = weights_of(kind, IN)
    xs = drawn(T, B, 1, IN)
    start = tuple(drawn(B, 1, H) for _ in range(2 if kind == "lstm" else 1))

    def fast() -> list[CellState]:
        first, rest = torch.split(weights.ih, [known, IN - known], dim=1)
        given = torch.nn.functional.linear(xs[..., :known], first, weights.bias_ih) if known else None
        state, states = start, []
        with Steps(T, xs.device):
            for t in range(T):
                more = None if known == IN else xs[t][..., known:]
                projected = None if given is None else given[t]
                state = steps.cell(kind, projected, more, state, weights._replace(ih=rest))
                states.append(state)
        return states

    def slow() -> list[CellState]:
        state, states = start, []
        for t in range(T):
            projected = torch.nn.functional.linear(xs[t], weights.ih, weights.bias_ih)
            state = reference.step(kind, projected, state, weights)
            states.append(state)
        return states

    def numbers(states: list[CellState]) -> tuple[Tensor, ...]:
        outputs = torch.stack([part for state in states for part in state])
        return outputs, *torch.autograd.grad((outputs**2).sum(), [xs, *start, *weights])

    close(numbers(fast()), numbers(slow()), 1e-10)


def test_a_step_that_nobody_used() -> None:
    weight, xs = drawn(OUT, IN), [drawn(B, 1, IN) for _ in range(T)]
    with Steps(T, weight.device):
        outputs = [linear(x, weight) for x in xs]
    (found,) = torch.autograd.grad(outputs[2].sum(), [weight])
    (wanted,) = torch.autograd.grad(torch.nn.functional.linear(xs[2], weight).sum(), [weight])
    close((found,), (wanted,), 1e-12)


def test_the_same_graph_twice() -> None:
    weight, xs = drawn(OUT, IN), [drawn(B, 1, IN) for _ in range(T)]
    with Steps(T, weight.device):
        outputs = torch.stack([linear(x, weight) for x in xs])
    first = torch.autograd.grad(outputs.sum(), [weight], retain_graph=True)
    close(torch.autograd.grad(2 * outputs.sum(), [weight]), tuple(2 * part for part in first), 1e-12)


def test_a_loop_walked_back_holds_nothing() -> None:
    """Though the graph that it is part of is still there: an encoder's turn comes after it."""
    weight = torch.randn(3, 2, requires_grad=True)
    x = torch.randn(4, 1, 2, requires_grad=True)
    with steps.Steps(2, x.device) as loop:
        outputs = [steps.linear(x, weight) for _ in range(2)]
    (shared,) = (shared for _, shared in loop._shared.values())
    assert not len(shared.inputs)
    torch.autograd.backward(torch.stack(outputs).sum())
    assert not shared.grads
    assert not len(shared.inputs)


def test_walks_through_different_parts_of_a_graph() -> None:
    weight, xs = drawn(OUT, IN), [drawn(B, 1, IN) for _ in range(T)]
    with Steps(T, weight.device):
        outputs = [linear(x, weight) for x in xs]
    torch.autograd.grad(outputs[1].sum(), [xs[1]], retain_graph=True)  # does not come by the weight
    for t in (0, 2):
        found = torch.autograd.grad(outputs[t].sum(), [weight], retain_graph=True)
        close(found, torch.autograd.grad(torch.nn.functional.linear(xs[t], weight).sum(), [weight]), 1e-12)


def test_without_gradients_nothing_is_kept() -> None:
    weight, x = drawn(OUT, IN), torch.randn(B, 1, IN, dtype=torch.float64)
    with torch.no_grad(), Steps(T, weight.device) as loop:
        found = linear(x, weight)
        assert found.grad_fn is None
        assert not len(loop.shared("linear", weight, lambda: (weight, None)).inputs)


def test_a_loop_belongs_to_its_thread() -> None:
    weight, x = drawn(OUT, IN), torch.randn(B, 1, IN, dtype=torch.float64)
    seen: list[Any] = []
    with Steps(T, weight.device):
        thread = threading.Thread(target=lambda: seen.append(linear(x, weight).grad_fn))
        thread.start()
        thread.join()
        inside = linear(x, weight).grad_fn
    assert "Multiply" in type(inside).__name__
    assert "Multiply" not in type(seen[0]).__name__


def stepped(model: Seq2Seq, batch: Pairs) -> Tensor:
    """Log probabilities of the targets, step by step, through autograd alone."""
    memory = model.encode(batch.source, batch.source_lengths)
    state, token = model.start(memory), torch.full((len(batch.source), 1), SOS)
    found = []
    for t in range(batch.target.shape[1]):
        log_probs, state, _ = model.step(token, state, memory)
        token = batch.target[:, t : t + 1]
        found.append(log_probs.gather(-1, token.unsqueeze(-1)).squeeze(-1))
    return torch.cat(found, dim=1)


@every
def test_gradients_of_forcing_are_those_of_stepping(composition: dict[str, Any]) -> None:
    model = tiny(**composition)
    same_by_steps(model, RAGGED)
    wanted = model.loss(*RAGGED).total
    gradients = torch.autograd.grad(wanted, list(model.parameters()))
    narrow = model.float()
    total = narrow.loss(*RAGGED).total
    # Layer norm divides by small deviations: there a float32's last digits are ten times as large.
    within = 1e-4 if composition["layer_norm"] else 1e-5
    small = torch.autograd.grad(total, list(narrow.parameters()))
    for a, b in zip((total, *small), (wanted, *gradients), strict=True):
        assert (a - b).abs().max() <= within * b.abs().max().clamp(min=1)


def same_by_steps(model: Seq2Seq, batch: Pairs) -> None:
    """Loss and all gradients of teacher forcing, in the fast loop, and of single steps through autograd alone."""
    real = torch.arange(batch.target.shape[1]) < batch.target_lengths.unsqueeze(1)
    totals = model.loss(*batch).total, -(stepped(model, batch) * real).sum()
    close(totals[:1], totals[1:], 1e-10)
    leaves = list(model.parameters())  # after one step some have no part in the loss
    gradients = [torch.autograd.grad(total, leaves, materialize_grads=True) for total in totals]
    close(gradients[0], gradients[1], 1e-10)


SIZES = [(S, T) for S in (1, 2, 7, 64) for T in (1, 2, 7, 64)]


@pytest.mark.parametrize(("number", "composition"), list(enumerate(COMPOSITIONS)))
def test_any_lengths(number: int, composition: dict[str, Any]) -> None:
    """Every composition with one pair of lengths, every pair of lengths with several compositions; ragged."""
    longest, steps_ = SIZES[number % len(SIZES)]
    sources, targets = (longest, max(longest // 2, 1), 1), (1, steps_, max(steps_ - 1, 1))
    same_by_steps(tiny(**composition), pairs(sources, targets))


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("attend", ["before", "within", "after"])
@pytest.mark.parametrize(("longest", "steps_"), SIZES)
def test_attentive_recurrence_of_any_lengths(longest: int, steps_: int, attend: str, cell: str) -> None:
    fed = {"attention": "general", "readout": "tanh", "input_feeding": True}
    kind = fed if attend == "after" else {"attention": "additive", "attend": attend, "readout": "maxout"}
    model = tiny(cell=cell, layers=2, **kind)
    same_by_steps(model, pairs((longest, 1, max(longest - 1, 1)), (steps_, max(steps_ // 2, 1), 1)))


@pytest.mark.parametrize(
    "kind",
    [
        {"attention": "general", "readout": "tanh", "input_feeding": True},
        {"attention": "additive", "attend": "before", "readout": "maxout"},
        {"attention": "additive", "attend": "within", "readout": "tanh"},
        {"attention": "additive", "attend": "between", "readout": "tanh"},
        {"attention": "location", "readout": "linear"},
        {"attention": "none", "context": "every-step"},
    ],
    ids=lambda kind: f"{kind['attention']} {kind.get('attend', '')}".strip(),
)
@pytest.mark.parametrize("cell", GATES)
def test_bfloat16_gradients_point_the_same_way(cell: str, kind: dict[str, Any]) -> None:
    """Angle to the gradient in float32: cosine above 0.99."""
    model = tiny(cell=cell, layers=2, hidden=32, **kind).float()
    with torch.no_grad():
        for parameter in model.parameters():
            # As a trained model: with larger weights a tanh network is chaos in any precision.
            parameter.mul_(0.3)
    flat = []
    for narrow in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            total = model.loss(*RAGGED).total
        flat.append(
            torch.cat([part.flatten() for part in torch.autograd.grad(total, list(model.parameters()))])
        )
    assert torch.nn.functional.cosine_similarity(flat[0], flat[1], dim=0) > 0.99


def test_a_matrix_of_a_loop_has_one_gradient_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """Input feeding over seven steps: each matrix of the loop is multiplied with all steps' gradients at once."""
    made = list[int]()

    def counted(shared: steps.Shared) -> tuple[Tensor, ...]:
        made.append(shared.used)
        return gradients(shared)

    gradients = steps.Shared.gradients
    monkeypatch.setattr(steps.Shared, "gradients", counted)
    model = tiny(attention="general", readout="tanh", input_feeding=True, layers=2)
    torch.autograd.backward(model.loss(*pairs((5, 1), (T, 3))).total)
    # Gates of two layers, keys and values of the attention, the readout.
    assert made == [T] * 5
