"""`suguk align`: which word of the target belongs to which of the source."""

from typing import TYPE_CHECKING, Annotated

import typer

from suguk.cli import streams, values
from suguk.cli.faults import say
from suguk.errors import UserError

if TYPE_CHECKING:
    from suguk.alignment import Alignment, Quality

_AT_ONCE = 512  # pairs; lines come out while later ones are computed

GoldFile = Annotated[
    str | None,
    typer.Option(
        "--gold",
        metavar="FILE",
        help="Compare with these links, one line a pair: `i-j` sure, `i?j` possible.",
    ),
]
GoldFrom = Annotated[
    int | None,
    typer.Option(
        metavar="0|1",
        min=0,
        max=1,
        help="What the words of --gold are counted from.  [default: 0]",
        show_default=False,
    ),
]


def align(
    model: values.Model,
    data: values.Data,
    source: values.Source = "",
    target: values.Target = "",
    header: values.Header = None,
    skip_bad: values.SkipBad = False,
    gold: GoldFile = None,
    gold_from: GoldFrom = None,
    jsonl: values.Jsonl = False,
    device: values.Device = "auto",
    engine: values.EngineOption = "auto",
    threads: values.Threads = 0,
    quiet: values.Quiet = False,
) -> None:
    """Align the words of DATA's targets with those of their sources.

    One line for each pair, in Pharaoh format: 0-0 1-2 2-1, source word, target word, counted from 0. Words are
    what stands between spaces. Each target word has a link to the source word that the model attends to most, or
    none if the end of the source has more of it. With --gold, alignment error rate, precision and recall go to
    standard error, also with --quiet.

    \b
    Examples:
      suguk align runs/es-en test.tsv > test.align
      suguk align runs/es-en test.es test.en --jsonl
      suguk align runs/es-en test.es test.en --gold test.gold --gold-from 1
    """
    values.check_paths(data)
    if gold is None and gold_from is not None:
        raise UserError("--gold-from says how --gold counts, found no --gold", hint="give --gold FILE")
    loaded = values.open_model(model, device, engine, threads)
    loaded.attend([], [])  # a model without attention is told before its data are read
    pairs = values.read_pairs(
        data, source, target, header, of=loaded.config.data, skip_bad=skip_bad, quiet=quiet
    )
    from suguk import alignment

    wanted = None if gold is None else alignment.read_gold(gold, pairs, gold_from or 0)
    total = alignment.Quality()
    for rows in streams.chunks(range(len(pairs)), _AT_ONCE):
        found = alignment.align(
            loaded, [pairs.sources[row] for row in rows], [pairs.targets[row] for row in rows]
        )
        for row, one in zip(rows, found, strict=True):
            _write(pairs.lines[row], one, jsonl=jsonl)
        if wanted is not None:
            total += alignment.compare(found, [wanted[row] for row in rows])
    if wanted is not None:
        _tell(total, len(pairs))


def _write(number: int, found: "Alignment", *, jsonl: bool) -> None:
    if not jsonl:
        streams.write_line(" ".join(f"{link.source}-{link.target}" for link in found.links))
        return
    streams.write_json(
        {
            "line": number,
            "alignment": [[link.source, link.target] for link in found.links],
            "weights": [round(link.weight, 6) for link in found.links],
            "source_words": found.source_words,
            "target_words": found.target_words,
        }
    )


def _tell(found: "Quality", pairs: int) -> None:
    say(
        f"{pairs:,} pairs, {found.links:,} links, {found.sure:,} sure ones wanted: "
        f"precision {found.precision:.4f}, recall {found.recall:.4f}, AER {found.error_rate:.4f}"
    )
