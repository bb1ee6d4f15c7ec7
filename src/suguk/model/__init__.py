"""Encoder, memory, attention, decoder, readout: parts that a setting puts together. See `assemble.build`."""

from suguk.model.assemble import build
from suguk.model.ensemble import Ensemble
from suguk.model.heads import Loss
from suguk.model.memory import Memory, State
from suguk.model.seq2seq import Seq2Seq

__all__ = ["Ensemble", "Loss", "Memory", "Seq2Seq", "State", "build"]
