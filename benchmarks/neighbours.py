"""Do answers depend on what else is in a batch?

    python -m benchmarks.neighbours MODEL test.en --beams 1 5

Every source is answered in batches, as always, and alone; tokens and log probabilities are compared.
"""

import argparse
from pathlib import Path

import suguk
from suguk.config import options


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="an exported file, or a run directory")
    parser.add_argument("sources", type=Path, help="a sentence a line")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    arguments = parser.parse_args()
    lines = arguments.sources.read_text(encoding="utf-8").splitlines()
    model = suguk.load(arguments.model)
    print(
        "| beam | lines | other tokens | other log probabilities | largest difference |\n|---|---|---|---|---|"
    )
    for beam in arguments.beams:
        together = options(model.config.predict, beam=beam)
        alone = options(together, batch_tokens=1)
        pairs = list(zip(model.predict(lines, together), model.predict(lines, alone), strict=True))
        tokens = sum(one.tokens != other.tokens for one, other in pairs)
        apart = [abs(one.log_prob - other.log_prob) for one, other in pairs]
        print(
            f"| {beam} | {len(lines):,} | {tokens} | {sum(gap > 0 for gap in apart)} | {max(apart):.2g} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
