"""Initial weights, as the papers set them."""

import torch
from torch import nn

from suguk.model.attention import AdditiveScore, CoverageScore, PredictiveWindow
from suguk.model.cells import Cell


def initialise(model: nn.Module, *, kind: str, scale: float) -> None:
    """uniform: everything U(−scale, scale) (Sutskever 2014 §3.4, Luong 2015 §4.1).

    normal: N(0, scale²), recurrent matrices orthogonal, biases 0, W_a and U_a ten times smaller, v_a 0
    (Cho 2014 §4.1.1; Bahdanau 2014 B.1).
    xavier: Glorot uniform matrices, recurrent ones orthogonal, embeddings N(0, 1/E), biases 0, the LSTM's forget bias 1
    (Jozefowicz 2015).
    Whatever the kind, gains of layer normalisation are 1 and the bias of c's is 0 (Ba et al. 2016, §6), normalised
    recurrent sums have biases of U(−0.1, 0.1), or what uniform gives them, and coverage begins without effect, w_c = 0.
    """
    for name, parameter in model.named_parameters():
        if kind == "uniform":
            nn.init.uniform_(parameter, -scale, scale)
        elif parameter.dim() < 2:
            nn.init.zeros_(parameter)
        elif kind == "normal":
            nn.init.normal_(parameter, std=scale)
        elif "embedding" in name:
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
        else:
            nn.init.xavier_uniform_(parameter)
    for module in model.modules():
        if isinstance(module, Cell) and module.habits.layer_norm:
            _norms(module)
        elif isinstance(module, CoverageScore):
            nn.init.zeros_(module.w_c)
    if kind == "uniform":
        return
    for module in model.modules():
        if isinstance(module, Cell):
            _recurrent(module, forget=1.0 if kind == "xavier" else 0.0)
        elif isinstance(module, AdditiveScore) and kind == "normal":
            nn.init.normal_(module.w_a.weight, std=scale / 10)
            nn.init.normal_(module.u_a.weight, std=scale / 10)
        elif isinstance(module, AdditiveScore):
            nn.init.normal_(module.v_a, std=len(module.v_a) ** -0.5)
        elif isinstance(module, PredictiveWindow) and kind == "xavier":
            nn.init.xavier_uniform_(module.v_p.weight)


def _recurrent(cell: Cell, *, forget: float) -> None:
    for block in torch.split(cell.weight_hh.data, cell.hidden):
        nn.init.orthogonal_(block)
    if cell.habits.layer_norm:
        # With biases of 0 a state that has read only dropped words (`embedding_dropout`) is the same in all units, and
        # the slope of a norm of equal values is 300: a hundred million after some steps and layers.
        nn.init.uniform_(cell.bias_hh, -0.1, 0.1)
    if cell.kind == "lstm":
        cell.bias_ih.data[cell.hidden : 2 * cell.hidden] = forget


def _norms(cell: Cell) -> None:
    for gain in (cell.gain_ih, cell.gain_hh):
        nn.init.ones_(gain)
    if cell.kind == "lstm":
        nn.init.ones_(cell.gain_c)
        nn.init.zeros_(cell.bias_c)
