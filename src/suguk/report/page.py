"""A report as one HTML file that needs nothing else: no network, no fonts, no libraries."""

from collections.abc import Iterator
from html import escape
from importlib import resources
from string import Template

from suguk.report import pieces
from suguk.report.contents import Finding, Report
from suguk.report.drawn import curves, histogram, map_of
from suguk.report.pieces import count, duration, size

LOGO = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><g fill="#7287e2"><circle cx="8" cy="8" r="4.6"/>'
    '<circle cx="16" cy="16" r="4.6"/></g><g fill="#b8478c" opacity=".85"><circle cx="16" cy="8" r="4.6"/>'
    '<circle cx="8" cy="16" r="4.6"/></g><circle cx="12" cy="12" r="2.4" fill="#f5f7fb"/></svg>'
)


def page(report: Report) -> str:
    """The HTML document; the same report gives the same text."""
    folder = resources.files("suguk") / "report"
    parts = {
        name: (folder / f"page.{ending}").read_text(encoding="utf-8")
        for name, ending in (("style", "css"), ("script", "js"))
    }
    about = report.about
    title = f"{about.name}: {about.source} → {about.target}"
    template = Template((folder / "page.html").read_text(encoding="utf-8"))
    return template.substitute(parts, title=escape(title), body="\n".join(_body(report)))


def _body(report: Report) -> Iterator[str]:
    sections = [
        ("findings", "What stands out", "".join(_findings(report))),
        ("curves", "Learning curves", curves(report.curves)),
        ("lengths", "Scores", "".join(_scores(report))),
        ("examples", "Examples", "".join(_examples(report))),
        ("attention", "Attention", "".join(_maps(report))),
        ("data", "Data", "".join(_data(report))),
        ("settings", "Settings", "".join(_settings(report))),
        ("again", "Make it again", "".join(_origin(report))),
    ]
    held = [section for section in sections if section[2]]
    yield from _header(report)
    links = "".join(f'<a href="#{key}">{name}</a>' for key, name, _ in held)
    yield f'<nav aria-label="Sections"><div class="inner">{links}</div></nav><main>'
    for key, name, content in held:
        yield f'<section id="{key}"><h2>{name}</h2>{content}</section>'
    yield "</main><footer>Made by suguk. This file needs no network; keep it, send it, print it.</footer>"
    yield '<div id="tip" role="status"></div>'


def _header(report: Report) -> Iterator[str]:
    about, quality, best = report.about, report.quality, report.quality.headline
    sides = f'{escape(about.source)}<span class="arrow"> → </span>{escape(about.target)}'
    yield f'<header><div class="inner"><div class="brand">{LOGO}suguk report · {escape(about.name)}</div>'
    yield f'<h1 class="sides" dir="auto">{sides}</h1><p class="summary">{escape(about.summary)}</p>'
    of = f" of {quality.sampled_from:,}" if quality.sampled_from > quality.sources else ""
    better = "higher is better" if best.rising else "lower is better"
    yield (
        f'<div class="hero"><div class="score"><div class="what">{escape(best.label)}</div>'
        f'<div class="big">{best.value:.1f}</div><div class="how">{better}; {quality.sources:,}{of} sources, '
        f"{escape(quality.data)}; {escape(quality.search)}</div></div>"
    )
    tiles = [
        (count(about.parameters), "parameters"),
        (f"{about.source_vocabulary:,} / {about.target_vocabulary:,}", "vocabulary, source / target"),
        ("–" if report.training_pairs is None else f"{report.training_pairs:,}", "training pairs"),
        (duration(about.seconds), "training time"),
        (f"{about.epochs:.1f}", f"epochs, {about.updates:,} updates"),
        (count(about.tokens_per_second), "target tokens/s in training"),
        (f"{quality.perplexity:.2f}", "perplexity of the references"),
        (about.created[:10] or "–", "training began"),
    ]
    yield '<div class="tiles">'
    yield from (f'<div class="tile"><b>{escape(value)}</b><span>{name}</span></div>' for value, name in tiles)
    yield "</div></div></div></header>"


def _findings(report: Report) -> Iterator[str]:
    wrong = [finding for finding in report.findings if finding.level != "good"]
    well = [finding for finding in report.findings if finding.level == "good"]
    told = (
        "Nothing. These checks found no fault:"
        if not wrong
        else "Checks of the outputs, the data and the training."
    )
    yield f'<p class="lead">{told}</p>'
    yield f'<div class="grid">{"".join(map(_finding, wrong))}</div>' if wrong else ""
    if well:
        items = "".join(f"<li><b>{escape(one.title)}.</b> {escape(one.text)}</li>" for one in well)
        yield f'<ul class="well">{items}</ul>'


def _finding(finding: Finding) -> str:
    hint = f'<p class="hint">{escape(finding.hint)}</p>' if finding.hint else ""
    items = "".join(f'<li dir="auto">{pieces.text(one)}</li>' for one in finding.evidence)
    evidence = f'<ul class="evidence">{items}</ul>' if items else ""
    return (
        f'<div class="card finding {finding.level}"><h3>{escape(finding.title)} '
        f'<span class="badge">{finding.level}</span></h3><p>{escape(finding.text)}</p>{evidence}{hint}</div>'
    )


