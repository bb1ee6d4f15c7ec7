"""Batches from numpy to the device that trains."""

import torch
from torch import Tensor

from suguk.data.batch import Batch


def to_device(batch: Batch, device: torch.device) -> tuple[Tensor, ...]:
    """source [B, S], source lengths [B], target [B, T], target lengths [B], as `Seq2Seq.loss` takes them.

    For a model that copies, `copies` [B, S] too.
    """
    parts = batch[:4] if batch.copies is None else (*batch[:4], batch.copies)
    tensors = tuple(torch.from_numpy(part) for part in parts)
    if device.type == "cuda":  # pinned, so that the copies overlap with what the GPU is still computing
        tensors = tuple(part.pin_memory().to(device, non_blocking=True) for part in tensors)
    return tensors
