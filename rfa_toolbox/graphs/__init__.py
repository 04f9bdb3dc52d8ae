"""What a layer and a node are: the immutable graph that every analysis and picture reads."""

from __future__ import annotations

from rfa_toolbox.graphs.fields import (
    KNOWN_FILTER_MAPPING,
    ReceptiveFieldInfo,
    compute_receptive_field_sizes,
    filter_all_rf_info_with_infinite_receptive_field,
    naive_minmax_filter,
    noop_filter,
)
from rfa_toolbox.graphs.fields import InfoFilter as InfoFilter
from rfa_toolbox.graphs.fields import resolve_filter as resolve_filter
from rfa_toolbox.graphs.layers import LayerDefinition, Measures
from rfa_toolbox.graphs.layers import Padding as Padding
from rfa_toolbox.graphs.node import (
    EnrichedNetworkNode,
    copy_behind,
    keep_together,
    receptive_field_provider,
    receptive_field_provider_with_1x1_handling,
    require_node,
    require_nodes,
)
from rfa_toolbox.graphs.node import FieldProvider as FieldProvider
from rfa_toolbox.graphs.node import Offsets as Offsets
from rfa_toolbox.graphs.node import ancestors as ancestors
from rfa_toolbox.graphs.storage import GRAPH_FORMAT as GRAPH_FORMAT
from rfa_toolbox.graphs.storage import GRAPH_VERSION as GRAPH_VERSION

__all__ = [
    "KNOWN_FILTER_MAPPING",
    "EnrichedNetworkNode",
    "LayerDefinition",
    "Measures",
    "ReceptiveFieldInfo",
    "compute_receptive_field_sizes",
    "copy_behind",
    "filter_all_rf_info_with_infinite_receptive_field",
    "keep_together",
    "naive_minmax_filter",
    "noop_filter",
    "receptive_field_provider",
    "receptive_field_provider_with_1x1_handling",
    "require_node",
    "require_nodes",
]
