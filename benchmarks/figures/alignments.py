"""Where attention looks: several sentences in one picture (Bahdanau 2014 figure 3)."""

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures.svg import FAINT, MARGIN, NIGHT, PAPER, Picture
from benchmarks.figures.workshop import SPA_ENG, Corpus, Workshop
from suguk.data.read import read
from suguk.explain.heatmap import LIGHT, MUTED, heatmap
from suguk.predictor import Attention

SHOWS = "attention heatmaps of several test sentences in one picture"
SEEDS = (1,)
SHOWN, SHORTEST, LONGEST = 4, 8, 14  # sentences; words of their sources
_DRAWN = 60  # sentences among which those without unknown words are taken
_WIDTH = 1180
# Bahdanau 2014's order of things (a bidirectional GRU encoder, attention before the cell), smaller.
ATTENTION = (
    "model.cell=gru", "model.bidirectional=true", "model.bridge=backward", "model.attention=additive",
    "model.attend=before", "model.readout=maxout", "model.readout_word=true", "source.vocab_size=12000",
    "target.vocab_size=12000", "train.epochs=4",
)  # fmt: skip


def train(workshop: Workshop) -> str:
    """The run directory of English to Spanish with attention, which `phrases` takes too."""
    return workshop.train("attention-en-es", SPA_ENG, *ATTENTION, seed=workshop.seeds[0])


def measure(workshop: Workshop) -> dict[str, Any]:
    """The model's own outputs for sentences drawn at random, and the weights behind each word."""
    run = train(workshop)
    pictures = workshop.out / "answers" / "alignments"
    words = ["predict", run, "--jsonl", "--beam", "5", "--attention", str(pictures)]
    given = "".join(f"{source}\n" for source in drawn(workshop, SPA_ENG))
    answers = map(json.loads, workshop.ask("alignments", *words, given=given).strip().split("\n"))
    kept = [
        {key: answer[key] for key in ("source", "output", "score", "attention")}
        for answer in answers
        if answer["finished"] and "<unk>" not in answer["attention"]["source_tokens"] + answer["tokens"]
    ]
    return {"sentences": kept[:SHOWN]}


def drawn(workshop: Workshop, corpus: Corpus) -> list[str]:
    """Test sources of SHORTEST to LONGEST words in a random order that is always the same; all if there are none."""
    pairs = read([Path(path) for path in workshop.files(corpus.test)], source="en", target="es")
    sources = sorted(set(pairs.sources))
    fitting = [source for source in sources if SHORTEST <= len(source.split()) <= LONGEST] or sources
    return random.Random(1).sample(fitting, min(_DRAWN, len(fitting)))


def draw(numbers: dict[str, Any], command: str) -> str:
    """The heatmaps of `suguk predict --attention`, on shelves."""
    picture = Picture(
        _WIDTH, "Where attention looks", "Columns: words that were read; rows: words as they were written."
    )
    # The panels' own colours are attributes, which a style sheet overrides; their cells stay as they are.
    ground, lesser = (
        f'svg svg>rect[fill="{LIGHT}"]{{fill:{PAPER}}}',
        f'svg svg [fill="{MUTED}"]{{fill:{FAINT}}}',
    )
    dark = f"svg svg{{fill:{NIGHT}}} {ground} {lesser}"
    picture.add(f"<style>@media (prefers-color-scheme:dark){{{dark}}}</style>")
    x, y, shelf = float(MARGIN), picture.top, 0.0
    for sentence in numbers["sentences"]:
        shown = sentence["attention"]
        weights = np.array(shown["weights"], np.float32)
        read_words, written = (tuple(map(word, shown[side])) for side in ("source_tokens", "target_tokens"))
        attention = Attention(read_words, written, weights)
        panel = heatmap(attention, f"{sentence['source']} → {sentence['output']}", sentence["score"])
        width, height = (int(size) for size in re.findall(r'(?:width|height)="(\d+)"', panel)[:2])
        if x > MARGIN and x + width > _WIDTH - MARGIN:
            x, y, shelf = float(MARGIN), y + shelf + 12, 0.0
        picture.add(panel.replace("<svg ", f'<svg x="{x:.0f}" y="{y:.0f}" ', 1).rstrip())
        x, shelf = x + width + 12, max(shelf, height)
    picture.top = y + shelf
    caption = (
        f"Weights of the model's own outputs. The first {len(numbers['sentences'])} of test sentences drawn at random "
        f"among those of {SHORTEST} to {LONGEST} words, sentences with unknown words left out; none was chosen by hand."
    )
    return picture.finish(caption, command)


def word(token: str) -> str:
    """Without the mark of a space before it: all tokens here are whole words."""
    return token.removeprefix("▁")
