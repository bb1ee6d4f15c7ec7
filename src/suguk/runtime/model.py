"""An exported model: the `Predictor` that runs one `.onnx` file with ONNX Runtime. Imports no torch.

Shapes: B rows (sources), S source length, T target length, K hypotheses.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from suguk import asking
from suguk import config as settings
from suguk.answers import Forced, Found, TextPredictor
from suguk.asking import Given, Ids, Reals
from suguk.config import Config
from suguk.errors import ConfigError, ModelError
from suguk.fields import PAD, TextField
from suguk.runtime import container, sizes
from suguk.runtime.container import ABOUT_KEY, CONFIG_KEY, SOURCE_KEY, TARGET_KEY


class OnnxModel(TextPredictor):
    """Satisfies `suguk.predictor.Predictor`. Several threads may share one."""

    def __init__(
        self,
        config: Config,
        source: TextField,
        target: TextField,
        session: onnxruntime.InferenceSession,
        about: dict[str, Any],
    ) -> None:
        super().__init__(config, source, target)
        self.session, self.about = session, about
        # How to load it again, if it was loaded.
        self.origin: tuple[Callable[..., TextPredictor], tuple[Any, ...]] | None = None

    @classmethod
    def load(cls, path: str | Path, threads: int = 0) -> "OnnxModel":
        """threads: that one answer is computed with; 0: as many as there are cores. ModelError says what is wrong."""
        path = Path(path)
        model = cls.of(container.read(path), path, threads)
        model.origin = cls.load, (path.resolve(), threads)
        return model

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Another process loads the file again: a session of ONNX Runtime cannot be sent."""
        return super().__reduce__() if self.origin is None else self.origin

    @classmethod
    def of(cls, content: bytes, path: Path, threads: int = 0) -> "OnnxModel":
        """From what a file holds; path: what to call it in messages."""
        metadata = container.metadata(content, path)
        try:
            config = settings.build(json.loads(metadata[CONFIG_KEY]), str(path))
            source, target = (
                TextField.from_json(metadata[key], str(path)) for key in (SOURCE_KEY, TARGET_KEY)
            )
            about = dict(json.loads(metadata[ABOUT_KEY]))
        except (KeyError, ValueError, TypeError, RecursionError, ConfigError) as fault:
            raise ModelError(f"damaged metadata: {fault}", where=path, hint="export it again") from None
        sizes.check(content, source.size, target.size, path)
        session = session_of(content, path, threads)
        expected = (*asking.INPUTS, *([asking.COPIES] if config.model.copying else []))
        found = tuple(one.name for one in session.get_inputs())
        if sorted(found) != sorted(expected):
            raise ModelError(
                f"its settings belong to another graph: expected the inputs {', '.join(expected)}, "
                f"found {', '.join(found)}",
                where=path,
                hint="export it again",
            )
        width = next((one.shape[-1] for one in session.get_outputs() if one.name == "context"), None)
        alone = not about.get("ensemble")  # else there are the states of all members, side by side
        if alone and width != config.model.annotation_size:
            raise ModelError(
                "its settings belong to another graph: "
                f"states of {config.model.annotation_size} numbers, found {width}",
                where=path,
                hint="export it again",
            )
        return cls(config, source, target, session, about)

    def _search(self, given: Given) -> Found:
        return Found(*self.session.run(Found._fields, given))

    def _force(
        self, source: Ids, lengths: Ids, target: Ids, copies: Ids | None, *, attention: bool
    ) -> Forced:
        """The search with all of its output asked for."""
        del lengths  # the graph counts what is not padding
        given = asking.forced(source, target, (target != PAD).sum(1), attention=attention)
        if copies is not None:
            given[asking.COPIES] = copies
        scores, weights = self.session.run(("token_scores", "attention"), given)
        return Forced(scores[:, 0], weights[:, 0])

    def _contexts(self, source: Ids) -> tuple[Reals, Reals]:
        """The search stopped before its first step."""
        given = asking.plain(source, np.zeros(len(source), np.int64), 1, 1)
        if self.copier is not None:
            given[asking.COPIES] = np.zeros_like(source)
        context, mean = self.session.run(("context", "mean_state"), given)
        return context, mean


def session_of(content: bytes, path: Path, threads: int) -> onnxruntime.InferenceSession:
    """ModelError if ONNX Runtime refuses the graph."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as fault:  # the library's exceptions have no common class of their own
        raise ModelError(f"ONNX Runtime refuses it: {fault}", where=path, hint="update onnxruntime") from None
