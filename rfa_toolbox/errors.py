"""Everything that the package raises on purpose."""

from __future__ import annotations

__all__ = [
    "CaptureError",
    "DataDependentControlFlowError",
    "GraphFormatError",
    "InvalidGraphError",
    "InvalidLayerError",
    "InvalidResolutionError",
    "MeasurementError",
    "MissingFrameworkError",
    "MissingPlotterError",
    "MissingRendererError",
    "RFAError",
    "RefinementError",
    "ScreeningError",
    "UnsupportedModelError",
]


class RFAError(Exception):
    """Base of all errors that this package raises on purpose."""


class InvalidLayerError(RFAError, ValueError):
    """A layer was described with a value that no layer can have."""


class InvalidGraphError(RFAError, ValueError):
    """Nodes were put together in a way that makes no graph."""


class GraphFormatError(RFAError, ValueError):
    """A stored graph (JSON) is damaged or of an unknown version."""


class InvalidResolutionError(RFAError, ValueError):
    """An input resolution or an input shape is not usable."""


class UnsupportedModelError(RFAError, ValueError):
    """An encoder was handed something that it cannot read."""


class CaptureError(RFAError, ValueError):
    """A model could not be run to see which operations it consists of."""


class DataDependentControlFlowError(CaptureError):
    """The path through a model depends on the values of its input."""


class MeasurementError(RFAError, ValueError):
    """An experiment on a model cannot be made in the way that was asked for."""


class RefinementError(RFAError, ValueError):
    """An architecture cannot be changed in the way that was asked for."""


class MissingFrameworkError(RFAError, ImportError):
    """An optional framework is needed for this call and is not installed."""


class MissingPlotterError(RFAError, RuntimeError):
    """Matplotlib is needed for a plot and is not installed."""


class MissingRendererError(RFAError, RuntimeError):
    """Neither the ``dot`` program nor pygraphviz is there to draw a graph."""


class ScreeningError(RFAError, ValueError):
    """A screening was asked for in a way that does not work, or its store cannot be used."""
