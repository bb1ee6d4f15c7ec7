"""Promises about the files of the repository."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

import suguk

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:home|root|Users|work|opt|mnt)/\w+")
REGISTRY_HOST = re.compile(
    r"(?:pypi|pythonhosted|download\.pytorch|huggingface|anaconda|files\.pythonhosted)\.(?:org|com|co)\b"
)


def tracked() -> list[Path]:
    try:
        done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def text_of(path: Path) -> str:
    data = path.read_bytes()
    return "" if b"\0" in data or data[:2] == b"\x1f\x8b" else data.decode("utf-8")


@pytest.mark.parametrize(
    "pattern", [MACHINE_PATH, REGISTRY_HOST], ids=["paths of a machine", "registry hosts"]
)
def test_tracked_files_hold_no(pattern: re.Pattern[str]) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in tracked()
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_the_patterns_can_find() -> None:
    assert MACHINE_PATH.search("see " + "/".join(["", "home", "me"]))
    assert REGISTRY_HOST.search("at " + ".".join(["pypi", "org"]))
    assert not MACHINE_PATH.search("https://host/" + "work/page")


def test_nothing_large_is_tracked() -> None:
    large = [str(path.relative_to(ROOT)) for path in tracked() if path.stat().st_size > 3_000_000]
    assert large == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_a_source_file_is_short_and_executes_nothing_it_loads(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") < 400
    assert list(executing(ast.parse(text))) == []


def executing(tree: ast.AST) -> Iterator[str]:
    """What could run loaded data as code."""
    unsafe = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle"}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names if name.name.split(".")[0] in unsafe)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in unsafe:
                yield module
            case ast.Call(func=ast.Name(id="eval" | "exec" | "compile" | "__import__" as name)):
                yield name
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="load")):
                yield "torch.load"


@pytest.mark.parametrize(
    "code", ["import pickle", "from shelve import open", "eval('1')", "exec('')", "torch.load('x')"]
)
def test_executing_is_found(code: str) -> None:
    assert list(executing(ast.parse(code)))


def test_a_module_in_evaluation_mode_is_no_eval() -> None:
    assert list(executing(ast.parse("model.eval()"))) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_no_function_is_longer_than_80_lines(path: Path) -> None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, kinds)
    ]
    assert [node.name for node in functions if (node.end_lineno or 0) - node.lineno >= 80] == []


class TestProject:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    def test_the_version_is_one(self) -> None:
        assert suguk.__version__ == metadata.version("suguk") == self.settings["project"]["version"]

    def test_the_changelog_speaks_of_this_version(self) -> None:
        heads = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
        assert self.settings["project"]["version"] in heads[0]

    def test_the_licence_is_there_in_full(self) -> None:
        text = (ROOT / "LICENSE").read_text(encoding="utf-8")
        assert self.settings["project"]["license"] == "Apache-2.0"
        assert "Apache License" in text
        assert "END OF TERMS AND CONDITIONS" in text

    def test_the_base_install_is_small(self) -> None:
        names = {re.split(r"[<>=\[]", item)[0] for item in self.settings["project"]["dependencies"]}
        assert names == {"numpy", "onnxruntime", "pydantic", "tokenizers", "typer"}

    def test_every_dependency_is_pinned(self) -> None:
        lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        pinned = {plain(line.split("==")[0]) for line in lines if "==" in line and not line.startswith("#")}
        project = self.settings["project"]
        asked = [
            *project["dependencies"],
            *(item for extra in project["optional-dependencies"].values() for item in extra),
        ]
        assert {plain(re.split(r"[<>=\[]", item)[0]) for item in asked} <= pinned
        assert not any("+" in line for line in lines if "==" in line and not line.startswith("#"))

    def test_the_readme_names_the_project(self) -> None:
        assert (ROOT / "README.md").read_text(encoding="utf-8").startswith("# suguk\n")


def plain(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
