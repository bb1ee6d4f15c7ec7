"""What stands out in a run, each with its figures: faults of outputs, of the data, and of the training."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from suguk.data.split import as_read
from suguk.predictor import Prediction
from suguk.report.contents import Curves, Finding, Forcing, Quality, Side

SHOWN = 3  # examples of a finding
NGRAM = {"words": 3, "characters": 5}
FEW = 200  # sources, under which scores are rough
LEARNED = 0.4  # first choices of teacher forcing that are right, under which free running says little


class Seen(NamedTuple):
    """What findings are made from. references: one or more for each prediction; training_sources: as the model reads
    them; lowercase: whether it reads lower case only.
    """

    predictions: Sequence[Prediction]
    references: Sequence[Sequence[str]]
    quality: Quality
    curves: Curves
    forcing: Forcing
    sides: tuple[Side, Side]
    training_sources: frozenset[str]
    changed: bool
    missing: str
    copies: bool = False  # whether the model copies unknown words
    lowercase: bool = False

    def read(self, text: str) -> str:
        return as_read(text, self.lowercase)

    @property
    def unit(self) -> str:
        """What outputs are counted in: words, or characters where most references have no space."""
        spaced = [" " in group[0].strip() for group in self.references]
        return "words" if sum(spaced) > len(spaced) / 2 else "characters"


def findings(seen: Seen) -> tuple[Finding, ...]:
    """Warnings first, then notes, then what is well."""
    found = [
        *_repetition(seen),
        *_copying(seen),
        *_same_answers(seen),
        *_lengths(seen),
        *_unfinished(seen),
        *_overfitting(seen),
        *_exposure(seen),
        *_ending(seen),
        *_unknown(seen),
        *_data(seen),
    ]
    order = {"warning": 0, "note": 1, "good": 2}
    return tuple(sorted(found, key=lambda finding: order[finding.level]))


def pieces(text: str, unit: str) -> list[str]:
    return text.lower().split() if unit == "words" else list(text.strip().lower())


def repeats(text: str, unit: str) -> bool:
    """Whether an n-gram comes twice: of three words, or of five characters."""
    n, units = NGRAM[unit], pieces(text, unit)
    grams = [tuple(units[k : k + n]) for k in range(len(units) - n + 1)]
    return len(grams) > len(set(grams))


def _repetition(seen: Seen) -> Iterator[Finding]:
    unit = seen.unit
    faulty = [
        prediction
        for prediction, group in zip(seen.predictions, seen.references, strict=True)
        if repeats(prediction.output, unit) and not any(repeats(text, unit) for text in group)
    ]
    share = len(faulty) / len(seen.predictions)
    natural = _mean([any(repeats(text, unit) for text in group) for group in seen.references])
    text = (
        f"{share:.1%} of the outputs repeat {NGRAM[unit]} {unit} in a row where their references do not "
        f"(references repeat in {natural:.1%})."
    )
    if share >= max(0.02, 0.5 * natural):
        hint = "predict.no_repeat_ngram forbids it in decoding; longer training or an attention removes the cause."
        yield Finding("warning", "Outputs repeat themselves", text, hint, _outputs(faulty))
    elif share > 0:
        yield Finding("note", "A few outputs repeat themselves", text, "", _outputs(faulty))
    else:
        yield Finding("good", "No repetition", text)


def _copying(seen: Seen) -> Iterator[Finding]:
    read = seen.read
    copied = [
        prediction
        for prediction, group in zip(seen.predictions, seen.references, strict=True)
        if prediction.output.strip()
        and read(prediction.output) == read(prediction.source)
        and read(prediction.source) not in map(read, group)
    ]
    if len(copied) / len(seen.predictions) >= 0.01:
        text = f"{len(copied) / len(seen.predictions):.1%} of the outputs are their source, where no reference is."
        hint = "Look for untranslated pairs in the training data."
        yield Finding("warning", "Sources are copied", text, hint, _outputs(copied))


def _same_answers(seen: Seen) -> Iterator[Finding]:
    """One reply for whatever is asked."""
    counts = Counter(prediction.output for prediction in seen.predictions)
    wanted = {text for group in seen.references for text in group[:1]}
    common, times = counts.most_common(1)[0]
    rare = len(counts) < 0.5 * len(wanted)
    if len(seen.predictions) >= 20 and (rare or times >= max(10, 0.1 * len(seen.predictions))):
        level, title = (
            ("warning", "The same outputs again and again") if rare else ("note", "A frequent output")
        )
        yield Finding(
            "warning" if level == "warning" else "note",
            title,
            f"{len(counts):,} different outputs for {len(seen.predictions):,} sources, whose references are "
            f"{len(wanted):,} different ones; the most frequent output comes {times:,} times.",
            "Train longer, with more units, or with attention: the source does not get through."
            if rare
            else "",
            (common,),
        )


def _lengths(seen: Seen) -> Iterator[Finding]:
    unit = seen.unit
    produced = sum(len(pieces(prediction.output, unit)) for prediction in seen.predictions)
    wanted = sum(len(pieces(group[0], unit)) for group in seen.references)
    ratio = produced / max(wanted, 1)
    text = f"Outputs have {ratio:.2f} times the {unit} of their references ({produced:,} to {wanted:,})."
    if ratio < 0.9:
        hint = "A higher predict.length_penalty makes them longer; so does a smaller beam."
        yield Finding("warning", "Outputs are too short", text, hint)
    elif ratio > 1.1:
        hint = "A lower predict.length_penalty makes them shorter."
        yield Finding("warning", "Outputs are too long", text, hint)
    else:
        yield Finding("good", "Outputs are as long as they should be", text)
    empty = [prediction for prediction in seen.predictions if not prediction.output.strip()]
    if empty:
        text = f"{len(empty):,} of {len(seen.predictions):,} outputs are empty."
        sources = tuple(prediction.source for prediction in empty[:SHOWN])
        yield Finding("warning", "Empty outputs", text, "predict.min_length forbids them.", sources)


def _unfinished(seen: Seen) -> Iterator[Finding]:
    cut = [prediction for prediction in seen.predictions if not prediction.finished]
    if cut:
        share = len(cut) / len(seen.predictions)
        yield Finding(
            "warning" if share >= 0.01 else "note",
            "Outputs without an end",
            f"{len(cut):,} outputs ({share:.1%}) were cut at the maximum length before the model ended them.",
            "predict.max_length is the bound; a model that does not end has mostly not been trained for long.",
            _outputs(cut),
        )


def _overfitting(seen: Seen) -> Iterator[Finding]:
    train, valid = seen.forcing.train_loss, seen.forcing.valid_loss
    losses = [point.loss for point in seen.curves.valid if point.loss is not None]
    rise = losses[-1] - min(losses) if losses else 0.0
    if train is None:
        return
    gap = valid - train
    text = f"Loss of teacher forcing: {train:.3f} nats a token on training pairs, {valid:.3f} here: a gap of {gap:.3f}."
    if rise > 0.02 * min(losses, default=1.0):
        text += f" In training the validation loss ended {rise:.3f} above its lowest, {min(losses):.3f}."
    hint = "More data, model.dropout, train.label_smoothing or fewer units narrow it."
    if gap > max(0.7, 0.5 * valid):
        yield Finding("warning", "Overfitting", text, hint)
    elif gap > max(0.2, 0.15 * valid):
        yield Finding("note", "Some overfitting", text, hint)
    else:
        yield Finding("good", "Little overfitting", text)


def _exposure(seen: Seen) -> Iterator[Finding]:
    """Bengio et al. 2015: errors that come from being fed one's own outputs."""
    forced, free = seen.forcing.forced_accuracy, seen.forcing.free_accuracy
    gap = forced - free
    text = (
        f"With the true words before it, the model's first choice is right for {forced:.1%} of the references' "
        f"tokens; of its own outputs {free:.1%} of them are there, in the same order."
    )
    if gap > 0.15:
        hint = "Early errors mislead it: a wider beam, more training, or longer sources in training help."
        yield Finding("warning", "Free running falls behind teacher forcing", text, hint)
    elif gap > 0.07:
        yield Finding("note", "Free running is behind teacher forcing", text)
    elif forced < LEARNED:
        text += " Where the next word is mostly wrong after true ones too, the two shares say little of each other."
        yield Finding("note", "Teacher forcing is mostly wrong", text, "Train longer, or on more pairs.")
    else:
        yield Finding("good", "Free running keeps up with teacher forcing", text)


