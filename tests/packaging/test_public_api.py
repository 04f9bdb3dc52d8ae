"""The import paths, parameters and defaults that users of version 1.7.0 rely on are still there."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import pytest

import rfa_toolbox

PYTORCH = "rfa_toolbox.encodings.pytorch"
KERAS = "rfa_toolbox.encodings.tensorflow_keras"

PUBLIC = {
    "rfa_toolbox": """
        __version__ create_graph_from_pytorch_model create_graph_from_tensorflow_model
        input_resolution_range visualize_architecture
        """,
    PYTORCH: "add_custom_layer_handler toggle_coerce_torch_functional",
    f"{PYTORCH}.utils": "add_custom_layer_handler toggle_coerce_torch_functional",
    f"{PYTORCH}.ingest_architecture": "create_graph_from_model make_graph",
    f"{PYTORCH}.intermediate_graph": "Digraph RESOLVING_STRATEGY SUBSTITUTION_STRATEGY",
    f"{PYTORCH}.layer_handlers": """
        Conv2d ConvNormActivationHandler AnyConv AnyPool AnyAdaptivePool
        SqueezeExcitationHandler LinearHandler FlattenHandler FunctionalKernelHandler
        GenericLayerTypeHandler AnyHandler
        """,
    f"{PYTORCH}.substitutors": """
        PatternSubstitutor input_substitutor output_substitutor numeric_substitutor
        """,
    f"{PYTORCH}.domain": "LayerInfoHandler NodeSubstitutor",
    f"{KERAS}.ingest_architecture": """
        create_graph_from_model keras_model_to_dict model_dict_to_enriched_graph PARSERS
        """,
    f"{KERAS}.layer_handlers": """
        LayerInfoHandler KernelBasedHandler PoolingBasedHandler DenseHandler
        GlobalPoolingHandler FlattenHandler InputHandler AnyHandler
        """,
    "rfa_toolbox.graphs": """
        receptive_field_provider receptive_field_provider_with_1x1_handling
        naive_minmax_filter noop_filter filter_all_rf_info_with_infinite_receptive_field
        KNOWN_FILTER_MAPPING ReceptiveFieldInfo LayerDefinition compute_receptive_field_sizes
        EnrichedNetworkNode
        """,
    "rfa_toolbox.domain": "Layer Node",
    "rfa_toolbox.vizualize": "visualize_architecture visualize_node node_id",
    "rfa_toolbox.utils.graph_utils": """
        input_resolution_range obtain_all_nodes obtain_border_layers obtain_all_critical_layers
        filters_non_convolutional_node filters_non_infinite_rf_sizes
        filter_layers_not_expanding_receptive_field unproductive_resolution
        find_smallest_resolution_with_no_unproductive_layer
        """,
    "rfa_toolbox.architectures.resnet": """
        resnet18 resnet36 resnet50 resnet101 resnet152 resnet stage residual_block bottleneck
        stem small_stem head addition
        """,
    "rfa_toolbox.architectures.vgg": "vgg11 vgg13 vgg16 vgg19",
}

# The parameters of version 1.7.0 in their order, with their defaults; new ones come behind.
SIGNATURES: dict[str, dict[str, Any]] = {
    "rfa_toolbox.create_graph_from_pytorch_model": {
        "model": ...,
        "filter_rf": None,
        "input_res": (1, 3, 399, 399),
        "custom_layers": None,
        "display_se_modules": False,
    },
    f"{PYTORCH}.ingest_architecture.create_graph_from_model": {
        "model": ...,
        "filter_rf": None,
        "input_res": (1, 3, 399, 399),
        "custom_layers": None,
        "display_se_modules": False,
    },
    "rfa_toolbox.create_graph_from_tensorflow_model": {"model": ..., "filter_rf": None},
    f"{KERAS}.ingest_architecture.create_graph_from_model": {"model": ..., "filter_rf": None},
    "rfa_toolbox.input_resolution_range": {
        "graph": ...,
        "filter_all_inf_rf": ...,
        "filter_kernel_size_1": False,
        "cardinality": ...,
        "lower_bound": False,
    },
    "rfa_toolbox.visualize_architecture": {
        "output_node": ...,
        "model_name": ...,
        "input_res": 224,
        "color_critical": True,
        "color_border": True,
        "include_rf_info": True,
        "filter_kernel_size_1": False,
        "include_fm_info": True,
    },
    "rfa_toolbox.vizualize.visualize_node": {
        "node": ...,
        "dot": ...,
        "input_res": ...,
        "color_border": ...,
        "color_critical": ...,
        "include_rf_info": True,
        "filter_kernel_size_1": False,
        "include_fm_info": True,
    },
    "rfa_toolbox.graphs.LayerDefinition": {
        "name": ...,
        "kernel_size": None,
        "stride_size": None,
        "filters": None,
        "units": None,
    },
    "rfa_toolbox.graphs.EnrichedNetworkNode": {
        "name": ...,
        "layer_info": ...,
        "predecessors": ...,
        "receptive_field_info_filter": ...,
    },
    "rfa_toolbox.utils.graph_utils.obtain_border_layers": {
        "output_node": ...,
        "input_resolution": ...,
        "filter_dense": True,
    },
    "rfa_toolbox.utils.graph_utils.obtain_all_critical_layers": {
        "output_node": ...,
        "input_resolution": ...,
        "filter_dense": True,
    },
    f"{PYTORCH}.add_custom_layer_handler": {
        "class_name": ...,
        "name_handler": ...,
        "kernel_size_provider": ...,
        "stride_size_provider": ...,
        "filters_provider": ...,
        "units_provider": ...,
    },
    f"{PYTORCH}.toggle_coerce_torch_functional": {
        "coerce": True,
        "kernel_size": 1,
        "stride_size": 1,
        "handler_idx": -2,
    },
}


def load(name: str) -> ModuleType:
    if name.startswith(PYTORCH) and find_spec("torch") is None:
        pytest.skip("torch is not installed")
    return importlib.import_module(name)


@pytest.mark.parametrize("module", PUBLIC)
def test_the_public_names_of_version_1_7_are_still_there(module: str) -> None:
    missing = [name for name in PUBLIC[module].split() if not hasattr(load(module), name)]
    assert not missing, f"Users import these from {module}; put them back."


@pytest.mark.parametrize("path", SIGNATURES)
def test_old_parameters_keep_their_order_and_defaults(path: str) -> None:
    module, _, name = path.rpartition(".")
    expected = SIGNATURES[path]
    parameters = inspect.signature(getattr(load(module), name)).parameters
    assert list(parameters)[: len(expected)] == list(expected)
    for name, default in expected.items():
        if default is not ...:
            assert parameters[name].default == default, name
    for name, parameter in list(parameters.items())[len(expected) :]:
        assert parameter.default is not inspect.Parameter.empty, f"{name} would break old calls."


def test_the_facade_lists_exactly_what_it_offers() -> None:
    names = [name for name in dir(rfa_toolbox) if not name.startswith("_")]
    offered = {
        name
        for name in names
        if not isinstance(getattr(rfa_toolbox, name), ModuleType) and name != "annotations"
    }
    assert offered | {"__version__"} == set(rfa_toolbox.__all__)
    assert list(rfa_toolbox.__all__) == sorted(rfa_toolbox.__all__)


def modules() -> list[str]:
    found = pkgutil.walk_packages(rfa_toolbox.__path__, "rfa_toolbox.")
    return sorted(one.name for one in found if not one.name.endswith(".__main__"))


def test_all_modules_are_found() -> None:
    assert {"rfa_toolbox.graphs", "rfa_toolbox.errors"} <= set(modules())


@pytest.mark.parametrize("name", modules())
def test_every_module_names_what_is_public_and_every_name_is_there(name: str) -> None:
    module = load(name)
    assert module.__doc__, f"{name} says nothing about itself."
    if hasattr(module, "__path__") and not hasattr(module, "__all__"):
        return
    missing = [one for one in module.__all__ if not hasattr(module, one)]
    assert not missing, f"__all__ of {name} lists these, but they are not there."
    assert len(set(module.__all__)) == len(module.__all__)
