"""Every paper preset against its equations, written from the paper one position at a time, in float64.

Only the parameters are taken from the model, by name; everything else here is numpy and loops. Where several
matrices of a paper stand side by side in one parameter they are cut apart first.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from suguk import config
from suguk.model import build

E, H, ENCODER, READOUT, A, RANK = 7, 11, 5, 3, 17, 2
SOURCE_V, TARGET_V = 23, 13
UNK, SOS = 1, 2
Vector = NDArray[np.float64]
Parameters = dict[str, Vector]
Paper = Callable[[Parameters, list[int], list[int]], list[float]]


def sigmoid(x: Vector) -> Vector:
    return 1 / (1 + np.exp(-x))


def softmax(energies: list[float]) -> list[float]:
    powers = [float(np.exp(energy)) for energy in energies]
    total = sum(powers)
    return [power / total for power in powers]


def log_softmax(logits: Vector, word: int) -> float:
    return float(logits[word] - np.log(sum(np.exp(logit) for logit in logits)))


def expected(weights: list[float], states: list[Vector]) -> Vector:
    """c = Σ_j α_j h_j (Bahdanau 2014, eq. 5)."""
    context = np.zeros_like(states[0])
    for weight, state in zip(weights, states, strict=True):
        context = context + weight * state
    return context


def cut(p: Parameters, name: str, gates: int) -> tuple[list[Vector], list[Vector], list[Vector]]:
    """Input matrices, recurrent matrices and biases of each gate."""
    biases = p[f"{name}.bias_ih"] + p[f"{name}.bias_hh"]
    return (
        np.split(p[f"{name}.weight_ih"], gates),
        np.split(p[f"{name}.weight_hh"], gates),
        np.split(biases, gates),
    )


def lstm(p: Parameters, name: str, x: Vector, h: Vector, c: Vector) -> tuple[Vector, Vector]:
    """Zaremba et al. 2014, the unit of Sutskever 2014 and Luong 2015: gates i, f, g, o."""
    w, u, b = cut(p, name, 4)
    i = sigmoid(w[0] @ x + u[0] @ h + b[0])
    f = sigmoid(w[1] @ x + u[1] @ h + b[1])
    g = np.tanh(w[2] @ x + u[2] @ h + b[2])
    o = sigmoid(w[3] @ x + u[3] @ h + b[3])
    c = f * c + i * g
    return o * np.tanh(c), c


def cho_unit(p: Parameters, name: str, x: Vector, h: Vector) -> Vector:
    w, u, b = cut(p, name, 3)
    r = sigmoid(w[0] @ x + u[0] @ h + b[0])  # Cho 2014, eq. 5
    z = sigmoid(w[1] @ x + u[1] @ h + b[1])  # eq. 6
    candidate = np.tanh(w[2] @ x + u[2] @ (r * h) + b[2])  # eq. 8
    return z * h + (1 - z) * candidate  # eq. 7


def bahdanau_unit(p: Parameters, name: str, x: Vector, s: Vector) -> Vector:
    """Bahdanau 2014, A.1.1: z opens towards the candidate, so W_z, U_z are the negatives of Cho's."""
    w, u, b = cut(p, name, 3)
    r = sigmoid(w[0] @ x + u[0] @ s + b[0])
    z = sigmoid(-w[1] @ x + -u[1] @ s - b[1])
    candidate = np.tanh(w[2] @ x + u[2] @ (r * s) + b[2])
    return (1 - z) * s + z * candidate


def lstm_layers(
    p: Parameters, name: str, x: Vector, states: list[tuple[Vector, Vector]]
) -> tuple[Vector, list[tuple[Vector, Vector]]]:
    new = []
    for layer, (h, c) in enumerate(states):
        h, c = lstm(p, f"{name}.{layer}", x, h, c)
        new.append((h, c))
        x = h
    return x, new


def read_reversed(p: Parameters, source: list[int]) -> tuple[list[Vector], list[tuple[Vector, Vector]]]:
    """Sutskever 2014 §3.3: c, b, a, <eos>. Top states in the source's order; last states of all layers."""
    words = len(source) - 1
    order = [*reversed(range(words)), words]
    states = [(np.zeros(H), np.zeros(H))] * encoder_layers(p)
    top: dict[int, Vector] = {}
    for position in order:
        x = p["encoder.embedding.weight"][source[position]]
        new = []
        for layer, (h, c) in enumerate(states):
            h, c = lstm(p, f"encoder.layers.{layer}.0", x, h, c)
            new.append((h, c))
            x = h
        states = new
        top[position] = x
    return [top[position] for position in range(len(source))], states


