"""Text as token ids, through the `tokenizers` library: words, characters, bytes, BPE, unigram or symbols.

All of normalisation, splitting and joining is inside the tokenizers JSON, so another runtime (Rust,
JavaScript) that loads `source.json` gives the same ids. A literal ▁ (U+2581) in word, bpe and
unigram text reads as a space.
"""

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # else the library warns after every fork

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from suguk.errors import ModelError, UserError
from suguk.fields.base import EOS, PAD, SOS, SPECIALS, UNK

Kind = Literal["word", "char", "byte", "bpe", "unigram", "symbols"]
KINDS: tuple[Kind, ...] = ("word", "char", "byte", "bpe", "unigram", "symbols")
SPACE = "▁"  # marks the space before a piece, as in SentencePiece
MARKED: tuple[Kind, ...] = ("word", "bpe", "unigram")  # kinds whose pieces have that mark
FORMAT, VERSION = "suguk-text-field", 1
SILENCED = -100.0  # log probability of a special token's spelling under unigram: its characters always win


def _encode_alone() -> None:
    """In a forked child: the library's threads stayed with the parent; waiting for them would never end."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_encode_alone)


class TextField:
    """One side's text. Made by `train` or `from_json`; never changed afterwards."""

    def __init__(self, kind: Kind, tokenizer: Tokenizer, *, lowercase: bool = False) -> None:
        self.kind, self.lowercase = kind, lowercase
        self._tokenizer = tokenizer
        self.size: int = tokenizer.get_vocab_size()
        self._pieces = [tokenizer.id_to_token(i) or SPECIALS[UNK] for i in range(self.size)]

    @classmethod
    def train(cls, kind: Kind, lines: Iterable[str], vocab_size: int, lowercase: bool = False) -> "TextField":
        """At most `vocab_size` entries (specials included) from training text. UserError if too few."""
        if vocab_size <= len(SPECIALS):
            raise UserError(f"vocab_size must be at least {len(SPECIALS) + 1}, found {vocab_size}")
        tokenizer = _TRAIN[kind](lines, vocab_size, _normalizer(lowercase))
        return cls(kind, tokenizer, lowercase=lowercase)

    def encode(self, raw: str) -> NDArray[np.int32]:
        """Ids ending in `<eos>`; an empty text is `<eos>` alone. Unknown pieces are `<unk>`."""
        return self.encode_batch([raw])[0]

    def encode_batch(self, raws: Sequence[str]) -> list[NDArray[np.int32]]:
        """As `encode`, for many texts at once."""
        encodings = self._tokenizer.encode_batch_fast(list(raws), add_special_tokens=False)
        arrays = [np.array([*encoding.ids, EOS], dtype=np.int32) for encoding in encodings]
        for ids in arrays:  # text that spells a special token is not one
            body = ids[:-1]
            body[(body == PAD) | (body == SOS) | (body == EOS)] = UNK
        return arrays

    def forms(self, raw: str) -> list[list[int]]:
        """Ids of a text as part of a longer one, without `<eos>`; the likelier form first.

        Of kind word a piece after a space is another one than without it: `not`, and the same in `(not`. Other kinds
        have one form here.
        """
        after_space = self.encode(raw)[:-1].tolist()
        if self.kind != "word" or not after_space:
            return [after_space]
        inside = self.encode(f"({raw.strip()}")[1:-1].tolist()
        return [after_space, inside] if raw.strip()[0].isalnum() else [inside, after_space]

    def decode(self, ids: Iterable[int]) -> str:
        """The text up to the first `<eos>`."""
        kept: list[int] = []
        for i in ids:
            if i == EOS:
                break
            if i not in (PAD, SOS):
                kept.append(int(i))
        return self.join(self.pieces(kept))

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Vocabulary entries."""
        return [self._pieces[i] for i in ids]

    def join(self, pieces: Sequence[str]) -> str:
        """Text from vocabulary entries, or from what `split` gives."""
        if self.kind == "symbols" or not pieces:
            return " ".join(pieces)
        text: str = self._tokenizer.decoder.decode(list(pieces))
        return text.strip(" ")

    def split(self, raw: str) -> list[str]:
        """A text's pieces before the vocabulary is asked, one an id but `<eos>` (word, char and symbols only)."""
        normal = self._tokenizer.normalizer.normalize_str(raw)
        return [piece for piece, _ in self._tokenizer.pre_tokenizer.pre_tokenize_str(normal)]

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """One readable string an id, for the axes of pictures."""
        return self.shown(self.pieces(ids))

    def shown(self, pieces: Sequence[str]) -> list[str]:
        """Vocabulary entries, or what `split` gives, as readable strings."""
        return [piece.replace(" ", SPACE) if self.kind == "char" else piece for piece in pieces]

    def words(self, raws: Sequence[str]) -> list[list[range]]:
        """For each id of `encode`, which words of the raw text it is from. Words are what `str.split` gives.

        An id of a space alone is from no word, and so is `<eos>`. Most others are from one; a piece that has an odd
        space inside (U+00A0, a tab), where this tokenizer does not split, is from several.
        """
        # `encode_batch_fast` has no offsets.
        found = self._tokenizer.encode_batch(list(raws), add_special_tokens=False)
        return [[*self._words(raw, encoding), range(0)] for raw, encoding in zip(raws, found, strict=True)]

    def _words(self, raw: str, encoding: Any) -> Iterator[range]:
        """encoding: with offsets, in characters of the raw text; a character that NFC put together has its first."""
        marked = self.kind in MARKED
        word_of = [-1] * len(raw)
        for number, word in enumerate(re.finditer(r"\S+", raw)):
            for at in range(*word.span()):
                if not (marked and raw[at] == SPACE):  # there it reads as a space
                    word_of[at] = number
        for piece, offsets in zip(encoding.tokens, encoding.offsets, strict=True):
            inside = [number for number in word_of[slice(*offsets)] if number >= 0]
            if marked and not piece.strip(SPACE):
                inside = []  # a ▁ that was put before the text has the offsets of its first letter
            yield range(inside[0], inside[-1] + 1) if inside else range(0)

    def unknown_rate(self, lines: Sequence[str]) -> float:
        """Share of tokens that are `<unk>`, `<eos>` not counted."""
        encoded = self.encode_batch(lines)
        total = sum(len(ids) - 1 for ids in encoded)
        return sum(int((ids == UNK).sum()) for ids in encoded) / max(total, 1)

    def collate(self, arrays: Sequence[NDArray[np.int32]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids as [B, S] with `<pad>` after the end, and lengths [B]."""
        lengths = np.array([len(ids) for ids in arrays], dtype=np.int64)
        padded = np.full((len(arrays), int(lengths.max(initial=0))), PAD, dtype=np.int64)
        for row, ids in zip(padded, arrays, strict=True):
            row[: len(ids)] = ids
        return padded, lengths

    def to_json(self) -> str:
        """Format, kind and the tokenizers JSON."""
        about = {"format": FORMAT, "version": VERSION, "kind": self.kind, "lowercase": self.lowercase}
        return json.dumps({**about, "tokenizer": json.loads(self._tokenizer.to_str())}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, where: str = "") -> "TextField":
        """ModelError if the text is damaged, not a text field, or of a newer version."""
        try:
            about: Any = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as fault:
            raise ModelError(
                f"damaged JSON: {fault}", where=where or None, hint="copy the model again"
            ) from None
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            raise ModelError(f"not a text field: expected format {FORMAT!r}", where=where or None)
        version = about.get("version")
        if type(version) is not int or not 1 <= version <= VERSION:
            raise ModelError(
                f"text field version {version!r}, this suguk reads up to {VERSION}",
                where=where or None,
                hint="update suguk",
            )
        if about.get("kind") not in KINDS:
            raise ModelError(f"unknown kind of tokenizer {about.get('kind')!r}", where=where or None)
        try:
            tokenizer = Tokenizer.from_str(json.dumps(about.get("tokenizer")))
        except Exception as fault:  # the library raises bare Exception
            raise ModelError(f"damaged tokenizer: {fault}", where=where or None) from None
        if [tokenizer.id_to_token(i) for i in range(len(SPECIALS))] != list(SPECIALS):
            raise ModelError("the vocabulary does not begin with the special tokens", where=where or None)
        size = tokenizer.get_vocab_size()
        if max(tokenizer.get_vocab().values()) >= size:
            raise ModelError(f"a vocabulary of {size} entries has ids beyond them", where=where or None)
        missing = [part for part in _parts(about["kind"]) if getattr(tokenizer, part) is None]
        if missing:
            raise ModelError(f"damaged tokenizer: {', '.join(missing)} missing", where=where or None)
        return cls(about["kind"], tokenizer, lowercase=bool(about.get("lowercase")))


def _parts(kind: Kind) -> tuple[str, ...]:
    """What a tokenizer of this kind cannot do without; symbols are joined by a space without a decoder."""
    parts = ("normalizer", "pre_tokenizer", "decoder")
    return parts[:2] if kind == "symbols" else parts


def _normalizer(lowercase: bool) -> normalizers.Normalizer:
    steps = [normalizers.NFC(), normalizers.Strip()]
    return normalizers.Sequence([*steps, normalizers.Lowercase(), normalizers.NFC()] if lowercase else steps)


def _word_split() -> pre_tokenizers.PreTokenizer:
    """Words and punctuation marks; the piece after a space begins with ▁, so that they join again exactly."""
    words = Regex(rf"{SPACE}*[\p{{L}}\p{{M}}\p{{N}}]+|{SPACE}*[^\p{{L}}\p{{M}}\p{{N}}{SPACE}]|{SPACE}+")
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always", split=False),
            pre_tokenizers.Split(words, behavior="isolated"),
        ]
    )


def _closed(pieces: Iterable[str], vocab_size: int) -> dict[str, int]:
    """The most frequent pieces, ties by code point, after the specials."""
    counts = Counter(pieces)
    for special in SPECIALS:
        counts.pop(special, None)
    best = sorted(counts, key=lambda piece: (-counts[piece], piece))[: vocab_size - len(SPECIALS)]
    return {piece: i for i, piece in enumerate([*SPECIALS, *best])}


def _train_closed(split: pre_tokenizers.PreTokenizer, join: decoders.Decoder | None) -> Any:
    def train(lines: Iterable[str], vocab_size: int, normalizer: normalizers.Normalizer) -> Tokenizer:
        def pieces() -> Iterable[str]:
            for line in lines:
                yield from (piece for piece, _ in split.pre_tokenize_str(normalizer.normalize_str(line)))

        model = models.WordLevel(_closed(pieces(), vocab_size), unk_token=SPECIALS[UNK])
        return _assembled(model, normalizer, split, join)

    return train


def _assembled(
    model: models.Model,
    normalizer: normalizers.Normalizer,
    split: pre_tokenizers.PreTokenizer,
    join: decoders.Decoder | None,
) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizer, split, join
    return tokenizer


def _metaspace() -> tuple[pre_tokenizers.PreTokenizer, decoders.Decoder]:
    split = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    return split, decoders.Metaspace(replacement=SPACE, prepend_scheme="always")


def _characters(lines: Sequence[str], normalizer: normalizers.Normalizer) -> Counter[str]:
    split, _ = _metaspace()
    counts: Counter[str] = Counter()
    for line in lines:
        for piece, _span in split.pre_tokenize_str(normalizer.normalize_str(line)):
            counts.update(piece)
    return counts


def _distinct(lines: Iterable[str], normalizer: normalizers.Normalizer) -> int:
    """How many characters `_characters` counts, in a tenth of its time."""
    found = set[str]()
    for line in lines:
        found.update(normalizer.normalize_str(line))
    return len((found - {" "}) | {SPACE}) if found else 0


def _train_bpe(lines: Iterable[str], vocab_size: int, normalizer: normalizers.Normalizer) -> Tokenizer:
    """Byte-pair encoding (Sennrich 2016) over words after ▁; characters alone where there is no room."""
    lines = lines if isinstance(lines, Sequence) else list(lines)
    if _distinct(lines, normalizer) >= vocab_size - len(SPECIALS):
        counts = _characters(lines, normalizer)
        model = models.BPE(vocab=_closed(counts, vocab_size), merges=[], unk_token=SPECIALS[UNK])
        return _assembled(model, normalizer, *_metaspace())
    tokenizer = _assembled(models.BPE(unk_token=SPECIALS[UNK]), normalizer, *_metaspace())
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=list(SPECIALS), show_progress=False)
    return _finished(_trained(tokenizer, lines, trainer))


def _train_unigram(lines: Iterable[str], vocab_size: int, normalizer: normalizers.Normalizer) -> Tokenizer:
    """Unigram language model (Kudo 2018); characters alone where vocab_size is too small for more."""
    lines = lines if isinstance(lines, Sequence) else list(lines)
    if _distinct(lines, normalizer) >= vocab_size - len(
        SPECIALS
    ):  # the library's trainer would prune for ever
        counts = _characters(lines, normalizer)
        pieces = list(_closed(counts, vocab_size))[len(SPECIALS) :]
        total = counts.total()
        entries = [(special, SILENCED) for special in SPECIALS]
        entries += [(piece, math.log(counts[piece] / total)) for piece in pieces]
        return _assembled(models.Unigram(entries, UNK, False), normalizer, *_metaspace())
    tokenizer = _assembled(models.Unigram(), normalizer, *_metaspace())
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIALS), unk_token=SPECIALS[UNK], show_progress=False
    )
    return _finished(_trained(tokenizer, lines, trainer))


def _trained(tokenizer: Tokenizer, lines: Sequence[str], trainer: trainers.Trainer) -> Tokenizer:
    try:
        tokenizer.train_from_iterator(lines, trainer)
    except Exception as fault:  # the library raises bare Exception
        raise UserError(
            f"this text is too little to learn subwords from ({fault})", hint="use tokenizer = char or word"
        ) from None
    return tokenizer


def _finished(tokenizer: Tokenizer) -> Tokenizer:
    """Specials as plain vocabulary entries: text that contains `<eos>` must not end a sentence."""
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = []
    if state["model"]["type"] == "Unigram":
        learned = _repeatable(state["model"]["vocab"][len(SPECIALS) :])
        state["model"]["vocab"] = [[special, SILENCED] for special in SPECIALS] + learned
    return Tokenizer.from_str(json.dumps(state))


def _repeatable(entries: Sequence[tuple[str, float]]) -> list[list[str | float]]:
    """Unigram entries that are the same in every process: by code point, scores rounded.

    The library scores characters that it left out just above the lowest, 1e-4 apart, in the order of a hash
    table seeded anew in each process: they all get the lowest score.
    """
    single = sum(len(piece) == 1 for piece, _ in entries)
    lowest = min((score for _, score in entries), default=0.0)
    bound = lowest + 1e-4 * (single + 1)
    floored = ((p, lowest if len(p) == 1 and score < bound else score) for p, score in entries)
    return sorted([piece, round(score, 6)] for piece, score in floored)


def _train_bytes(lines: Iterable[str], vocab_size: int, normalizer: normalizers.Normalizer) -> Tokenizer:
    """The 256 bytes of UTF-8; nothing is ever unknown. `lines` teach nothing."""
    del lines
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if vocab_size < len(SPECIALS) + len(alphabet):
        raise UserError(
            f"the byte tokenizer needs vocab_size >= {len(SPECIALS) + len(alphabet)}, found {vocab_size}"
        )
    vocabulary = {piece: i for i, piece in enumerate([*SPECIALS, *alphabet])}
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return _assembled(models.BPE(vocab=vocabulary, merges=[]), normalizer, split, decoders.ByteLevel())


_TRAIN: dict[str, Any] = {
    "word": _train_closed(_word_split(), decoders.Metaspace(replacement=SPACE, prepend_scheme="always")),
    "char": _train_closed(pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated"), decoders.Fuse()),
    "symbols": _train_closed(pre_tokenizers.WhitespaceSplit(), None),
    "bpe": _train_bpe,
    "unigram": _train_unigram,
    "byte": _train_bytes,
}
