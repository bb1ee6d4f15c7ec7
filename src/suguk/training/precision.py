"""Which type matrix products are computed in."""

import torch

from suguk.errors import ConfigError


def precision(setting: str, device: torch.device) -> torch.dtype | None:
    """The type of train.precision for autocast; None for float32. ConfigError where a device cannot do what is asked.

    auto: bfloat16 where the device multiplies it; elsewhere it is emulated, far slower than float32.
    """
    if setting == "fp32" or (setting == "auto" and not native(device)):
        return None
    if device.type == "cuda" and not native(device):
        raise ConfigError(
            "this GPU does not compute in bfloat16",
            where="train.precision",
            hint="--set train.precision=auto",
        )
    return torch.bfloat16


def native(device: torch.device) -> bool:
    """Whether the device has instructions for products in bfloat16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    tests = (
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return any(test is not None and bool(test()) for test in tests)
