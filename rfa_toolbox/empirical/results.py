"""What an experiment found: values that say where the units of every layer look.

Nothing here needs a framework.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import attrs

from rfa_toolbox.domain import Certainty
from rfa_toolbox.errors import InvalidGraphError
from rfa_toolbox.rendering.notebook import table_view

__all__ = [
    "MeasuredField",
    "Method",
    "ReceptiveFieldMeasurement",
    "call_name",
    "path_and_call",
    "plain_except",
    "plain_number",
    "spelled",
    "text_table",
]

Method: TypeAlias = Literal["structural", "gradient"]
Number: TypeAlias = "int | float | Fraction"


@attrs.frozen(slots=True)
class MeasuredField:
    """Where the units of one layer look on the input, as measured; pixels per (height, width).

    Unit ``i`` sees the pixels ``start + i*jump`` to ``start + i*jump + size - 1``, as in
    ``rfa_toolbox.unit_windows.InputWindow``. On maps whose units see windows of different size,
    ``size`` is the largest, ``start`` and ``centre`` are those of unit 0, and ``phases`` lists
    one period of windows. None stands for what could not be measured along that axis; ``notes``
    say why.

    Attributes:
        name: that of the node in the graph of the model.
        module_path: the module that it ran in.
        call: which call of that module, counted from 1.
        kind: what kind of layer it is.
        output_shape: shape of its output in the experiment, batch included.
        start: first pixel that unit 0 sees; negative in the padding, -inf if it sees everything.
        size: pixels under the largest window; inf if every unit sees everything.
        jump: pixels between neighbouring units; 1 where they see everything.
        centre: middle of the window of unit 0; 0 where it sees everything, also on one side.
        phases: per axis (first, last) pixel of as many units as it takes until they repeat, -inf
            and inf where they see everything on one side; None for units that see nothing.
        certainty: "exact"; "bound" if the true window may be larger; "unknown" if it could not
            be measured on some axis.
        notes: what there is to know, one sentence each.
    """

    name: str
    module_path: str
    call: int
    kind: str
    output_shape: tuple[int, ...]
    start: tuple[int | float | None, ...]
    size: tuple[int | float | None, ...]
    jump: tuple[int | Fraction | None, ...]
    centre: tuple[Fraction | None, ...]
    phases: tuple[tuple[tuple[int | float, int | float] | None, ...], ...] = ()
    certainty: Certainty = "exact"
    notes: tuple[str, ...] = ()

    @property
    def is_global(self) -> bool:
        """Whether every unit sees the whole image, on all axes."""
        return bool(self.size) and all(size == math.inf for size in self.size)

    def to_dict(self) -> dict[str, Any]:
        """Return the values as JSON knows them: no infinity, fractions as text.

        Infinite sizes are the text "inf".
        """
        return {
            "name": self.name,
            "module_path": self.module_path,
            "call": self.call,
            "kind": self.kind,
            "output_shape": list(self.output_shape),
            "start": [plain_number(one) for one in self.start],
            "size": [plain_number(one) for one in self.size],
            "jump": [plain_number(one) for one in self.jump],
            "centre": [plain_number(one) for one in self.centre],
            "phases": [
                [one and [plain_number(end) for end in one] for one in axis] for axis in self.phases
            ],
            "certainty": self.certainty,
            "notes": list(self.notes),
        }


@attrs.frozen
class ReceptiveFieldMeasurement(Sequence[MeasuredField]):
    """The fields of the layers of a model, in order of execution.

    Attributes:
        model_name: the class of the model, or its name.
        method: "structural" or "gradient".
        fields: one per layer call and functional operation.
        input_shapes: the shapes of input that the experiment ran with, one per axis measured.
        passes: forward passes of one image each, per axis and side.
        settings: whatever else the result depends on.
        stopped: that a time limit was over before everything was measured; "" if not.

    >>> field = MeasuredField("0", "0", 1, "Conv2d", (1, 8, 4), (-1,), (3,), (1,), (Fraction(0),))
    >>> found = ReceptiveFieldMeasurement("Net", "structural", (field,))
    >>> found["0"].size, len(found)
    ((3,), 1)
    """

    model_name: str
    method: Method
    fields: tuple[MeasuredField, ...]
    input_shapes: tuple[tuple[int, ...], ...] = ()
    passes: tuple[tuple[int, ...], ...] = ()
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    stopped: str = ""

    def __len__(self) -> int:
        return len(self.fields)

    def __iter__(self) -> Iterator[MeasuredField]:
        return iter(self.fields)

    def __getitem__(self, key: Any) -> Any:
        """Return a field by its place, by its name, or by the path of its module.

        A path that several calls or operations share stands for the last of them: the output.
        """
        if not isinstance(key, str):
            return self.fields[key]
        named = [one for one in self.fields if one.name == key]
        found = named or [one for one in self.fields if one.module_path == key]
        if not found:
            raise InvalidGraphError(
                f"No layer is called {key!r}; there are "
                f"{', '.join(repr(one.name) for one in self.fields[:8])}"
                f"{', ...' if len(self.fields) > 8 else '.'}"
            )
        return found[-1]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON knows it."""
        return {
            "model": self.model_name,
            "method": self.method,
            "input_shapes": [list(one) for one in self.input_shapes],
            "passes": [list(one) for one in self.passes],
            "settings": dict(self.settings),
            "stopped": self.stopped,
            "layers": [one.to_dict() for one in self.fields],
        }

    def __str__(self) -> str:
        return "\n".join((self._title, *text_table(self._HEADER, self._rows())))

    def _repr_html_(self) -> str:
        return table_view(self._title, self._HEADER, self._rows())

    @property
    def _title(self) -> str:
        stopped = f"; {self.stopped}" if self.stopped else ""
        return f"{self.model_name}: receptive fields by the {self.method} experiment{stopped}"

    _HEADER = ("layer", "kind", "output", "start", "size", "jump", "notes")

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                one.name,
                one.kind,
                "x".join(map(str, one.output_shape)),
                spelled(one.start),
                spelled(one.size),
                spelled(one.jump),
                " ".join(one.notes),
            )
            for one in self.fields
        ]


