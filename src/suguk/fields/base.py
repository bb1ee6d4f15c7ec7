"""A modality is one field: raw values to arrays and back. Shared by training, runtime and export."""

from collections.abc import Sequence
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

PAD, UNK, SOS, EOS = 0, 1, 2, 3
SPECIALS = ("<pad>", "<unk>", "<sos>", "<eos>")


class Field(Protocol):
    """What every modality offers."""

    def encode(self, raw: Any) -> NDArray[Any]:
        """One raw value as an array."""
        ...

    def decode(self, array: Any) -> Any:
        """The raw value of an array."""
        ...

    def collate(self, arrays: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Arrays of different lengths as one padded array [B, S, …], and their lengths [B]."""
        ...

    def to_json(self) -> str:
        """All that `from_json` needs, as text; data, never code."""
        ...

    @classmethod
    def from_json(cls, text: str, where: str = "") -> Self:
        """The field back; ModelError naming `where` if the text is damaged, foreign or newer."""
        ...
