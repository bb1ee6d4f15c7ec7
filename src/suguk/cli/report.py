"""`suguk report`: one page about a run."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from suguk.cli import streams, values
from suguk.cli.faults import say
from suguk.errors import UserError

PAGE = "report.html"  # in the run directory, unless --out says otherwise
DEFAULTS = {"limit": 500, "examples": 8, "seed": 1}

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory of `suguk train`.")]
DataOrNone = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[DATA...]",
        help="Pairs to report on: one table or two parallel text files.  [default: the run's validation data]",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None, typer.Option(metavar="FILE.html", help=f"The page to write.  [default: {PAGE} in RUN]")
]
Limit = Annotated[int, typer.Option(min=1, metavar="N", help="Most sources that are decoded and scored.")]
Examples = Annotated[
    int, typer.Option(min=0, metavar="N", help="Examples of each kind: at random, worst, best.")
]
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Of the choice of sources and of examples.")]


def report(
    run: Run,
    data: DataOrNone = None,
    out: Out = None,
    limit: Limit = DEFAULTS["limit"],
    examples: Examples = DEFAULTS["examples"],
    seed: Seed = DEFAULTS["seed"],
    source: values.Source = "",
    target: values.Target = "",
    header: values.Header = None,
    skip_bad: values.SkipBad = False,
    beam: values.Beam = None,
    settings: values.Settings = None,
    json: values.Json = False,
    device: values.Device = "auto",
    quiet: values.Quiet = False,
) -> None:
    """Write one HTML page about a run: scores, curves, examples, faults.

    The page needs nothing but a browser. It holds what the model is, learning curves, scores by source length,
    examples with the probability of each token, attention, what is wrong with the outputs or the training and by
    which figures, figures of the data, all settings, and how to make the run again. --json prints the same as data,
    and writes a page only with --out.

    \b
    Examples:
      suguk report runs/es-en
      suguk report runs/es-en test.tsv --limit 2000 --out es-en.html
      suguk report runs/en-de test.en test.de --beam 1 --json > report.json
    """
    if data:
        values.check_paths(data)
    elif source or target or header is not None or skip_bad:
        raise UserError("these options say how DATA is read, found no DATA", hint="suguk report RUN DATA")
    path = out or (None if json else run / PAGE)
    columns = _columns(source, target, header, skip_bad)
    from suguk import files

    if path is not None:
        files.free(path)
    from suguk.report.collect import Choices, collect
    from suguk.report.page import page

    with ExitStack() as stack:

        def start(total: int) -> Callable[[object], None]:
            return stack.enter_context(values.progress(total, "decoding", quiet=quiet))

        found = collect(
            run,
            data or (),
            Choices(limit, examples, seed),
            change=lambda base: values.predict_options(base, beam=beam, n_best=1, settings=settings),
            device=device,
            start=start,
            asked=_asked(columns, settings, limit=limit, examples=examples, seed=seed, beam=beam),
            **columns,
        )
    if path is not None:
        files.write(path, page(found).encode("utf-8", "replace"))
    if json:
        streams.write_json(found.to_json(), indent=1)
    elif not quiet:
        for finding in found.findings:
            if finding.level == "warning":
                say(f"warning: {finding.title}: {finding.text}")
        say(f"the report is {path}")


def _columns(source: str, target: str, header: bool | None, skip_bad: bool) -> dict[str, Any]:
    return {"source": source, "target": target, "header": header, "skip_bad": skip_bad}


def _asked(columns: dict[str, Any], settings: list[str] | None, **numbers: int | None) -> list[str]:
    """The options that were given, as typed."""
    header = columns["header"]
    words = [f"--{name}={columns[name]}" for name in ("source", "target") if columns[name]]
    words += [] if header is None else ["--header" if header else "--no-header"]
    words += ["--skip-bad"] if columns["skip_bad"] else []
    words += [
        f"--{name}={number}"
        for name, number in numbers.items()
        if number is not None and number != DEFAULTS.get(name)
    ]
    return words + [f"--set={setting}" for setting in settings or ()]
