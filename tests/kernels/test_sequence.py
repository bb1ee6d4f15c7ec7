"""The fast recurrences against the definition; the definition against PyTorch and a loop from the paper."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from suguk.kernels import fast, reference
from suguk.kernels.fast import backwards
from suguk.kernels.reference import GATES, CellState, Weights
from suguk.model.cells import Stack
from suguk.model.encoder import Encoder
from suguk.model.inputs import TokenEmbedding

INPUTS, H = 7, 11
KINDS = tuple(GATES)
LENGTHS = {1: [1, 1], 2: [2, 1, 2], 7: [7, 1, 4, 6, 7], 64: [64, 1, 37]}
Numbers = tuple[Tensor, ...]
Drawing = tuple[Tensor, CellState, Weights]
Run = Callable[..., tuple[Tensor, CellState]]


def drawn(kind: str, lengths: list[int], dtype: torch.dtype) -> Drawing:
    torch.manual_seed(0)
    gates = GATES[kind] * H
    shapes = [(gates, INPUTS), (gates, H), (gates,), (gates,)]
    weights = Weights(
        *(torch.empty(shape, dtype=dtype).uniform_(-0.5, 0.5).requires_grad_() for shape in shapes)
    )
    inputs = torch.randn(len(lengths), max(lengths), INPUTS, dtype=dtype, requires_grad=True)
    parts = 2 if kind == "lstm" else 1
    state = tuple(torch.randn(len(lengths), H, dtype=dtype, requires_grad=True) for _ in range(parts))
    return inputs, state, weights


def mask_of(lengths: list[int]) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)


def results(run: Run, kind: str, mask: Tensor | None, drawing: Drawing, reverse: bool) -> Numbers:
    """Outputs, last states and the gradients of everything under random weights on them."""
    inputs, state, weights = drawing
    outputs, last = run(kind, inputs, mask, state, weights, reverse=reverse)
    generator = torch.Generator().manual_seed(1)
    total = torch.zeros((), dtype=inputs.dtype, device=inputs.device)
    for part in (outputs, *last):
        weight = torch.randn(part.shape, generator=generator, dtype=torch.float64)
        total = total + (part.to(inputs.dtype) * weight.to(inputs)).sum()
    gradients = torch.autograd.grad(total, [inputs, *state, *weights])
    return (outputs, *last, *gradients)


def same(found: Numbers, wanted: Numbers, tolerance: float) -> None:
    """Within the tolerance, or so much of the largest value of a tensor that has values above one."""
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= tolerance * b.abs().max().clamp(min=1)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_fast_is_reference(
    kind: str, steps: int, reverse: bool, dtype: torch.dtype, tolerance: float
) -> None:
    lengths = LENGTHS[steps]
    drawing = drawn(kind, lengths, dtype)
    for mask in (mask_of(lengths), None):
        wanted = results(reference.sequence, kind, mask, drawing, reverse)
        for run in (fast.sequence, fast.recomputed):
            same(results(run, kind, mask, drawing, reverse), wanted, tolerance)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_near_the_reference(kind: str, steps: int, reverse: bool) -> None:
    """Outputs, last states and all gradients, with products of 8 bits: 3 % of the largest value of each."""
    lengths = LENGTHS[steps]
    drawing = drawn(kind, lengths, torch.float32)
    for mask in (mask_of(lengths), None):
        wanted = results(reference.sequence, kind, mask, drawing, reverse)
        for run in (fast.sequence, fast.recomputed):
            with torch.autocast("cpu", torch.bfloat16):
                found = results(run, kind, mask, drawing, reverse)
            for a, b in zip(found, wanted, strict=True):
                assert (a - b).abs().max() <= 0.03 * b.abs().max()


def test_recomputed_keeps_nothing_but_what_it_is_given() -> None:
    inputs, state, weights = drawn("lstm", LENGTHS[64], torch.float32)
    given = {part.data_ptr() for part in (inputs, *state, *weights)}
    kept = list[Tensor]()

    def keep(part: Tensor) -> Tensor:
        kept.append(part)
        return part

    with torch.autograd.graph.saved_tensors_hooks(keep, keep):
        fast.recomputed("lstm", inputs, mask_of(LENGTHS[64]), state, weights)
        assert {part.data_ptr() for part in kept} == given
        fast.sequence("lstm", inputs, mask_of(LENGTHS[64]), state, weights)
    assert not {part.data_ptr() for part in kept} <= given


@pytest.mark.parametrize("kind", KINDS)
def test_recomputed_under_autocast(kind: str) -> None:
    """With a second use of the same weights: what the first one narrows without a gradient must not come to it."""
    inputs, state, weights = drawn(kind, LENGTHS[7], torch.float32)
    both = list[Numbers]()
    for run in (fast.sequence, fast.recomputed):
        with torch.autocast("cpu", torch.bfloat16):
            first, _ = run(kind, inputs, mask_of(LENGTHS[7]), state, weights)
            second, _ = fast.sequence(kind, inputs, mask_of(LENGTHS[7]), state, weights)
        total = first.float().square().sum() + second.float().square().sum()
        both.append((first, *torch.autograd.grad(total, [inputs, *state, *weights])))
    assert both[1][0].dtype == both[0][0].dtype
    same(tuple(part.float() for part in both[1]), tuple(part.float() for part in both[0]), 0.02)


def test_recomputed_without_some_gradients() -> None:
    """Of frozen weights, of an input that is not trained, and of outputs that nobody uses."""
    inputs, state, weights = drawn("lstm", [5, 3], torch.float64)
    weights = weights._replace(hh=weights.hh.detach())
    both = list[Numbers]()
    for run in (fast.sequence, fast.recomputed):
        outputs, _ = run("lstm", inputs.detach(), mask_of([5, 3]), state, weights)
        both.append(torch.autograd.grad(outputs.square().sum(), [*state, weights.ih, weights.bias_ih]))
    same(both[1], both[0], 1e-12)
    with torch.no_grad():
        outputs, _ = fast.recomputed("lstm", inputs, None, state, weights)
    assert not outputs.requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_no_mask_is_a_full_mask(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Also where a full mask is not looked for, as on a GPU."""
    drawing = drawn(kind, [5, 5], torch.float64)
    full = torch.ones(2, 5, dtype=torch.bool)
    for run in (fast.sequence, reference.sequence):
        wanted = results(run, kind, None, drawing, True)
        same(results(run, kind, full, drawing, True), wanted, 1e-12)
        with monkeypatch.context() as patch:
            patch.setattr(fast, "_full", lambda _: False)
            same(results(run, kind, full, drawing, True), wanted, 1e-12)


