"""The documents point at what exists: files, and the classes and functions that implement an equation."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])
CONCEPTS = sorted((ROOT / "docs" / "concepts").glob("*.md"))
LINK = re.compile(r"!?\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")


def links(path: Path) -> Iterator[tuple[str, str]]:
    for match in LINK.finditer(path.read_text(encoding="utf-8")):
        if not match["target"].startswith(("http://", "https://", "#")):
            yield match["text"], match["target"].partition("#")[0]


def defined(path: Path) -> set[str]:
    """`name` of every function and class of a module, `Class.name` of every method."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
    return names


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file(path: Path) -> None:
    assert [target for _, target in links(path) if not (path.parent / target).exists()] == []


@pytest.mark.parametrize("path", CONCEPTS, ids=lambda path: path.stem)
def test_code_named_beside_an_equation_is_defined_there(path: Path) -> None:
    named = [
        (text.strip("`"), path.parent / target) for text, target in links(path) if target.endswith(".py")
    ]
    assert len(named) >= 5
    assert [(name, file.name) for name, file in named if name not in defined(file)] == []


@pytest.mark.parametrize("path", CONCEPTS, ids=lambda path: path.stem)
def test_formulas_are_closed(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("$$") >= 2
    assert text.count("$$") % 2 == 0
    inline = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
    assert [part for part in re.split(r"\n\n|\n\|", inline) if part.count("$") % 2] == []


def test_every_concept_of_the_plan_has_its_page() -> None:
    wanted = {"encoder", "hidden-state", "decoder", "teacher-forcing", "attention"}
    assert wanted <= {path.stem for path in CONCEPTS}
