"""A trained model on PyTorch: the run directory read and written, and the `Predictor` that answers from it.

Shapes: B rows (sources), S source length, T target length, K hypotheses.

The run directory is the model: `config.toml`, `source.json` and `target.json` (the fields), `model.json` (format,
versions, data fingerprint), `model.safetensors` (the best weights). Training adds `metrics.jsonl`,
`curves.svg` and `training/`.
"""

import json
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from suguk import config as settings
from suguk import files
from suguk.config import Config, PredictConfig
from suguk.errors import ConfigError, ModelError, UserError
from suguk.fields import UNK, TextField
from suguk.model import Memory, Seq2Seq, build
from suguk.predictor import Attention, Hypothesis, Prediction, Score
from suguk.search import Found, search

FORMAT = 1
LONGEST_SOURCE = 20_000  # characters; beyond it a line is surely not what the model was made for
FIRST_CHUNK, LARGEST_CHUNK = (
    16,
    2048,
)  # sources read ahead by `stream`: small first, so that first answers come soon


class _Rows(NamedTuple):
    """One batch of a chunk: where its rows stand in the chunk, and their token ids."""

    places: list[int]
    ids: list[np.ndarray[Any, np.dtype[np.int32]]]


class TrainedModel:
    """Fields, settings and weights; satisfies `suguk.predictor.Predictor`."""

    def __init__(
        self, config: Config, source: TextField, target: TextField, model: Seq2Seq, device: str | None = None
    ) -> None:
        self.config, self.source, self.target = config, source, target
        self.device = torch.device(device or "cpu")
        self.model = model.to(self.device)

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> "TrainedModel":
        """The best model of a run directory. ModelError says which file is missing, damaged or newer, and the cure."""
        folder = Path(path)
        config, source, target = read_static(folder)
        model = build(config.model, source.size, target.size, seed=0)
        read_weights(folder, model)
        return cls(config, source, target, model.eval(), pick_device(device))

    def predict(
        self, sources: Sequence[str], options: PredictConfig | None = None, *, attention: bool = False
    ) -> list[Prediction]:
        """See `Predictor.predict`. UserError for a source of over 20,000 characters, or attention a model has not."""
        return list(self.stream(sources, options, attention=attention))

    def stream(
        self, sources: Iterable[str], options: PredictConfig | None = None, *, attention: bool = False
    ) -> Iterator[Prediction]:
        """See `Predictor.stream`."""
        options = options or self.config.predict
        if attention and self.model.decoder.attention is None:
            raise UserError(
                "this model has no attention to show",
                where="model.attention = none",
                hint="train one with attention",
            )
        incoming, size, before = iter(sources), FIRST_CHUNK, 0
        while chunk := list(islice(incoming, size)):
            yield from self._chunk(chunk, before, options, attention)
            before += len(chunk)
            size = min(2 * size, LARGEST_CHUNK)

    def score(self, sources: Sequence[str], targets: Sequence[str]) -> list[Score]:
        """Forced decoding: log p(target | source), token by token (Cho 2014 §3.1 ranks phrase pairs by it)."""
        if len(sources) != len(targets):
            raise UserError(f"as many targets as sources are needed, found {len(targets)} and {len(sources)}")
        source_ids, target_ids = self._encode(sources), self.target.encode_batch(targets)
        scores: dict[int, Score] = {}
        longest = [np.maximum(len(a), len(b)) for a, b in zip(source_ids, target_ids, strict=True)]
        for rows in _batches(source_ids, longest, self.config.predict.batch_tokens):
            wanted = [target_ids[i] for i in rows.places]
            for i, ids, values in zip(rows.places, wanted, self._forced(rows, wanted), strict=True):
                token_scores = tuple(values[: len(ids)].tolist())
                scores[i] = Score(float(sum(token_scores)), tuple(self.target.tokens(ids)), token_scores)
        return [scores[i] for i in range(len(sources))]

    def _encode(self, sources: Sequence[str], before: int = 0) -> list[Any]:
        for number, text in enumerate(sources, start=before + 1):
            if len(text) > LONGEST_SOURCE:
                raise UserError(
                    f"source {number:,} has {len(text):,} characters; at most {LONGEST_SOURCE:,} are decoded",
                    hint="split it into sentences, one a line",
                )
        return list(self.source.encode_batch(sources))

    def _forced(self, rows: _Rows, targets: list[Any]) -> Tensor:
        with self._answering():
            padded, _ = self.target.collate(targets)
            log_probs, _ = self.model.log_probs(*self._source(rows), torch.from_numpy(padded).to(self.device))
            return log_probs.cpu()

    def _answering(self) -> "_Answering":
        return _Answering(self.model)

    def _source(self, rows: _Rows) -> tuple[Tensor, Tensor]:
        padded, lengths = self.source.collate(rows.ids)
        return torch.from_numpy(padded).to(self.device), torch.from_numpy(lengths).to(self.device)

    def _chunk(
        self, sources: list[str], before: int, options: PredictConfig, attention: bool
    ) -> list[Prediction]:
        """before: how many sources earlier chunks had."""
        ids = self._encode(sources, before)
        answers: dict[int, Prediction] = {}
        for rows in _batches(ids, [len(x) * options.beam for x in ids], options.batch_tokens):
            texts = [sources[i] for i in rows.places]
            answers.update(zip(rows.places, self._answer(rows, texts, options, attention), strict=True))
        return [answers[i] for i in range(len(sources))]

    def _answer(
        self, rows: _Rows, texts: list[str], options: PredictConfig, attention: bool
    ) -> list[Prediction]:
        with self._answering():
            memory = self.model.encode(*self._source(rows))
            lengths = [min(options.max_length, 10 * len(ids) + 50) for ids in rows.ids]
            limits = torch.tensor(lengths, device=self.device)
            frame = torch.zeros(options.beam, max(lengths), device=self.device, dtype=memory.values.dtype)
            found = search(
                self.model, memory, limits, frame, alpha=options.length_penalty, penalty=options.penalty
            )
            weights = self._weights(found, memory, options, attention)
        return [
            self._prediction(
                text, ids, _row(found, b), [None if w is None else w[b] for w in weights], options, attention
            )
            for b, (text, ids) in enumerate(zip(texts, rows.ids, strict=True))
        ]

    def _weights(
        self, found: Found, memory: Memory, options: PredictConfig, attention: bool
    ) -> list[Tensor | None]:
        """Attention of each rank's outputs [B, T, S], by forced decoding, where anything needs it."""
        replaces = self._replaces(options)
        weights: list[Tensor | None] = []
        for rank in range(found.tokens.shape[1]):
            tokens = found.tokens[:, rank]
            listed = rank == 0 or options.n_best > 1  # of equal outputs a lower rank may take the place
            wanted = (attention and rank == 0) or (replaces and listed and bool((tokens == UNK).any()))
            weights.append(self.model.force(memory, tokens)[1].cpu() if wanted else None)
        return weights

    def _replaces(self, options: PredictConfig) -> bool:
        words = self.source.kind == "word" and self.target.kind == "word"
        return options.replace_unknown and words and self.model.decoder.attention is not None

    def _prediction(
        self,
        text: str,
        source_ids: Any,
        found: Found,
        weights: list[Tensor | None],
        options: PredictConfig,
        attention: bool,
    ) -> Prediction:
        n_best: dict[
            str, Hypothesis
        ] = {}  # two tokenisations of one text are one output: the better one stays
        for rank in range(len(found.scores)):
            if len(n_best) == options.n_best or found.log_probs[rank] == -torch.inf:
                break
            hypothesis = self._hypothesis(found, rank, text, weights[rank])
            n_best.setdefault(hypothesis.output, hypothesis)
        best = next(iter(n_best.values()))
        shown = None
        if attention and weights[0] is not None:
            length = int(found.lengths[0])
            shown = Attention(
                source_tokens=tuple(self.source.tokens(source_ids)),
                target_tokens=tuple(self.target.tokens(found.tokens[0, :length].tolist())),
                weights=weights[0][:length, : len(source_ids)].float().numpy(),
            )
        return Prediction(**vars(best), source=text, n_best=tuple(n_best.values()), attention=shown)

    def _hypothesis(self, found: Found, rank: int, source: str, weights: Tensor | None) -> Hypothesis:
        finished = bool(found.finished[rank])
        length = int(found.lengths[rank])
        ids = found.tokens[rank, :length].tolist()
        words = ids[:-1] if finished else ids
        return Hypothesis(
            output=self.target.decode(words) if weights is None else self._replaced(words, source, weights),
            score=float(found.scores[rank]),
            log_prob=float(found.log_probs[rank]),
            tokens=tuple(self.target.tokens(words)),
            token_scores=tuple(found.token_scores[rank, :length].tolist()),
            finished=finished,
        )

    def _replaced(self, words: list[int], source: str, weights: Tensor) -> str:
        """Unknown words by the most attended source word (Luong 2015 §4, after Jean 2015)."""
        originals = self.source.split(source)
        if UNK not in words or not originals:
            return self.target.decode(words)
        looked_at = weights[: len(words), : len(originals)].argmax(-1).tolist()
        pieces = self.target.pieces(words)
        return self.target.join(
            [
                originals[at] if word == UNK else piece
                for word, at, piece in zip(words, looked_at, pieces, strict=True)
            ]
        )


