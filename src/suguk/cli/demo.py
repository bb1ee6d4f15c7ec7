"""`suguk demo`."""


def demo() -> None:
    """Train Spanish → English on bundled sentences, in minutes, and show what was learned."""
