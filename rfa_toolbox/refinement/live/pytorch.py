"""Changes of a live PyTorch model: always those of a copy."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import nn

from rfa_toolbox.encodings.pytorch.ingest_architecture import (
    CaptureMode,
    create_graph_from_model,
    unwrapped,
)
from rfa_toolbox.encodings.pytorch.inputs import DEFAULT_INPUT
from rfa_toolbox.errors import CaptureError, RefinementError
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.refinement.live.changes import (
    Change,
    Inserted,
    NewInputs,
    NewWindow,
    Removed,
    Repeated,
)
from rfa_toolbox.refinement.live.constructors import rebuilt
from rfa_toolbox.refinement.live.weights import Weights, summed_patch
from rfa_toolbox.refinement.nodes import is_inside

__all__ = ["LivePyTorchModel"]


class LivePyTorchModel:
    """A copy of a model that is being changed; the model itself stays as it is.

    Its graphs are those of eval mode, so that a refinement fits a model in either mode.

    Attributes:
        model: the copy.
    """

    def __init__(
        self, model: nn.Module, input_res: Any, size: tuple[int, ...] | None = None
    ) -> None:
        original = unwrapped(model)
        self.model = _copied(original)
        self._modes = {name: one.training for name, one in original.named_modules()}
        self._way: tuple[Any, CaptureMode] | None = None
        self._inputs = [DEFAULT_INPUT if input_res is None else input_res]
        if input_res is None and size is not None:
            self._inputs = [(1, channels, *size) for channels in _channels_of(original)]
        self.model.eval()

    def other_mode(self) -> bool:
        """Go from eval mode to that of the original; return whether that is another one."""
        self._restore_modes()
        return any(self._modes.values())

    def rebuild(self, arguments: Mapping[str, Any]) -> Weights:
        """Make the model anew with other arguments; return what became of its weights."""
        training = any(one.training for one in self.model.modules())
        self.model, weights = rebuilt(self.model, arguments)
        self.model.train(training)
        return weights

    def graph(self) -> EnrichedNetworkNode:
        """Encode the model as it is now, always in the way that was possible at first."""
        with _without_hooks(self.model):
            if self._way is not None:
                return self._encoded(*self._way)
            *others, last = [(one, way) for way in _CAPTURES for one in self._inputs]
            for way in others:
                with contextlib.suppress(CaptureError):
                    return self._encoded(*way)
            return self._encoded(*last)

    def _encoded(self, image: Any, capture: CaptureMode) -> EnrichedNetworkNode:
        graph = create_graph_from_model(self.model, input_res=image, capture=capture)
        self._way = image, capture
        return graph

    def change(self, changes: Iterable[Change], nodes: Sequence[EnrichedNetworkNode]) -> Weights:
        """Make some changes, and return what became of the weights.

        Raises:
            RefinementError: if the model has no place where something could be changed.
        """
        weights = Weights()
        for change in changes:
            if isinstance(change, NewWindow):
                _set_window(self.model, change.before, change.after, weights)
            elif isinstance(change, NewInputs):
                _set_inputs(self.model, change.before, change.after, weights)
            elif isinstance(change, Removed):
                _remove(self.model, change.nodes, nodes)
            elif isinstance(change, Repeated):
                _repeat(self.model, change, weights)
            else:
                _insert(self.model, change, nodes)
        return weights

    def finished(self, before: EnrichedNetworkNode, after: EnrichedNetworkNode) -> nn.Module:
        """Return the model in the mode of the original, with what it says of its own strides."""
        self._restore_modes()
        _correct_feature_info(self.model, before, after)
        return self.model

    def _restore_modes(self) -> None:
        for name, module in self.model.named_modules():
            module.training = self._modes.get(name, self._modes[""])


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise RefinementError(
            f"A {type(model).__name__} cannot be copied, and a refinement changes a copy: "
            f"{type(error).__name__}: {error} Where it is weight_norm of torch.nn.utils, that of "
            "torch.nn.utils.parametrizations can be copied."
        ) from error


_COLOURS = 3
_CAPTURES: tuple[CaptureMode, CaptureMode] = ("meta", "auto")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


@contextlib.contextmanager
def _without_hooks(model: nn.Module) -> Iterator[None]:
    """Do not call what a user hung into a model; PyTorch's own hooks make weights, and stay."""
    known = [(one, name, getattr(one, name)) for one in model.modules() for name in _HOOKS]
    for module, name, hooks in known:
        own = [(number, hook) for number, hook in hooks.items() if _is_of_torch(hook)]
        setattr(module, name, OrderedDict(own))
    try:
        yield
    finally:
        for module, name, hooks in known:
            setattr(module, name, hooks)


