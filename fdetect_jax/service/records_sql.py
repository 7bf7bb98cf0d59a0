"""Records in SQLite or PostgreSQL: a table of documents and one of their places."""

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.pool import QueuePool

from fdetect_jax.errors import UserError
from fdetect_jax.service.records import Document, Records, decoded, encoded, moved, sqlite_file

_TABLES = sa.MetaData()
_DOCUMENTS = sa.Table(
    "fdetect_documents",
    _TABLES,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
)
_PLACES = sa.Table(
    "fdetect_places",
    _TABLES,
    sa.Column("place", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("number", sa.Double, nullable=False),
    sa.Index("fdetect_places_by_number", "place", "number"),
)
_WAIT = 30.0  # seconds for the lock of an SQLite file


class SqlRecords(Records):
    """See ``Records``. A change holds the lock of SQLite's file, or in PostgreSQL one of the document's name."""

    def __init__(self, url: str):
        self._sqlite = url.startswith("sqlite")
        if self._sqlite:
            file = sqlite_file(url)
            file.parent.mkdir(parents=True, exist_ok=True)
            self._engine = sa.create_engine(
                f"sqlite:///{file}", connect_args={"timeout": _WAIT, "check_same_thread": False}, poolclass=QueuePool
            )
            sa.event.listen(self._engine, "connect", _set_up)
            sa.event.listen(self._engine, "begin", _begin)
        else:
            made = sa.engine.make_url(url).set(drivername="postgresql+psycopg")
            self._engine = sa.create_engine(made, pool_pre_ping=True, pool_size=10, max_overflow=20)
        try:
            with self._engine.begin() as connection:
                if not self._sqlite:  # two processes that start together
                    connection.execute(sa.text("SELECT pg_advisory_xact_lock(738211)"))
                _TABLES.create_all(connection)
        except sa.exc.SQLAlchemyError as error:
            reason = " ".join(str(getattr(error, "orig", error)).split())
            raise UserError(f"queue: the {'file' if self._sqlite else 'database'} cannot be used: {reason}") from None

    def get(self, name: str) -> Document | None:
        with self._engine.connect() as connection:
            return decoded(connection.scalar(_body(name)))

    def change(self, name: str, function: Callable[[Document | None], Document | None]) -> Document | None:
        with self._engine.connect().execution_options(writes=True) as connection, connection.begin():
            if not self._sqlite:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})
            before = decoded(connection.scalar(_body(name)))
            after = function(before)
            self._write(connection, name, before, after)
            return after

    def _write(self, connection: Connection, name: str, before: Document | None, after: Document | None) -> None:
        here = _DOCUMENTS.c.name == name
        if after is None:
            connection.execute(sa.delete(_DOCUMENTS).where(here))
        elif before is None:
            connection.execute(sa.insert(_DOCUMENTS).values(name=name, body=encoded(after)))
        elif before != after:
            connection.execute(sa.update(_DOCUMENTS).where(here).values(body=encoded(after)))
        for place, number in moved(before, after):
            connection.execute(sa.delete(_PLACES).where(_PLACES.c.place == place, _PLACES.c.name == name))
            if number is not None:
                connection.execute(sa.insert(_PLACES).values(place=place, name=name, number=number))

    def names(
        self, place: str, low: float | None = None, high: float | None = None, limit: int = 1000, newest: bool = False
    ) -> list[tuple[str, float]]:
        columns = _PLACES.c.number, _PLACES.c.name
        found = sa.select(_PLACES.c.name, _PLACES.c.number).where(*_within(place, low, high)).limit(limit)
        found = found.order_by(*(column.desc() for column in columns) if newest else columns)
        with self._engine.connect() as connection:
            return [(name, number) for name, number in connection.execute(found)]

    def count(self, place: str, *, high: float | None = None) -> int:
        with self._engine.connect() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(_PLACES).where(*_within(place, None, high)))

    def close(self) -> None:
        self._engine.dispose()


def _body(name: str) -> sa.Select:
    return sa.select(_DOCUMENTS.c.body).where(_DOCUMENTS.c.name == name)


def _within(place: str, low: float | None, high: float | None) -> list:
    found = [_PLACES.c.place == place]
    found += [] if low is None else [_PLACES.c.number >= low]
    return found + ([] if high is None else [_PLACES.c.number <= high])


def _set_up(connection, _) -> None:
    connection.isolation_level = None  # SQLAlchemy begins; sqlite3's own rules would begin too late
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")  # what was accepted survives a power cut


def _begin(connection: Connection) -> None:
    """A transaction that writes takes its lock first: one that reads first could not wait for it."""
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
