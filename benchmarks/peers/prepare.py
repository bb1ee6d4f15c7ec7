"""Cut Multi30k En→De into the same 8,000 joint subwords for every peer.

    build/peers/venvs/sentencepiece/bin/python benchmarks/peers/prepare.py --data DATA --out build/peers/data

DATA holds multi30k/train.en, train.de, val.en, val.de. OUT gets the sentencepiece model (BPE of both languages
together, from the training pairs), every file as pieces, the vocabulary in the two ways that peers want it, the pairs
as tables, and counts.json with what the figures are computed from. compare.py calls this by itself.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

SIZE = 8000
BATCH = 64
SPECIALS = ("<unk>", "<s>", "</s>", "<pad>")  # by id
SPLITS = ("train", "val")
LANGUAGES = ("en", "de")


def read(path: Path) -> list[str]:
    """Lines without their ends; only a newline ends a line."""
    return path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")


def write(path: Path, lines: Iterable[str]) -> None:
    """One line each."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def table(sources: Iterable[str], targets: Iterable[str]) -> Iterator[str]:
    """Pairs with a tab between."""
    return (f"{source}\t{target}" for source, target in zip(sources, targets, strict=True))


def counts(targets: list[str]) -> dict[str, int]:
    """Pairs, target tokens (pieces and one <eos> a sentence), and the updates of an epoch."""
    tokens = sum(len(line.split(" ")) + 1 for line in targets)
    updates = -(-len(targets) // BATCH)
    return {"pairs": len(targets), "target_tokens": tokens, "updates": updates}


def prepare(source: Path, out: Path) -> None:
    """Write everything into OUT; counts.json comes last and says that the rest is complete."""
    import sentencepiece  # type: ignore[import-not-found,import-untyped,unused-ignore]

    out.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        input=[str(source / f"train.{language}") for language in LANGUAGES],
        model_prefix=str(out / "joint"),
        model_type="bpe",
        vocab_size=SIZE,
        character_coverage=1.0,
        minloglevel=1,
        **{f"{name}_id": index for index, name in enumerate(("unk", "bos", "eos", "pad"))},
    )
    model = sentencepiece.SentencePieceProcessor(model_file=str(out / "joint.model"))
    vocabulary = [model.id_to_piece(index) for index in range(model.get_piece_size())]
    if tuple(vocabulary[: len(SPECIALS)]) != SPECIALS:
        raise SystemExit(f"the vocabulary begins with {vocabulary[: len(SPECIALS)]}, expected {SPECIALS}")
    write(out / "pieces.txt", vocabulary)
    write(out / "pieces-without-specials.txt", vocabulary[len(SPECIALS) :])
    for split in SPLITS:
        sides = []
        for language in LANGUAGES:
            pieces = model.encode(read(source / f"{split}.{language}"), out_type=str)
            lines = [" ".join(line) for line in pieces]
            write(out / f"{split}.{language}", lines)
            sides.append(lines)
        write(out / f"{split}.tsv", table(*sides))
        if split == "train":
            found = counts(sides[1])
    (out / "counts.json").write_text(json.dumps(found), encoding="utf-8")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with multi30k/")
    parser.add_argument("--out", type=Path, default=Path("build/peers/data"))
    arguments = parser.parse_args()
    prepare(arguments.data / "multi30k", arguments.out)
    print((arguments.out / "counts.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
