"""The recurrences. `reference` is the definition; `fast`, `additive`, `projection` and `lstm` compute the same and are
tested against it. `steps` is a loop's matrix products with one gradient for all steps: the same functions outside of a
loop are plain PyTorch, and that is what it is tested against. `norm` is tested against its paper's equations."""

import os

# On a CPU oneDNN makes machine code for every new shape of a product or a recurrence and keeps the last 1,024. PyTorch
# keeps 1,024 more of each kind, which saves no time but, as batches of texts have hundreds of shapes, holds gigabytes
# in the end (docs/decisions/005-kernels.md). The number is asked for at the first such product: too late here if torch
# has computed before. Whoever has set it is obeyed.
os.environ.setdefault("LRU_CACHE_CAPACITY", "16")
