"""A refinement: some edits of one architecture, what they give, and where the idea comes from."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from rfa_toolbox.analysis.blocks import blocks_of_nodes
from rfa_toolbox.analysis.costs import costs_of_nodes
from rfa_toolbox.analysis.ranges import ranges_of_both_kinds
from rfa_toolbox.analysis.states import resolution_of
from rfa_toolbox.analysis.words import terms_of
from rfa_toolbox.arithmetic import LayerState, Size
from rfa_toolbox.domain import Resolution
from rfa_toolbox.errors import RefinementError
from rfa_toolbox.graphs import EnrichedNetworkNode, require_node
from rfa_toolbox.graphs.layers import listed
from rfa_toolbox.refinement.editing import Editable
from rfa_toolbox.refinement.edits import Edit, edit_from_dict, edit_to_dict, renamed, words_of
from rfa_toolbox.refinement.in_code import layers_in_code
from rfa_toolbox.refinement.nodes import is_pooling

__all__ = ["Prediction", "Refinement", "architecture_key", "predict", "refinement_of"]

_MOST_PIXELS: Final = 2**28
FORMAT = "rfa_toolbox.refinement"
VERSION = 1


@attrs.frozen
class Prediction:
    """What is known of an architecture at an input resolution.

    Attributes:
        resolution: smallest feasible input resolution in pixels, per axis: every field of the
            feature extractor fits into the image ("strict").
        layers_resolution: the same if only layers must not be wasted ("layers").
        largest_resolution: beyond it no unit sees the whole image.
        parameters: their number; None if nothing is known of them.
        multiply_accumulates: at the input resolution, of one image; None if those of a layer with
            weights are not known.
        states: how many layers are in which state, counted as blocks of the feature extractor.
    """

    resolution: tuple[Size, ...]
    layers_resolution: tuple[Size, ...]
    largest_resolution: tuple[Size, ...]
    parameters: int | None
    multiply_accumulates: int | None
    states: Mapping[LayerState, int] = attrs.field(hash=False)

    @property
    def unit(self) -> str:
        """What resolutions are counted in: "px", or "samples" where there is one axis."""
        return terms_of(len(self.resolution)).unit


_STATES: tuple[LayerState, ...] = ("unproductive", "critical", "partially critical", "productive")


def predict(graph: EnrichedNetworkNode, input_res: Resolution) -> Prediction:
    """Return what is known of a graph at an input resolution in pixels.

    Raises:
        InvalidResolutionError: a ValueError, if the resolution does not fit the graph.

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> predict(resnet18(), 32).states["unproductive"]
    7
    """
    return _predicted(require_node(graph).all_layers, input_res)


def _predicted(nodes: Sequence[EnrichedNetworkNode], input_res: Resolution) -> Prediction:
    """Return what is known of a graph, given all of its layers, predecessors first."""
    strict, layers, largest = ranges_of_both_kinds(nodes)
    costs = costs_of_nodes(nodes, input_res)
    states = Counter(one.state(input_res) for one in blocks_of_nodes(nodes) if one.counted)
    # A part of the compute, as of a model whose sizes are open, is nothing to compare.
    whole = all(node.multiply_accumulates is not None for node in nodes if node.parameters)
    return Prediction(
        strict,
        layers,
        largest,
        costs.parameters,
        costs.multiply_accumulates if whole else None,
        {state: states[state] for state in _STATES},
    )


@attrs.frozen
class Refinement:
    """Edits of one architecture, with what they change.

    Attributes:
        edits: what is changed.
        strategy: which idea the edits follow.
        source: where in the literature the idea is from.
        weights: "kept" where all weights fit the edited model, "summed" where those of a patch
            are added up, "new" where some have to be trained anew. Weights that fit were not
            trained for the new fields: the model has to be trained, or trained further.
        input_res: resolution in pixels that the refinement was made for, one number per axis.
        encoded_res: resolution in pixels that the graph was made with, None if that is not known.
        architecture: tells the architecture that the edits are for; see ``architecture_key``.
        before: the architecture as it was.
        after: the architecture with the edits; None where only the model can tell.
        layers: names of the layers of the architecture, in order of execution: edits speak of
            these, and another instance may call them otherwise.
        in_code: names of layers at which a part of it has to be written in the code of the model,
            which calls them itself; ``apply_refinement`` refuses it and says what to write. It is
            told from names: no graph knows the code.
    """

    edits: tuple[Edit, ...]
    strategy: str
    source: str
    weights: str
    input_res: tuple[int, ...]
    encoded_res: tuple[int, ...] | None
    architecture: str
    before: Prediction
    after: Prediction | None
    layers: tuple[str, ...] = attrs.field(default=(), repr=False)
    in_code: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What the edits do, in one line."""
        return words_of(self.edits)

    @property
    def marked_words(self) -> str:
        """What the edits do, and where they need the code of the model, in one line."""
        if not self.in_code:
            return self.words
        first, *others = self.in_code
        more = f" and {len(others)} more" if others else ""
        return f"{self.words} (in code: {first}{more})"

    @property
    def compute_ratio(self) -> float | None:
        """How many times the compute of the original the edited network takes."""
        before = self.before.multiply_accumulates
        after = self.after.multiply_accumulates if self.after else None
        return after / before if before and after is not None else None

    def check(self, graph: EnrichedNetworkNode) -> None:
        """Make sure that the edits are for this graph.

        Raises:
            RefinementError: a ValueError, if it is that of another architecture.
        """
        if architecture_key(graph) != self.architecture:
            raise RefinementError(
                f"The refinement ({self.words}) was made for another architecture: "
                f"{self._difference(graph)}. Make it from a graph of this model, with "
                "suggest_refinements(graph, input_res)."
            )

    def _difference(self, graph: EnrichedNetworkNode) -> str:
        names = [node.name for node in graph.all_layers]
        for at, (then, now) in enumerate(zip(self.layers, names, strict=False), start=1):
            if _without_counter(then) != _without_counter(now):
                return f"layer {at} was {then!r}, and is {now!r} in this model"
        if self.layers and len(self.layers) != len(names):
            return f"it had {len(self.layers)} layers, and this model has {len(names)}"
        return "the names, kinds or windows of the layers differ"

    def edits_for(self, graph: EnrichedNetworkNode) -> tuple[Edit, ...]:
        """Return the edits with the names that layers have in a graph of the same architecture.

        Keras numbers layers that nobody named on and on, so that a second model of one function
        has other names. What stands at the same place is the same layer.

        Raises:
            RefinementError: a ValueError, if the graph is that of another architecture.
        """
        self.check(graph)
        names = tuple(node.name for node in graph.all_layers)
        if not self.layers or names == self.layers:
            return self.edits
        now = _names_by_place(self.layers, names)
        return tuple(renamed(one, now) for one in self.edits)

    def to_dict(self) -> dict[str, Any]:
        """Return the refinement as plain values that JSON can hold; an infinite size is None."""
        values = attrs.asdict(self)
        values["edits"] = [edit_to_dict(one) for one in self.edits]
        values["before"] = _prediction_to(self.before)
        values["after"] = self.after and _prediction_to(self.after)
        return {"format": FORMAT, "version": VERSION, **values}

    @classmethod
    def from_dict(cls, config: Any) -> Refinement:
        """Return the refinement that ``to_dict`` wrote.

        Raises:
            RefinementError: a ValueError, if it is anything else.
        """
        if not isinstance(config, Mapping) or config.get("format") != FORMAT:
            raise RefinementError(
                f"This is no refinement: {str(config)[:200]!r}; it must be an object with the "
                f"format {FORMAT!r}, as Refinement.save writes it."
            )
        if type(config.get("version")) is not int or config["version"] != VERSION:
            raise RefinementError(
                f"The refinement has version {config.get('version')!r}; this release reads version "
                f"{VERSION}. A newer release of rfa_toolbox may read it."
            )
        names = [field.name for field in attrs.fields(cls)]
        optional = {"layers", "in_code"}  # files of earlier releases lack them
        missing = [name for name in names if name not in config and name not in optional]
        if missing:
            raise RefinementError(f"The refinement lacks {missing!r}; it needs {names!r}.")
        values = {name: config[name] for name in names if name in config}
        values["edits"] = _edits_from(values["edits"])
        values["before"] = _prediction_from(values["before"])
        values["after"] = values["after"] and _prediction_from(values["after"])
        for name in ("strategy", "source", "weights", "architecture"):
            if not isinstance(values[name], str):
                raise RefinementError(f"The {name} of a refinement is {values[name]!r}, no text.")
        for name in optional:
            values[name] = _names_from(values.get(name, ()), name)
        values["input_res"] = _sizes_from(values["input_res"], "input_res")
        if values["encoded_res"] is not None:
            values["encoded_res"] = _sizes_from(values["encoded_res"], "encoded_res")
            if math.prod(values["encoded_res"]) > _MOST_PIXELS:
                raise RefinementError(
                    f"The encoded_res of a refinement is {values['encoded_res']}; images of more "
                    f"than {_MOST_PIXELS:,} pixels are a slip, and would take all memory."
                )
        return cls(**values)

    def to_json(self) -> str:
        """Return the refinement as the text of a JSON file.

        Raises:
            RefinementError: a ValueError, if arguments of a constructor are not plain values.
        """
        try:
            return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise RefinementError(
                f"The refinement ({self.words}) cannot be stored as JSON: {error}. Arguments of a "
                "constructor must be plain values: numbers, texts, lists of these."
            ) from error

    def save(self, path: str | Path) -> None:
        """Write the refinement to a file, as JSON.

        Raises:
            RefinementError: a ValueError, if arguments of a constructor are not plain values.
        """
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Refinement:
        """Read a refinement from a file.

        Raises:
            RefinementError: a ValueError, if the file holds anything else.
        """
        try:
            config = json.loads(Path(path).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise RefinementError(f"{str(path)!r} is no refinement: {error}.") from error
        return cls.from_dict(config)


def architecture_key(graph: EnrichedNetworkNode) -> str:
    """Return a text that is equal for graphs of one architecture.

    The size of the input may differ, the number of classes, and the numbers by which Keras tells
    layers apart that nobody named.

    >>> from rfa_toolbox.architectures.resnet import resnet18, resnet36
    >>> architecture_key(resnet18()) == architecture_key(resnet36())
    False
    """
    nodes = require_node(graph).all_layers
    index = {node: at for at, node in enumerate(nodes)}
    facts = [
        (
            _without_counter(node.name),
            node.layer_info.name,
            # A window that covers the map, or goes by its size, differs between input sizes.
            None if node.layer_info.resolution_dependent else str(node.layer_info.stride_size),
            node.layer_info.filters,
            [index[one] for one in node.predecessors],
        )
        for node in nodes
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


_COUNTER: Final = re.compile(r"_\d+(?=$|[/#])")


def _without_counter(name: str) -> str:
    """Return a name without the numbers that Keras puts behind names of layers and models."""
    return _COUNTER.sub("", name)


def _names_by_place(then: Sequence[str], now: Sequence[str]) -> dict[str, str]:
    """Return what layers, and the models that they are in, are called now, by their old names."""
    found: dict[str, str] = {}
    for old, new in zip(then, now, strict=False):
        outer, inner = old.split("/"), new.split("/")
        for depth in range(1, len(outer) + 1):
            found.setdefault("/".join(outer[:depth]), "/".join(inner[:depth]))
    return found


def refinement_of(
    graph: EnrichedNetworkNode,
    edits: Iterable[Edit],
    input_res: Resolution,
    strategy: str = "by hand",
    source: str = "",
    before: Prediction | None = None,
) -> Refinement:
    """Return a refinement with what it gives, predicted exactly.

    Args:
        graph: any node of the graph of the original.
        edits: the changes.
        input_res: resolution in pixels, one number or one per axis.
        strategy: which idea they follow.
        source: where that is from.
        before: what is known of the original already.

    Raises:
        RefinementError: a ValueError, if the edits do not fit the graph.

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> from rfa_toolbox.refinement import SetWindow
    >>> graph = resnet18()
    >>> found = refinement_of(graph, [SetWindow(graph.all_layers[1].name, stride=1)], 32)
    >>> found.before.resolution, found.after.resolution
    ((139, 139), (73, 73))
    """
    plain = unchanged(graph, input_res, before)
    return refined_further(plain, Editable(graph), edits, strategy, source)


def unchanged(
    graph: EnrichedNetworkNode, input_res: Resolution, before: Prediction | None = None
) -> Refinement:
    """Return the refinement that changes nothing: what all others of a graph have in common."""
    nodes = require_node(graph).all_layers
    encoded = next((one.encoded_resolution for one in nodes if one.encoded_resolution), None)
    known = predict(graph, input_res) if before is None else before
    size = resolution_of(nodes, input_res)
    key, names = architecture_key(graph), tuple(node.name for node in nodes)
    return Refinement((), "by hand", "", "kept", size, encoded, key, known, known, names)


def refined_further(
    plain: Refinement,
    network: Editable,
    edits: Iterable[Edit],
    strategy: str,
    source: str,
) -> Refinement:
    """Return a refinement of a graph, given the one that changes nothing."""
    several = tuple(edits)
    edited = network.nodes_with(several)
    kept = {node.name for node in edited}
    removed = [node for node in network.nodes if node.name not in kept]
    return attrs.evolve(
        plain,
        edits=several,
        strategy=strategy,
        source=source,
        weights=_weights_after(network, edited),
        after=_predicted(edited, plain.input_res),
        in_code=layers_in_code(network.nodes, several, removed),
    )


def _weights_after(network: Editable, edited: Iterable[EnrichedNetworkNode]) -> str:
    """Return what becomes of weights: "kept", "summed" or "new"."""
    pairs = [(network.by_name.get(node.name), node) for node in edited]
    if any(one is None and _has_weights(other) for one, other in pairs):
        return "new"  # copies of a block
    changed = [
        (one, other) for one, other in pairs if one is not None and _has_other_weights(one, other)
    ]
    if not changed:
        return "kept"
    return "summed" if all(_is_patch(one) and _is_patch(other) for one, other in changed) else "new"


def _has_weights(node: EnrichedNetworkNode) -> bool:
    if node.parameters is not None:
        return node.parameters > 0
    return node.layer_info.filters is not None and not is_pooling(node)


def _has_other_weights(node: EnrichedNetworkNode, edited: EnrichedNetworkNode) -> bool:
    if node.parameters is not None:
        return edited.parameters != node.parameters
    return _has_weights(node) and edited.layer_info.kernel_size != node.layer_info.kernel_size


def _is_patch(node: EnrichedNetworkNode) -> bool:
    layer = node.layer_info
    return bool(layer.kernel_size == layer.stride_size)


def _edits_from(value: Any) -> tuple[Edit, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise RefinementError(f"The edits of a refinement are {value!r}; they must be a list.")
    return tuple(edit_from_dict(one) for one in value)


def _names_from(value: Any, what: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise RefinementError(
            f"The {what} of a refinement are {str(value)[:200]}; they must be a list of names."
        )
    return tuple(value)


def _sizes_from(value: Any, what: str) -> tuple[int, ...]:
    """Return sizes in pixels, one per axis."""
    several = value if isinstance(value, list | tuple) else ()
    if not several or any(type(one) is not int or one < 1 for one in several):
        raise RefinementError(
            f"The {what} of a refinement is {value!r}; it must be a list of whole numbers of "
            "pixels, one per axis."
        )
    return tuple(several)


def _prediction_to(value: Prediction) -> dict[str, Any]:
    return attrs.asdict(value) | {name: listed(getattr(value, name)) for name in _SIZES}


_SIZES: Final = ("resolution", "layers_resolution", "largest_resolution")


def _prediction_from(value: Any) -> Prediction:
    names = {field.name for field in attrs.fields(Prediction)}
    if not isinstance(value, Mapping) or set(value) != names:
        raise RefinementError(
            f"A prediction of a refinement is {value!r}; it must be an object with {sorted(names)}."
        )
    sizes = {name: _maybe_infinite(value[name], name) for name in _SIZES}
    states = value["states"]
    if not isinstance(states, Mapping) or set(states) != set(_STATES):
        raise RefinementError(
            f"The states of a refinement are {states!r}; they must be an object with {_STATES!r}."
        )
    counts = {name: value[name] for name in ("parameters", "multiply_accumulates")}
    known = {name: one for name, one in counts.items() if one is not None}
    for name, one in {**known, **states}.items():
        if type(one) is not int or one < 0:
            raise RefinementError(
                f"The number of {name} of a refinement is {one!r}; it must be a whole number."
            )
    return Prediction(**{**value, **sizes})


def _maybe_infinite(value: Any, what: str) -> tuple[Size, ...]:
    """Return sizes in pixels, of which some may be infinite: None, or as earlier files have it."""
    if not isinstance(value, list | tuple):
        return _sizes_from(value, what)
    finite = _sizes_from([1 if one in (None, math.inf) else one for one in value], what)
    return tuple(
        math.inf if one in (None, math.inf) else size
        for one, size in zip(value, finite, strict=True)
    )
