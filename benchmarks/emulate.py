"""`suguk` with bfloat16 products on a processor that has none: rounded factors, multiplied and added up in float32.

    python -m benchmarks.emulate train words.tsv --set train.precision=bf16 …

PyTorch's own bfloat16 products take hundreds of times as long there. What a processor with bfloat16 does is this:
factors of eight significant bits, sums in float32, a result of eight bits; that is computed here at about the speed of
float32. It says something about scores, nothing about speed.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from suguk.cli import main
from suguk.kernels import fast
from suguk.training import precision

aten = torch.ops.aten
PRODUCTS = {
    aten.mm.default, aten.mm.out, aten.bmm.default, aten.bmm.out, aten.addmm.default, aten.addmm.out,
    aten.baddbmm.default, aten.addmv.default, aten.mv.default,
    aten.mkldnn_rnn_layer.default, aten.mkldnn_rnn_layer_backward.default,
}  # fmt: skip


class Rounded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Products and LSTM sequences of bfloat16 tensors by way of float32."""

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        if func not in PRODUCTS or args[0].dtype != torch.bfloat16:
            return func(*args, **kwargs)
        out = kwargs.pop("out", None)
        found = func.overloadpacket.default(*(wide(value) for value in args), **kwargs)
        if out is not None:
            return out.copy_(found)
        return narrow(found) if isinstance(found, torch.Tensor) else tuple(map(narrow, found))


def rounded() -> AbstractContextManager[object]:
    """A context in which they are."""
    found: AbstractContextManager[object] = Rounded()  # type: ignore[no-untyped-call]
    return found


def wide(value: Any) -> Any:
    """A bfloat16 tensor in float32; anything else as it is."""
    return value.float() if isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16 else value


def narrow(value: torch.Tensor) -> torch.Tensor:
    """A float32 tensor in bfloat16; anything else as it is."""
    return value.bfloat16() if value.dtype == torch.float32 else value


if __name__ == "__main__":
    for room, name in ((precision, "native"), (fast, "bfloat16_sequences")):
        setattr(room, name, lambda *_: True)
    with rounded():
        main()