def sutskever2014(p: Parameters, source: list[int], target: list[int]) -> list[float]:
    """Eq. 1: p(y | x) = Π_t p(y_t | v, y_1 … y_{t−1}); v is the encoder's last state, the decoder's first."""
    _, states = read_reversed(p, source)
    result = []
    for before, word in zip([SOS, *target], target, strict=False):
        x, states = lstm_layers(p, "decoder.below.layers", p["decoder.embedding.weight"][before], states)
        result.append(log_softmax(p["head.weight"] @ x + p["head.bias"], word))
    return result


def cho2014(p: Parameters, source: list[int], target: list[int]) -> list[float]:
    """Section 2.2 and appendix A.1; the context enters the candidate outside the reset gate."""
    h = np.zeros(H)
    for word in source:
        h = cho_unit(p, "encoder.layers.0.0", p["encoder.embedding.weight"][word], h)
    c = np.tanh(p["summary.0.weight"] @ h + p["summary.0.bias"])  # A.1.1: c = tanh(V h^N)
    h = np.tanh(p["bridge.maps.0.weight"] @ c + p["bridge.maps.0.bias"])  # A.1.2: h'^0 = tanh(V' c)
    o_h, o_c, o_y = np.split(p["decoder.readout.w_o.weight"], [H, 2 * H], axis=1)
    result = []
    for before, word in zip([SOS, *target], target, strict=False):
        y = p["decoder.embedding.weight"][before]
        h = cho_unit(p, "decoder.below.layers.0", np.concatenate([y, c]), h)
        inner = o_h @ h + o_y @ y + o_c @ c  # s'_i
        s = np.array([max(inner[2 * i], inner[2 * i + 1]) for i in range(READOUT)])
        g = p["head.weight"] @ p["head.factor.weight"]  # G = G_l G_r
        result.append(log_softmax(g @ s + p["head.bias"], word))
    return result


def annotations(p: Parameters, source: list[int]) -> list[Vector]:
    """Bahdanau 2014 §3.2: h_j = [→h_j; ←h_j]."""
    embedded = [p["encoder.embedding.weight"][word] for word in source]
    forward: list[Vector] = []
    backward: list[Vector] = []
    h = np.zeros(H)
    for x in embedded:
        h = bahdanau_unit(p, "encoder.layers.0.0", x, h)
        forward.append(h)
    h = np.zeros(H)
    for x in reversed(embedded):
        h = bahdanau_unit(p, "encoder.layers.0.1", x, h)
        backward.insert(0, h)
    return [np.concatenate(pair) for pair in zip(forward, backward, strict=True)]


def additive(p: Parameters, query: Vector, states: list[Vector]) -> list[float]:
    """α_j of e_j = v_a · tanh(W_a s + U_a h_j) (Bahdanau 2014, eq. 6 and A.1.2)."""
    w_a, u_a = p["decoder.attention.score.w_a.weight"], p["decoder.attention.score.u_a.weight"]
    v_a = p["decoder.attention.score.v_a"]
    return softmax([float(v_a @ np.tanh(w_a @ query + u_a @ h)) for h in states])


def bahdanau2014(p: Parameters, source: list[int], target: list[int]) -> list[float]:
    """Section 3 and appendix A.2.2."""
    states = annotations(p, source)
    s = np.tanh(p["bridge.maps.0.weight"] @ states[0][H:] + p["bridge.maps.0.bias"])  # s_0 = tanh(W_s ←h_1)
    u_o, c_o, v_o = np.split(p["decoder.readout.w_o.weight"], [H, 3 * H], axis=1)
    result = []
    for before, word in zip([SOS, *target], target, strict=False):
        y = p["decoder.embedding.weight"][before]
        c = expected(additive(p, s, states), states)
        inner = u_o @ s + v_o @ y + c_o @ c  # t~_i, of s_{i−1}
        t = np.array([max(inner[2 * j], inner[2 * j + 1]) for j in range(READOUT)])
        s = bahdanau_unit(p, "decoder.below.layers.0", np.concatenate([y, c]), s)
        result.append(log_softmax(p["head.weight"] @ t + p["head.bias"], word))
    return result