def _scores(report: Report) -> Iterator[str]:
    quality = report.quality
    yield '<p class="lead">Outputs of the search against the references.</p>'
    yield '<div class="grid"><div class="card"><h3>By length of the source</h3><div class="scroll"><table><thead><tr>'
    yield f'<th class="n">{quality.unit}</th><th class="n">sources</th><th>chrF</th><th>exact match</th></tr></thead>'
    for group in quality.groups:
        length = str(group.low) if group.low == group.high else f"{group.low}–{group.high}"
        yield (
            f'<tr><td class="n">{length}</td><td class="n">{group.count:,}</td><td>{pieces.meter(group.chrf)}</td>'
            f"<td>{pieces.meter(group.exact, 'green')}</td></tr>"
        )
    yield '</table></div></div><div class="card"><h3>All scores</h3><table>'
    for score in quality.scores:
        arrow = "↑" if score.rising else "↓"
        yield (
            f'<tr><td>{escape(score.label)} {arrow}</td><td class="n"><b>{score.value:.2f}</b></td>'
            f'<td class="small">{escape(score.signature)}</td></tr>'
        )
    forcing = report.forcing
    yield f'<tr><td>teacher-forced accuracy ↑</td><td class="n"><b>{100 * forcing.forced_accuracy:.2f}</b></td>'
    yield '<td class="small">tokens of the references that are the first choice after the true ones</td></tr>'
    yield f'<tr><td>free-running accuracy ↑</td><td class="n"><b>{100 * forcing.free_accuracy:.2f}</b></td>'
    yield '<td class="small">tokens of the references that the outputs have in the same order</td></tr></table>'
    yield "</div></div>"


def _examples(report: Report) -> Iterator[str]:
    kinds = [kind for kind in ("random", "worst", "best") if any(e.kind == kind for e in report.examples)]
    shades = "".join(f'<i class="u{k}"></i>' for k in (0, 2, 4, 6, 8, 9))
    yield (
        f'<p class="lead">The redder a piece of an output, the less sure the model was of it: probability 1 '
        f'<span class="ramp">{shades}</span> 0. Words of a reference that the output lacks are '
        '<span class="miss">underlined</span>.</p>'
    )
    buttons = "".join(f'<button type="button" value="{kind}">{kind}</button>' for kind in [*kinds, "all"])
    yield f'<div class="tabs" hidden>{buttons}</div>'
    for example in report.examples:
        yield pieces.example(example, report.sides[1].tokenizer)


def _maps(report: Report) -> Iterator[str]:
    drawn = [example for example in report.examples if example.attention is not None]
    if drawn:
        yield '<p class="lead">Where the model looked (columns) while it wrote each token (rows).</p><div class="maps">'
        yield from (f'<div class="card"><div class="map">{map_of(example)}</div></div>' for example in drawn)
        yield "</div>"


def _data(report: Report) -> Iterator[str]:
    yield '<div class="grid">'
    for side, kind in zip(report.sides, ("blue", "rose"), strict=True):
        rows = [
            ("tokenizer", side.tokenizer),
            ("vocabulary", f"{side.vocabulary:,}"),
            ("of it in the training texts", pieces.percent(side.used)),
            ("tokens a training text", "–" if side.mean_length is None else f"{side.mean_length:.1f}"),
            ("longest", "–" if side.longest is None else f"{side.longest:,}"),
            ("unknown tokens here", pieces.percent(side.unknown_rate)),
            ("words here that training never saw", pieces.percent(side.unseen_words)),
        ]
        table = "".join(f'<tr><td>{name}</td><td class="n">{escape(value)}</td></tr>' for name, value in rows)
        yield f'<div class="card"><h3 dir="auto">{escape(side.name)}</h3>{histogram(side, kind)}'
        yield f"<table>{table}</table></div>"
    yield "</div>"


def _settings(report: Report) -> Iterator[str]:
    head = "<thead><tr><th>setting</th><th>value</th><th>default</th><th>what it is</th></tr></thead>"
    changed = "".join(pieces.setting(one) for one in report.settings if one.changed)
    others = "".join(pieces.setting(one) for one in report.settings if not one.changed)
    yield '<p class="lead">Those that differ from their defaults, by the recipe or by choice.</p>'
    yield f'<div class="card"><table class="settings">{head}{changed}</table>'
    yield f'<details><summary>All others</summary><table class="settings">{head}{others}</table></details></div>'


def _origin(report: Report) -> Iterator[str]:
    origin = report.origin
    yield '<div class="grid"><div class="card" style="grid-column: 1 / -1"><h3>Commands</h3>'
    for command in origin.commands:
        button = '<button class="copy" type="button" hidden>copy</button>'
        yield f'<div class="command"><pre>{pieces.text(command)}</pre>{button}</div>'
    yield '<p class="caption">On a processor the same settings, data and versions give the same model; a time budget '
    yield "ends a training where the machine came to.</p></div>"
    tables = [
        ("Versions", origin.versions),
        ("Data", {name.replace("_", " "): str(value) for name, value in origin.fingerprint.items() if value}),
        ("Files", {name: size(value) for name, value in origin.sizes.items()}),
    ]
    for title, rows in tables:
        body = "".join(
            f'<tr><td>{pieces.text(name)}</td><td class="small">{pieces.text(value)}</td></tr>'
            for name, value in rows.items()
        )
        yield f'<div class="card"><h3>{title}</h3><table>{body}</table></div>' if rows else ""
    notes = "".join(f"<tr><td>{pieces.text(choice)}</td></tr>" for choice in origin.choices)
    yield (
        f'<div class="card"><h3>Decided when training began</h3><table>{notes}</table></div>' if notes else ""
    )
    yield "</div>"
