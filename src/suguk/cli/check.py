"""`suguk check`: what is in the data, and what is wrong with it."""

from typing import Any

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
    also: values.Also = None,
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
    from suguk.data.check import check as check_pairs
    from suguk.data.prepare import unjudged

    of_data: dict[str, Any] = {
        "train": data,
        "valid": valid,
        "source": source,
        "target": target,
        "header": header,
    }
    of_data |= {"also": [paths.split(",") for paths in also or ()]}
    plain = {"data": {key: value for key, value in of_data.items() if value not in (None, "", [])}}
    given = config.merge(plain, config.assignments(settings or ()))
    chosen = config.load(recipe or "small", given)
    chars = None if recipe else config.load("chars", given)
    train, more, held_out = unjudged(chosen)
    report = check_pairs(train, held_out, chosen, chars, more)
    streams.write_json(report.to_json(), indent=1) if json else streams.write_text(report.text())
    if report.fatal:
        raise typer.Exit(2)
