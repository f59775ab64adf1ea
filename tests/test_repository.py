"""Nothing that is checked in may lead to one machine, one network or one person."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from cpi_model.catalog import catalog
from cpi_model.coefficients import coefficients
from cpi_model.studies import accuracy, measurements

ROOT = Path(__file__).resolve().parent.parent
IGNORED = {"build", "dist", "node_modules", "__pycache__"}
KEPT = {".ci", ".dockerignore", ".gitignore", ".streamlit"}
"""Names with a leading dot that are ours; the others belong to tools."""
TEXT = {"", ".cfg", ".css", ".csv", ".html", ".js", ".json", ".md", ".py", ".toml", ".txt", ".yaml"}
MAX_BYTES = 2_000_000


def files() -> list[Path]:
    """What git has or would take; in an unpacked archive, what is not made by tools."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return sorted(
            path
            for path in ROOT.rglob("*")
            if path.is_file() and all(map(_ours, path.relative_to(ROOT).parts))
        )
    return sorted(ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file())


def _ours(name: str) -> bool:
    return name in KEPT or not (name.startswith(".") or name in IGNORED)


FILES = files()
TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in FILES
    if path.suffix in TEXT and path != Path(__file__).resolve()
}


def offenders(pattern: str, names: dict[str, str] | None = None) -> list[str]:
    """Every match, with file and line."""
    compiled = re.compile(pattern)
    return [
        f"{name}:{number}: {found[0]}"
        for name, text in (TEXTS if names is None else names).items()
        for number, line in enumerate(text.splitlines(), start=1)
        if (found := compiled.search(line))
    ]


def test_there_is_something_to_look_at() -> None:
    assert {"pyproject.toml", "Makefile", ".ci/run", "cpi_model/evaluate.py"} <= set(TEXTS)


def test_no_path_of_one_machine() -> None:
    assert not offenders(r"(?<![\w.$}*~-])/(home|mnt|opt|root|srv|tmp|Users|work)/\w")
    assert not offenders(r"\b[A-Z]:\\\\?[A-Za-z]")


def test_no_place_that_packages_come_from() -> None:
    """Whoever installs chooses the index; versions are pinned, addresses are not."""
    installing = {
        name: text
        for name, text in TEXTS.items()
        if name in ("pyproject.toml", "Makefile", "constraints.txt") or name.startswith(".ci/")
    }
    assert not offenders(r"index-url|find-links|trusted-host|--index\b|-i http", TEXTS)
    assert not offenders(r"https?://(?!127\.0\.0\.1)", installing)


def test_no_private_address() -> None:
    # Releases of TensorRT 10 look like one.
    private = r"\b(10|192\.168|172\.(1[6-9]|2\d|3[01]))(\.\d{1,3}){2,3}\b(?!\.)"
    assert not offenders(r"(?<!TensorRT )(?<!VERSION )" + private, {
        name: text for name, text in TEXTS.items() if name != "constraints.txt"
    })  # fmt: skip
    assert not offenders(r"https?://[\w.-]+\.(corp|internal|intranet|lan|local)\b")


def test_no_credentials() -> None:
    assert not offenders(r"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[ps]_\w{30,}")
    assert not offenders(r"(?i)\b(password|secret|token|api_?key)\s*[=:]\s*[\"'][^\"']{8,}[\"']")


def test_constraints_pin_exactly_and_name_no_place() -> None:
    lines = [line for line in TEXTS["constraints.txt"].splitlines() if not line.startswith("#")]
    assert lines
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[\w.!+]+", line), line


@pytest.mark.parametrize("name", ["pyproject.toml"])
def test_constraints_cover_what_is_asked_for(name: str) -> None:
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in TEXTS["constraints.txt"].splitlines()
    }
    asked = re.findall(r'^    "([A-Za-z][\w.-]*)(?:\[[\w,]+\])?>=', TEXTS[name], re.M)
    assert len(asked) > 15
    assert {package.lower().replace("_", "-") for package in asked} <= pinned


def test_no_file_is_too_big_to_review() -> None:
    assert not [str(path) for path in FILES if path.stat().st_size > MAX_BYTES]


def test_no_two_files_differ_only_in_case() -> None:
    names = [path.relative_to(ROOT).as_posix().lower() for path in FILES]
    assert len(names) == len(set(names))


def _errors(key: str) -> str:
    found = coefficients().residuals[key]
    return f"{found.median_error:.1%} | {found.p90_error:.1%}".replace("%", " %")


@pytest.mark.parametrize("name", ["README.md", "docs/accuracy.md"])
def test_errors_of_the_present_coefficients_are_stated(name: str) -> None:
    """Every kind of run that was left out of a fit has a line, with the present figures."""
    left_out = [key for key in coefficients().residuals if key.count("/") == 2]
    assert {"llm/throughput/known", "llm/throughput/unseen"} <= set(left_out)
    kinds = {key.rsplit("/", 1)[0] for key in left_out}
    lines = [line for line in TEXTS[name].splitlines() if line.startswith("| ")]
    for kind in kinds:
        keys = [key for key in left_out if key.rsplit("/", 1)[0] == kind]
        assert any(all(_errors(key) in line for key in keys) for line in lines), kind


def test_the_readme_is_not_stale() -> None:
    """`make fit` or `python -m cpi_model.studies.accuracy` puts the present figures there."""
    text = TEXTS["README.md"]
    assert accuracy.with_errors(text) == text
    table = text.partition(accuracy.BEGIN)[2].partition(accuracy.END)[0]
    kinds = {key.rsplit("/", 1)[0] for key in coefficients().residuals if key.count("/") == 2}
    assert table.count("\n| ") == len(kinds) + 2


def test_the_page_on_accuracy_is_not_stale() -> None:
    """The same commands write it, from the coefficients and the measured runs."""
    assert TEXTS["docs/accuracy.md"] == accuracy.report(measurements.rows(), catalog())


def test_every_picture_and_page_that_documents_point_to_is_there() -> None:
    for name, text in TEXTS.items():
        if name.endswith(".md"):
            for target in re.findall(r"\]\(([^)#:]+)\)", text):
                assert (ROOT / name).parent.joinpath(target).exists(), (name, target)
