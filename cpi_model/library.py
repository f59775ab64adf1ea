"""The library of scenarios: saved under a name, with who, when, why and the figures of that day.

One SQLite file in the reader's own folder, or PostgreSQL where ``CPI_DATABASE_URL`` says so. A name
has revisions: saving adds one, nothing is overwritten, and what is deleted is only hidden. What
people typed is bounded and cleaned of control characters, and reaches SQL as parameters alone.
"""

from __future__ import annotations

import json
import math
import os
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sql
import typer
from sqlalchemy import orm

from cpi_model import links

VARIABLE = "CPI_DATABASE_URL"
"""Names another place: ``sqlite:////folder/library.db`` or ``postgresql://user@host/name``."""
SCHEMA = 1
DRIVERS = {
    "sqlite": "sqlite", "postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}  # fmt: skip
"""Addresses that are understood, and what opens them."""
BUSY_S = 10
"""Longest time that a writer waits for another."""
CONNECT_S = 5
ATTEMPTS = 5
"""Tries of a save when two begin the same name, or the file, at the same moment."""
CREATION_LOCK = 6_174_001
"""Number of the lock under which PostgreSQL's tables are made; any that nobody else uses."""

LONGEST = {"name": 100, "who": 100, "why": 2_000, "tag": 40}
MOST_TAGS = 10
MOST_NAMES = 10_000
MOST_REVISIONS = 1_000
MOST_LISTED = 200
MOST_WORDS = 20
"""Words of a search that count."""


class Refused(ValueError):
    """What somebody gave cannot be kept or found; the message is for people."""


class Unavailable(Exception):
    """The library cannot be read or written now; the message is for people and names no place."""


@dataclass(frozen=True)
class Note:
    """What a person says about a scenario, cleaned and within bounds: see :func:`note`."""

    name: str
    who: str
    why: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Priced:
    """A scenario with what it came to on a day."""

    link: str
    figures: Mapping[str, Any]
    """Headline figures, by their names in JSON; unknown ones are None."""
    numbers: Mapping[str, Any]
    """What the figures were computed from."""
    price: Mapping[str, Any] | None
    """Of one instance, with its source and date."""
    catalog_date: date
    """Day of the newest price that was known."""
    version: str
    """Of this package."""


@dataclass(frozen=True)
class Revision:
    """One save."""

    name: str
    number: int
    """From 1."""
    revisions: int
    """How many its name has."""
    saved_at: datetime
    """In UTC."""
    who: str
    why: str
    tags: tuple[str, ...]
    priced: Priced
    deleted_at: datetime | None
    deleted_by: str


# What people type ---------------------------------------------------------------------------------


def note(name: str, who: str = "", why: str = "", tags: Iterable[str] | str = ()) -> Note:
    """What a person says about a scenario; tags are a sequence, or a text with commas.

    Raises
    ------
    Refused
        If there is no name, or something is longer than :data:`LONGEST` or more than is kept.

    Examples
    --------
    >>> note("  Chat,  EU ", "Ana", "for the\\x00 review", "chat, EU, chat")
    Note(name='Chat, EU', who='Ana', why='for the review', tags=('chat', 'eu'))
    """
    given = tags.split(",") if isinstance(tags, str) else list(tags)
    if len(given) > 10 * MOST_TAGS:
        raise Refused(f"{len(given):,} tags are given, at most {MOST_TAGS} are kept.")
    cleaned = (_line(tag).casefold() for tag in given)
    labels = tuple(dict.fromkeys(tag for tag in cleaned if tag))
    found = Note(_line(name), _line(who), _lines(why), labels)
    if not found.name:
        raise Refused("The name is empty; give one to find the scenario by.")
    for field, text in (
        ("name", found.name), ("who", found.who), ("why", found.why), *(("tag", t) for t in labels)
    ):  # fmt: skip
        if len(text) > LONGEST[field]:
            raise Refused(
                f"The {field} is {len(text):,} characters long, at most {LONGEST[field]:,} are "
                "kept; nothing was saved."
            )
    if len(labels) > MOST_TAGS:
        raise Refused(f"{len(labels)} tags are given, at most {MOST_TAGS} are kept.")
    return found


def _line(text: str) -> str:
    """Text as one line without what moves a cursor or hides."""
    plain = unicodedata.normalize("NFC", text[:10_000])
    return " ".join("".join(c if c.isprintable() else " " for c in plain).split())


def _lines(text: str) -> str:
    return "\n".join(_line(line) for line in text[:10_000].splitlines()).strip()


def _key(name: str) -> str:
    """What makes two names the same: neither case nor width of letters tells them apart."""
    return unicodedata.normalize("NFKC", _line(name)).casefold()[: 4 * LONGEST["name"]]


# Tables -------------------------------------------------------------------------------------------


class _Table(orm.DeclarativeBase):
    pass


class _Schema(_Table):
    __tablename__ = "library_schema"

    version: orm.Mapped[int] = orm.mapped_column(primary_key=True)


class _Name(_Table):
    """A name, which lives as long as the library."""

    __tablename__ = "library_names"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    key: orm.Mapped[str] = orm.mapped_column(unique=True)
    revisions: orm.Mapped[int] = orm.mapped_column(default=0)
    deleted_at: orm.Mapped[datetime | None]
    deleted_by: orm.Mapped[str] = orm.mapped_column(default="")


class _Save(_Table):
    """One revision. Rows are added and never changed."""

    __tablename__ = "library_revisions"
    __table_args__ = (sql.UniqueConstraint("name_id", "number"),)

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name_id: orm.Mapped[int] = orm.mapped_column(sql.ForeignKey(_Name.id))
    number: orm.Mapped[int]
    name: orm.Mapped[str]
    saved_at: orm.Mapped[datetime]
    who: orm.Mapped[str]
    why: orm.Mapped[str]
    words: orm.Mapped[str]
    """All that is searched, folded: databases differ in what they fold."""
    link: orm.Mapped[str]
    figures: orm.Mapped[str]
    numbers: orm.Mapped[str]
    price: orm.Mapped[str]
    catalog_date: orm.Mapped[date]
    version: orm.Mapped[str]
    tags: orm.Mapped[list[_Tag]] = orm.relationship(lazy="selectin", order_by="_Tag.place")


class _Tag(_Table):
    __tablename__ = "library_tags"

    save_id: orm.Mapped[int] = orm.mapped_column(sql.ForeignKey(_Save.id), primary_key=True)
    tag: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    place: orm.Mapped[int]


def _json(document: Any) -> str:
    """JSON in which numbers that JSON does not have are texts."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        return value

    return json.dumps(plain(document), allow_nan=False, separators=(",", ":"))


def _revision(save: _Save, name: _Name) -> Revision:
    return Revision(
        name=save.name, number=save.number, revisions=name.revisions,
        saved_at=save.saved_at.replace(tzinfo=UTC), who=save.who, why=save.why,
        tags=tuple(tag.tag for tag in save.tags),
        priced=Priced(
            link=save.link, figures=json.loads(save.figures), numbers=json.loads(save.numbers),
            price=json.loads(save.price), catalog_date=save.catalog_date, version=save.version,
        ),
        deleted_at=None if name.deleted_at is None else name.deleted_at.replace(tzinfo=UTC),
        deleted_by=name.deleted_by,
    )  # fmt: skip


# The library --------------------------------------------------------------------------------------


class Library:
    """Saved scenarios of one database.

    Every method may raise :class:`Unavailable`; nothing is half done then.
    """

    def __init__(self, address: str) -> None:
        try:
            url = sql.make_url(address)
        except sql.exc.ArgumentError:
            raise Unavailable(f"{VARIABLE} is no address of a database.") from None
        driver = DRIVERS.get(url.drivername)
        if driver is None:
            raise Unavailable(
                f"{VARIABLE} begins with {links.shown(url.drivername)}, allowed are sqlite and "
                "postgresql."
            )
        self._url = url.set(drivername=driver)
        self._file = Path(url.database or "library.db") if driver == "sqlite" else None

    @property
    def place(self) -> str:
        """Where it is, without a password: for whoever runs the server, not for its visitors."""
        return str(self._file or self._url.render_as_string(hide_password=True))

    # Connections

    @property
    def read_only(self) -> bool:
        """Whether its file may not be written."""
        file = self._file
        return (
            file is not None and file.exists()
            and not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK))
        )  # fmt: skip

    def _engine(self) -> sql.Engine:
        if self._file is None:
            return _server(self._url)
        if self.read_only:
            # Without a log beside it nobody is writing, and SQLite need not make files of its own.
            log = self._file.with_name(self._file.name + "-wal")
            still = "" if log.exists() else "&immutable=1"
            path = str(self._file.absolute()).replace("%", "%25").replace("?", "%3f")
            return _file(f"sqlite:///file:{path.replace('#', '%23')}?mode=ro{still}&uri=true")
        return _file(self._url.render_as_string(hide_password=False))

    @contextmanager
    def _session(self, writing: bool = False) -> Iterator[orm.Session]:
        """A transaction, on tables that are there."""
        with _told():
            if self._file is not None and not self.read_only:
                self._file.parent.mkdir(parents=True, exist_ok=True)
            engine = self._engine()
            turn = engine.execution_options(writing=writing)
            with orm.Session(turn) as session, session.begin():
                if _made(session):
                    yield session
                    return
            _make(engine)
            with orm.Session(turn) as session, session.begin():
                yield session

    # Saving

    def save(self, note: Note, priced: Priced) -> Revision:
        """Add a revision under a name; one that says the same as the last adds nothing.

        A name that was deleted is there again, with its history.
        """
        if len(priced.link) > links.LONGEST_QUERY:
            raise Refused(
                f"The link is {len(priced.link):,} characters long, at most "
                f"{links.LONGEST_QUERY:,} are kept."
            )
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._save(note, priced)
            except sql.exc.IntegrityError:  # somebody else began the name: now it is there
                if attempt == ATTEMPTS:
                    raise Unavailable("The library is too busy; save again.") from None
        raise AssertionError("every attempt returns or raises")

    def _save(self, note: Note, priced: Priced) -> Revision:
        with self._session(writing=True) as session:
            key = _key(note.name)
            row = session.scalar(sql.select(_Name).where(_Name.key == key))
            if row is None:
                if (session.scalar(sql.select(sql.func.count(_Name.id))) or 0) >= MOST_NAMES:
                    raise Refused(f"The library holds {MOST_NAMES:,} names, which is the most.")
                row = _Name(key=key, revisions=0, deleted_at=None, deleted_by="")
                session.add(row)
                session.flush()
            # Counted by the database, which lets one writer at a time do so for a name.
            number = session.scalar(
                sql.update(_Name).where(_Name.id == row.id)
                .values(revisions=_Name.revisions + 1, deleted_at=None, deleted_by="")
                .returning(_Name.revisions)
            )  # fmt: skip
            assert number is not None
            if number > MOST_REVISIONS:
                raise Refused(
                    f"{links.shown(note.name)} has {MOST_REVISIONS:,} revisions, which is the "
                    "most; save under another name."
                )
            last = session.scalar(
                sql.select(_Save).where(_Save.name_id == row.id, _Save.number == number - 1)
            )
            save = _Save(
                name_id=row.id, number=number, name=note.name,
                saved_at=datetime.now(UTC).replace(tzinfo=None), who=note.who, why=note.why,
                words="\n".join((note.name, note.who, note.why, *note.tags)).casefold(),
                link=priced.link, figures=_json(priced.figures), numbers=_json(priced.numbers),
                price=_json(priced.price), catalog_date=priced.catalog_date,
                version=priced.version,
                tags=[_Tag(tag=tag, place=place) for place, tag in enumerate(note.tags)],
            )  # fmt: skip
            if last is not None and _same(last, save):
                row.revisions = number - 1
                session.flush()
                return _revision(last, row)
            session.add(save)
            session.flush()
            session.refresh(row)
            return _revision(save, row)

    def delete(self, name: str, who: str = "") -> Revision:
        """Hide a name; :meth:`restore` shows it again."""
        return self._mark(name, datetime.now(UTC).replace(tzinfo=None), _line(who))

    def restore(self, name: str) -> Revision:
        """Show a name that was deleted."""
        return self._mark(name, None, "")

    def _mark(self, name: str, deleted_at: datetime | None, who: str) -> Revision:
        with self._session(writing=True) as session:
            row, save = _found(session, name, None)
            if (row.deleted_at is None) != (deleted_at is None):
                row.deleted_at, row.deleted_by = deleted_at, who[: LONGEST["who"]]
                session.flush()
            return _revision(save, row)

    # Finding

    def listed(
        self, words: str = "", tags: Sequence[str] = (), deleted: bool = False
    ) -> tuple[list[Revision], int]:
        """Last revisions of the names that have all words and tags, the latest first.

        At most :data:`MOST_LISTED`, with how many there are; `deleted` lists the hidden ones.
        """
        found = sql.select(_Save, _Name).join(_Name).where(_Save.number == _Name.revisions)
        found = found.where(
            _Name.deleted_at.is_not(None) if deleted else _Name.deleted_at.is_(None)
        )
        for word in _line(words).casefold().split()[:MOST_WORDS]:
            found = found.where(_Save.words.contains(word, autoescape=True))
        for tag in tags[:MOST_TAGS]:
            found = found.where(_Save.tags.any(_Tag.tag == _line(tag).casefold()))
        with self._session() as session:
            count = session.scalar(sql.select(sql.func.count()).select_from(found.subquery())) or 0
            rows = session.execute(
                found.order_by(_Save.saved_at.desc(), _Save.id.desc()).limit(MOST_LISTED)
            )
            return [_revision(save, name) for save, name in rows], count

    def tags(self) -> list[str]:
        """Tags of the last revisions that are not deleted, the most frequent first."""
        used = (
            sql.select(_Tag.tag).join(_Save, _Tag.save_id == _Save.id).join(_Name)
            .where(_Save.number == _Name.revisions, _Name.deleted_at.is_(None))
        )  # fmt: skip
        with self._session() as session:
            return [tag for tag, _ in Counter(sorted(session.scalars(used))).most_common()]

    def get(self, name: str, number: int | None = None) -> Revision:
        """A revision of a name, or its last one."""
        with self._session() as session:
            row, save = _found(session, name, number)
            return _revision(save, row)

    def history(self, name: str) -> list[Revision]:
        """All revisions of a name, the last first."""
        with self._session() as session:
            row, _ = _found(session, name, None)
            saves = session.scalars(
                sql.select(_Save).where(_Save.name_id == row.id).order_by(_Save.number.desc())
            )
            return [_revision(save, row) for save in saves]


def _found(session: orm.Session, name: str, number: int | None) -> tuple[_Name, _Save]:
    row = session.scalar(sql.select(_Name).where(_Name.key == _key(name)))
    if row is None:
        raise Refused(f"There is no {links.shown(name)} in the library.")
    wanted = row.revisions if number is None else number
    save = session.scalar(
        sql.select(_Save).where(_Save.name_id == row.id, _Save.number == wanted)
    )  # fmt: skip
    if save is None:
        raise Refused(
            f"{links.shown(name)} has no revision {wanted}, allowed is 1 to {row.revisions}."
        )
    return row, save


def _same(one: _Save, other: _Save) -> bool:
    fields = ("name", "who", "why", "link", "figures", "numbers", "catalog_date", "version")
    return [tag.tag for tag in one.tags] == [tag.tag for tag in other.tags] and all(
        getattr(one, field) == getattr(other, field) for field in fields
    )


# Databases ----------------------------------------------------------------------------------------


@cache
def _server(url: sql.URL) -> sql.Engine:
    return sql.create_engine(
        url, pool_pre_ping=True, pool_size=5, max_overflow=5,
        connect_args={"connect_timeout": CONNECT_S},
    )  # fmt: skip


@cache
def _file(url: str) -> sql.Engine:
    # No connections are kept: a file that was put back from a backup must not go on being written
    # where nobody can see it any more.
    engine = sql.create_engine(url, poolclass=sql.NullPool, connect_args={"timeout": BUSY_S})

    @sql.event.listens_for(engine, "connect")
    def _connected(connection: Any, _: object) -> None:
        connection.isolation_level = None  # transactions begin below
        # A save is on the disk when it is acknowledged, also when the power fails. Saves are as
        # rare as clicks, so waiting for the disk costs nobody anything.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA trusted_schema=OFF")

    @sql.event.listens_for(engine, "begin")
    def _begun(connection: sql.Connection) -> None:
        # A writer takes its turn at the start: one that read first could not take it later.
        writing = connection.get_execution_options().get("writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def _made(session: orm.Session) -> bool:
    """Whether the tables are there; raises where they are of a later version."""
    if not sql.inspect(session.connection()).has_table(_Schema.__tablename__):
        return False
    version = session.scalar(sql.select(sql.func.max(_Schema.version))) or 0
    if version > SCHEMA:
        raise Unavailable(
            f"The library was made by a later version of this package (tables of version "
            f"{version}, known are those up to {SCHEMA}); upgrade to read it."
        )
    return True


def _make(engine: sql.Engine) -> None:
    """Make the tables; of several that try at once one does."""
    if engine.dialect.name == "sqlite":
        _log_ahead(engine)
    with engine.execution_options(writing=True).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sql.select(sql.func.pg_advisory_xact_lock(CREATION_LOCK)))
        _Table.metadata.create_all(connection)
        if connection.scalar(sql.select(sql.func.count()).select_from(_Schema)) == 0:
            connection.execute(sql.insert(_Schema).values(version=SCHEMA))


def _log_ahead(engine: sql.Engine) -> None:
    """Readers do not wait for writers, and a writer that is killed leaves a whole file.

    Kept in the file itself. Changing it needs the file for oneself, for which SQLite does not wait.
    """
    give_up = time.monotonic() + BUSY_S
    while True:
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode=WAL")
            return
        except Exception as problem:
            if "locked" not in str(problem) or time.monotonic() > give_up:
                raise
            time.sleep(0.02)
        finally:
            connection.close()


SENTENCES = {
    "SQLITE_READONLY": "The library is read-only here: it can be looked at, not added to.",
    "SQLITE_CANTOPEN": "The library cannot be opened: its file or folder is missing or not ours.",
    "SQLITE_BUSY": "The library is being written by somebody else; try again.",
    "SQLITE_NOTADB": "The library cannot be read: its file is damaged or of another kind.",
    "SQLITE_CORRUPT": "The library cannot be read: its file is damaged or of another kind.",
    "SQLITE_FULL": "The library cannot be written: the disk is full.",
    "SQLITE_IOERR": "The library cannot be read or written: the disk reports an error.",
    "25006": "The library is read-only here: it can be looked at, not added to.",
    "42501": "The library does not let this server in: its role lacks the right.",
    "53100": "The library cannot be written: the disk is full.",
}
"""By the code of the error: names of SQLite's, states of PostgreSQL's."""
NO_ANSWER = "The database of the library does not answer; the rest of the app works without it."


@contextmanager
def _told() -> Iterator[None]:
    """Errors of the database as one sentence, without its own words: they tell of the server."""
    try:
        yield
    except sql.exc.IntegrityError:
        raise
    except (OSError, ImportError) as problem:
        raise Unavailable(
            SENTENCES["SQLITE_CANTOPEN"] if isinstance(problem, OSError)
            else "The driver for PostgreSQL is not installed: install the extra 'team'."
        ) from problem  # fmt: skip
    except Exception as problem:
        if not isinstance(problem, sql.exc.SQLAlchemyError) and not hasattr(
            problem, "sqlite_errorname"
        ):
            raise
        cause = getattr(problem, "orig", problem)
        code = getattr(cause, "sqlite_errorname", "") or getattr(cause, "sqlstate", "") or ""
        known = (text for start, text in SENTENCES.items() if code.startswith(start))
        raise Unavailable(next(known, NO_ANSWER)) from problem


def default_address() -> str:
    """Address of the library: what the variable says, or a file in the reader's own folder.

    Not in the working directory: app and terminal would see different ones, and a checkout that
    is thrown away would take it along.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return named
    file = Path(typer.get_app_dir("cpi_model")) / "library.db"
    return sql.URL.create("sqlite", database=str(file)).render_as_string()


def library() -> Library:
    """The library of this server or reader."""
    return Library(default_address())