def _is_of_torch(hook: Any) -> bool:
    place: str = getattr(getattr(hook, "func", hook), "__module__", None) or ""
    return place.partition(".")[0] == "torch"


def _channels_of(model: nn.Module) -> list[int]:
    """Return how many channels the image of a model may have, the likeliest last.

    They are those that its first layer takes, unless the image is put into channels before.
    """
    several = (getattr(one, "in_channels", None) for one in model.modules())
    taken = next((one for one in several if isinstance(one, int)), _COLOURS)
    return [taken] if taken <= _COLOURS else [_COLOURS, taken]


def _correct_feature_info(
    model: nn.Module, before: EnrichedNetworkNode, after: EnrichedNetworkNode
) -> None:
    """Let timm's ``feature_info`` say by how much the maps are smaller than the image now."""
    entries = getattr(model, "feature_info", None)
    entries = getattr(entries, "info", entries)
    if not isinstance(entries, list):
        return
    for entry in entries:
        if isinstance(entry, dict) and {"module", "reduction"} <= entry.keys():
            jumps = [_jump_behind(graph, entry["module"]) for graph in (before, after)]
            if None not in jumps and jumps[0] != jumps[1]:
                entry["reduction"] = entry["reduction"] * jumps[1] // jumps[0]


def _jump_behind(graph: EnrichedNetworkNode, path: str) -> Any:
    """Return the distance in pixels between units behind a module, on the first axis."""
    inside = [node for node in graph.all_layers if is_inside(node.module_path, path)]
    if not inside:
        return None
    jump = inside[-1].get_maximum_scale_factor()
    return jump[0] if isinstance(jump, tuple) else jump


# --- windows ---------------------------------------------------------------------------------

_ATTRIBUTES: dict[str, Callable[[EnrichedNetworkNode], Any]] = {
    "kernel_size": lambda node: node.layer_info.kernel_size,
    "stride": lambda node: node.layer_info.stride_size,
    "dilation": lambda node: node.layer_info.dilation,
}


def _set_window(
    model: nn.Module, before: EnrichedNetworkNode, after: EnrichedNetworkNode, weights: Weights
) -> None:
    module = _module_of(model, before)
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        _set_transposed(module, before, after, weights)
        return
    if before.layer_info.upsampling != after.layer_info.upsampling:
        _set_upsampling(module, before, after)
        return
    for name, of in _ATTRIBUTES.items():
        if of(before) != of(after):
            _set(module, name, of(before), of(after), before)
    moved = tuple(
        new - old
        for old, new in zip(
            _begins(before.layer_info.padding), _begins(after.layer_info.padding), strict=True
        )
    )
    if any(moved):
        _set_padding(module, moved, before)
    kernel = after.layer_info.kernel_size
    weight = getattr(module, "weight", None)
    if before.layer_info.kernel_size != kernel and isinstance(weight, torch.Tensor):
        _set_weight(module, before, after, weights)


def _set(module: nn.Module, name: str, old: Any, new: Any, node: EnrichedNetworkNode) -> None:
    """Set an attribute that says what the graph says, in the form that it has."""
    value = getattr(module, name, None)
    if value is None or _per_axis(value, len(old)) != old:
        raise RefinementError(_no_attribute(module, name, node, new))
    setattr(module, name, new[0] if isinstance(value, int) and len(set(new)) == 1 else new)


def _per_axis(value: Any, axes: int) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,) * axes


def _begins(padding: Any) -> tuple[int, ...]:
    return tuple(side[0] if side else 0 for side in padding)


def _set_padding(module: nn.Module, moved: Sequence[int], node: EnrichedNetworkNode) -> None:
    """Move the padding that is declared, which may be more than the one that windows reach."""
    value = getattr(module, "padding", None)
    if value is None or isinstance(value, str):
        if isinstance(value, str):
            return  # "same" follows the kernel by itself
        raise RefinementError(_no_attribute(module, "padding", node, tuple(moved)))
    if len(tuple(_per_axis(value, len(moved)))) != len(moved):
        raise RefinementError(_no_attribute(module, "padding", node, tuple(moved)))
    declared = tuple(
        old + step for old, step in zip(_per_axis(value, len(moved)), moved, strict=True)
    )
    same = isinstance(value, int) and len(set(declared)) == 1
    module.padding = declared[0] if same else declared  # type: ignore[assignment]
    again = getattr(module, "_reversed_padding_repeated_twice", None)
    if again is not None:
        module._reversed_padding_repeated_twice = [  # type: ignore[assignment]
            one for side in reversed(declared) for one in (side, side)
        ]


