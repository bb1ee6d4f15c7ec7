"""Which of two exported files answers faster, one sentence after the other?

    python -m benchmarks.versus OLD.onnx NEW.onnx test.en --lowercase --threads 1 2

Both answer every sentence, greedily unless there is a --beam, in turn, so that what else happens to the machine meets
both: the ratio of each pair of times is what counts, and its median is printed with its quartiles.
"""

import argparse
import statistics
import time
from pathlib import Path

from suguk.config import PredictConfig
from suguk.runtime.model import OnnxModel


def seconds(model: OnnxModel, line: str, options: PredictConfig) -> tuple[float, int]:
    """Of one answer, and its tokens."""
    began = time.perf_counter()
    (found,) = model.predict([line], options)
    return time.perf_counter() - began, len(found.n_best[0].token_scores)


def row(files: list[Path], lines: list[str], beam: int, threads: int, rounds: int) -> str:
    """Tokens a second of both, and how many times as fast the second is."""
    models = [OnnxModel.load(file, threads) for file in files]
    options = models[0].config.predict.model_copy(update={"beam": beam})
    answers = [model.predict(lines, options) for model in models]  # and all is warm
    same = sum(one.output == other.output for one, other in zip(*answers, strict=True))
    taken, tokens, ratios = [0.0, 0.0], [0, 0], []
    for number in range(rounds):
        for at, line in enumerate(lines):
            order = (0, 1) if (number + at) % 2 else (1, 0)
            found = {place: seconds(models[place], line, options) for place in order}
            for place, (time_, count) in found.items():
                taken[place] += time_
                tokens[place] += count
            ratios.append(found[0][0] / found[1][0])
    low, middle, high = statistics.quantiles(ratios, n=4)
    speeds = " | ".join(f"{count / time_:,.0f}" for count, time_ in zip(tokens, taken, strict=True))
    return f"| {threads} | {speeds} | {middle:.2f} ({low:.2f}–{high:.2f}) | {same} of {len(lines)} |"


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("sources", type=Path, help="a sentence a line")
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--lowercase", action="store_true")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sentences", type=int, default=100, help="from the beginning of the file")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    lines = arguments.sources.read_text(encoding="utf-8").splitlines()[: arguments.sentences]
    if arguments.lowercase:
        lines = [line.lower() for line in lines]
    print("| threads | old, tokens/s | new, tokens/s | new is × as fast (quartiles) | same outputs |")
    print("|---|---|---|---|---|")
    for threads in arguments.threads:
        print(
            row([arguments.old, arguments.new], lines, arguments.beam, threads, arguments.rounds), flush=True
        )


if __name__ == "__main__":
    main()
