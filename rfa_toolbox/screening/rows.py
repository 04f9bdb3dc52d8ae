"""What a screening says of one candidate: a row of plain values."""

from __future__ import annotations

import csv
import io
import json
import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import attrs

__all__ = ["AtResolution", "ScreeningRow", "columns_of", "csv_lines", "rows_to_csv"]

Value: TypeAlias = "int | float | str | None"


@attrs.frozen(slots=True)
class AtResolution:
    """The blocks of a candidate's feature extractor at one input resolution.

    A block is a layer that looks or has parameters, with what belongs to it.

    Attributes:
        input_res: the resolution in pixels, (height, width).
        blocks: number of blocks.
        unproductive: how many of them cannot help.
        critical: how many see more than the image on all axes.
        partially_critical: how many see more than the image on some axis.
        productive: all others.
        macs: multiply-accumulates of all layers; None if unknown.
        waste: share of them in unproductive blocks, 0 to 1; None if unknown.
    """

    input_res: tuple[int, ...]
    blocks: int
    unproductive: int
    critical: int
    partially_critical: int
    productive: int
    macs: int | None
    waste: float | None

    @classmethod
    def of(
        cls,
        input_res: tuple[int, ...],
        counts: Iterable[int],
        macs: int | None,
        waste: float | None,
    ) -> AtResolution:
        """Make it from the number of blocks by state: unproductive ones first, productive last."""
        unproductive, critical, partially, productive = counts
        blocks = unproductive + critical + partially + productive
        return cls(input_res, blocks, unproductive, critical, partially, productive, macs, waste)

    def __reduce__(self) -> tuple[Any, ...]:
        return AtResolution, _VALUES_AT(self)  # half the time of what attrs does

    @property
    def suffix(self) -> str:
        """How columns of this resolution end: "_at_64", or "_at_32x64"."""
        sizes = self.input_res if len(set(self.input_res)) > 1 else self.input_res[:1]
        return f"_at_{'x'.join(map(str, sizes))}"


_COUNTS = tuple(field.name for field in attrs.fields(AtResolution))[1:]


