"""Changes of a live Keras model: a new one is made of its edited configuration.

No framework is imported: a model is asked for its configuration, and its class makes the new one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rfa_toolbox.encodings.tensorflow_keras.ingest_architecture import create_graph_from_model
from rfa_toolbox.errors import RefinementError
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.refinement.live.changes import Change, Inserted, NewWindow, Removed, Repeated
from rfa_toolbox.refinement.live.weights import Weights, summed_patch
from rfa_toolbox.refinement.nodes import is_transposed

__all__ = ["LiveKerasModel"]


class LiveKerasModel:
    """A functional or sequential model that is being changed; the model itself stays as it is."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def graph(self) -> EnrichedNetworkNode:
        """Encode the model as it is now."""
        return create_graph_from_model(self.model)

    def other_mode(self) -> bool:
        """Say that a Keras model has the same layers in either mode."""
        return False

    def rebuild(self, arguments: Mapping[str, Any]) -> Weights:
        """Refuse: a Keras model does not know which function made it."""
        raise RefinementError(
            f"{self.model.name!r} would have to be made anew with {dict(arguments)!r}; a Keras "
            "model does not tell which function made it. Call that one with the new numbers."
        )

    def change(self, changes: Iterable[Change], nodes: Sequence[EnrichedNetworkNode]) -> Weights:
        """Make the model anew with some changes and the old weights; return what became of these.

        Raises:
            RefinementError: if the model has no place where something could be changed, or if
                Keras cannot make it again from its configuration.
        """
        config = _listed(self.model.get_config())
        _open_sizes(config, outermost=True)
        patches: dict[str, tuple[int, ...]] = {}
        poolings: dict[str, str] = {}
        for change in changes:
            if isinstance(change, NewWindow):
                _set_window(config, change.before, change.after)
                factor = summed_patch(change.before.layer_info, change.after.layer_info)
                if factor is not None:
                    patches[_layer_name(change.before)] = factor
            elif isinstance(change, Removed):
                for node in change.nodes:
                    _remove(config, _layer_name(node))
            elif isinstance(change, Repeated):
                _repeat(config, change, poolings)
            elif isinstance(change, Inserted):
                behind = change.behind.partition("#")[0]
                poolings[_insert(config, change, behind)] = behind
            # A dense layer that reads more features is built for them when the model is made.
        original, self.model = self.model, _made(self.model, config)
        return _transferred(original, self.model, patches)

    def finished(self, before: EnrichedNetworkNode, after: EnrichedNetworkNode) -> Any:
        """Return the new model; it is not compiled."""
        return self.model


def _made(model: Any, config: dict[str, Any]) -> Any:
    # Keras finds its own classes, of which a layer and an operation may share a name.
    classes = {
        type(layer).__name__: type(layer)
        for layer in _all_layers(model)
        if type(layer).__module__.partition(".")[0] not in {"keras", "tf_keras"}
    }
    try:
        return type(model).from_config(config, custom_objects=classes)
    except Exception as error:
        raise RefinementError(
            f"Keras cannot make {model.name!r} again with this refinement: {error} Where it is a "
            "layer of your own that it cannot make, register it with "
            "keras.saving.register_keras_serializable. Where shapes no longer fit (a Dense behind "
            "a Flatten, a table of positions), make the layer independent of the size of its map, "
            "such as by a GlobalAveragePooling2D in front of the Dense."
        ) from error


def _all_layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from _all_layers(layer)


# --- the configuration -----------------------------------------------------------------------


def _listed(value: Any) -> Any:
    """Return a copy of a configuration as JSON would give it back: with lists for tuples."""
    if isinstance(value, Mapping):
        return {key: _listed(one) for key, one in value.items()}
    return [_listed(one) for one in value] if isinstance(value, list | tuple) else value


def _open_sizes(config: dict[str, Any], outermost: bool = False) -> None:
    """Forget the sizes of maps, in nested models and of layers, which follow from the input."""
    layers = config.get("layers", [])
    config.pop("build_input_shape", None)
    for entry in layers:
        entry.pop("build_config", None)
        own = entry.get("config", {})
        if "layers" in own:
            _open_sizes(own)
        elif entry["class_name"] == "InputLayer" and not outermost:
            for key in ("batch_shape", "batch_input_shape"):
                shape = own.get(key)
                if shape and len(shape) > 3:
                    own[key] = [shape[0], *[None] * (len(shape) - 2), shape[-1]]
    if "input_layers" not in config and not outermost:
        config["layers"] = [one for one in layers if one["class_name"] != "InputLayer"]


def _layer_name(node: EnrichedNetworkNode) -> str:
    """Return the path of a layer: a layer that is called again has a number behind its name."""
    return node.name.partition("#")[0]


