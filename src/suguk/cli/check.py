"""`suguk check`: what is in the data, and what is wrong with it."""

import typer

from suguk.cli import streams, values


def check(
    data: values.Data,
    valid: values.Valid = None,
    recipe: values.Recipe = None,
    settings: values.Settings = None,
    source: values.Source = "",
    target: values.Target = "",
    header: values.Header = None,
    json: values.Json = False,
) -> None:
    """Report on DATA without training: problems, statistics, memory.

    Every problem with file and line, lengths, unknown rates, what `auto` would choose and the memory that
    training would take. Exit status 2 if there is a problem that training would refuse.

    \b
    Examples:
      suguk check pairs.tsv
      suguk check train.en train.de --valid val.en val.de
      suguk check table.csv --source question --target answer --json
    """
    values.check_paths(data)
    values.check_paths(valid or data, "--valid")
    from suguk import config
    from suguk.data import check as checking

    given = values.overrides(settings, data_header=header)
    pairs = values.read_pairs(data, source, target, header, skip_bad=True, quiet=True)
    held_out = values.read_pairs(valid, source, target, header, skip_bad=True, quiet=True) if valid else None
    report = checking.check(pairs, held_out, config.load(recipe, config.assignments(given)))
    streams.write_json(report.to_json(), indent=1) if json else streams.write_text(report.text())
    if any(problem.fatal for problem in report.problems):
        raise typer.Exit(2)
