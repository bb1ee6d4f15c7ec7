"""Batches from numpy to the device that trains."""

import torch
from torch import Tensor

from suguk.data.batch import Batch


def to_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """source [B, S], source lengths [B], target [B, T], target lengths [B], as `Seq2Seq.loss` takes them."""
    source, source_lengths, target, target_lengths = (torch.from_numpy(part) for part in batch[:4])
    if device.type == "cuda":  # pinned, so that the copies overlap with what the GPU is still computing
        source, source_lengths, target, target_lengths = (
            part.pin_memory().to(device, non_blocking=True)
            for part in (source, source_lengths, target, target_lengths)
        )
    return source, source_lengths, target, target_lengths
