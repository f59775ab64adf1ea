"""What every formula's docstring owes its reader, and what every page must stay out of."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docstring_parser
import pytest

import cpi_model.formulas

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "cpi_model"

UNIT = re.compile(r"\[(?P<unit>[^\[\]]+)\]$")
UNITS = {
    "1", "s", "B", "W", "J", "g", "FLOP", "bit", "USD",
    "1/s", "B/s", "FLOP/s", "FLOP/B", "USD/s", "USD/B", "USD/J", "USD/(B s)", "g/J",
    "1/year",  # interest, which is compounded once a year by convention
}  # fmt: skip
"""Base units and their quotients."""


def public_formulas() -> Iterator[Callable[..., Any]]:
    for module in pkgutil.iter_modules(cpi_model.formulas.__path__, "cpi_model.formulas."):
        for name, function in inspect.getmembers(
            importlib.import_module(module.name), inspect.isfunction
        ):
            if function.__module__ == module.name and not name.startswith("_"):
                yield function


FORMULAS = list(public_formulas())


def read(function: Callable[..., Any]) -> docstring_parser.Docstring:
    return docstring_parser.parse(
        inspect.getdoc(function) or "", style=docstring_parser.DocstringStyle.NUMPYDOC
    )


def unit(description: str | None) -> str | None:
    """What stands in brackets at the end of a description."""
    found = UNIT.search(" ".join((description or "").split()))
    return found["unit"] if found else None


def section(function: Callable[..., Any], title: str) -> str:
    """Text under a heading, empty where there is none."""
    text = inspect.getdoc(function) or ""
    found = re.search(rf"^{title}\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)", text, re.M | re.S)
    return found[1].strip() if found else ""


def test_formulas_are_found() -> None:
    assert len(FORMULAS) > 20


@pytest.mark.parametrize("function", FORMULAS, ids=lambda f: f"{f.__module__[19:]}.{f.__name__}")
class TestFormula:
    def test_begins_with_one_line_that_says_what_it_is(self, function: Callable[..., Any]) -> None:
        lines = (inspect.getdoc(function) or "").splitlines()
        assert lines and lines[0].endswith("."), "no summary line that ends with a full stop"
        assert len(lines) > 1 and not lines[1], "the summary is one line, then an empty one"

    def test_names_every_argument_in_order_with_its_unit(
        self, function: Callable[..., Any]
    ) -> None:
        documented = read(function).params
        assert [p.arg_name for p in documented] == list(inspect.signature(function).parameters)
        for parameter in documented:
            assert unit(parameter.description) in UNITS, (
                f"{parameter.arg_name} ends with {unit(parameter.description)!r}, which is no unit"
            )
            assert parameter.type_name, f"{parameter.arg_name} has no type"

    def test_says_what_it_returns_with_its_unit(self, function: Callable[..., Any]) -> None:
        returned = read(function).many_returns
        assert returned, "no Returns section"
        for value in returned:
            assert unit(value.description) in UNITS, (
                f"{value.return_name} ends with {unit(value.description)!r}, which is no unit"
            )

    def test_says_when_it_refuses(self, function: Callable[..., Any]) -> None:
        refusals = read(function).raises
        assert refusals and all(refusal.description for refusal in refusals)

    def test_checks_its_arguments_as_it_says(self, function: Callable[..., Any]) -> None:
        """A function that documents ValueError raises it or calls what does."""
        names = {
            node.id if isinstance(node, ast.Name) else node.attr
            for node in ast.walk(ast.parse(inspect.getsource(function)))
            if isinstance(node, (ast.Name, ast.Attribute))
        }
        callable_here = {f.__name__ for f in FORMULAS} - {function.__name__}
        assert names & {"checks", "ValueError"} or names & callable_here

    def test_cites_a_reference(self, function: Callable[..., Any]) -> None:
        references = section(function, "References")
        assert re.match(r"\.\. \[1\] \S", references), "References is to begin with '.. [1] '"
        assert re.search(r"\b(19|20)\d\d\b", references), "a reference has a year"

    def test_has_an_example_that_runs(self, function: Callable[..., Any]) -> None:
        examples = section(function, "Examples")
        assert re.search(rf">>> .*\b{function.__name__}\(", examples, re.S)

    def test_is_written_as_a_formula(self, function: Callable[..., Any]) -> None:
        assert ".. math::" in section(function, "Notes")


# Imports and pages ------------------------------------------------------------------------------

SCREEN = [
    path for path in [ROOT / "app.py", *sorted((ROOT / "pages").glob("*.py"))] if path.exists()
]
EVERYTHING = [*sorted(PACKAGE.rglob("*.py")), *SCREEN]
MAX_PAGE_LINES = 60
PAGE_IMPORTS = {"__future__", "streamlit", "cpi_model", "cpi_model.studies"}
PAGE_MODULES = {
    "actuals", "catalog", "charts", "export", "links", "scenario", "studies", "ui",
}  # fmt: skip


def imported(path: Path) -> set[str]:
    """Modules that a file imports anywhere, by the name in the import."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", EVERYTHING, ids=label)
def test_only_the_screen_knows_streamlit_and_only_charts_know_plotly(path: Path) -> None:
    drawn = path.parent == PACKAGE / "ui"
    assert path in SCREEN or drawn or "streamlit" not in packages(path)
    assert path.parent == PACKAGE / "charts" or drawn or "plotly" not in packages(path)


@pytest.mark.parametrize("path", EVERYTHING, ids=label)
def test_names_say_what_they_are(path: Path) -> None:
    assert not re.search(r"util|helper|manager|misc|common", path.stem)


@pytest.mark.parametrize("path", SCREEN, ids=label)
class TestPage:
    def test_is_short(self, path: Path) -> None:
        lines = path.read_text(encoding="utf-8").splitlines()
        code = [line for line in lines if line.strip() and not line.strip().startswith("#")]
        assert len(code) < MAX_PAGE_LINES

    def test_begins_with_its_question_and_the_common_frame(self, path: Path) -> None:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), "a page begins with the question that it answers"
        statements = [
            node for node in tree.body[1:] if not isinstance(node, (ast.Import, ast.ImportFrom))
        ]
        calls = [
            ast.unparse(node.func)
            for statement in statements
            for node in ast.walk(statement)
            if isinstance(node, ast.Call)
        ]
        assert calls and calls[0] == "ui.frame", "the first call of a page is ui.frame()"

    def test_imports_only_what_shows(self, path: Path) -> None:
        foreign = {
            name
            for name in imported(path)
            if name not in PAGE_IMPORTS and not name.startswith("cpi_model.")
        }
        assert not foreign
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "cpi_model":
                assert {alias.name for alias in node.names} <= PAGE_MODULES
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cpi_model."):
                assert (node.module or "").split(".")[1] in PAGE_MODULES

    def test_computes_nothing_and_writes_no_html(self, path: Path) -> None:
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.BinOp):
                assert not isinstance(
                    node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Pow)
                ), f"line {node.lineno}: arithmetic belongs to a study"
            assert not isinstance(node, (ast.While, ast.ClassDef)), (
                f"line {node.lineno}: logic belongs to ui or a study"
            )
        assert "unsafe_allow_html" not in source and "st.html" not in source
