"""What a report holds, as plain data: `collect` makes it, `page` draws it, `--json` prints it."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class About:
    """What the model is. source, target: names of the sides; seconds: of training, None without a log."""

    name: str
    source: str
    target: str
    summary: str  # the architecture in one sentence
    parameters: int
    source_vocabulary: int
    target_vocabulary: int
    created: str
    epochs: float
    updates: int
    seconds: float | None
    tokens_per_second: float | None


@dataclass(frozen=True)
class TrainPoint:
    """A mean over neighbouring records of the log."""

    step: int
    epoch: float
    loss: float
    lr: float


@dataclass(frozen=True)
class ValidPoint:
    step: int
    epoch: float
    loss: float | None
    score: float | None
    best: bool


@dataclass(frozen=True)
class Curves:
    """metric: of the validations' scores; rising: higher is better."""

    metric: str
    rising: bool
    train: tuple[TrainPoint, ...]
    valid: tuple[ValidPoint, ...]


@dataclass(frozen=True)
class Score:
    name: str
    label: str
    value: float
    signature: str
    rising: bool


@dataclass(frozen=True)
class LengthGroup:
    low: int
    high: int
    count: int
    chrf: float
    bleu: float
    exact: float


@dataclass(frozen=True)
class Quality:
    """Scores of the search with the model's own settings. sampled_from: sources that there are in the data."""

    data: str
    sources: int
    sampled_from: int
    headline: Score
    scores: tuple[Score, ...]
    perplexity: float
    search: str
    unit: str
    groups: tuple[LengthGroup, ...]
    sentences_per_second: float


@dataclass(frozen=True)
class Part:
    """A piece of a reference, and whether it is in the output, in this order."""

    text: str
    matched: bool


@dataclass(frozen=True)
class Weights:
    """Attention [T, S]."""

    source_tokens: tuple[str, ...]
    target_tokens: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Example:
    """tokens: with `<eos>` when finished; probabilities: of each token, [T]; reference: the nearest of several."""

    kind: Literal["worst", "best", "random"]
    source: str
    output: str
    reference: tuple[Part, ...]
    chrf: float
    exact: bool
    tokens: tuple[str, ...]
    probabilities: tuple[float, ...]
    finished: bool
    attention: Weights | None


@dataclass(frozen=True)
class Bin:
    low: int
    high: int
    count: int


@dataclass(frozen=True)
class Side:
    """One side's text. lengths: tokens of training texts, `<eos>` not counted; used: share of the vocabulary that
    occurs in them; unseen_words: share of the evaluated words that no training text has. None without training data.
    """

    name: str
    tokenizer: str
    vocabulary: int
    unknown_rate: float
    mean_length: float | None
    longest: int | None
    lengths: tuple[Bin, ...]
    used: float | None
    unseen_words: float | None


@dataclass(frozen=True)
class Forcing:
    """Teacher forcing beside free running. losses in nats a token; accuracies: shares of the references' tokens."""

    train_loss: float | None
    valid_loss: float
    forced_accuracy: float
    free_accuracy: float


@dataclass(frozen=True)
class Finding:
    """What stands out, with its figures, and what may be done about it."""

    level: Literal["warning", "note", "good"]
    title: str
    text: str
    hint: str = ""
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setting:
    name: str
    value: str
    default: str
    changed: bool
    about: str


@dataclass(frozen=True)
class Origin:
    """What it takes to make this run again. sizes: of the run's files, in bytes."""

    versions: dict[str, str]
    choices: tuple[str, ...]
    fingerprint: dict[str, Any]
    commands: tuple[str, ...]
    sizes: dict[str, int]


@dataclass(frozen=True)
class Report:
    about: About
    quality: Quality
    findings: tuple[Finding, ...]
    curves: Curves
    examples: tuple[Example, ...]
    sides: tuple[Side, Side]
    training_pairs: int | None
    forcing: Forcing
    settings: tuple[Setting, ...]
    origin: Origin

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not finite is None, as JSON knows no infinity."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
