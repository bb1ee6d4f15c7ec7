"""suguk: recurrent sequence-to-sequence models. `train` one on your own pairs, `load` it, `predict`.

Importing this package loads no torch; the functions below import what they need when they are called.
"""
