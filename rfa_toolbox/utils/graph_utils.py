"""The predecessor's path to ``rfa_toolbox.analysis``."""

from __future__ import annotations

from rfa_toolbox.analysis import (
    filter_layers_not_expanding_receptive_field,
    filters_non_convolutional_node,
    filters_non_infinite_rf_sizes,
    find_smallest_resolution_with_no_unproductive_layer,
    input_resolution_range,
    obtain_all_critical_layers,
    obtain_all_nodes,
    obtain_border_layers,
    unproductive_resolution,
)

__all__ = [
    "filter_layers_not_expanding_receptive_field",
    "filters_non_convolutional_node",
    "filters_non_infinite_rf_sizes",
    "find_smallest_resolution_with_no_unproductive_layer",
    "input_resolution_range",
    "obtain_all_critical_layers",
    "obtain_all_nodes",
    "obtain_border_layers",
    "unproductive_resolution",
]