def call_name(path: str, call: int) -> str:
    """Return the name of a call of a layer, as nodes of graphs have it.

    >>> call_name("conv", 1), call_name("conv", 2)
    ('conv', 'conv#2')
    """
    return path if call == 1 else f"{path}#{call}"


def path_and_call(name: str, paths: Collection[str]) -> tuple[str, int]:
    """Return which call of which layer has a name; ``paths`` are those of all layers.

    >>> path_and_call("conv#2", ["conv"]), path_and_call("conv#2", ["conv#2"])
    (('conv', 2), ('conv#2', 1))
    """
    path, mark, number = name.rpartition("#")
    if name in paths or not mark or not number.isdecimal() or int(number) < 2:
        return name, 1
    return path, int(number)


def plain_except(value: Any, array: str, wanted: bool) -> dict[str, Any]:
    """Return the values of a result, and of its array (as nested lists) only if it is wanted."""
    plain = attrs.asdict(value, filter=lambda field, _: field.name != array)
    if wanted:
        plain[array] = getattr(value, array).tolist()
    return plain


def spelled(numbers: Sequence[Number | None]) -> str:
    """Return one number per axis as text; a question mark where there is none.

    >>> spelled((3, Fraction(1, 2), None))
    '3 x 1/2 x ?'
    """
    return " x ".join("?" if one is None else str(one) for one in numbers)


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table whose columns stand under each other.

    >>> list(text_table(("a", "b"), [("long", "1")]))
    ['a     b', 'long  1']
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        padded = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()


def plain_number(value: Number | None) -> Any:
    """Return a number as JSON knows it: infinity and fractions are text.

    >>> [plain_number(one) for one in (3, Fraction(1, 2), math.inf, None)]
    [3, '1/2', 'inf', None]
    """
    if isinstance(value, Fraction):
        return value.numerator if value.denominator == 1 else str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
