"""`suguk tune`: a search for settings."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from suguk.cli import streams, values
from suguk.cli.faults import say
from suguk.errors import UserError

SHORT = 2  # minutes of a trial
_UNITS = {"s": 1 / 60, "m": 1.0, "h": 60.0}

Out = Annotated[Path, typer.Option(metavar="DIR", help="The study; where there is one, it goes on.")]
Budget = Annotated[
    str | None, typer.Option(metavar="TIME", help="Time of all trials together: 90s, 60m or 8h.")
]
Trials = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Trials with a score, instead of or besides a budget.")
]
Space = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.toml", help="What to search, see docs/guides/tune.md.  [default: a usual space]"
    ),
]
Seed = Annotated[
    int,
    typer.Option(min=0, max=2**31 - 1, metavar="N", help="Of what is proposed; trials have train.seed."),
]


def tune(
    data: values.Data,
    out: Out,
    budget: Budget = None,
    trials: Trials = None,
    valid: values.Valid = None,
    recipe: values.Recipe = None,
    space: Space = None,
    settings: values.Settings = None,
    seed: Seed = 1,
    source: values.Source = "",
    target: values.Target = "",
    header: values.Header = None,
    skip_bad: values.SkipBad = False,
    device: values.Device = "auto",
    json: values.Json = False,
    quiet: values.Quiet = False,
) -> None:
    """Search for settings by short trainings on DATA.

    Each trial is a training with a twelfth of the budget (or train.minutes), judged on the validation data; those
    that fall behind are ended early. Stopped or killed, it goes on with the same command. At its end: a table, and
    best.toml in DIR, a recipe for `suguk train`. Needs the extra: pip install 'suguk[train,tune]'.

    \b
    Examples:
      suguk tune pairs.tsv --budget 60m --out tune/es-en
      suguk tune train.en train.de --valid val.en val.de --recipe small --budget 8h --out tune/en-de
      suguk tune words.csv --trials 20 --set train.epochs=3 --space mine.toml --out tune/g2p
    """
    values.check_paths(data)
    values.check_paths(valid or data, "--valid")
    minutes = None if budget is None else _minutes(budget)
    if minutes is None and trials is None:
        raise UserError("how long may it take?", hint="give --budget 60m, or --trials 20, or both")
    from suguk import config
    from suguk.tuning import plan as plans

    plans.require_optuna()
    from suguk.tuning.study import begin, best
    from suguk.tuning.summary import summarise

    of_data: dict[str, Any] = {
        "train": [str(Path(path).absolute()) for path in data],
        "valid": [str(Path(path).absolute()) for path in valid or ()],
        "source": source,
        "target": target,
        "skip_bad": skip_bad,
    }
    of_data |= {} if header is None else {"header": header}
    given = config.merge({"data": of_data, "train": {"device": device}}, config.assignments(settings or ()))
    asked = plans.make(given, recipe, space, seed=seed, budget=minutes)
    tuner = begin(out, asked, (lambda _: None) if quiet else say)
    share = tuner.plan.minutes
    if share is not None and share < SHORT and not quiet:
        say(
            f"warning: a trial has {60 * share:.0f} s, in which little may be learned; a longer --budget gives it more"
        )
    try:
        tuner.run(budget=minutes, trials=trials)
    except UserError:
        if best(tuner.study) is not None and not quiet:
            say(summarise(tuner).text())  # what was found stands in the folder
        raise
    found = summarise(tuner)
    streams.write_json(found.to_json(), indent=1) if json else streams.write_text(found.text())


def _minutes(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", text.strip())
    if found is None or not float(found[1]):
        raise UserError(
            f"expected a time as in 90s, 60m or 8h, found {text!r}", where="--budget", hint="--budget 60m"
        )
    return float(found[1]) * _UNITS[found[2]]
