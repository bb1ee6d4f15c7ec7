"""The recurrences. `reference` is the definition; `fast` has the same signatures and is tested against it."""