class _Answering:
    """Inference mode with dropout off; puts the model back as it was."""

    def __init__(self, model: Seq2Seq) -> None:
        self.model, self.training = model, model.training
        self.mode = torch.inference_mode()

    def __enter__(self) -> None:
        self.model.eval()
        self.mode.__enter__()

    def __exit__(self, *fault: Any) -> None:
        self.mode.__exit__(*fault)
        self.model.train(self.training)


def _row(found: Found, b: int) -> Found:
    return Found(*(part[b].cpu() for part in found))


def _batches(ids: list[Any], costs: Sequence[int], budget: int) -> Iterator[_Rows]:
    """Rows sorted by cost, cut so that rows × highest cost stays within the budget."""
    index: list[int] = []
    for i in sorted(range(len(ids)), key=lambda i: costs[i]):
        if index and (len(index) + 1) * costs[i] > budget:
            yield _Rows(index, [ids[j] for j in index])
            index = []
        index.append(i)
    if index:
        yield _Rows(index, [ids[j] for j in index])


def pick_device(name: str) -> str:
    """auto: the GPU if there is one. UserError where a GPU is asked for and there is none."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(
            "no CUDA device is available", where=f"device {name}", hint="use --device cpu or auto"
        )
    try:
        torch.device(name)
    except RuntimeError:
        raise UserError(f"unknown device {name!r}", hint="auto, cpu, cuda or cuda:N") from None
    return name


def write_static(
    path: str | Path, config: Config, source: TextField, target: TextField, info: Mapping[str, Any]
) -> None:
    """The files that never change during training, as a new directory that appears whole. info: into model.json."""
    about = {
        "format": "suguk-run",
        "version": FORMAT,
        "suguk": metadata.version("suguk"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        **info,
    }
    files.write_folder(
        path,
        {
            "config.toml": settings.to_toml(config).encode(),
            "source.json": source.to_json().encode(),
            "target.json": target.to_json().encode(),
            "model.json": json.dumps(about, ensure_ascii=False, indent=1).encode(),
        },
    )


def write_weights(path: str | Path, model: Seq2Seq) -> None:
    """model.safetensors, replaced whole. Tied parameters are written once, under their first name."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.named_parameters()}
    files.write(Path(path) / "model.safetensors", save(tensors, metadata={"format": "suguk-weights"}))