def luong(p: Parameters, source: list[int], target: list[int], window: int | None) -> list[float]:
    memory, states = read_reversed(p, source)
    fed = np.zeros(READOUT)
    result = []
    for before, word in zip([SOS, *target], target, strict=False):
        y = p["decoder.embedding.weight"][before]
        h, states = lstm_layers(p, "decoder.below.layers", np.concatenate([y, fed]), states)  # §3.3
        weights = luong_weights(p, h, memory, window)
        c = expected(weights, memory)
        fed = np.tanh(p["decoder.readout.w_c.weight"] @ np.concatenate([h, c]))  # eq. 5, [h; c] for [c; h]
        result.append(log_softmax(p["head.weight"] @ fed + p["head.bias"], word))  # eq. 6
    return result


def luong_weights(p: Parameters, h: Vector, memory: list[Vector], window: int | None) -> list[float]:
    """Eq. 7, general score; with a window local-p (§3.2): a_t(s) = align(h_t, h_s) exp(−(s − p_t)² / 2σ²)."""
    w_a = p["decoder.attention.score.w_a.weight"]
    energies = [float(h @ (w_a @ state)) for state in memory]
    if window is None:
        return softmax(energies)
    w_p, v_p = p["decoder.attention.window.w_p.weight"], p["decoder.attention.window.v_p.weight"][0]
    p_t = len(memory) * float(sigmoid(v_p @ np.tanh(w_p @ h)))
    inside = [s for s in range(len(memory)) if p_t - window <= s <= p_t + window]
    aligned = dict(zip(inside, softmax([energies[s] for s in inside]), strict=True))
    sigma = window / 2
    return [
        aligned[s] * float(np.exp(-((s - p_t) ** 2) / (2 * sigma**2))) if s in aligned else 0.0
        for s in range(len(memory))
    ]


def luong2015(p: Parameters, source: list[int], target: list[int]) -> list[float]:
    return luong(p, source, target, None)


def luong2015_local_p(p: Parameters, source: list[int], target: list[int]) -> list[float]:
    return luong(p, source, target, 2)


def encoder_layers(p: Parameters) -> int:
    return sum(name.startswith("encoder.layers.") and name.endswith(".0.weight_hh") for name in p)


def both_ways(p: Parameters, layer: int, inputs: list[Vector]) -> tuple[list[Vector], list[Vector]]:
    """States of a bidirectional LSTM, and its last h and c."""
    forward: list[Vector] = []
    backward: list[Vector] = []
    h = c = np.zeros(ENCODER)
    for x in inputs:
        h, c = lstm(p, f"encoder.layers.{layer}.0", x, h, c)
        forward.append(h)
    back = cell = np.zeros(ENCODER)
    for x in reversed(inputs):
        back, cell = lstm(p, f"encoder.layers.{layer}.1", x, back, cell)
        backward.insert(0, back)
    states = [np.concatenate(pair) for pair in zip(forward, backward, strict=True)]
    return states, [np.concatenate([h, back]), np.concatenate([c, cell])]


def stands_for(source: list[int]) -> list[int]:
    """Ids of source words as outputs: the target's vocabulary has the first of the source's, and lacks the others."""
    return [word if word < TARGET_V else TARGET_V + source.index(word) for word in source]


def or_copied(
    p: Parameters, generated: float, weights: list[float], seen: Vector, source: list[int], word: int
) -> float:
    """log of p_gen P_vocab(w) + (1 − p_gen) Σ a_i where w stands (See et al. 2017, eq. 8 and 9)."""
    p_gen = sigmoid(p["decoder.switch.w_p.weight"][0] @ seen + p["decoder.switch.w_p.bias"][0])
    attended = sum(a for a, one in zip(weights, stands_for(source), strict=True) if one == word)
    return float(np.log(p_gen * np.exp(generated) + (1 - p_gen) * attended))


