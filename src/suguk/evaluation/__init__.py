"""How good are the outputs: corpus metrics (`metrics`) and a whole evaluation of a model (`report`).

Knows a model only as a `suguk.predictor.Predictor`; imports no torch, and sacrebleu and
rapidfuzz only when called.
"""