def _ending(seen: Seen) -> Iterator[Finding]:
    scored = [point for point in seen.curves.valid if point.score is not None]
    if len(scored) < 3:
        if scored:
            yield Finding(
                "note",
                "Few validations",
                f"There were {len(scored)}: whether training ended well cannot be told.",
                "train.valid_every = 0.5 validates twice an epoch.",
            )
        return
    sign = 1 if seen.curves.rising else -1
    said = [point for point in scored if point.best]  # of equal scores the one that was kept
    best = said[-1] if said else max(scored, key=lambda point: (sign * (point.score or 0.0), -point.step))
    lowest = min((p for p in scored if p.loss is not None), key=lambda p: p.loss or 0.0, default=best)
    last = scored[-1]
    if best is last or scored.index(best) == len(scored) - 2:
        yield Finding(
            "note",
            "The best model came at the end of training",
            f"The best of {len(scored)} validations is number {scored.index(best) + 1}, at epoch {best.epoch:.1f}.",
            "More may raise the score: suguk train --resume RUN --set train.epochs=N, or train.minutes=N where "
            "minutes ended it.",
        )
    elif best.epoch < 0.15 * last.epoch and len(scored) > 5:
        yield Finding(
            "warning",
            "The best model is an early one",
            f"It is of epoch {best.epoch:.1f} of {last.epoch:.1f}; the score never came back to it.",
            "A lower train.lr or a longer train.warmup often helps.",
        )
    elif best.step > lowest.step and best.epoch > 1.5 * lowest.epoch:
        yield Finding(
            "note",
            "The loss turned before the score did",
            f"The validation loss is lowest at epoch {lowest.epoch:.1f}, the score is best at {best.epoch:.1f}. The "
            "model of the best score is kept; its probabilities are too sure of themselves.",
        )
    else:
        text = f"The best of {len(scored)} validations is at epoch {best.epoch:.1f} of {last.epoch:.1f}."
        yield Finding("good", "Training ended in time", text)