def code(p: Parameters, source: list[int], target: list[int]) -> list[float]:
    """Luong's decoder (general score, input feeding) over both directions; it copies (See et al. 2017, §2.2)."""
    memory, last = both_ways(p, 0, [p["encoder.embedding.weight"][word] for word in source])
    h, c = (np.tanh(p[f"bridge.maps.{i}.weight"] @ last[i] + p[f"bridge.maps.{i}.bias"]) for i in range(2))
    fed = np.zeros(READOUT)
    result = []
    for before, word in zip([SOS, *target], target, strict=False):
        y = p["decoder.embedding.weight"][before if before < TARGET_V else UNK]
        h, c = lstm(p, "decoder.below.layers.0", np.concatenate([y, fed]), h, c)
        weights = luong_weights(p, h, memory, None)
        context = expected(weights, memory)
        fed = np.tanh(p["decoder.readout.w_c.weight"] @ np.concatenate([h, context]))
        generated = log_softmax(p["head.weight"] @ fed + p["head.bias"], word) if word < TARGET_V else -np.inf
        result.append(or_copied(p, generated, weights, np.concatenate([context, h, y]), source, word))
    return result


def gru(p: Parameters, name: str, x: Vector, h: Vector) -> Vector:
    """The reset gate after the product, as in PyTorch and cuDNN."""
    w, u = np.split(p[f"{name}.weight_ih"], 3), np.split(p[f"{name}.weight_hh"], 3)
    b, d = np.split(p[f"{name}.bias_ih"], 3), np.split(p[f"{name}.bias_hh"], 3)
    r, z = (sigmoid(w[i] @ x + b[i] + u[i] @ h + d[i]) for i in range(2))
    return z * h + (1 - z) * np.tanh(w[2] @ x + b[2] + r * (u[2] @ h + d[2]))


def tiny(p: Parameters, source: list[int], target: list[int]) -> list[float]:
    """Additive attention on the previous state, one layer, one direction."""
    s, states = np.zeros(H), []
    for word in source:
        s = gru(p, "encoder.layers.0.0", p["encoder.embedding.weight"][word], s)
        states.append(s)
    result = []
    for before, word in zip([SOS, *target], target, strict=False):
        c = expected(additive(p, s, states), states)
        s = gru(p, "decoder.below.layers.0", np.concatenate([p["decoder.embedding.weight"][before], c]), s)
        r = np.tanh(p["decoder.readout.w_c.weight"] @ np.concatenate([s, c]))
        result.append(log_softmax(p["head.weight"] @ r + p["head.bias"], word))
    return result


def between(p: Parameters, source: list[int], target: list[int]) -> list[float]:
    """`small`, `medium` and `chars`: the first decoder layer asks, the second gets the context (Wu et al. 2016 §3).

    `inflection` copies besides (See et al. 2017, §2.2).
    """
    states = [np.sqrt(E) * p["encoder.embedding.weight"][word] for word in source]
    for layer in range(encoder_layers(p)):
        states, last = both_ways(p, layer, states)
    start = [
        np.tanh(p[f"bridge.maps.{i}.weight"] @ last[i % 2] + p[f"bridge.maps.{i}.bias"]) for i in range(4)
    ]
    (h1, c1), (h2, c2) = start[:2], start[2:]
    result = []
    for before, word in zip([SOS, *target], target, strict=False):
        y = np.sqrt(E) * p["decoder.embedding.weight"][before if before < TARGET_V else UNK]
        h1, c1 = lstm(p, "decoder.below.layers.0", y, h1, c1)
        weights = additive(p, h1, states)
        context = expected(weights, states)
        h2, c2 = lstm(p, "decoder.above.layers.0", np.concatenate([h1, context]), h2, c2)
        r = np.tanh(p["decoder.readout.w_c.weight"] @ np.concatenate([h2, context, y]))
        r = p["head.factor.weight"] @ r if "head.factor.weight" in p else r
        generated = (
            log_softmax(p["head.weight"] @ r + p["head.bias"], word)
            if word < len(p["head.bias"])
            else -np.inf
        )
        if "decoder.switch.w_p.weight" in p:
            generated = or_copied(p, generated, weights, np.concatenate([context, h2, y]), source, word)
        result.append(generated)
    return result


def sums(p: Parameters, source: list[int], target: list[int]) -> list[float]:
    """The encoder's last state begins the decoder, one LSTM layer each, read as written."""
    return sutskever2014(p, source[:-1][::-1] + source[-1:], target)