def _model_of(config: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """Return the configuration of the model that directly has a layer, and its name there."""
    *outer, last = name.split("/")
    for model in outer:
        entry = next((one for one in config["layers"] if _own_name(one) == model), None)
        if entry is None or "layers" not in entry["config"]:
            raise RefinementError(_no_layer(name))
        config = entry["config"]
    return config, last


def _entry_of(config: dict[str, Any], name: str) -> dict[str, Any]:
    model, last = _model_of(config, name)
    entry: dict[str, Any] | None = next(
        (one for one in model["layers"] if _own_name(one) == last), None
    )
    if entry is None:
        raise RefinementError(_no_layer(name))
    return entry


def _own_name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("name") or entry["config"].get("name"))


def _no_layer(name: str) -> str:
    return f"The model has no layer {name!r} of its own that could be changed."


def _set_window(
    config: dict[str, Any], before: EnrichedNetworkNode, after: EnrichedNetworkNode
) -> None:
    entry = _entry_of(config, _layer_name(before))
    own = entry["config"]
    old, new = before.layer_info, after.layer_info
    resizes = old.upsampling != new.upsampling and not is_transposed(old)
    for keys, one, other in (
        (("kernel_size", "pool_size"), old.kernel_size, new.kernel_size),
        (("strides",), old.stride_size, new.stride_size),
        (("dilation_rate",), old.dilation, new.dilation),
        (("strides",) if is_transposed(old) else ("size",), old.upsampling, new.upsampling),
    ):
        if one == other or (keys[0] == "kernel_size" and resizes):
            continue
        key = next((key for key in keys if key in own), None)
        if key is None or _per_axis(own[key], len(one)) != one:
            kind = entry["class_name"]
            raise RefinementError(
                f"{before.name!r} is a {kind}, whose configuration has no "
                f"{' or '.join(keys)} that could become {other}. Change the code of {kind} so that "
                "it takes it as an argument."
            )
        own[key] = list(other) if isinstance(own[key], list | tuple) else other[0]
    if set(new.stride_size) == {1} and own.get("padding") == "valid":
        _repair_padding(config, before, new.kernel_size)


def _per_axis(value: Any, axes: int) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,) * axes


