"""The recurrences. `reference` is the definition; `fast` has the same signatures and is tested against it."""

import os

# On a CPU oneDNN makes machine code for every new shape of a product or a recurrence. It keeps the last 1,024 of them,
# and PyTorch 1,024 of each kind. Batches of texts have hundreds of shapes: their code takes half a gigabyte and, as it
# lies between the blocks that every update frees, keeps far more from being used again. Both numbers are asked for at
# the first such product: too late here if torch has computed before. Whoever has set them is obeyed.
for _name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
    os.environ.setdefault(_name, "128")
