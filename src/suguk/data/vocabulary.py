"""From training text to the two fields: what `auto` stands for, and vocabularies built from training data only."""

from typing import NamedTuple

from suguk.config import Config, SideConfig
from suguk.data.read import Pairs
from suguk.errors import ConfigError
from suguk.fields import TextField
from suguk.fields.auto import choose


class Vocabulary(NamedTuple):
    """The fields of both sides (the same one where the vocabulary is shared), and why they are of their kind."""

    source: TextField
    target: TextField
    choices: list[str]


def vocabulary(train: Pairs, config: Config) -> Vocabulary:
    """Fields for these training pairs. ConfigError where a shared vocabulary is asked for two kinds of tokenizers."""
    if config.target.shared:
        return _shared(train, config)
    choices: list[str] = []
    fields = [
        _field(name, side, texts, config.data.lowercase, choices)
        for name, side, texts in (
            ("source", config.source, train.sources),
            ("target", config.target, train.targets),
        )
    ]
    return Vocabulary(fields[0], fields[1], choices)


def recipe_for(source: TextField, target: TextField) -> tuple[str, str]:
    """(recipe, reason) where the user names none: `chars` or `small`."""
    if {source.kind, target.kind} & {"char", "symbols"}:
        return "chars", "a side is of characters or symbols"
    return "small", "both sides are sentences"


def _shared(train: Pairs, config: Config) -> Vocabulary:
    kinds = {config.source.tokenizer, config.target.tokenizer} - {"auto"}
    if len(kinds) > 1:
        raise ConfigError(
            f"one vocabulary for both sides needs one tokenizer, found {' and '.join(sorted(kinds))}",
            where="target.shared",
        )
    side = config.source if config.source.tokenizer != "auto" else config.target
    choices: list[str] = []
    both = _field("both sides", side, train.sources + train.targets, config.data.lowercase, choices)
    return Vocabulary(both, both, choices)


def _field(name: str, side: SideConfig, texts: list[str], lowercase: bool, choices: list[str]) -> TextField:
    if side.tokenizer != "auto":
        return TextField.train(side.tokenizer, texts, side.vocab_size, lowercase)
    choice = choose(texts, side.vocab_size)
    choices.append(f"{name}.tokenizer = {choice.kind} ({choice.reason})")
    return TextField.train(choice.kind, texts, side.vocab_size, lowercase)