def _set_upsampling(
    module: nn.Module, before: EnrichedNetworkNode, after: EnrichedNetworkNode
) -> None:
    value = getattr(module, "scale_factor", None)
    old, new = before.layer_info.upsampling, after.layer_info.upsampling
    if value is None or tuple(map(float, _per_axis(value, len(old)))) != tuple(map(float, old)):
        raise RefinementError(_no_attribute(module, "scale_factor", before, new))
    same = not isinstance(value, tuple | list) and len(set(new)) == 1
    factor: Any = type(value)(new[0]) if same else tuple(map(float, new))
    module.scale_factor = factor


def _set_transposed(
    module: nn.modules.conv._ConvTransposeNd,
    before: EnrichedNetworkNode,
    after: EnrichedNetworkNode,
    weights: Weights,
) -> None:
    """Set the stride of a transposed convolution, which is the up-sampling of its node."""
    old, new = before.layer_info, after.layer_info
    _set(module, "stride", old.upsampling, new.upsampling, before)
    room = zip(new.upsampling, module.dilation, strict=True)
    module.output_padding = tuple(
        min(more, max(one) - 1) for more, one in zip(module.output_padding, room, strict=True)
    )
    if old.kernel_size != new.kernel_size:
        _set(module, "kernel_size", old.kernel_size, new.kernel_size, before)
        _set_weight(module, before, after, weights)


def _set_weight(
    module: nn.Module, before: EnrichedNetworkNode, after: EnrichedNetworkNode, weights: Weights
) -> None:
    """Give a convolution the weights of another kernel: summed for patches, else new ones."""
    weight = module._parameters.get("weight")
    if weight is None:
        raise RefinementError(
            f"The kernel of {before.name!r} cannot become {after.layer_info.kernel_size}: the "
            f"weight of this {type(module).__name__} is made of others (such as weight_norm). "
            "Fold it into one parameter first: torch.nn.utils.parametrize.remove_parametrizations."
        )
    kernel = after.layer_info.kernel_size
    summed = summed_patch(before.layer_info, after.layer_info)
    with torch.no_grad():
        if summed is not None:
            new = _summed(weight, kernel)
            weights.summed.append(before.name)
        else:
            new = weight.new_empty((*weight.shape[:2], *kernel))
            weights.initialised.append(before.name)
    module.weight = nn.Parameter(new, weight.requires_grad)
    if summed is None:
        _initialise(module, before)


