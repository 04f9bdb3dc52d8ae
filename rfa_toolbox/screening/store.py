"""A file that grows as rows come, and from which a screening goes on where it was stopped.

It is an SQLite database with a write-ahead log: whatever is written survives a process that is
killed at any moment, and others may read while one writes.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rfa_toolbox.errors import MissingFrameworkError, ScreeningError
from rfa_toolbox.screening.rows import ScreeningRow, columns_of

__all__ = ["Store"]

FORMAT = "rfa_toolbox.screening"
VERSION = 1

_TEXTS = ("key", "certainty", "graph_key", "error", "message", "built_on")
"""Columns that are texts; the others are numbers, and most of them whole."""

_FRACTIONS = ("seconds", "waste")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rows (
    key TEXT PRIMARY KEY, row TEXT NOT NULL, seconds REAL NOT NULL, built_on TEXT NOT NULL
) WITHOUT ROWID;
"""


class Store:
    """The rows of a screening in a file; a context manager that closes it.

    Args:
        path: the file; it is made if it is not there.
        question: what is asked of the candidates, as text; the rows of another question are
            refused. None reads the rows that are there, also while another process writes.

    Raises:
        ScreeningError: a ValueError, if another process writes to it, or if it is no store, or one
            with the answers to another question.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, Store(Path(folder, "a.db"), "32 px") as store:
    ...     store.put([ScreeningRow("net", r_min=35)])
    ...     store.get("net").r_min, len(store)
    (35, 1)
    """

    def __init__(self, path: str | os.PathLike[str], question: str | None = None) -> None:
        self.path = Path(path)
        self._closed = False
        self._lock: sqlite3.Connection | None = None
        if question is None and not self.path.is_file():
            raise ScreeningError(f"There is no store {str(self.path)!r}.")
        if self.path.is_dir() or not self.path.absolute().parent.is_dir():
            raise ScreeningError(
                f"The store {str(self.path)!r} cannot be made; name a file in a folder that is "
                "there."
            )
        try:
            if question is not None:
                self._lock = _locked(self.path)
            self._rows = sqlite3.connect(self.path)
            self._open(question)
        except sqlite3.DatabaseError as error:
            self.close()
            raise ScreeningError(
                f"The store {str(self.path)!r} cannot be used ({error}); name another file, or one "
                "that a screening wrote."
            ) from error
        except BaseException:
            self.close()
            raise

    def _open(self, question: str | None) -> None:
        if question is None:
            self._check({"format": FORMAT, "version": str(VERSION)})
            return
        self._rows.execute("PRAGMA journal_mode=WAL")
        self._rows.execute("PRAGMA synchronous=NORMAL")
        tables = self._rows.execute("SELECT name FROM sqlite_master").fetchall()
        facts = {"format": FORMAT, "version": str(VERSION), "question": question}
        if not tables:
            with self._rows:
                self._rows.executescript(_SCHEMA)
                self._rows.executemany("INSERT OR IGNORE INTO facts VALUES (?, ?)", facts.items())
        self._check(facts)

    def _check(self, facts: dict[str, str]) -> None:
        found = dict(self._rows.execute("SELECT name, value FROM facts"))
        for name, value in facts.items():
            if found.get(name) != value:
                raise ScreeningError(
                    f"The store {str(self.path)!r} has the {name} {found.get(name)!r}, and this "
                    f"screening {value!r}; name another file for it."
                )

    def get(self, key: str) -> ScreeningRow | None:
        """Return the row of a candidate, if it is there."""
        found = self._open_rows.execute(
            "SELECT row, seconds, built_on FROM rows WHERE key = ?", (key,)
        ).fetchone()
        return None if found is None else _row(*found)

    def put(self, rows: Iterable[ScreeningRow]) -> None:
        """Add rows in one step: all of them are in the file afterwards, or none."""
        with self._open_rows as rows_there:
            rows_there.executemany(
                "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)",
                [(row.key, row.to_json(), row.seconds, row.built_on) for row in rows],
            )

    def __len__(self) -> int:
        count: int = self._open_rows.execute("SELECT COUNT(*) FROM rows").fetchone()[0]
        return count

    def __iter__(self) -> Iterator[ScreeningRow]:
        """Yield all rows, sorted by key; they are read as they are asked for."""
        cursor = self._open_rows.execute("SELECT row, seconds, built_on FROM rows ORDER BY key")
        return (_row(*found) for found in cursor)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write all rows into a Parquet file, column by column; whole numbers stay so.

        Raises:
            MissingFrameworkError: an ImportError, if pyarrow is not installed.
            ScreeningError: a ValueError, if the store is closed, as all that reads or writes it.
        """
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ModuleNotFoundError as error:
            if error.name != "pyarrow":
                raise
            raise MissingFrameworkError(
                "Parquet needs pyarrow, which is not installed: pip install pyarrow. "
                "CSV needs nothing: rows_to_csv(store)."
            ) from error
        longest = max((row.at for row in self), key=len, default=())
        endless = any(math.inf in (row.r_min, row.r_min_layers, row.r_max) for row in self)
        types = {
            name: pa.string()
            if name in _TEXTS
            else pa.float64()
            if name.startswith(_FRACTIONS) or (endless and name.startswith("r_m"))
            else pa.int64()
            for name in columns_of(longest)
        }
        schema = pa.schema(list(types.items()))
        with pq.ParquetWriter(path, schema) as writer:
            for some in _chunks(self):
                values = {name: [row[name] for row in some] for name in types}
                writer.write_table(pa.table(values, schema))

    @property
    def _open_rows(self) -> sqlite3.Connection:
        """The database, if nobody has closed it."""
        if self._closed:
            raise ScreeningError(
                f"The store {str(self.path)!r} is closed; open it again, and read it inside of "
                "'with Store(path) as store:'."
            )
        return self._rows

    def close(self) -> None:
        """Close the file, and let others write to it."""
        self._closed = True
        for one in (getattr(self, "_rows", None), self._lock):
            if one is not None:
                with contextlib.suppress(sqlite3.Error):
                    one.close()

    def __enter__(self) -> Store:  # noqa: PYI034 - Self is of Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _row(text: str, seconds: float, built_on: str) -> ScreeningRow:
    return ScreeningRow.from_dict(json.loads(text), seconds, built_on)


def _chunks(rows: Iterable[Any], size: int = 10_000) -> Iterator[list[Any]]:
    some: list[Any] = []
    for row in rows:
        some.append(row)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


def _locked(path: Path) -> sqlite3.Connection:
    """Return a lock that the operating system takes back when this process ends, however it does.

    It is a database of its own beside the store, so that others can still read the store.
    """
    lock = sqlite3.connect(f"{path}.lock", timeout=0.0, isolation_level=None)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        lock.close()
        if "locked" not in str(error):
            raise
        raise ScreeningError(
            f"Another process writes to the store {str(path)!r}; wait until it is done, or name "
            "another file."
        ) from None
    return lock
