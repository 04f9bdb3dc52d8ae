"""How kinds of layers of Keras are called and described; matched on exact class names.

A handler gets a :class:`LayerCall` and returns a ``LayerDefinition``. Those of this package read
what the lowering of the layer says, see ``lowering_layers``; a handler of a user may say what
it wants. The order in which they are asked is the one of ``PARSERS``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import attrs

from rfa_toolbox.encodings.tensorflow_keras.lowering_layers import FAMILIES
from rfa_toolbox.encodings.tensorflow_keras.lowering_operations import OPERATIONS, canonical
from rfa_toolbox.encodings.tensorflow_keras.model_json import (
    CallRecord,
    ModelRecord,
    TensorRef,
    read_model,
    replaced,
)
from rfa_toolbox.graphs import LayerDefinition

__all__ = [
    "AdaptivePoolingHandler",
    "AnyHandler",
    "AttentionHandler",
    "ConcatenateHandler",
    "ConvolutionalRecurrentHandler",
    "DenseHandler",
    "DotHandler",
    "EinsumDenseHandler",
    "EmbeddingHandler",
    "FlattenHandler",
    "GlobalPoolingHandler",
    "InputHandler",
    "KernelBasedHandler",
    "LayerCall",
    "LayerInfoHandler",
    "MergeHandler",
    "NeutralHandler",
    "OperationHandler",
    "PaddingHandler",
    "PoolingBasedHandler",
    "RecurrentHandler",
    "ReshapeHandler",
    "ResizingHandler",
    "SoftmaxHandler",
    "SpectrogramHandler",
    "TransposedConvolutionHandler",
    "UpSamplingHandler",
]


class LayerInfoHandler(Protocol):
    """Describes one kind of layer.

    ``can_handle`` gets a ``LayerCall`` (its ``class_name``, ``config``, ``input_shapes``) and must
    not raise; what ``__call__`` raises reaches the user as it is.
    """

    def can_handle(self, node: Any, /) -> bool:
        """Return whether this handler describes this call of a layer."""
        ...

    def __call__(self, node: Any, /) -> LayerDefinition:
        """Return what the layer does to the grid that it slides over."""
        ...


@attrs.frozen(slots=True)
class LayerCall:
    """One call of a layer, as handlers get it.

    Attributes:
        record: the call in the model's JSON.
        input_shapes: shapes of the tensors that it reads, batch first.
    """

    record: CallRecord
    input_shapes: tuple[tuple[int, ...], ...] = ()

    @property
    def name(self) -> str:
        """Unique name of the call, with the path of nested models."""
        return self.record.name

    @property
    def class_name(self) -> str:
        """Exact class of the layer, "package>Class" for those of others than Keras."""
        return self.record.kind

    @property
    def config(self) -> Mapping[str, Any]:
        """What the layer was made with."""
        return self.record.config

    @property
    def label(self) -> str:
        """What to call this kind of layer in pictures: the class, wrappers around it."""
        return self.record.label

    def get(self, *names: str, default: Any = None) -> Any:
        """Return an argument under one of its names, from the call or from the configuration."""
        for source in (self.record.keywords, self.config):
            for name in names:
                if source.get(name) is not None:
                    return source[name]
        return default


def _record_of(node: LayerCall | Mapping[str, Any]) -> ModelRecord:
    """Return a model of a single layer, which is given as a call or as its entry in the JSON."""
    if not isinstance(node, LayerCall):
        alone = {"class_name": "Sequential", "config": {"layers": [{"config": {}, **node}]}}
        return read_model(alone)
    inputs = [
        CallRecord(f"input_{number}", "", "InputLayer", config={"batch_shape": (None, *shape[1:])})
        for number, shape in enumerate(node.input_shapes)
    ]
    places = {tensor: at for at, tensor in enumerate(dict.fromkeys(node.record.tensors))}

    def placed(tensor: TensorRef) -> TensorRef:
        return TensorRef(places[tensor], 0)

    record = attrs.evolve(
        node.record,
        arguments=tuple(replaced(node.record.arguments, TensorRef, placed)),
        keywords=replaced(node.record.keywords, TensorRef, placed),
    )
    return ModelRecord("layer", (*inputs, record), (TensorRef(len(inputs), 0),))


# --- handlers --------------------------------------------------------------------------------


@attrs.frozen
class _Handler:
    """A handler of layers of Keras itself, known by their exact class names, by family."""

    kinds: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, families: Sequence[str] = ()) -> None:
        if families:
            cls.kinds = frozenset(kind for family in families for kind in FAMILIES[family][0])

    def can_handle(self, node: LayerCall | Mapping[str, Any], /) -> bool:
        """Return whether the class of the layer is one of ``kinds``."""
        record = _call_of(node)
        return record.kind in self.kinds and not record.operation

    def __call__(self, node: LayerCall | Mapping[str, Any], /) -> LayerDefinition:
        """Return what the layer does to the grid that it slides over."""
        from rfa_toolbox.encodings.tensorflow_keras.graph import graph_of  # as late as needed

        return graph_of(_record_of(node)).to_graph().layer_info


def _call_of(node: LayerCall | Mapping[str, Any]) -> CallRecord:
    return node.record if isinstance(node, LayerCall) else _record_of(node).calls[-1]


class InputHandler(_Handler, families=("input",)):
    """The image itself.

    >>> InputHandler()({"class_name": "InputLayer", "config": {"batch_shape": [None, 8, 8, 3]}})
    LayerDefinition(name='InputLayer', kernel_size=(1, 1), stride_size=(1, 1), ...)
    """


class KernelBasedHandler(_Handler, families=("convolution",)):
    """Convolutions, also depthwise and separable ones, in one to three dimensions.

    >>> conv = {"class_name": "Conv2D", "config": {"kernel_size": [3, 3], "strides": [2, 2]}}
    >>> KernelBasedHandler()(conv).stride_size
    (2, 2)
    """


class TransposedConvolutionHandler(_Handler, families=("transposed convolution",)):
    """Transposed convolutions in one to three dimensions."""


class PoolingBasedHandler(_Handler, families=("pooling",)):
    """Max and average pooling in one to three dimensions.

    >>> pool = {"class_name": "MaxPooling2D", "config": {"pool_size": [2, 2], "strides": None}}
    >>> PoolingBasedHandler()(pool).stride_size
    (2, 2)
    """


class AdaptivePoolingHandler(_Handler, families=("adaptive pooling",)):
    """Adaptive pooling: its window grows with the image; to 1x1 it is a global pooling."""


class GlobalPoolingHandler(_Handler, families=("global pooling",)):
    """Global pooling: every position is seen.

    >>> GlobalPoolingHandler()({"class_name": "GlobalMaxPooling1D"}).kernel_size
    (inf,)
    """


class FlattenHandler(_Handler, families=("flatten",)):
    """Flattening a map to a vector: what follows sees all of it.

    >>> flatten = {"class_name": "Flatten", "build_config": {"input_shape": [None, 7, 7, 3]}}
    >>> FlattenHandler()(flatten)
    LayerDefinition(name='Flatten', kernel_size=(inf, inf), ...)
    """


class DenseHandler(
    _Handler,
    families=(
        "dense",
        "dense features",
    ),
):
    """Dense layers: they mix the last dimension, a 1x1 convolution where that is channels."""


class EinsumDenseHandler(_Handler, families=("dense by equation",)):
    """A dense layer over the dimensions that its equation sums over."""


class UpSamplingHandler(_Handler, families=("up-sampling",)):
    """Up-sampling by whole factors, nearest or interpolated."""


class PaddingHandler(_Handler, families=("padding",)):
    """Zero padding, and cropping as negative padding."""


class ReshapeHandler(_Handler, families=("reshape",)):
    """Reshape, Permute and RepeatVector: positions move, and nothing new is seen."""


class MergeHandler(_Handler, families=("merge",)):
    """Element-wise merging of several tensors."""


class ConcatenateHandler(_Handler, families=("concatenation",)):
    """Tensors one after another along one dimension."""


class DotHandler(_Handler, families=("dot",)):
    """The product of two tensors, summed over one dimension of each."""


class AttentionHandler(_Handler, families=("attention",)):
    """Attention: every position of the query sees all positions of the values."""


class RecurrentHandler(_Handler, families=("recurrence",)):
    """Recurrent layers: every step sees all steps before it."""


class ConvolutionalRecurrentHandler(_Handler, families=("convolutional recurrence",)):
    """Convolutional LSTMs: all steps before, and a window that grows by one kernel per step."""


class EmbeddingHandler(_Handler, families=("embedding",)):
    """A vector for every position."""


class SoftmaxHandler(_Handler, families=("softmax",)):
    """A softmax: neutral over channels, and mixing over positions."""


class ResizingHandler(_Handler, families=("resizing",)):
    """Layers that give the image another size: resized, or cropped to the middle."""


class SpectrogramHandler(_Handler, families=("spectrogram", "mel spectrogram")):
    """Spectrograms: windows over time."""


class NeutralHandler(
    _Handler,
    families=(
        "neutral",
        "normalisation",
        "of whole images",
        "batch normalisation",
        "standardisation",
        "scale",
        "prelu",
    ),
):
    """Layers in which every position sees only itself.

    Among them are normalisations, whose statistics are not counted, and augmentations, which act
    in training only.
    """


class OperationHandler(_Handler):
    """Bare operations: ``x * 2``, slicing, ``keras.ops``, and functions of TensorFlow."""

    def can_handle(self, node: LayerCall | Mapping[str, Any], /) -> bool:
        """Return whether the operation is in the table of those that are known."""
        record = _call_of(node)
        return record.operation and canonical(record.kind) in OPERATIONS


class AnyHandler(_Handler):
    """Everything that no other handler describes: counted as neutral, and said so."""

    def can_handle(self, node: LayerCall | Mapping[str, Any], /) -> bool:
        """Return True."""
        return True
