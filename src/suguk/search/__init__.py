"""Decoding: one search over tensors for every model and every engine. Imports no model."""

from suguk.search.beam import Found, search
from suguk.search.step import Stepper, select

__all__ = ["Found", "Stepper", "search", "select"]
