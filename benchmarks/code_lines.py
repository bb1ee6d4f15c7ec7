"""Score lines of code by rows, as the published figures of Django are scored.

    python -m benchmarks.code_lines DATA/django/test.tsv RUN [RUN …]

`suguk evaluate` answers a source once, takes all rows that have it for references, and counts BLEU over the corpus in
the data's own tokens. Yin and Neubig 2017 score every row against its own code. Their BLEU has words (cut where a
capital follows a small letter) and single signs for tokens, all quotes being one; it is smoothed as NIST's, and what
their evaluation returns is the mean of the rows' BLEU. The corpus's is printed beside it.
"""

import argparse
import re
from collections.abc import Sequence

from sacrebleu.metrics.bleu import BLEU

import suguk
from suguk.data.read import read


def tokens(line: str) -> str:
    """Words and signs, with spaces between them."""
    cut = re.findall(r"[A-Za-z0-9_]+|[^A-Za-z0-9_\s]", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", line))
    return " ".join("`" if one in ("'", '"') else one for one in cut)


def scores(outputs: Sequence[str], targets: Sequence[str]) -> tuple[float, float, float]:
    """Exact rows, mean of the rows' BLEU and BLEU of the corpus, in percent."""
    exact = sum(output.split() == target.split() for output, target in zip(outputs, targets, strict=True))
    found, wanted = list(map(tokens, outputs)), list(map(tokens, targets))
    row = BLEU(tokenize="none", effective_order=True)
    rows = [row.sentence_score(one, [other]).score for one, other in zip(found, wanted, strict=True)]
    corpus = BLEU(tokenize="none", force=True).corpus_score(found, [wanted]).score
    return 100 * exact / len(rows), sum(rows) / len(rows), corpus


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("runs", nargs="+", metavar="RUN")
    arguments = parser.parse_args()
    pairs = read([arguments.data])
    print("| run | rows | exact | mean BLEU of rows | BLEU of the corpus |\n|---|---|---|---|---|")
    for run in arguments.runs:
        answers = suguk.load(run, engine="torch").predict(list(pairs.sources))
        exact, mean, corpus = scores([answer.output for answer in answers], list(pairs.targets))
        print(f"| {run} | {len(pairs):,} | {exact:.2f} % | {mean:.2f} | {corpus:.2f} |", flush=True)


if __name__ == "__main__":
    main()
