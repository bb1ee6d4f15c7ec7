"""From training text to the two fields: what `auto` stands for, and vocabularies built from training data only."""

import json
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from suguk.config import Config, SideConfig
from suguk.data import cache
from suguk.data.read import Pairs
from suguk.data.texts import Texts
from suguk.errors import ConfigError, UserError
from suguk.fields import TextField
from suguk.fields.auto import choose


class Vocabulary(NamedTuple):
    """The fields of both sides (the same one where the vocabulary is shared), and why they are of their kind."""

    source: TextField
    target: TextField
    choices: list[str]


def vocabulary(train: Pairs, config: Config) -> Vocabulary:
    """Fields for these training pairs. ConfigError where a shared vocabulary is asked for two kinds of tokenizers.

    They are kept in the cache: the same pairs and settings give the same fields.
    """
    given = config.source.model_dump(), config.target.model_dump(), config.data.lowercase
    name = cache.key("vocabulary", *given, cache.digest(train.sources, train.targets))
    entry = cache.find(name)
    if entry is not None:
        try:
            source, target, choices = json.loads((entry / "vocabulary.json").read_text(encoding="utf-8"))
            first = TextField.from_json(source)
            return Vocabulary(first, TextField.from_json(target) if target else first, choices)
        except (OSError, ValueError, UserError):
            cache.forget(entry)
    made = _made(train, config)
    second = "" if made.target is made.source else made.target.to_json()
    content = json.dumps([made.source.to_json(), second, made.choices], ensure_ascii=False)
    cache.keep(name, {"vocabulary.json": content.encode()})
    return made


def _made(train: Pairs, config: Config) -> Vocabulary:
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
    if source.kind in ("char", "symbols"):
        return "chars", "the source is of characters or symbols"
    if target.kind == "char":
        return "chars", "the target is of characters"
    return "small", "the source is sentences" if target.kind == "symbols" else "both sides are sentences"


def _shared(train: Pairs, config: Config) -> Vocabulary:
    kinds = {config.source.tokenizer, config.target.tokenizer} - {"auto"}
    if len(kinds) > 1:
        raise ConfigError(
            f"one vocabulary for both sides needs one tokenizer, found {' and '.join(sorted(kinds))}",
            where="target.shared",
        )
    side = config.source if config.source.tokenizer != "auto" else config.target
    choices: list[str] = []
    both = _field(
        "both sides", side, Texts(chain(train.sources, train.targets)), config.data.lowercase, choices
    )
    return Vocabulary(both, both, choices)


def _field(
    name: str, side: SideConfig, texts: Sequence[str], lowercase: bool, choices: list[str]
) -> TextField:
    if side.tokenizer != "auto":
        return TextField.train(side.tokenizer, texts, side.vocab_size, lowercase)
    choice = choose(texts, side.vocab_size, target=name == "target")
    choices.append(f"{name}.tokenizer = {choice.kind} ({choice.reason})")
    return TextField.train(choice.kind, texts, side.vocab_size, lowercase)