def conditional(p: Parameters, source: list[int], target: list[int]) -> list[float]:
    """Two GRUs a step, the first one's state asks (Firat and Cho 2016; Sennrich et al. 2017); a layer above them."""
    states = [np.sqrt(E) * p["encoder.embedding.weight"][word] for word in source]
    for layer in range(encoder_layers(p)):
        forward, backward = list[Vector](), list[Vector]()
        for order, found in ((states, forward), (states[::-1], backward)):
            h = np.zeros(ENCODER)
            for x in order:
                h = gru(p, f"encoder.layers.{layer}.{int(found is backward)}", x, h)
                found.append(h)
        states = [np.concatenate(pair) for pair in zip(forward, backward[::-1], strict=True)]
    last = np.concatenate([forward[-1], backward[-1]])
    s, above = (np.tanh(p[f"bridge.maps.{i}.weight"] @ last + p[f"bridge.maps.{i}.bias"]) for i in range(2))
    result = []
    for before, word in zip([SOS, *target], target, strict=False):
        y = np.sqrt(E) * p["decoder.embedding.weight"][before]
        first = gru(p, "decoder.below.layers.0", y, s)  # s'_j
        context = expected(additive(p, first, states), states)
        s = gru(p, "decoder.second.layers.0", context, first)
        above = gru(p, "decoder.above.layers.0", np.concatenate([s, context]), above)
        r = np.tanh(p["decoder.readout.w_c.weight"] @ np.concatenate([above, context, y]))
        r = p["head.factor.weight"] @ r if "head.factor.weight" in p else r
        result.append(log_softmax(p["head.weight"] @ r + p["head.bias"], word))
    return result


RECIPES: dict[str, tuple[Paper, dict[str, int]]] = {
    "sutskever2014": (sutskever2014, {}),
    "cho2014": (cho2014, {"readout_rank": RANK}),
    "bahdanau2014": (bahdanau2014, {"attention_size": A}),
    "luong2015": (luong2015, {}),
    "luong2015-local-p": (luong2015_local_p, {"attention_window": 2}),
    "small": (between, {"encoder_hidden": ENCODER, "attention_size": A}),
    "medium": (between, {"encoder_hidden": ENCODER, "attention_size": A}),
    "chars": (between, {"encoder_hidden": ENCODER, "attention_size": A}),
    "code": (code, {"encoder_hidden": ENCODER}),
    "inflection": (between, {"encoder_hidden": ENCODER, "attention_size": A}),
    "sums": (sums, {}),
    "tiny": (tiny, {"attention_size": A}),
}


def test_every_recipe_is_here() -> None:
    assert sorted(RECIPES) == config.recipes()


@pytest.mark.parametrize(("longest", "shortest"), [(3, 2), (13, 1)])
@pytest.mark.parametrize("name", [*RECIPES, "conditional"])
def test_log_probabilities_are_the_papers(name: str, longest: int, shortest: int) -> None:
    paper, more = RECIPES.get(name, (conditional, {"encoder_hidden": ENCODER, "attention_size": A}))
    sizes = {"hidden": H, "embedding": E, "readout_size": READOUT, **more}
    if name in RECIPES:
        settings = config.load(name, {"model": sizes}).model
    else:
        settings = config.load("small", {"model": {**sizes, "cell": "gru", "attend": "within"}}).model
    words = TARGET_V if settings.tied == "all" else SOURCE_V
    model = build(settings, words, TARGET_V, seed=1).double().eval()
    torch.manual_seed(4)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.5, 0.5)
    sources = torch.randint(4, words, (2, longest))
    targets = torch.randint(4, TARGET_V, (2, 5))
    source_lengths, target_lengths = [longest, shortest], [5, 3]
    for b in range(2):
        sources[b, source_lengths[b] - 1], targets[b, target_lengths[b] - 1] = 3, 3
        sources[b, source_lengths[b] :], targets[b, target_lengths[b] :] = 0, 0
    copies = None
    if model.copies:
        sources[0, 0] = SOURCE_V - 1  # the target's vocabulary lacks it
        copies = torch.tensor([stands_for(row) for row in sources.tolist()])
        targets[0, 1] = copies[0, 0]
    with torch.inference_mode():
        found, _ = model.log_probs(sources, torch.tensor(source_lengths), targets, copies)
    parameters = {name: value.numpy() for name, value in model.state_dict().items()}
    for b in range(2):
        source, target = (
            rows[b, : lengths[b]].tolist()
            for rows, lengths in ((sources, source_lengths), (targets, target_lengths))
        )
        wanted = paper(parameters, source, target)
        np.testing.assert_allclose(found[b, : len(target)].numpy(), wanted, rtol=0, atol=1e-9)
