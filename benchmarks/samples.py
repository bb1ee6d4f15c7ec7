"""Do PyTorch and an exported file in single precision draw the same samples?

    suguk export RUN FILE --fp32
    python -m benchmarks.samples RUN FILE test.en --lines 160

Five samples a source with the same seed; an output that only one of the two has is another one.
"""

import argparse
from collections import Counter
from pathlib import Path

import suguk
from suguk.config import options


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run directory")
    parser.add_argument("file", type=Path, help="its export")
    parser.add_argument("sources", type=Path, help="a sentence a line")
    parser.add_argument("--lines", type=int, default=160)
    arguments = parser.parse_args()
    lines = arguments.sources.read_text(encoding="utf-8").splitlines()[: arguments.lines]
    models = [suguk.load(arguments.run, engine="torch"), suguk.load(arguments.file)]
    asked = options(models[0].config.predict, sample=True, beam=5, n_best=5, max_length=40)
    found = [
        [[one.tokens for one in answer.n_best] for answer in model.predict(lines, asked)] for model in models
    ]
    other = sum((Counter(a) - Counter(b)).total() for a, b in zip(*found, strict=True))
    samples = [sample for answer in found[0] for sample in answer]
    words = sum(map(len, samples))
    print(f"{other} other outputs of {len(samples):,}, which have {words:,} tokens")


if __name__ == "__main__":
    main()
