"""The recurrences. `reference` is the definition; `fast` has the same signatures and is tested against it."""

import os

# On a CPU oneDNN makes machine code for every new shape of a product or a recurrence. It keeps the last 1,024 of them,
# and PyTorch another 1,024 of each kind. Batches of texts always have new shapes: that is half a gigabyte of code that
# is hardly used again and, as it lies between the blocks that every update frees, far more that nothing fits into.
# Both numbers are asked for when first needed, which is later than this.
for _name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
    os.environ.setdefault(_name, "64")