def _summed(weight: torch.Tensor, kernel: Sequence[int]) -> torch.Tensor:
    """Add up the weights of a patch that come to lie on one pixel of a coarser image."""
    shape: list[int] = list(weight.shape[:2])
    for old, new in zip(weight.shape[2:], kernel, strict=True):
        shape += [new, old // new]
    return weight.reshape(shape).sum(tuple(range(3, len(shape), 2)))


def _initialise(module: nn.Module, node: EnrichedNetworkNode) -> None:
    """Draw a new weight as the module itself does, and leave its bias as it is."""
    reset = getattr(module, "reset_parameters", None)
    if reset is None:
        raise RefinementError(
            f"The layer {node.name!r} needs new weights, and {type(module).__name__} has no "
            "reset_parameters() to draw them with."
        )
    bias = module._parameters.get("bias")
    kept = None if bias is None else bias.detach().clone()
    reset()
    if bias is not None and kept is not None:
        with torch.no_grad():
            bias.copy_(kept)


def _set_inputs(
    model: nn.Module, before: EnrichedNetworkNode, after: EnrichedNetworkNode, weights: Weights
) -> None:
    """Let a layer of the head read another number of features."""
    module = _module_of(model, before)
    if before.parameters and after.parameters is not None:
        ratio = _ratio_of_features(module, before.parameters, after.parameters)
        if isinstance(module, nn.Linear | _CONVOLUTIONS) and ratio is not None:
            _read_features(module, ratio)
            _initialise(module, before)
            weights.initialised.append(before.name)
            return
        if isinstance(module, _NORMS) and ratio is not None:
            _norm_features(module, ratio)
            weights.initialised.append(before.name)
            return
    raise RefinementError(
        f"The layer {before.name!r} ({type(module).__name__}) would have to read another "
        "number of features; only dense layers, convolutions and norms of torch.nn are made anew."
    )


_CONVOLUTIONS = nn.Conv1d | nn.Conv2d | nn.Conv3d
_NORMS = nn.LayerNorm | nn.GroupNorm | nn.modules.batchnorm._NormBase


def _ratio_of_features(module: nn.Module, before: int, after: int) -> Fraction | None:
    """Return how many times the features a layer reads, given its parameters before and after."""
    bias = module._parameters.get("bias")
    own = 0 if bias is None or isinstance(module, _NORMS) else bias.numel()
    ratio = Fraction(after - own, before - own)
    grouped = getattr(module, "groups", 1) > 1
    over_places = len(getattr(module, "normalized_shape", ())) > 1
    return None if grouped or over_places or ratio <= 0 else ratio


def _read_features(module: Any, ratio: Fraction) -> None:
    """Give a dense layer or a convolution room for the weights of other features."""
    old = module.weight
    outputs, features, *kernel = old.shape
    wanted = int(features * ratio)
    module.weight = nn.Parameter(old.new_empty((outputs, wanted, *kernel)), old.requires_grad)
    setattr(module, "in_features" if isinstance(module, nn.Linear) else "in_channels", wanted)


def _norm_features(module: Any, ratio: Fraction) -> None:
    """Give a norm as many features as it reads, with the numbers that it begins with."""
    for name, old in (*module._parameters.items(), *module._buffers.items()):
        if old is not None and old.ndim == 1:
            new = old.new_empty(int(len(old) * ratio))
            made = nn.Parameter(new, old.requires_grad) if name in module._parameters else new
            setattr(module, name, made)
    for name in ("num_features", "num_channels"):
        if hasattr(module, name):
            setattr(module, name, int(getattr(module, name) * ratio))
    if isinstance(module, nn.LayerNorm):
        module.normalized_shape = (int(module.normalized_shape[0] * ratio),)
    module.reset_parameters()


# --- layers ----------------------------------------------------------------------------------


def _remove(
    model: nn.Module,
    removed: Sequence[EnrichedNetworkNode],
    nodes: Sequence[EnrichedNetworkNode],
) -> None:
    """Take out the modules all of whose layers are removed."""
    gone = set(removed)
    reached: set[EnrichedNetworkNode] = set()
    inside = _nodes_by_module(model, nodes)
    for path, own in inside.items():  # outer modules come first
        if path and own and gone.issuperset(own) and not reached.issuperset(own):
            reached.update(own)
            _take_out(model, path)
    rest = [node for node in removed if node not in reached]
    if rest:
        raise RefinementError(
            f"The layer {rest[0].name!r} is written in the code of "
            f"{_where(_module_of(model, rest[0]))} beside others that stay, so it cannot be "
            "taken out of the model. Take it out of that code."
        )


def _nodes_by_module(
    model: nn.Module, nodes: Sequence[EnrichedNetworkNode]
) -> dict[str, list[EnrichedNetworkNode]]:
    inside: dict[str, list[EnrichedNetworkNode]] = {path: [] for path, _ in model.named_modules()}
    for node in nodes:
        for path in _and_parents(node.module_path):
            if path in inside:
                inside[path].append(node)
    return inside


def _and_parents(path: str | None) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""


def _take_out(model: nn.Module, path: str) -> None:
    """Leave a module out of a Sequential, so that the others keep their names; else bridge it."""
    parent, name = _parent_of(model, path)
    if isinstance(parent, nn.Sequential) and len(parent) > 1:
        del parent._modules[name]
    else:
        parent._modules[name] = nn.Identity()


def _parent_of(model: nn.Module, path: str) -> tuple[nn.Module, str]:
    outer, _, name = path.rpartition(".")
    return model.get_submodule(outer), name


def _insert(model: nn.Module, change: Inserted, nodes: Sequence[EnrichedNetworkNode]) -> None:
    """Put a pooling in behind a layer: into the Sequential that the layer is in."""
    behind = next((node for node in nodes if node.name == change.behind), None)
    pooling = _pooling_like(change.node)
    if behind is None or behind.module_path is None:
        raise RefinementError(
            f"{change.node.name!r} would have to stand behind {change.behind!r}, which is no "
            "layer of the model."
        )
    path = behind.module_path
    for inner in _and_parents(change.outside or path):
        if not inner or any(is_inside(one.module_path, inner) for one in behind.successors):
            break
        parent, name = _parent_of(model, inner)
        if isinstance(parent, nn.Sequential) and name in parent._modules:
            labels = (f"{name}_pool", *(f"{name}_pool{number}" for number in range(2, 1000)))
            _put_behind(
                parent, name, pooling, next(one for one in labels if one not in parent._modules)
            )
            return
    raise RefinementError(
        f"{change.node.name!r} would have to stand behind {change.behind!r}, which is in no "
        f"Sequential but in the code of {_where(_caller_of(model, behind))}. Write it there."
    )


def _put_behind(parent: nn.Module, name: str, module: nn.Module | None, label: str) -> None:
    """Put a module in behind another one; all the others keep their names, and so their weights."""
    children = list(parent._modules.items())
    place = next(place for place, (one, _) in enumerate(children) if one == name)
    children.insert(place + 1, (label, module))
    parent._modules.clear()
    parent._modules.update(children)


def _repeat(model: nn.Module, change: Repeated, weights: Weights) -> None:
    """Put copies of a block in behind it, with weights of their own."""
    block = change.block
    places = [_parent_of(model, unit) for unit in block.units]
    parent = places[0][0]
    names = [name for _, name in places]
    if not _is_row(parent, names) or any(one is not parent for one, _ in places):
        raise RefinementError(
            f"The block {block.name!r} cannot stand there {change.times} times: it is no module of "
            f"a Sequential, but written in the code of {_where(parent)}. Write it there."
        )
    behind = names[-1]
    for number in range(2, change.times + 1):
        for unit, name in zip(block.units, names, strict=True):
            new = copy.deepcopy(parent._modules[name])
            path = block.copy_of_unit(unit, number)
            label = path.rpartition(".")[2]
            _draw_anew(new, path, weights)
            _put_behind(parent, behind, new, label)
            behind = label


def _is_row(parent: nn.Module, names: Sequence[str]) -> bool:
    """Whether some modules stand one behind the other where nothing but their order counts."""
    children = list(parent._modules)
    if not isinstance(parent, nn.Sequential | nn.ModuleList) or names[0] not in children:
        return False
    first = children.index(names[0])
    return children[first : first + len(names)] == list(names)


def _draw_anew(module: nn.Module | None, path: str, weights: Weights) -> None:
    """Give all layers of a module new weights, as they draw them themselves."""
    if module is None:
        return
    for name, one in module.named_modules():
        reset = getattr(one, "reset_parameters", None)
        if callable(reset):
            reset()
        if one._parameters:
            weights.initialised.append(f"{path}.{name}" if name else path)


def _pooling_like(node: EnrichedNetworkNode) -> nn.Module:
    layer = node.layer_info
    kind = getattr(nn, layer.name, None)
    poolings = (nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd)
    if not (isinstance(kind, type) and issubclass(kind, poolings)):
        raise RefinementError(
            f"{node.name!r} is a {layer.name!r}; only max and average pooling of torch.nn are put "
            "into a model."
        )
    return kind(layer.kernel_size, layer.stride_size, padding=_begins(layer.padding))


# --- what cannot be changed ------------------------------------------------------------------


def _caller_of(model: nn.Module, node: EnrichedNetworkNode) -> nn.Module:
    """Return the module in whose code a layer is called: no Sequential, which has none."""
    path = node.module_path or ""
    is_module = node.name.partition("#")[0] == path
    several = [*_and_parents(path)][is_module and path != "" :]
    modules = [model.get_submodule(one) for one in several]
    return next((one for one in modules if not isinstance(one, nn.Sequential)), model)


def _module_of(model: nn.Module, node: EnrichedNetworkNode) -> nn.Module:
    return model.get_submodule(node.module_path or "")


def _where(module: nn.Module) -> str:
    """Name the class of a module, and the file in which its forward() is."""
    kind = type(module).__name__
    try:
        return f"{kind}.forward() ({inspect.getsourcefile(type(module))})"
    except (TypeError, OSError):  # classes of an interactive session have no file
        return f"{kind}.forward()"


def _no_attribute(module: nn.Module, name: str, node: EnrichedNetworkNode, new: Any) -> str:
    kind = type(module).__name__
    if node.name.partition("#")[0] != node.module_path:
        return (
            f"The {name} of {node.name!r} cannot become {new} from outside: it is written in the "
            f"code of {_where(module)}, as an argument of {node.layer_info.name}. Make it a module "
            "there, such as self.pool = torch.nn.MaxPool2d(...), call that in forward(), and "
            "refine again; or write the new number in that line."
        )
    if isinstance(module, _CONVOLUTIONS):
        return (
            f"The {name} of {node.name!r} cannot become {new}: its own is "
            f"{getattr(module, name)!r}, and it does more to the image because code in front of it "
            "puts positions into channels. Change that code."
        )
    return (
        f"The {name} of {node.name!r} cannot become {new}: it is a {kind}, whose attribute "
        f"{name!r} is {getattr(module, name, None)!r}. Change the code of {_where(module)} so that "
        f"it reads {name} from an attribute."
    )
