"""Copying in a graph: a switch that is sure."""

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from suguk.export.translate import quiet, translate
from suguk.model.copying import extended


class Extended(nn.Module):
    def forward(self, log_probs: Tensor, switch: Tensor, weights: Tensor, copies: Tensor) -> Tensor:
        return extended(log_probs, switch, weights, copies)


def test_a_switch_that_is_sure() -> None:
    """Log probabilities far below those of likely words are what forced decoding and rescoring read."""
    torch.manual_seed(1)
    switch = torch.tensor([[-60.0, -30.0, -18.0, -15.0, 0.0, 15.0, 18.0, 30.0, 60.0]])
    log_probs = torch.randn(1, 9, 7).log_softmax(-1)
    weights = torch.randn(1, 9, 3).softmax(-1)
    given = (log_probs, switch, weights, torch.tensor([[4, 8, 3]]))
    with quiet():
        program = torch.export.export(Extended(), given)
        graph = translate(program, ("log_probs", "switch", "weights", "copies"), ("found",))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    names = (one.name for one in session.get_inputs())
    (found,) = session.run(None, {name: part.numpy() for name, part in zip(names, given, strict=True)})
    wanted = extended(log_probs.double(), switch.double(), weights.double(), given[3])
    known = wanted > -np.inf
    np.testing.assert_array_equal(np.isfinite(found), known.numpy())
    np.testing.assert_allclose(found[known.numpy()], wanted[known].numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(extended(*given)[known].numpy(), wanted[known].numpy(), rtol=1e-5, atol=1e-5)
