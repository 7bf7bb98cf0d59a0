"""Measures of tests as tables: numbers in, the texts of rows and columns out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Column:
    """How one metric is shown.

    name: its key in report.json. title: heads the column. note: a sentence that explains it, or "". format: "number",
    "share" or "interval".
    """

    name: str
    title: str
    note: str
    format: str

    def text(self, value: float | Sequence[float] | None) -> str:
        """ "0.8756", "87.6 %" or "0.851–0.902"; a dash for None."""
        if value is None:
            return "–"
        if self.format == "interval":
            return "{:.3f}–{:.3f}".format(*value)
        return f"{100 * value:.1f} %" if self.format == "share" else f"{value:.4f}"


@dataclass(frozen=True)
class Row:
    """One test: its title, a word for its AUC or None, a text for each column, and how many units it has."""

    title: str
    verdict: str | None
    cells: tuple[str, ...]
    n_real: int
    n_fake: int


@dataclass(frozen=True)
class Table:
    """title: of the section. heading: of the first column. heads: of the metrics. notes: (title, sentence) of each."""

    title: str
    heading: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[tuple[str, str], ...]


def table_of(
    title: str, heading: str, tests: Iterable[tuple[str, Mapping[str, Any]]], columns: Sequence[Column]
) -> Table:
    """tests: (title of the row, the test's measures as report.json has them)."""
    rows = tuple(
        Row(name, one["verdict"], tuple(c.text(one[c.name]) for c in columns), one["n_real"], one["n_fake"])
        for name, one in tests
    )
    notes = tuple((column.title, column.note) for column in columns if column.note)
    return Table(title, heading, tuple(column.title for column in columns), rows, notes)
