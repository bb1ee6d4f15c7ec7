"""Decoding: one search over tensors for every model and every engine. Imports no model."""

from suguk.search.beam import Found, Ranking, search
from suguk.search.menu import Menu
from suguk.search.step import Stepper, select

__all__ = ["Found", "Menu", "Ranking", "Stepper", "search", "select"]