def _unknown(seen: Seen) -> Iterator[Finding]:
    for side in seen.sides:
        if side.unknown_rate >= 0.01:
            yield Finding(
                "note" if seen.copies else "warning",
                f"Unknown tokens in {side.name}",
                f"{side.unknown_rate:.1%} of the tokens are not in the vocabulary of {side.vocabulary:,} "
                f"({side.tokenizer})." + " Those that the source has may be copied." * seen.copies,
                "A larger vocab_size, or a tokenizer of subwords (bpe, unigram) or bytes.",
            )


def _data(seen: Seen) -> Iterator[Finding]:
    known = sum(seen.read(prediction.source) in seen.training_sources for prediction in seen.predictions)
    if known:
        share = known / len(seen.predictions)
        yield Finding(
            "warning" if share >= 0.02 else "note",
            "Sources that were in training",
            f"{known:,} of the {len(seen.predictions):,} evaluated sources ({share:.1%}) are in the training data too; "
            "their scores flatter the model.",
            "suguk check lists them.",
        )
    if seen.changed:
        text = "The fingerprint of the data differs from the one that training recorded."
        yield Finding("warning", "The data have changed since the training", text)
    if seen.missing:
        text = f"They cannot be read: {seen.missing}. What this page says of training data is left out."
        yield Finding("note", "The training data are not there", text)
    if len(seen.predictions) < FEW:
        text = f"Scores of {len(seen.predictions):,} sources are rough: a second sample would differ by some points."
        yield Finding("note", "Few sources", text)


def _outputs(predictions: Sequence[Prediction]) -> tuple[str, ...]:
    return tuple(prediction.output for prediction in predictions[:SHOWN])


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / max(len(values), 1)
