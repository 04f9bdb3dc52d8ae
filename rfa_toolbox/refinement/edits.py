"""Changes of an architecture as values: what is changed, in which layer, to what.

Layers are named as the nodes of a graph are, which is where they are in the code of the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, TypeAlias

import attrs

from rfa_toolbox.errors import RefinementError

__all__ = [
    "CutBehind",
    "Edit",
    "InsertPooling",
    "Rebuild",
    "RemovePooling",
    "Repeat",
    "SetWindow",
    "edit_from_dict",
    "edit_to_dict",
    "renamed",
]


def _positive(value: Any, what: str) -> Any:
    several = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not several or any(type(one) is not int or one < 1 for one in several):
        raise RefinementError(
            f"{what} is {value!r}; it must be a positive whole number, or one per axis."
        )
    return several if isinstance(value, list | tuple) else value


def _window(value: Any) -> Any:
    return None if value is None else _positive(value, "The stride or kernel of an edit")


def _to_size(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise RefinementError(
            f"The size of a pooling is {value!r}; it must be a positive whole number."
        )
    return value


def _name(_edit: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str):
        raise RefinementError(f"The {attribute.name} of an edit is {value!r}; it must be a name.")


@attrs.frozen
class SetWindow:
    """Give a layer another stride, or another kernel.

    An unpadded pooling whose kernel is its stride keeps it so. A layer that pads to keep the size
    of its map does so with its new kernel.

    Attributes:
        node: name of the layer.
        stride: units of its input per step; None leaves it.
        kernel: units of its input under the window; None leaves it.
        upsampling: factor by which it makes its map finer; None leaves it.

    >>> SetWindow("layer4.0.conv1", stride=1).words
    'stride 1 in layer4.0.conv1'
    """

    kind: ClassVar[str] = "window"
    node: str = attrs.field(validator=_name)
    stride: Any = attrs.field(default=None, converter=_window)
    kernel: Any = attrs.field(default=None, converter=_window)
    upsampling: Any = attrs.field(default=None, converter=_window)

    @property
    def words(self) -> str:
        """What the edit does."""
        parts = []
        if self.kernel is not None:
            parts.append(f"kernel {_spelled(self.kernel)}")
        if self.stride is not None:
            parts.append(f"stride {_spelled(self.stride)}")
        if self.upsampling is not None:
            parts.append(f"up-sampling by {_spelled(self.upsampling)}")
        return f"{' and '.join(parts) or 'nothing new'} in {self.node}"


@attrs.frozen
class RemovePooling:
    """Leave a pooling out; what read it reads what it read.

    >>> RemovePooling("maxpool").words
    'no maxpool'
    """

    kind: ClassVar[str] = "remove"
    node: str = attrs.field(validator=_name)

    @property
    def words(self) -> str:
        """What the edit does."""
        return f"no {self.node}"


@attrs.frozen
class InsertPooling:
    """Put a maximum pooling, not padded, behind a layer.

    Attributes:
        node: name of the layer behind which it stands.
        size: its kernel and its stride.

    >>> InsertPooling("features.5").words
    'a pooling by 2 behind features.5'
    """

    kind: ClassVar[str] = "insert"
    node: str = attrs.field(validator=_name)
    size: int = attrs.field(default=2, converter=_to_size)

    @property
    def words(self) -> str:
        """What the edit does."""
        return f"a pooling by {self.size} behind {self.node}"


@attrs.frozen
class CutBehind:
    """Leave out all layers between one and the head, which reads that one then.

    The head begins with the operation that sees everything, such as a global pooling.

    >>> CutBehind("layer3").words
    'the head right behind layer3'
    """

    kind: ClassVar[str] = "cut"
    node: str = attrs.field(validator=_name)

    @property
    def words(self) -> str:
        """What the edit does."""
        return f"the head right behind {self.node}"


_MOST_TIMES: Final = 1000
"""How often a block can stand there: more is a slip, and would take all memory."""


def _to_times(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MOST_TIMES:
        raise RefinementError(
            f"A block is to stand {value!r} times; it must be a whole number up to {_MOST_TIMES}, "
            "0 to leave it out."
        )
    return value


@attrs.frozen
class Repeat:
    """Let a block stand several times, one behind the other, or leave it out.

    A block is a part of the network that has one way in and one way out, with as many channels and
    as large a map behind it as in front of it. Its copies have weights of their own.

    Attributes:
        block: name of a module; or of the last layer of a block, which begins at the nearest layer
            in front that makes it one.
        times: how often it stands there, at most 1000; 0 leaves it out.

    >>> Repeat("layer1.1", 2).words
    '2 copies of layer1.1 in a row'
    """

    kind: ClassVar[str] = "repeat"
    block: str = attrs.field(validator=_name)
    times: int = attrs.field(default=2, converter=_to_times)

    @property
    def words(self) -> str:
        """What the edit does."""
        if not self.times:
            return f"no {self.block}"
        return f"{self.times} {'copy' if self.times == 1 else 'copies'} of {self.block} in a row"


def _arguments(_edit: object, _attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Mapping):
        raise RefinementError(
            f"The arguments of a constructor are {value!r}; they must be an object with their "
            "names and values."
        )


@attrs.frozen
class Rebuild:
    """Make the model anew, with other arguments of its own constructor.

    Attributes:
        arguments: plain values, as JSON holds them.

    >>> Rebuild({"layers": [3, 3, 2]}).words
    "made with {'layers': [3, 3, 2]}"
    """

    kind: ClassVar[str] = "rebuild"
    arguments: Mapping[str, Any] = attrs.field(hash=False, validator=_arguments)

    @property
    def words(self) -> str:
        """What the edit does."""
        return f"made with {dict(self.arguments)!r}"


Edit: TypeAlias = SetWindow | RemovePooling | InsertPooling | CutBehind | Repeat | Rebuild

_KINDS: Mapping[str, type[Any]] = {
    one.kind: one for one in (SetWindow, RemovePooling, InsertPooling, CutBehind, Repeat, Rebuild)
}


def renamed(edit: Edit, names: Mapping[str, str]) -> Edit:
    """Return an edit for layers that are called otherwise.

    >>> renamed(InsertPooling("conv2d"), {"conv2d": "conv2d_1"})
    InsertPooling(node='conv2d_1', size=2)
    """
    if isinstance(edit, Rebuild):
        return edit
    if isinstance(edit, Repeat):
        return attrs.evolve(edit, block=names.get(edit.block, edit.block))
    return attrs.evolve(edit, node=names.get(edit.node, edit.node))


def edit_to_dict(edit: Edit) -> dict[str, Any]:
    """Return an edit as plain values.

    >>> edit_to_dict(SetWindow("conv1", stride=1))
    {'kind': 'window', 'node': 'conv1', 'stride': 1}
    """
    values = {name: value for name, value in attrs.asdict(edit).items() if value is not None}
    return {"kind": edit.kind, **values}


def edit_from_dict(config: Any) -> Edit:
    """Return the edit that ``edit_to_dict`` wrote.

    Raises:
        RefinementError: if it is anything else.

    >>> edit_from_dict({"kind": "remove", "node": "maxpool"})
    RemovePooling(node='maxpool')
    """
    name = config.get("kind") if isinstance(config, Mapping) else None
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise RefinementError(
            f"An edit is {config!r}; it must be an object with 'kind', one of {sorted(_KINDS)!r}."
        )
    values = {key: value for key, value in config.items() if key != "kind"}
    known = [field.name for field in attrs.fields(kind)]
    if not set(values) <= set(known):
        raise RefinementError(f"The edit {config!r} has unknown keys; valid are {known!r}.")
    try:
        edit: Edit = kind(**values)
    except TypeError as error:
        raise RefinementError(f"The edit {config!r} is not complete: {error}.") from error
    return edit


def words_of(edits: Iterable[Edit]) -> str:
    """Return what some edits do together; what is done to several layers is said once.

    >>> words_of([RemovePooling("pool"), SetWindow("a", stride=1), SetWindow("b", stride=1)])
    'no pool; stride 1 in a, b'
    """
    together: dict[str, list[str]] = {}
    for edit in edits:
        begin, _, name = edit.words.rpartition(" ")
        together.setdefault(begin if isinstance(edit, SetWindow) else edit.words, [])
        if isinstance(edit, SetWindow):
            together[begin].append(name)
    return "; ".join(f"{what} {', '.join(where)}".strip() for what, where in together.items())


def _spelled(value: int | tuple[int, ...]) -> str:
    several = value if isinstance(value, tuple) else (value,)
    same = len(set(several)) == 1
    return str(several[0]) if same else "x".join(map(str, several))