@pytest.mark.parametrize("run", [fast.sequence, reference.sequence])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_never_read(kind: str, reverse: bool, run: Run) -> None:
    lengths = [7, 1, 4]
    mask = mask_of(lengths)
    inputs, state, weights = drawn(kind, lengths, torch.float64)
    first = results(run, kind, mask, (inputs, state, weights), reverse)
    gradient = first[1 + len(state)]
    assert (gradient[~mask] == 0).all()
    assert (gradient[mask].abs().sum(-1) > 0).all()
    assert (first[0][~mask] == 0).all()
    other = torch.where(mask.unsqueeze(-1), inputs, 100.0).detach().requires_grad_()
    same(results(run, kind, mask, (other, state, weights), reverse), first, 1e-12)


@pytest.mark.parametrize("run", [fast.sequence, reference.sequence])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_padded_row_is_the_row_alone(kind: str, reverse: bool, run: Run) -> None:
    lengths = [7, 1, 4]
    inputs, state, weights = drawn(kind, lengths, torch.float64)
    outputs, last = run(kind, inputs, mask_of(lengths), state, weights, reverse=reverse)
    for b, length in enumerate(lengths):
        alone = inputs[b : b + 1, :length]
        own, end = run(kind, alone, None, tuple(part[b : b + 1] for part in state), weights, reverse=reverse)
        same((outputs[b, :length], *(part[b] for part in last)), (own[0], *(part[0] for part in end)), 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_reading_backwards_is_reading_the_reversed_row(kind: str) -> None:
    inputs, state, weights = drawn(kind, [5], torch.float64)
    outputs, last = reference.sequence(kind, inputs, None, state, weights, reverse=True)
    flipped, end = reference.sequence(kind, inputs.flip(1), None, state, weights)
    same((outputs.flip(1), *last), (flipped, *end), 1e-12)


def test_backwards_is_its_own_inverse() -> None:
    mask = mask_of([7, 1, 4])
    order = backwards(mask)
    assert order.tolist()[2] == [3, 2, 1, 0, 4, 5, 6]
    assert (order.gather(1, order) == torch.arange(7)).all()


def test_a_step_takes_any_leading_dimensions() -> None:
    for kind in KINDS:
        inputs, state, weights = drawn(kind, [1, 1, 1, 1, 1, 1], torch.float64)
        projected = inputs[:, 0] @ weights.ih.T + weights.bias_ih
        flat = reference.step(kind, projected, state, weights)
        beam = reference.step(kind, projected.view(2, 3, -1), tuple(p.view(2, 3, H) for p in state), weights)
        same(tuple(part.view(6, H) for part in beam), flat, 1e-12)


@pytest.mark.parametrize("reverse", [False, True])
def test_reset_before_is_cho_2014(reverse: bool) -> None:
    """Eqs. 5–8: r = σ(W_r x + U_r h), z = σ(W_z x + U_z h), h~ = φ(W x + U (r ∘ h)), h = z h + (1 − z) h~."""
    inputs, (start,), weights = drawn("gru-reset-before", [5, 5], torch.float64)
    outputs, (last,) = fast.sequence("gru-reset-before", inputs, None, (start,), weights, reverse=reverse)
    w, u, b, d = (part.detach().chunk(3) for part in weights)
    for row in range(2):
        h = start[row].detach()
        for t in reversed(range(5)) if reverse else range(5):
            x = inputs[row, t].detach()
            r = 1 / (1 + torch.exp(-(w[0] @ x + u[0] @ h + b[0] + d[0])))  # eq. 5
            z = 1 / (1 + torch.exp(-(w[1] @ x + u[1] @ h + b[1] + d[1])))  # eq. 6
            candidate = torch.tanh(w[2] @ x + u[2] @ (r * h) + b[2] + d[2])  # eq. 8
            h = z * h + (1 - z) * candidate  # eq. 7
            assert (outputs[row, t] - h).abs().max() < 1e-12
        assert (last[row] - h).abs().max() < 1e-12


TORCH: dict[str, type[nn.LSTM] | type[nn.GRU] | type[nn.RNN]] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn": nn.RNN,
}


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", TORCH)
def test_a_stack_is_torchs_with_its_weights(kind: str, layers: int) -> None:
    torch.manual_seed(2)
    theirs = TORCH[kind](INPUTS, H, num_layers=layers, batch_first=True).double()
    ours = Stack(kind=kind, inputs=INPUTS, hidden=H, layers=layers).double()
    for index, cell in enumerate(ours.layers):
        cell.load_state_dict(
            {name: getattr(theirs, f"{name}_l{index}") for name, _ in cell.named_parameters()}
        )
    inputs = torch.randn(3, 5, INPUTS, dtype=torch.float64)
    parts = 2 if kind == "lstm" else 1
    start = [torch.randn(layers, 3, H, dtype=torch.float64) for _ in range(parts)]
    wanted, end = theirs(inputs, tuple(start) if kind == "lstm" else start[0])
    states = [tuple(part[index] for part in start) for index in range(layers)]
    outputs, last = ours.sequence(inputs, states)
    ends = end if kind == "lstm" else (end,)
    for part in range(parts):
        same((outputs, *(state[part] for state in last)), (wanted, *ends[part]), 1e-10)
    stepped, running = [], tuple(states)
    for t in range(5):
        y, running = ours(inputs[:, t], running)
        stepped.append(y)
    same((torch.stack(stepped, 1),), (wanted,), 1e-10)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", TORCH)