def _repair_padding(
    config: dict[str, Any], node: EnrichedNetworkNode, kernel: Sequence[int]
) -> None:
    """Let padding in front of a layer that no longer strides keep the size of the map.

    Keras pads by one row less in front of strided layers where the map is even.
    """
    for before in node.predecessors:
        if before.layer_info.name.startswith("ZeroPadding") and len(before.successors) == 1:
            own = _entry_of(config, _layer_name(before))["config"]
            pairs = [[(size - 1) // 2, size // 2] for size in kernel]
            own["padding"] = pairs if len(pairs) > 1 else pairs[0]


# --- layers ----------------------------------------------------------------------------------


def _remove(config: dict[str, Any], path: str) -> None:
    """Take a layer out: what reads it reads what it reads."""
    model, name = _model_of(config, path)
    entry = _entry_of(config, path)
    sources = list(_histories(entry.get("inbound_nodes", [])))
    model["layers"].remove(entry)
    if "input_layers" not in model:  # a Sequential has an order, and no edges
        if not model["layers"] and "/" in path:
            _remove(config, path.rpartition("/")[0])
        return
    if len(sources) != 1:
        raise RefinementError(
            f"{path!r} reads {len(sources)} tensors, so it cannot be left out of the model."
        )
    for other in model["layers"]:
        for history in _histories(other.get("inbound_nodes", [])):
            if history[0] == name:
                history[:] = sources[0]
    for output in _outputs(model):
        if output[0] == name:
            output[:] = sources[0]


def _insert(config: dict[str, Any], change: Inserted, path: str) -> str:
    """Put a pooling in behind a layer, and return its path."""
    layer = change.node.layer_info
    model, behind = _model_of(config, path)
    if "Pooling" not in layer.name or "Global" in layer.name:
        raise RefinementError(
            f"{change.node.name!r} is a {layer.name!r}; only MaxPooling and AveragePooling are put "
            "into a model."
        )
    taken = {_own_name(one) for one in model["layers"]}
    name = next(
        label
        for label in (f"{behind}_pool", *(f"{behind}_pool{number}" for number in range(2, 1000)))
        if label not in taken
    )
    padded = any(side not in {None, (0, 0)} for side in layer.padding or ())
    entry: dict[str, Any] = {
        "module": "keras.layers",
        "class_name": layer.name,
        "config": {
            "name": name,
            "pool_size": list(layer.kernel_size),
            "strides": list(layer.stride_size),
            "padding": "same" if padded else "valid",
        },
        "registered_name": None,
        "name": name,
    }
    place = next(place for place, one in enumerate(model["layers"]) if _own_name(one) == behind)
    if "input_layers" in model:
        entry["inbound_nodes"] = _redirected(model, behind, name)
    model["layers"].insert(place + 1, entry)
    return path.removesuffix(behind) + name


def _repeat(config: dict[str, Any], change: Repeated, poolings: Mapping[str, str]) -> None:
    """Put copies of a block in behind it, with the poolings that were put in behind its layers."""
    block = change.block
    end = _layer_name(block.last)
    model, last = _model_of(config, end)
    inside = [new for new, behind in poolings.items() if behind in block.units and behind != end]
    units = [*block.units, *inside]
    entries = [_entry_of(config, unit) for unit in units]
    if any(one not in model["layers"] or len(one.get("inbound_nodes", [])) > 1 for one in entries):
        raise RefinementError(
            f"The block {block.name!r} cannot stand there {change.times} times: its layers are not "
            "all in one model, or one of them is called in several places."
        )
    readers = [one for one in model["layers"] if one not in entries]
    behind = {_layer_name(block.front).rpartition("/")[2]: last}
    place = max(model["layers"].index(one) for one in entries) + 1
    for number in range(2, change.times + 1):
        names = {
            _own_name(one): block.copy_of_unit(unit, number).rpartition("/")[2]
            for one, unit in zip(entries, units, strict=True)
        }
        for entry in sorted(entries, key=model["layers"].index):
            new = copy.deepcopy(entry)
            new["name"] = new["config"]["name"] = names[_own_name(entry)]
            _rename(_histories(new.get("inbound_nodes", [])), {**behind, **names})
            model["layers"].insert(place, new)
            place += 1
        behind = dict.fromkeys(behind, names[last])
    several = (one.get("inbound_nodes", []) for one in readers)
    _rename(_histories(list(several)), {last: names[last]})
    _rename(_outputs(model), {last: names[last]})


def _rename(histories: Iterable[list[Any]], names: Mapping[str, str]) -> None:
    for history in histories:
        history[0] = names.get(history[0], history[0])


def _redirected(model: dict[str, Any], behind: str, name: str) -> list[Any]:
    """Let what reads a layer read a new one, and return how the new one reads the layer."""
    inbound: list[Any] | None = None
    for other in model["layers"]:
        for node in other.get("inbound_nodes", []):
            for tensor in _tensors(node):
                history = tensor["config"]["keras_history"]
                if history[0] == behind:
                    inbound = inbound or [{"args": [copy.deepcopy(tensor)], "kwargs": {}}]
                    history[:] = [name, 0, 0]
    if inbound is None:
        raise RefinementError(f"No layer reads {behind!r}, so nothing can be put in behind it.")
    return inbound


def _tensors(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the tensors among the arguments of a call, at any depth."""
    if isinstance(value, Mapping):
        if value.get("class_name") == "__keras_tensor__":
            yield value  # type: ignore[misc]
        else:
            for one in value.values():
                yield from _tensors(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)


def _histories(value: Any) -> Iterator[list[Any]]:
    for tensor in _tensors(value):
        yield tensor["config"]["keras_history"]


def _outputs(model: dict[str, Any]) -> list[list[Any]]:
    outputs = model.get("output_layers", [])
    if outputs and isinstance(outputs[0], str):
        return [outputs]
    return [one for one in outputs if isinstance(one, list)]


# --- weights ---------------------------------------------------------------------------------


def _transferred(
    model: Any, edited: Any, patches: Mapping[str, tuple[int, ...]], outer: str = ""
) -> Weights:
    """Give the new layers the weights of those of the same name, wherever the shapes are equal."""
    found = Weights()
    old = {layer.name: layer for layer in model.layers}
    for layer in edited.layers:
        before, name = old.get(layer.name), f"{outer}{layer.name}"
        if before is None:
            if layer.weights:
                found.initialised.append(name)
            continue
        if hasattr(layer, "layers"):
            inner = _transferred(before, layer, patches, f"{name}/")
            found.initialised += inner.initialised
            found.summed += inner.summed
            continue
        weights = before.get_weights()
        wanted = [tuple(one.shape) for one in layer.weights]
        if name in patches:
            weights = [_summed(one, patches[name]) if one.ndim > 2 else one for one in weights]
            found.summed.append(name)
        if [one.shape for one in weights] == wanted:
            layer.set_weights(weights)
        elif wanted:
            found.initialised.append(name)
        layer.trainable = before.trainable
    return found


def _summed(weight: np.ndarray, factor: Sequence[int]) -> np.ndarray:
    """Add up the weights of a patch that come to lie on one pixel of a coarser image."""
    shape: list[int] = []
    for size, by in zip(weight.shape, factor, strict=False):
        shape += [size // by, by]
    rest = weight.shape[len(factor) :]
    summed: np.ndarray = weight.reshape(*shape, *rest).sum(tuple(range(1, len(shape), 2)))
    return summed
