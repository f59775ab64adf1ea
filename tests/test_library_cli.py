"""``cpi library``: the same library as the page, for people, programs and pipes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cpi_model.__main__ import main
from cpi_model.catalog import catalog
from cpi_model.library import library, note
from cpi_model.scenario import Scenario
from cpi_model.studies import repricing
from cpi_model.studies.answer import answer, summary


@dataclass(frozen=True)
class Ran:
    code: int
    output: str
    errors: str


Cpi = Callable[..., Ran]


@pytest.fixture
def cpi(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cpi:
    monkeypatch.setenv("CPI_DATABASE_URL", f"sqlite:///{tmp_path}/library.db")

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(("library", *arguments))
        written = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Ran(left.value.code, written.out, written.err)

    return run


def test_from_saving_to_pricing_again(cpi: Cpi) -> None:
    given = ("Chat EU", "--who", "Ana", "--why", "for the review", "--tag", "eu", "--tag", "LLM")
    saved = json.loads(cpi("save", *given, "--set", "concurrency=64", "--json").output)
    assert (saved["name"], saved["revision"], saved["tags"]) == ("Chat EU", 1, ["eu", "llm"])
    assert saved["link"] == "?v=1&c=64"
    assert "revision 2" in cpi("save", "chat eu", "--set", "concurrency=128").output
    (listed,) = json.loads(cpi("list", "--json").output)
    assert (listed["name"], listed["revision"], listed["revisions"]) == ("chat eu", 2, 2)
    shown = json.loads(cpi("show", "CHAT EU", "--revision", "1", "--json").output)
    document = summary(answer(Scenario(concurrency=64), catalog()))
    assert shown["figures"] == {name: document[name] for name in repricing.HEADLINE}
    assert [each["revision"] for each in shown["history"]] == [2, 1]
    today = json.loads(cpi("reprice", "chat eu", "--revision", "1", "--json").output)
    cost = today["figures"]["cost_per_1m_inferences_usd"]
    assert cost["then"] == cost["now"] == document["cost_per_1m_inferences_usd"]
    assert cost["change_share"] == 0.0 and "Nothing moved" in today["why_moved"]
    assert [each["name"] for each in json.loads(cpi("reprice", "--json").output)] == ["chat eu"]


def test_people_see_who_when_why_and_what_moved(cpi: Cpi) -> None:
    cpi("save", "chat", "--who", "Ana", "--why", "for the review", "--tag", "eu")
    for arguments, words in (
        (("list",), ("chat", "Ana", "for the review", "1 scenario\n")),
        (("show", "chat"), ("revision 1 of 1", "by Ana", "Tags: eu", "Cost per million", "?v=1")),
        (("reprice", "chat"), ("then", "today", "0 %", "Nothing moved")),
        (("reprice",), ("chat", "1 scenario\n")),
    ):
        ran = cpi(*arguments)
        assert ran.code == 0 and all(word in ran.output for word in words), ran.output


def test_lists_are_searched(cpi: Cpi) -> None:
    cpi("save", "chat", "--tag", "eu")
    cpi("save", "ranking", "--tag", "us")
    for arguments, expected in (
        (("--filter", "RANK"), ["ranking"]), (("--tag", "eu"), ["chat"]), (("--tag", "no"), []),
    ):  # fmt: skip
        listed = json.loads(cpi("list", "--json", *arguments).output)
        assert [each["name"] for each in listed] == expected


def test_deleting_asks_first_and_can_be_undone(cpi: Cpi) -> None:
    cpi("save", "chat")
    asked = cpi("delete", "chat")
    assert (asked.code, asked.output) == (2, "") and "--yes" in asked.errors
    assert "1 scenario" in cpi("list").output
    assert "--undo" in cpi("delete", "chat", "--yes", "--who", "Bo").output
    assert "0 scenarios" in cpi("list").output
    (hidden,) = json.loads(cpi("list", "--deleted", "--json").output)
    assert hidden["deleted_by"] == "Bo" and hidden["deleted_at"]
    assert cpi("delete", "chat", "--undo").code == 0
    assert "1 scenario" in cpi("list").output


def test_what_cannot_work_can_be_saved_all_the_same(cpi: Cpi) -> None:
    assert cpi("save", "huge", "--set", "model=llama-3.1-405b").code == 0
    assert "cannot work" in cpi("reprice", "huge").output
    assert json.loads(cpi("reprice", "huge", "--json").output)["feasible"] is False


def test_text_of_others_is_no_markup_and_moves_no_cursor(cpi: Cpi) -> None:
    # Saved past the checks of this version, as a later one or another program might.
    kept = note("[red]x", "[b]who", "[link=x]why", "[i]tag")
    harmful = repricing.priced(answer(Scenario(), catalog()), catalog())
    library().save(kept, harmful)
    for arguments in (("list",), ("show", "[red]x"), ("reprice", "[red]x"), ("reprice",)):
        ran = cpi(*arguments)
        assert ran.code == 0 and "[red]x" in ran.output and "\x1b" not in ran.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("save",), "NAME"),
        (("save", " "), "name is empty"),
        (("save", "x" * 101), "at most 100"),
        (("save", "x", *["--tag", "a", "--tag", "b"] * 6), ""),
        (("save", "x", "--set", "concurrency=0"), "1 to 8,192"),
        (("show", "nothing"), "no 'nothing' in the library"),
        (("show", "\x1b[31mnothing"), "in the library"),
        (("reprice", "nothing"), "no 'nothing'"),
        (("reprice", "--revision", "1"), "of one name"),
        (("delete", "nothing", "--yes"), "no 'nothing'"),
        (("delete", "nothing", "--undo"), "no 'nothing'"),
        (("list", "--bogus"), "--bogus"),
    ],
)
def test_bad_input_ends_with_one_clear_line(
    cpi: Cpi, arguments: tuple[str, ...], words: str
) -> None:
    ran = cpi(*arguments)
    if not words:  # tags that repeat are one
        assert ran.code == 0
        return
    assert (ran.code, ran.output) == (2, "")
    assert ran.errors.startswith("cpi: ") and ran.errors[:-1].isprintable()
    assert words in ran.errors


def test_a_library_that_cannot_be_opened_is_one_line(
    cpi: Cpi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("CPI_DATABASE_URL", f"sqlite:///{tmp_path}/file/library.db")
    ran = cpi("list")
    assert ran.code == 2 and "cannot be opened" in ran.errors and str(tmp_path) in ran.errors
    monkeypatch.setenv("CPI_DATABASE_URL", "mysql://ana:hidden@host/name")
    ran = cpi("list")
    assert ran.code == 2 and "sqlite and postgresql" in ran.errors and "hidden" not in ran.errors


def test_every_option_is_documented(cpi: Cpi, root: Path) -> None:
    text = (root / "docs" / "cli.md").read_text(encoding="utf-8")
    for command in ("list", "save", "show", "delete", "reprice"):
        assert f"cpi library {command}" in text
        options = set(re.findall(r"--[a-z][a-z-]+", cpi(command, "--help").output))
        for option in options - {"--help"}:
            assert f"`{option}" in text, option