def test_the_encoder_is_torchs_on_packed_sequences(kind: str, layers: int, bidirectional: bool) -> None:
    torch.manual_seed(3)
    theirs = TORCH[kind](INPUTS, H, num_layers=layers, bidirectional=bidirectional, batch_first=True).double()
    embedding = TokenEmbedding(size=13, embedding=INPUTS)
    ours = Encoder(
        embedding=embedding, kind=kind, hidden=H, layers=layers, bidirectional=bidirectional
    ).double()
    for index, ways in enumerate(ours.layers):
        for cell, way in zip(ways.children(), ("", "_reverse"), strict=False):
            names = [name for name, _ in cell.named_parameters()]
            cell.load_state_dict({name: getattr(theirs, f"{name}_l{index}{way}") for name in names})
    lengths = torch.tensor([5, 1, 3])
    source = torch.randint(4, 13, (3, 5))
    encoded = ours(source, lengths)
    packed = nn.utils.rnn.pack_padded_sequence(
        embedding(source), lengths, batch_first=True, enforce_sorted=False
    )
    outputs, end = theirs(packed)
    padded, _ = nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
    same((encoded.states,), (padded,), 1e-10)
    ways_count = 2 if bidirectional else 1
    for part, ends in enumerate(end if kind == "lstm" else (end,)):
        for index in range(layers):
            wanted = torch.cat(list(ends[index * ways_count : (index + 1) * ways_count]), dim=-1)
            same((encoded.last[index][part],), (wanted,), 1e-10)
    assert torch.equal(encoded.mask, mask_of([5, 1, 3]))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sequence", [fast.sequence, fast.recomputed])
def test_gradcheck_through_padding(sequence: Run, kind: str, reverse: bool) -> None:
    lengths = [4, 2]
    inputs, state, weights = drawn(kind, lengths, torch.float64)

    def run(x: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        start, matrices = given[: len(state)], given[len(state) :]
        outputs, last = sequence(kind, x, mask_of(lengths), start, Weights(*matrices), reverse=reverse)
        return outputs, *last

    assert torch.autograd.gradcheck(run, (inputs, *state, *weights), nondet_tol=1e-9, fast_mode=True)


@pytest.mark.parametrize("mask", [None, mask_of(LENGTHS[7])])
def test_lstms_are_float32_where_the_processor_has_none_in_bfloat16(
    monkeypatch: pytest.MonkeyPatch, mask: Tensor | None
) -> None:
    monkeypatch.setattr(fast, "bfloat16_sequences", lambda: False)
    drawing = drawn("lstm", LENGTHS[7], torch.float32)
    wanted = results(fast.sequence, "lstm", mask, drawing, False)
    with torch.autocast("cpu", torch.bfloat16):
        found = results(fast.sequence, "lstm", mask, drawing, False)
    same(found, wanted, 0.0)
