"""Questions about a finished graph: states of layers, input resolutions, tables."""

from __future__ import annotations

from rfa_toolbox.analysis.advice import Cut
from rfa_toolbox.analysis.blocks import Block, blocks
from rfa_toolbox.analysis.costs import TotalCosts, compute_at, total_costs
from rfa_toolbox.analysis.dilations import DilatedStack, choose_dilations
from rfa_toolbox.analysis.keys import graph_key
from rfa_toolbox.analysis.placement import (
    MisalignedMerge,
    cells_of_box,
    misaligned_merges,
    missed_pixels,
    object_sizes,
)
from rfa_toolbox.analysis.profile import ProfilePoint, ResolutionProfile, resolution_profile
from rfa_toolbox.analysis.ranges import input_resolution_range
from rfa_toolbox.analysis.states import (
    critical_layers,
    filter_layers_not_expanding_receptive_field,
    filters_non_convolutional_node,
    filters_non_infinite_rf_sizes,
    find_smallest_resolution_with_no_unproductive_layer,
    obtain_all_critical_layers,
    obtain_all_nodes,
    obtain_border_layers,
    partially_critical_layers,
    underutilized_layers,
    unproductive_layers,
    unproductive_resolution,
)
from rfa_toolbox.analysis.streaming import Streaming, streaming
from rfa_toolbox.analysis.summary import Summary, summarize
from rfa_toolbox.analysis.table import Analysis, LayerRow, analyze
from rfa_toolbox.analysis.tiling import Tile, TilePlan, tile_plan

__all__ = [
    "Analysis",
    "Block",
    "Cut",
    "DilatedStack",
    "LayerRow",
    "MisalignedMerge",
    "ProfilePoint",
    "ResolutionProfile",
    "Streaming",
    "Summary",
    "Tile",
    "TilePlan",
    "TotalCosts",
    "analyze",
    "blocks",
    "cells_of_box",
    "choose_dilations",
    "compute_at",
    "critical_layers",
    "filter_layers_not_expanding_receptive_field",
    "filters_non_convolutional_node",
    "filters_non_infinite_rf_sizes",
    "find_smallest_resolution_with_no_unproductive_layer",
    "graph_key",
    "input_resolution_range",
    "misaligned_merges",
    "missed_pixels",
    "object_sizes",
    "obtain_all_critical_layers",
    "obtain_all_nodes",
    "obtain_border_layers",
    "partially_critical_layers",
    "resolution_profile",
    "streaming",
    "summarize",
    "tile_plan",
    "total_costs",
    "underutilized_layers",
    "unproductive_layers",
    "unproductive_resolution",
]
