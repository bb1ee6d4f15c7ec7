"""Make tables that `suguk train` reads of data sets that are published in another form, and a generated one.

    python -m benchmarks.convert DATA OUT

DATA holds the data sets by name, as for record.py; what it lacks is left out, and said so. OUT gets, each a folder
with train.tsv, valid.tsv and test.tsv:

- inflection-LANG of sigmorphon2023-inflection: the source is tags and letters as symbols, `+V +PST w a l k`; the
  target is the letters of the form, `w a l k e d`, so that they can be copied. A tag is split at `;`, `(`, `)` and
  `,`, so that combinations share their parts; the `+` of finite-state morphology keeps it apart from letters. `▁` is
  a space.
- g2p-kor of sigmorphon2021-g2p and names-jamo of names-en-ko: Hangul as jamo with spaces between them. Initial and
  final consonants are different characters, so syllables can be put together again in one way only.
- cmudict-nostress of cmudict: phonemes without the digits of stress, `HH AH L OW`, as published figures have them;
  pronunciations that differ by stress only become one.
- scan-simple, scan-length, scan-jump of scan, which has no validation split: 500 training commands and all their
  rows become one. Commands of one word stay in training: the jump split shows `jump` nowhere else.
- reports: generated. A source is a number and some sentences, `2 : rodu sold boats in kemi . …`; the target has so
  many of the sentences, without their places. Who and where are invented anew for each report, so that they have to
  be copied, and the number says how long the output is.
"""

import argparse
import random
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

Rows = Iterable[tuple[str, str]]
Splits = Mapping[str, Rows]  # train, valid, test

INFLECTION = ("deu", "eng", "fra", "hun", "rus", "spa")
SCAN = ("simple", "length", "jump")
SCAN_VALID = 500
REPORTS = {"train": 20_000, "valid": 1_000, "test": 1_000}


def letters(text: str, form: Literal["NFC", "NFD"] = "NFC") -> str:
    """The characters of `text` as symbols; a space becomes ▁. form: NFD takes Hangul apart into jamo."""
    return " ".join(unicodedata.normalize(form, text).replace(" ", "▁"))


def tags(text: str) -> str:
    """`V;PRS;NOM(3,SG)` → `+V +PRS +NOM +3 +SG`."""
    return " ".join(f"+{tag}" for tag in re.split(r"[;(),]", text) if tag)


def inflection(data: Path, language: str) -> Splits:
    def rows(ending: str) -> Rows:
        for lemma, described, form in _cells(
            data / "sigmorphon2023-inflection" / f"{language}.{ending}", header=False
        ):
            yield f"{tags(described)} {letters(lemma)}", letters(form)

    return {"train": rows("trn"), "valid": rows("dev"), "test": rows("tst")}


def korean_pronunciation(data: Path) -> Splits:
    def rows(split: str) -> Rows:
        for word, sounds in _cells(data / "sigmorphon2021-g2p" / f"kor_{split}.tsv", header=False):
            yield letters(word, "NFD"), sounds

    return {"train": rows("train"), "valid": rows("dev"), "test": rows("test")}


def names(data: Path) -> Splits:
    def rows(split: str) -> Rows:
        for name, hangul in _cells(data / "names-en-ko" / f"{split}.tsv"):
            yield name, letters(hangul.replace(" ", ""), "NFD")

    return {split: rows(split) for split in ("train", "valid", "test")}


def pronunciation_without_stress(data: Path) -> Splits:
    def rows(split: str) -> Rows:
        cells = _cells(data / "cmudict" / f"{split}.tsv")
        return dict.fromkeys((word, re.sub(r"\d", "", sounds)) for word, sounds in cells)

    return {split: rows(split) for split in ("train", "valid", "test")}


def scan(data: Path, kind: str) -> Splits:
    given = [(row[0], row[1]) for row in _cells(data / "scan" / f"{kind}-train.tsv")]
    commands = sorted({command for command, _ in given if " " in command})
    held = set(random.Random(1).sample(commands, min(SCAN_VALID, len(commands) // 5)))
    return {
        "train": [row for row in given if row[0] not in held],
        "valid": [row for row in given if row[0] in held],
        "test": [(row[0], row[1]) for row in _cells(data / "scan" / f"{kind}-test.tsv")],
    }


def reports(_: Path) -> Splits:
    draw = random.Random(1)
    return {split: [_report(draw) for _ in range(count)] for split, count in REPORTS.items()}


def _report(draw: random.Random) -> tuple[str, str]:
    facts = [
        (_name(draw), draw.choice(("sold", "found", "lost", "built", "repaired")), draw.choice(THINGS))
        for _ in range(draw.randint(3, 6))
    ]
    wanted = draw.randint(1, 3)
    told = " ".join(f"{who} {did} {what} in {_name(draw)} ." for who, did, what in facts)
    summary = " ".join(f"{who} {did} {what} ." for who, did, what in facts[:wanted])
    return f"{wanted} : {told}", summary


THINGS = ("boats", "horses", "clocks", "lamps", "old maps", "two bridges", "a red door", "silver coins")


def _name(draw: random.Random) -> str:
    return "".join(draw.choice("bdfgklmnprstvz") + draw.choice("aeiou") for _ in range(draw.randint(2, 4)))


SETS: Mapping[str, Callable[[Path], Splits]] = {
    **{f"inflection-{language}": partial(inflection, language=language) for language in INFLECTION},
    "g2p-kor": korean_pronunciation,
    "cmudict-nostress": pronunciation_without_stress,
    "names-jamo": names,
    **{f"scan-{kind}": partial(scan, kind=kind) for kind in SCAN},
    "reports": reports,
}


def convert(data: Path, out: Path) -> None:
    """Every set of SETS whose origin is in `data`."""
    for name, make in SETS.items():
        try:
            tables = {split: list(rows) for split, rows in make(data).items()}
        except FileNotFoundError as fault:
            print(f"{name}: left out, there is no {fault.filename}", file=sys.stderr)
            continue
        (out / name).mkdir(parents=True, exist_ok=True)
        for split, rows in tables.items():
            lines = ("source\ttarget\n", *(f"{source}\t{target}\n" for source, target in rows))
            (out / name / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
        print(f"{name}: {', '.join(f'{split} {len(rows):,}' for split, rows in tables.items())}")


def _cells(path: Path, *, header: bool = True) -> Iterator[list[str]]:
    with path.open(encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines):
            if (number or not header) and line.strip():
                yield line.rstrip("\r\n").split("\t")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("out", type=Path, metavar="OUT")
    arguments = parser.parse_args()
    convert(arguments.data, arguments.out)


if __name__ == "__main__":
    main()
