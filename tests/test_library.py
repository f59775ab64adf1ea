"""The library keeps what was acknowledged, whoever saves at once and however it ends."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import sqlalchemy as sql
from hypothesis import given
from hypothesis import strategies as st

from cpi_model import library as module
from cpi_model.library import Library, Priced, Refused, Unavailable, note

SERVER = os.environ.get("CPI_TEST_DATABASE_URL", "")
PRICED = Priced(
    link="v=1&c=64", figures={"cost_per_1m_inferences_usd": 200.0, "feasible": True},
    numbers={"model": {"concurrency": 64.0, "prefill_chunk": float("inf")}}, price=None,
    catalog_date=date(2026, 8, 20), version="0.1.0",
)  # fmt: skip
HOSTILE = (
    "Robert'); DROP TABLE library_names;--", "<script>alert(1)</script>", "**bold** [x](y) $a$",
    "' OR '1'='1", "%", "_", "\\", "=1+1", "../../x", "名前", "😀", "a\u202eb", "\x00\x1b[31m.",
)  # fmt: skip
NOBODY = 65_534


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "library.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, file: Path) -> Iterator[str]:
    """Of an empty database; PostgreSQL where ``CPI_TEST_DATABASE_URL`` names one for tests."""
    if request.param == "sqlite":
        yield f"sqlite:///{file}"
        return
    pytest.importorskip("psycopg", reason="the extra 'team' is not installed")
    if not SERVER:
        pytest.skip("CPI_TEST_DATABASE_URL names no PostgreSQL database")
    engine = Library(SERVER)._engine()
    module._Table.metadata.drop_all(engine)
    engine.dispose()  # tests fork, and a connection has one end only
    yield SERVER
    engine.dispose()


@pytest.fixture
def library(address: str) -> Library:
    return Library(address)


# Saving and finding -------------------------------------------------------------------------------


def test_a_save_comes_back_as_it_was(library: Library) -> None:
    begin = datetime.now(UTC)
    saved = library.save(note("Chat EU", "Ana", "For the review.\nSecond line.", "b, a"), PRICED)
    assert begin <= saved.saved_at <= datetime.now(UTC)
    assert (saved.name, saved.who, saved.why) == ("Chat EU", "Ana", "For the review.\nSecond line.")
    assert (saved.number, saved.revisions, saved.tags) == (1, 1, ("b", "a"))
    assert library.get("chat eu") == saved
    # JSON has no infinity: it stays readable as one.
    assert float(saved.priced.numbers["model"]["prefill_chunk"]) == float("inf")
    assert replace(saved.priced, numbers=PRICED.numbers) == PRICED


def test_the_same_name_adds_revisions_and_overwrites_nothing(library: Library) -> None:
    first = library.save(note("chat", "Ana"), PRICED)
    second = library.save(note("Chat ", "Bo"), replace(PRICED, link="v=1&c=128"))
    assert (second.number, second.revisions) == (2, 2)
    assert library.get("chat", 1) == replace(first, revisions=2)
    assert [each.priced.link for each in library.history("CHAT")] == ["v=1&c=128", "v=1&c=64"]
    assert [each.number for each in library.listed()[0]] == [2]


def test_saving_the_same_again_adds_nothing(library: Library) -> None:
    first = library.save(note("chat", "Ana", tags="x"), PRICED)
    assert library.save(note("chat", "Ana", tags="x"), PRICED) == first
    assert library.save(note("chat", "Ana", tags="y"), PRICED).number == 2
    assert library.save(note("chat", "Ana", tags="x"), PRICED).number == 3


def test_what_is_deleted_is_hidden_and_can_be_had_back(library: Library) -> None:
    saved = library.save(note("chat", tags="x"), PRICED)
    library.delete("chat", "Bo")
    assert library.listed() == ([], 0) and library.tags() == []
    ((hidden,), count) = library.listed(deleted=True)
    assert (count, hidden.deleted_by) == (1, "Bo") and hidden.deleted_at is not None
    assert library.get("chat").priced == saved.priced
    assert library.restore("chat") == saved
    assert library.listed() == ([saved], 1)
    library.delete("chat")
    again = library.save(note("chat", "Bo"), PRICED)
    assert (again.number, again.deleted_at) == (2, None)


def test_all_words_and_tags_must_be_there(library: Library) -> None:
    library.save(note("Chat Zürich", "Ana", "budget 2027", "eu, llm"), PRICED)
    library.save(note("Ranking", "Bo", "100 % of traffic", "eu"), PRICED)

    def names(words: str = "", *tags: str) -> list[str]:
        found, count = library.listed(words, tags)
        assert count == len(found)
        return [each.name for each in found]

    assert names() == ["Ranking", "Chat Zürich"]
    assert names("ZÜRICH ana") == names("budget") == names("", "LLM", "eu") == ["Chat Zürich"]
    assert names("zürich bo") == names("", "llm", "none") == names("x" * 5000) == []
    assert names("100 %") == names("%") == ["Ranking"]  # a sign, not a wildcard
    assert names("_") == []
    assert library.tags() == ["eu", "llm"]


def test_only_the_last_revision_is_searched(library: Library) -> None:
    library.save(note("chat", why="first", tags="old"), PRICED)
    library.save(note("chat", why="second", tags="new"), PRICED)
    assert library.listed("first") == ([], 0) and library.tags() == ["new"]


def test_lists_are_bounded_and_say_how_many_there_are(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_LISTED", 2)
    monkeypatch.setattr(module, "MOST_NAMES", 3)
    monkeypatch.setattr(module, "MOST_REVISIONS", 2)
    for name in ("a", "b", "c"):
        library.save(note(name), PRICED)
    found, count = library.listed()
    assert ([each.name for each in found], count) == (["c", "b"], 3)
    with pytest.raises(Refused, match="3 names"):
        library.save(note("d"), PRICED)
    library.save(note("a", "other"), PRICED)
    with pytest.raises(Refused, match="another name"):
        library.save(note("a", "third"), PRICED)
    assert library.get("a").number == 2


# Hostile text -------------------------------------------------------------------------------------


def test_hostile_text_is_text(library: Library) -> None:
    library.save(note("other"), PRICED)
    for text in HOSTILE:
        kept = note(f"{text} {text}", text, text, [text])
        saved = library.save(kept, PRICED)
        assert library.get(f"{text} {text}") == saved
        assert saved in library.listed(text)[0]
        assert library.listed("", [text]) == ([saved], 1)
    for text in HOSTILE:
        library.delete(f"{text} {text}", text)
    assert [each.name for each in library.listed()[0]] == ["other"]


@given(st.text(), st.text(), st.text(), st.lists(st.text(max_size=40), max_size=8))
def test_what_is_kept_is_printable_and_bounded(
    name: str, who: str, why: str, tags: list[str]
) -> None:
    try:
        kept = note(name, who, why, tags)
    except Refused as refusal:
        assert str(refusal).isprintable()
        return
    for text in (kept.name, kept.who, *kept.why.splitlines(), *kept.tags):
        assert text.isprintable() and text == text.strip()
        text.encode("utf-8")
    assert note(kept.name, kept.who, kept.why, kept.tags) == kept


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": ""}, "name is empty"),
        ({"name": " \x00 "}, "name is empty"),
        ({"name": "x" * 101}, "at most 100"),
        ({"name": "x", "who": "y" * 101}, "at most 100"),
        ({"name": "x", "why": "y" * 2001}, "at most 2,000"),
        ({"name": "x", "why": "y" * 10_000_000}, "at most 2,000"),
        ({"name": "x", "tags": "y" * 41}, "at most 40"),
        ({"name": "x", "tags": ",".join(map(str, range(11)))}, "at most 10"),
        ({"name": "x", "tags": "," * 1_000_000}, "at most 10"),
    ],
    ids=str,
)  # fmt: skip
def test_too_much_is_refused_in_a_sentence(given: dict[str, str], words: str) -> None:
    with pytest.raises(Refused, match=words):
        note(**given)


def test_what_is_not_there_is_refused_in_a_sentence(library: Library) -> None:
    for ask in (library.get, library.history, library.delete, library.restore):
        with pytest.raises(Refused, match="no 'nothing' in the library"):
            ask("nothing")
    library.save(note("chat"), PRICED)
    for number in (0, 2, -1):
        with pytest.raises(Refused, match="allowed is 1 to 1"):
            library.get("chat", number)
    with pytest.raises(Refused, match="characters long"):
        library.save(note("chat"), replace(PRICED, link="x" * 30_000))


# Many at once, and those that are killed ----------------------------------------------------------


def forked(work: Callable[[], None]) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def test_people_who_save_at_once_lose_nothing(address: str) -> None:
    """Not even at the very first save, when the tables have yet to be made."""
    people, saves = 4, 10

    def work(person: int) -> None:
        own = Library(address)
        for count in range(saves):
            own.save(note("shared", f"person {person}", str(count)), PRICED)
            own.save(note(f"round {count}", f"person {person}"), PRICED)

    processes = [forked(lambda person=person: work(person)) for person in range(people)]  # type: ignore[misc]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    library = Library(address)
    history = library.history("shared")
    assert [each.number for each in history] == list(range(people * saves, 0, -1))
    assert {(each.who, each.why) for each in history} == {
        (f"person {person}", str(count)) for person in range(people) for count in range(saves)
    }
    assert all(library.get(f"round {count}").revisions == people for count in range(saves))


def test_a_server_that_is_killed_loses_nothing_that_it_acknowledged(file: Path) -> None:
    library = Library(f"sqlite:///{file}")
    chance = random.Random(7)
    acknowledged: dict[str, set[str]] = {f"name {number}": set() for number in range(5)}
    for kill in range(100):
        name = f"name {kill % 5}"
        reading, writing = os.pipe()

        def work(name: str = name, kill: int = kill, told: int = writing) -> None:
            for count in range(10_000):
                library.save(note(name, f"{kill}/{count}"), PRICED)
                os.write(told, f"{kill}/{count}\n".encode())

        process = forked(work)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told_so_far = pipe.readline()
            time.sleep(chance.uniform(0.0, 0.01))  # somewhere in the next save
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            told_so_far += pipe.read()
        acknowledged[name] |= set(told_so_far.decode().split())
    assert sum(map(len, acknowledged.values())) >= 100
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    for name, told in acknowledged.items():
        history = library.history(name)
        assert [each.number for each in history] == list(range(len(history), 0, -1))
        kept = {each.who for each in history}
        # The last save of each life may have been kept without anyone being told.
        assert told <= kept and len(kept - told) <= 20
    assert library.save(note("after"), PRICED).number == 1


# Libraries that cannot be used --------------------------------------------------------------------


def as_somebody_else(work: Callable[[], None]) -> int | None:
    """Exit code of work done without the rights of root, whom no file mode stops."""

    def dropped() -> None:
        if os.geteuid() == 0:
            os.setuid(NOBODY)
        work()

    process = forked(dropped)
    process.join(30)
    return process.exitcode


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others reach as well; those of pytest are closed to them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


@pytest.mark.parametrize("folder_too", [True, False])
def test_a_read_only_library_is_read_and_says_that_it_is(
    open_folder: Path, folder_too: bool
) -> None:
    file = open_folder / "library.db"
    library = Library(f"sqlite:///{file}")
    saved = library.save(note("chat"), PRICED)
    file.chmod(0o444)
    open_folder.chmod(0o555 if folder_too else 0o777)

    def work() -> None:
        assert library.read_only
        assert library.listed() == ([saved], 1)
        for change in (
            lambda: library.save(note("other"), PRICED), lambda: library.delete("chat"),
        ):  # fmt: skip
            with pytest.raises(Unavailable, match="read-only"):
                change()

    assert as_somebody_else(work) == 0
    assert [each.name for each in open_folder.iterdir()] == ["library.db"]


def test_a_read_only_server_is_read_and_says_that_it_is(library: Library) -> None:
    if library.place.startswith("/"):
        pytest.skip("a file is not a server")
    saved = library.save(note("chat"), PRICED)
    read_only = Library(f"{SERVER}?options=-c%20default_transaction_read_only%3Don")
    assert read_only.listed() == ([saved], 1)
    with pytest.raises(Unavailable, match="read-only"):
        read_only.save(note("other"), PRICED)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    library = Library(f"sqlite:///{tmp_path}/file/library.db")
    for ask in (library.listed, library.tags, lambda: library.save(note("x"), PRICED)):
        with pytest.raises(Unavailable, match="cannot be opened"):
            ask()


def test_a_folder_in_place_of_the_file_is_told(file: Path) -> None:
    file.mkdir(parents=True)
    with pytest.raises(Unavailable, match="cannot be opened"):
        Library(f"sqlite:///{file}").listed()


def test_a_damaged_file_is_told_and_left_alone(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"no database at all" * 1000)
    with pytest.raises(Unavailable, match="damaged"):
        Library(f"sqlite:///{file}").save(note("x"), PRICED)
    assert file.read_bytes() == b"no database at all" * 1000


def test_a_writer_that_does_not_end_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_S", 0.1)
    library = Library(f"sqlite:///{file}")
    saved = library.save(note("x"), PRICED)
    with sqlite3.connect(file) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="somebody else"):
            library.save(note("y"), PRICED)
        assert library.listed() == ([saved], 1)  # readers do not wait


def test_a_later_version_is_left_alone(library: Library) -> None:
    library.save(note("x"), PRICED)
    with library._engine().begin() as connection:
        connection.execute(sql.update(module._Schema).values(version=module.SCHEMA + 1))
    with pytest.raises(Unavailable, match="upgrade"):
        library.listed()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("", "no address"),
        ("nonsense", "no address"),
        ("mysql://host/name", "sqlite and postgresql"),
        # Without the driver it says that, and as little about the server.
        ("postgresql://nobody:hidden@127.0.0.1:1/none", "does not answer|driver for PostgreSQL"),
    ],
)
def test_addresses_that_lead_nowhere_are_told_without_their_password(
    address: str, words: str
) -> None:
    with pytest.raises(Unavailable, match=words) as told:
        Library(address).listed()
    assert "hidden" not in str(told.value) and "127" not in str(told.value)


def test_the_place_is_shown_without_its_password() -> None:
    library = Library("postgresql://ana:hidden@db.example/cpi")
    assert "hidden" not in library.place and "db.example" in library.place


def test_the_library_is_where_the_variable_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CPI_DATABASE_URL", f"sqlite:///{tmp_path}/a b.db")
    assert module.library().place == f"{tmp_path}/a b.db"
    monkeypatch.delenv("CPI_DATABASE_URL")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert Path(module.library().place).name == "library.db"
    assert "cpi" in Path(module.library().place).parent.name
