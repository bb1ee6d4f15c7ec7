"""`suguk train`: from pairs to a run directory."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suguk.cli import streams, values
from suguk.cli.faults import say
from suguk.errors import UserError

if TYPE_CHECKING:
    from suguk.training.display import Kind

Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="The run directory to make: the model, its settings, its log."),
]
Resume = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Go on with a run that was stopped, exactly where it was.")
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="W,W...",
        help="How often an epoch has each pair of DATA, and of each --also.  [default: once]",
        show_default=False,
    ),
]
From = Annotated[
    Path | None,
    typer.Option(
        "--from", metavar="DIR", help="Start with the vocabularies, model and weights of this run directory."
    ),
]
Seed = Annotated[int | None, typer.Option(metavar="N", help="The same as --set train.seed=N.")]
DataOrNone = Annotated[
    list[str] | None, typer.Argument(metavar="DATA...", help=values.DATA_HELP, show_default=False)
]
TrainDevice = Annotated[
    str | None, typer.Option(metavar="NAME", help="The same as --set train.device=NAME.  [default: auto]")
]


class TrainCommand(values.PathsCommand):
    """Help that ends in every setting."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        from suguk.cli.recipes import SETTINGS, settings_lines

        super().format_epilog(ctx, formatter)
        formatter.write(f"\n{SETTINGS}.\n")
        formatter.write(
            "Without --recipe the data choose `small` or `chars`; `suguk recipes small` prints it.\n\n"
        )
        formatter.write("".join(f"  {line}".rstrip() + "\n" for line in settings_lines(formatter.width - 2)))


def train(
    data: DataOrNone = None,
    out: Out = None,
    valid: values.Valid = None,
    recipe: values.Recipe = None,
    settings: values.Settings = None,
    seed: Seed = None,
    source: values.Source = "",
    target: values.Target = "",
    header: values.Header = None,
    skip_bad: values.SkipBad = False,
    also: values.Also = None,
    weights: Weights = None,
    start_from: From = None,
    resume: Resume = None,
    device: TrainDevice = None,
    json: values.Json = False,
    quiet: values.Quiet = False,
) -> None:
    """Train a model on the pairs of DATA into a run directory.

    Validation data that are not given are split off DATA. train.minutes is a time budget: training ends in
    time with the best model so far. --from fine-tunes a run on other data; its model and vocabularies stay.
    --resume continues where a run was stopped, on a CPU bit for bit. A finished run says what ended it; with
    that raised (--set train.epochs=N, early_stopping, or minutes, of all sessions together) it trains on.

    \b
    Examples:
      suguk train pairs.tsv --out runs/es-en
      suguk train train.en train.de --valid val.en val.de --recipe luong2015 --out runs/en-de
      suguk train pairs.tsv --set model.hidden=256 --set train.lr=0.0005 --seed 3 --out runs/es-en-3
      suguk train words.csv --source word --target sound --set train.minutes=10 --out runs/g2p
      suguk train pairs.tsv --also more.tsv --weights 2,0.5 --out runs/mixed
      suguk train letters.tsv --from runs/es-en --set train.lr=0.0002 --out runs/letters
      suguk train --resume runs/en-de
    """
    import suguk

    display: Kind = "silent" if quiet else "auto"
    if resume is not None:
        _alone(data=data, out=out, valid=valid, recipe=recipe, seed=seed, also=also, weights=weights)
        columns = {"source": source or None, "target": target or None, "header": header}
        _alone(**{"from": start_from, "skip-bad": skip_bad or None}, **columns)
        suguk.resume(resume, overrides=values.overrides(settings, train_device=device), display=display)
        folder = resume
    else:
        if not data or out is None:
            missing = "DATA" if not data else "--out DIR"
            raise UserError(f"train needs {missing}", hint="suguk train pairs.tsv --out runs/first")
        values.check_paths(data)
        values.check_paths(valid or data, "--valid")
        given = values.overrides(
            settings,
            train_seed=seed,
            train_device=device,
            data_header=header,
            data_skip_bad=skip_bad or None,
            data_weights=_numbers(weights),
        )
        suguk.train(
            data,
            out=out,
            recipe=recipe,
            valid=valid or (),
            source=source,
            target=target,
            overrides=given,
            also=[paths.split(",") for paths in also or ()],
            start_from=start_from,
            display=display,
        )
        folder = out
    if _is_another():
        return
    if json:
        streams.write_json(summary(folder), indent=1)
    elif not quiet:
        say(f"the model is {folder}; try:\n  suguk predict {folder}\n  suguk evaluate {folder} DATA")


def _is_another() -> bool:
    """Whether this is not the first of several processes that train together."""
    from suguk.training.processes import rank

    return rank() > 0


def _numbers(weights: str | None) -> list[float] | None:
    try:
        return None if weights is None else [float(weight) for weight in weights.split(",")]
    except ValueError:
        raise UserError(
            f"expected numbers with commas between, found {weights!r}",
            where="--weights",
            hint="first that of DATA: --also more.tsv --weights 1,0.5",
        ) from None


def _alone(**given: object) -> None:
    wrong = [
        f"--{name}" if name != "data" else "DATA" for name, value in given.items() if value not in (None, [])
    ]
    if wrong:
        raise UserError(
            f"--resume goes on with the run's own settings, found also {', '.join(wrong)}",
            hint="leave them out, or train anew with --out",
        )


def summary(folder: Path) -> dict[str, Any]:
    """The last and the best validation of a run."""
    from suguk.run_directory import read_metrics

    valid = [record for record in read_metrics(folder) if record.get("kind") == "valid"]
    best = [record for record in valid if record.get("best")]
    return {
        "model": str(folder),
        "validations": len(valid),
        "last": valid[-1] if valid else None,
        "best": best[-1] if best else None,
    }