def read_static(folder: Path) -> tuple[Config, TextField, TextField]:
    """Settings and fields of a run directory; ModelError for what is missing, damaged or newer than this version."""
    if not folder.exists():
        raise ModelError("no such run directory", where=folder, hint="`suguk train DATA --out DIR` makes one")
    if not (folder / "model.json").is_file():
        raise ModelError(
            "not a run directory: there is no model.json",
            where=folder,
            hint="give the directory named by --out",
        )
    about = _json(folder / "model.json")
    if about.get("format") != "suguk-run":
        raise ModelError("not made by suguk", where=folder / "model.json")
    if not isinstance(about.get("version"), int) or about["version"] > FORMAT:
        raise ModelError(
            f"format version {about.get('version')}, this suguk reads up to {FORMAT}",
            where=folder / "model.json",
            hint="update suguk",
        )
    config = _settings(folder / "config.toml")
    sides = [
        TextField.from_json(_text(folder / name), str(folder / name))
        for name in ("source.json", "target.json")
    ]
    return config, sides[0], sides[1]


def read_weights(folder: Path, model: Seq2Seq) -> None:
    """model.safetensors into a model built from the same settings; ModelError if it is missing or does not fit."""
    path = folder / "model.safetensors"
    if not path.is_file():
        raise ModelError(
            "there are no weights yet: training was stopped before its first validation",
            where=path,
            hint=f"go on with `suguk train --resume {folder}`",
        )
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as fault:
        raise ModelError(
            f"damaged or cut short ({fault})", where=path, hint="copy the run directory again, or train again"
        ) from None
    copy_weights(tensors, model, path)


def copy_weights(tensors: Mapping[str, Tensor], model: Seq2Seq, path: Path) -> None:
    """Named tensors into the model; ModelError names what is missing, left over or of another shape."""
    wanted = dict(model.named_parameters())
    wrong = sorted(set(wanted) ^ set(tensors))
    wrong += [name for name in wanted if name in tensors and wanted[name].shape != tensors[name].shape]
    if wrong:
        raise ModelError(
            f"these weights do not belong to this config.toml (first of {len(wrong)} differences: {wrong[0]})",
            where=path,
            hint="copy the run directory again as a whole",
        )
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(tensors[name])


def _settings(path: Path) -> Config:
    try:
        return settings.build(settings.parse(_text(path), str(path)), str(path))
    except ConfigError as fault:
        raise ModelError(
            f"damaged, or of another version: {fault.message}",
            where=path,
            hint="copy the run directory again",
        ) from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ModelError(
            "this file of the run directory is missing",
            where=path,
            hint="copy the run directory again as a whole",
        ) from None
    except (OSError, UnicodeDecodeError) as fault:
        raise ModelError(f"cannot be read: {fault}", where=path) from None


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(path))
    except json.JSONDecodeError as fault:
        raise ModelError(f"damaged JSON: {fault}", where=path, hint="copy the run directory again") from None
    if not isinstance(value, dict):
        raise ModelError("expected a JSON object", where=path)
    return value
