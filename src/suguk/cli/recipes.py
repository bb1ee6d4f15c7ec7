"""`suguk recipes`: what is there to start from, and what can be set."""

from typing import Annotated

import typer

from suguk.cli import streams, values

SETTINGS = "Settings (--set SECTION.KEY=VALUE), with the values that hold where a recipe names no other"
Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Print this recipe.  [default: list all]")]


def recipes(name: Name = None, json: values.Json = False) -> None:
    """List the recipes and all settings, or print one recipe.

    A printed recipe can be changed and given to `train --recipe`.

    \b
    Examples:
      suguk recipes
      suguk recipes luong2015 > mine.toml
      suguk train pairs.tsv --recipe mine.toml --out runs/mine
    """
    from suguk import config

    if name is not None:
        text = config.recipe(name)
        streams.write_json(config.parse(text, name), indent=1) if json else streams.write_text(text)
        return
    about = {known: headline(config.recipe(known)) for known in config.recipes()}
    if json:
        settings = [
            {"name": key, "default": default, "about": text} for key, default, text in config.documented()
        ]
        streams.write_json({"recipes": about, "settings": settings}, indent=1)
        return
    wide = max(map(len, about)) + 2
    lines = [f"{known:{wide}}{text}" for known, text in about.items()]
    streams.write_text("\n".join(["Recipes", *lines, "", f"{SETTINGS}.", *settings_lines()]))


def headline(text: str) -> str:
    """The first comment line of a recipe."""
    return text.split("\n", 1)[0].lstrip("# ")


def settings_lines(width: int = 110) -> list[str]:
    """Every setting with its default and its description, from the one place where they are documented."""
    import textwrap

    from suguk import config

    lines, before = [], ""
    for name, default, about in config.documented():
        section = name.partition(".")[0]
        lines += [""] * (section != before)
        before = section
        lines.append(f"{name} = {default}".rstrip() if default else f"{name} (unset)")
        # Without the break at hyphens: inverse-sqrt is one word.
        lines += textwrap.wrap(
            about, width, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
        )
    return lines[1:]
