"""suguk: recurrent sequence-to-sequence models. `train` one on your own pairs, `load` it, `predict`.

Importing this package loads no torch; the functions below import what they need when they are called.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suguk.answers import TextPredictor
    from suguk.config import PredictConfig
    from suguk.evaluation.report import Evaluation
    from suguk.loading import Engine
    from suguk.predictor import Predictor
    from suguk.trained import TrainedModel
    from suguk.training.display import Display, Kind

__version__ = metadata.version("suguk")
__all__ = ["__version__", "evaluate", "load", "resume", "train"]


def train(
    data: "str | Path | Sequence[str | Path]",
    *,
    out: str | Path,
    recipe: str | Path | None = None,
    valid: "str | Path | Sequence[str | Path]" = (),
    source: str | int = "",
    target: str | int = "",
    overrides: Mapping[str, Any] | Sequence[str] = (),
    also: "str | Path | Sequence[str | Path | Sequence[str | Path]]" = (),
    start_from: str | Path | None = None,
    display: "Kind | Display" = "auto",
    stop: Callable[[int], bool] | None = None,
) -> "TrainedModel":
    """Train a model on pairs and keep it, and all that training needs to go on, in the directory `out`.

    data, valid: one table, or two parallel text files; without `valid` a part of `data` is split off.
    source, target: columns of the tables, by name or number from 1.
    recipe: a bundled one or a `.toml` file; without it `small` for sentences, else `chars`.
    overrides: settings over the recipe's, as `["model.hidden=256"]`, `{"model.hidden": 256}` or nested.
    also: more training data, each one table or two files; `data.weights` says how often an epoch has them.
    start_from: a run directory whose tokenizers, vocabularies, model and weights this one starts with; of a recipe only
    the settings of the loop count then.
    display: "auto", "rich", "plain", "silent" or an object of your own.
    stop: called with the step after every update; once it returns true, the state is saved and training ends.

    Returns the model with its best weights (with the current ones if `stop` came before any validation).
    Ctrl-C and SIGTERM save the state before they end the program. Raises UserError, with the cure, for what
    can be mended: data (DataError), settings (ConfigError), a full disk, an `out` that is in use, divergence.
    """
    from suguk.training import run

    return run.train(
        data,
        out=out,
        recipe=recipe,
        valid=valid,
        source=source,
        target=target,
        overrides=overrides,
        also=also,
        start_from=start_from,
        display=display,
        stop=stop,
    )


def resume(
    path: str | Path,
    *,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    display: "Kind | Display" = "auto",
    stop: Callable[[int], bool] | None = None,
) -> "TrainedModel":
    """Go on with the training of a run directory where its saved state ends; on a CPU bit for bit.

    overrides: settings of the loop that may differ, such as `["train.epochs=40"]`; they are kept. For the
    rest see `train`. Raises ModelError for a run directory that is damaged or half copied, or whose data have
    changed, and ConfigError for a setting that cannot change.
    """
    from suguk.training import run

    return run.resume(path, overrides=overrides, display=display, stop=stop)


def load(
    path: str | Path, device: str = "auto", engine: "Engine" = "auto", threads: int = 0
) -> "TextPredictor":
    """The model of a run directory, with its best weights, or of a file that `suguk export` wrote.

    Run directories joined by + are one model, an ensemble: "runs/a+runs/b".

    device: auto, cpu, cuda or cuda:N. engine: torch, or onnx for the export in the run directory; auto takes the
    export on a processor and PyTorch on a GPU. threads: that compute, 0 for as many as there are cores; PyTorch's are
    those of the whole process. ModelError for what is missing, damaged or newer; UserError.
    """
    from suguk import loading

    return loading.load(path, device, engine, threads)


def evaluate(
    model: "str | Path | Predictor",
    data: "str | Path | Sequence[str | Path]",
    *,
    source: str | int = "",
    target: str | int = "",
    metrics: str | Sequence[str] | None = None,
    options: "PredictConfig | None" = None,
    lowercase: bool | None = None,
    tokenize: str = "13a",
) -> "Evaluation":
    """Decode the sources of `data` and score the outputs against their targets.

    model: a run directory, an exported file or a loaded model. data, source, target: as in `train`; by default the
    columns that the model was trained on, where a table has both. Equal sources are one source with several references.
    metrics: by default bleu, chrf, ter, exact, cer and wer. lowercase: compare without case, by default if the
    model was trained with `data.lowercase`. tokenize: of sacrebleu, for BLEU. Raises UserError.
    """
    from suguk.answers import TextPredictor
    from suguk.data.read import read, references
    from suguk.evaluation.report import evaluate as evaluate_pairs

    paths = [data] if isinstance(data, str | Path) else data
    metrics = [metrics] if isinstance(metrics, str) else metrics
    predictor = load(model) if isinstance(model, str | Path) else model
    like = predictor.config.data.names if isinstance(predictor, TextPredictor) else ("", "")
    if lowercase is None:
        lowercase = isinstance(predictor, TextPredictor) and predictor.config.data.lowercase
    pairs = read([str(path) for path in paths], source=source, target=target, like=like)
    sources, grouped = references(pairs)
    return evaluate_pairs(
        predictor, sources, grouped, options, metrics, lowercase=lowercase, tokenize=tokenize
    )
