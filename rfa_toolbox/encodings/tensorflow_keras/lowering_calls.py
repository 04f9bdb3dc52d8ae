"""From one call to operations: what stands around a layer, and what nobody knows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from rfa_toolbox.encodings.tensorflow_keras.lowering import Call, Lowering
from rfa_toolbox.encodings.tensorflow_keras.lowering_layers import LAYERS, convolution, softmaxed
from rfa_toolbox.encodings.tensorflow_keras.lowering_operations import OPERATIONS, canonical
from rfa_toolbox.encodings.tensorflow_keras.lowering_rarer import WITHOUT_RULE
from rfa_toolbox.encodings.tensorflow_keras.model_json import CallRecord, ModelRecord, replaced
from rfa_toolbox.operators.record import Record, TensorRef

__all__ = ["lower_call", "lowered"]


def lowered(
    model: ModelRecord,
    describe: Callable[[CallRecord, Sequence[tuple[int, ...]]], Any] = lambda call, shapes: None,
) -> Record:
    """Return the record of a model.

    Args:
        model: its calls, as :func:`.model_json.read_model` returns them.
        describe: gets a call and the shapes that it reads, and returns the ``LayerDefinition`` of a
            user's handler, or None where there is none.
    """
    return Lowering(model, lower_call, describe).record()


def lower_call(call: Call) -> list[TensorRef]:
    """Return the outputs of a call, whose operations are added to the record."""
    record = call.record
    depth = sum(wrapper.kind == "TimeDistributed" for wrapper in record.wrappers)
    leading = call.x.shape[: depth + 1]
    if depth:
        call = _merged(call, depth)
    if record.operation:
        rule = OPERATIONS.get(canonical(call.kind), _unknown)
    else:
        rule = LAYERS.get(call.kind, _unknown) if record.known or call.kind in LAYERS else _unknown
    made = rule(call)
    outputs = made if isinstance(made, list) else [made]
    if not record.operation and outputs:
        outputs[0] = _activated(call, outputs[0])
    if not record.known and rule is not _unknown:
        reason = f"the wrapper {record.wrappers[0].kind!r} is not known; what it holds was read as "
        outputs[0] = _marked(call, outputs[0], f"{reason}if it were not there")
    if depth:
        outputs = [call.reshaped(one, (*leading, *one.shape[1:])) for one in outputs]
    return outputs


def _merged(call: Call, depth: int) -> Call:
    """Return a call that sees its first dimensions as one, as TimeDistributed does."""
    changed = {
        one: call.reshaped(one, (math.prod(one.shape[: depth + 1]), *one.shape[depth + 1 :]))
        for one in dict.fromkeys(call.tensors)
        if len(one.shape) > depth
    }

    def merged(tensor: TensorRef) -> TensorRef:
        return changed.get(tensor, tensor)

    return attrs.evolve(
        call,
        tensors=[*map(merged, call.tensors)],
        arguments=tuple(replaced(call.arguments, TensorRef, merged)),
        keywords=replaced(call.keywords, TensorRef, merged),
    )


def _marked(call: Call, tensor: TensorRef, reason: str) -> TensorRef:
    return call.emit("unknown", tensor.shape, input=tensor, reason=reason)


# --- what a layer does behind ----------------------------------------------------------------


def _activated(call: Call, tensor: TensorRef) -> TensorRef:
    """Return a tensor behind the activation in the configuration of a layer.

    Nearly all activations are neutral. A softmax works on one dimension, the last one unless it
    says otherwise, whatever the layer takes for channels.
    """
    for name in ("activation", "recurrent_activation"):
        kind, axis = _activation(call.record.config.get(name))
        if kind in ("softmax", "logsoftmax", "sparsemax"):
            return softmaxed(call, tensor, axis)
        if kind == "glu":
            place = int(axis) % len(tensor.shape)
            shape = list(tensor.shape)
            shape[place] //= 2
            return call.emit("glu", shape, input=tensor, dim=place)
    return tensor


def _activation(value: Any) -> tuple[str, Any]:
    """Return the name of an activation and its axis, from any form in which Keras stores it."""
    axis: Any = -1
    if isinstance(value, Mapping):
        config = value.get("config")
        if isinstance(config, Mapping):
            axis = config.get("axis", -1)
            value = config.get("name") if value.get("class_name") == "function" else value
        elif isinstance(config, str):
            value = config
    if isinstance(value, Mapping):
        value = value.get("class_name")
    return str(value).rsplit(">", 1)[-1].rsplit(".", 1)[-1].replace("_", "").lower(), axis


_CONVOLUTION_KEYS = {"kernel_size", "strides", "padding", "data_format", "dilation_rate"}


def _unknown(call: Call) -> TensorRef:
    """Let every position see itself; a class made from a convolution is read as one."""
    kind = f"{'operation' if call.record.operation else 'layer'} '{call.kind}'"
    if call.record.reason:
        return call.unknown(
            f"the {kind} is not known, and its call could not be followed "
            f"({call.record.reason}); counted as neutral"
        )
    if call.kind == "Lambda":
        return call.unknown("a Lambda holds Python code, which is not run; counted as neutral")
    if not call.record.known and _CONVOLUTION_KEYS.issubset(call.record.config):
        reason = f"the {kind} is not known; it was read as a convolution, as it has the "
        return _marked(call, convolution(call), f"{reason}configuration of one")
    why = WITHOUT_RULE.get(canonical(call.kind)) if call.record.operation else None
    if why is not None:
        return call.unknown(f"the {kind} has no rule and counts as neutral: {why}")
    return call.unknown(f"the {kind} is not known and counts as neutral")
