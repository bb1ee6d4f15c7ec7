"""The exported file and what runs it. Imports no torch."""

from suguk.runtime.model import OnnxModel

__all__ = ["OnnxModel"]
