"""Operators of PyTorch's compiled form, aten, under the names and arguments of its functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rfa_toolbox.encodings.pytorch.signatures import bind, canonical_name
from rfa_toolbox.operators.record import TensorRef

__all__ = ["normalised"]


def normalised(
    spelled: str, values: list[Any], names: Sequence[str] = ()
) -> tuple[str, dict[str, Any]]:
    """Return an operator under the name and with the arguments of its function.

    ``names`` are those that its schema gives the arguments.
    """
    name = canonical_name(spelled)
    if "::" in name:
        return name, bind(name, values, {}, names)
    if name.startswith(("upsample_", "_upsample_")):
        return "interpolate", _resizing(name, values)
    if name in ("batch_norm", "instance_norm"):  # weights come before what is kept of batches
        return name, bind(name, (values[0], *values[3:5]), {})
    if name == "native_group_norm":
        return "group_norm", {"input": values[0], "num_groups": values[6]}
    if name.startswith("_scaled_dot_product") and names:
        return "scaled_dot_product_attention", _attention(dict(zip(names, values, strict=False)))
    if name == "index_put":
        return "setitem", {"input": values[0], "index": _index(values[1]), "value": values[2]}
    if name == "embedding":
        return name, {"input": values[1], "weight": values[0]}
    if name in ("convolution", "_convolution_mode"):
        arguments = bind(name, values, {})
        weight = arguments.get("weight")
        rank = len(weight.shape) - 2 if isinstance(weight, TensorRef) else 2
        kind = "conv_transpose" if arguments.get("transposed") else "conv"
        return f"{kind}{rank}d", arguments
    if name == "tensordot" and len(values) > 3:  # the dimensions of either tensor by themselves
        values = [*values[:2], tuple(values[2:4])]
    if name == "index":
        picked = values[1] if isinstance(values[1], tuple) else (values[1],)
        return "getitem", {"input": values[0], "index": _index(picked)}
    return name, bind(name, values, {})


def _attention(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of one of the ways in which PyTorch computes attention, by name."""
    found = {name: told.get(name) for name in ("query", "key", "value", "is_causal")}
    return {**found, "attn_mask": told.get("attn_mask", told.get("attn_bias"))}


def _index(several: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(slice(None) if one is None else one for one in several)


def _resizing(name: str, values: Sequence[Any]) -> dict[str, Any]:
    mode = name.strip("_").removesuffix("_aa").removeprefix("upsample_").rstrip("123d")
    mode = mode.replace("_", "-")
    return {
        "input": values[0],
        "size": values[1],
        "scale_factor": values[-1] if isinstance(values[-1], tuple) else None,
        "mode": mode,
        "align_corners": None if mode in ("nearest", "nearest-exact") else values[2],
        "antialias": name.endswith("_aa"),
    }
