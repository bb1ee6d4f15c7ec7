"""Fields: raw values to arrays and back, one class a modality. No torch."""

from suguk.fields.base import EOS, PAD, SOS, SPECIALS, UNK, Field
from suguk.fields.text import TextField

__all__ = ["EOS", "PAD", "SOS", "SPECIALS", "UNK", "Field", "TextField"]