@attrs.frozen(slots=True)
class ScreeningRow:
    """What was found out about one candidate, or why nothing could be.

    ``row["name"]`` is the value of a column: an attribute of this row, or of its first
    resolution, or of any resolution with its suffix, such as ``row["unproductive_at_64"]``.
    Rows are equal if they say the same; how long it took does not count.

    Attributes:
        key: what tells the candidate from others.
        r_min: smallest feasible resolution in pixels, on the axis that needs most: every layer
            of the feature extractor has something to work on (``input_resolution_range``).
        r_min_layers: smallest resolution at which no layer that expands the field is
            unproductive (``lower_bound=True``).
        r_max: largest resolution at which a unit sees the whole image; inf if it always does.
        good_from: smallest resolution at which every block can help, and sees no more than the
            image (``Summary.good_from``). It leaves out what has no weights and looks at nothing
            but its own unit, which ``r_min`` takes into account.
        at: what holds at each resolution that was asked for, in their order.
        parameters: number of parameters; None if unknown.
        certainty: how the fields are known, the worst of all layers of the feature extractor.
        graph_key: what equal graphs share (``rfa_toolbox.analysis.graph_key``), if asked for.
        error: kind of the error, such as "ValueError", "TimeLimit" or "WorkerDied"; "" for none.
        message: the error in one line.
        seconds: how long the candidate took.
        built_on: "meta" where a PyTorch model was made without memory for its weights, "cpu" where
            it could not be, "" where there was no model to make.
    """

    key: str
    r_min: int | float | None = None
    r_min_layers: int | float | None = None
    r_max: int | float | None = None
    at: tuple[AtResolution, ...] = ()
    parameters: int | None = None
    certainty: str | None = None
    good_from: int | float | None = None
    graph_key: str | None = None
    error: str = ""
    message: str = ""
    seconds: float = attrs.field(default=0.0, eq=False)
    built_on: str = attrs.field(default="", eq=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return ScreeningRow, _VALUES(self)

    @property
    def ok(self) -> bool:
        """Whether the candidate could be judged."""
        return not self.error

    def __getitem__(self, column: str) -> Value:
        if column in _OWN:
            value: Value = getattr(self, column)
            return value
        if self.at and column in _COUNTS:
            found: Value = getattr(self.at[0], column)
            return found
        for one in self.at:
            if column.endswith(one.suffix) and column.removesuffix(one.suffix) in _COUNTS:
                there: Value = getattr(one, column.removesuffix(one.suffix))
                return there
        if not self.at and is_column(column):
            return None
        columns = ", ".join(columns_of(self.at))
        raise KeyError(f"There is no column {column!r}; there are {columns}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the row as plain values that JSON can hold; an infinite number is "inf".

        Seconds and where the model was made are left out: the rest is equal whatever computed it.

        >>> ScreeningRow("net", 35, 35, math.inf).to_dict()["r_max"]
        'inf'
        """
        plain: dict[str, Any] = {name: _plain(getattr(self, name)) for name in _COMPARED}
        plain["at"] = [[_plain(getattr(one, name)) for name in _AT] for one in self.at]
        return plain

    def to_json(self) -> str:
        """Return ``to_dict`` as one line of JSON, byte for byte the same on every machine."""
        return json.dumps(self.to_dict(), allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_dict(
        cls, plain: dict[str, Any], seconds: float = 0.0, built_on: str = ""
    ) -> ScreeningRow:
        """Make a row from what ``to_dict`` returned.

        >>> row = ScreeningRow("net", 35, 35, math.inf)
        >>> ScreeningRow.from_dict(row.to_dict()) == row
        True
        """
        values = {name: _restored(value) for name, value in plain.items() if name != "at"}
        at = tuple(
            AtResolution(tuple(one[0]), *one[1:])  # the rest are numbers and None
            for one in plain["at"]
        )
        return cls(**values, at=at, seconds=seconds, built_on=built_on)


_AT = tuple(field.name for field in attrs.fields(AtResolution))
_VALUES_AT = operator.attrgetter(*_AT)
_VALUES = operator.attrgetter(*(field.name for field in attrs.fields(ScreeningRow)))
_OWN = tuple(field.name for field in attrs.fields(ScreeningRow) if field.name != "at")
_COMPARED = tuple(
    field.name for field in attrs.fields(ScreeningRow) if field.eq and field.name != "at"
)
_BEFORE = ("key", "r_min", "r_min_layers", "r_max", "good_from", "parameters", "certainty")
_BEHIND = tuple(name for name in _OWN if name not in _BEFORE)


def columns_of(at: Sequence[AtResolution]) -> tuple[str, ...]:
    """Return the names of all columns; those of the first resolution have no suffix."""
    first = _COUNTS
    more = tuple(f"{name}{one.suffix}" for one in at[1:] for name in _COUNTS)
    return (*_BEFORE, *first, *more, *_BEHIND)


def is_column(name: str) -> bool:
    """Return whether a name can be one of a column, at whatever resolution.

    >>> is_column("macs"), is_column("macs_at_64"), is_column("colour")
    (True, True, False)
    """
    base, at, size = name.rpartition("_at_")
    sized = bool(at) and all(part.isdigit() for part in size.split("x"))
    return name in _OWN or name in _COUNTS or (sized and base in _COUNTS)


def rows_to_csv(rows: Iterable[ScreeningRow]) -> str:
    """Return rows as CSV (RFC 4180) with a header; it has no columns for resolutions of no row.

    >>> rows_to_csv([ScreeningRow("net", 35)]).splitlines()[1][:7]
    'net,35,'
    """
    several = list(rows)
    longest = max((row.at for row in several), key=len, default=())
    return "".join(csv_lines(several, longest))


def csv_lines(rows: Iterable[ScreeningRow], at: Sequence[AtResolution]) -> Iterator[str]:
    """Yield a header with columns for some resolutions, and rows one by one as they come."""
    columns = columns_of(at)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in rows:
        yield text.getvalue()
        text.seek(0)
        text.truncate()
        writer.writerow(["" if row[name] is None else row[name] for name in columns])
    yield text.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return "inf" if value == math.inf else value


def _restored(value: Any) -> Any:
    return math.inf if value == "inf" else value
