"""One HTML file that shows what is wrong with a network: no network needed, and no server.

The file holds its data as JSON, one style sheet and one script. Its Content-Security-Policy
allows these two by their hashes and nothing else, and the script makes text of what comes from a
model, never markup.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs

from rfa_toolbox.analysis.states import axes_of
from rfa_toolbox.analysis.words import terms_of
from rfa_toolbox.domain import Resolution
from rfa_toolbox.errors import InvalidGraphError, RFAError
from rfa_toolbox.graphs import EnrichedNetworkNode, require_node
from rfa_toolbox.rendering import labels, style
from rfa_toolbox.rendering.files import write_whole
from rfa_toolbox.rendering.report.facts import graph_facts
from rfa_toolbox.rendering.report.refinements import MOST_NODES, TOO_LARGE, refinement_facts

__all__ = ["Graphs", "Report", "ReportFileError", "make_report", "report_html", "write_report"]

Graphs: TypeAlias = (
    "EnrichedNetworkNode | Mapping[str, EnrichedNetworkNode] | Iterable[EnrichedNetworkNode]"
)
"""One graph (any of its nodes), several with their names, or several without."""

_SCRIPTS = ("base.js", "layout.js", "picture.js", "panels.js", "charts.js", "main.js")
_LIBRARIES = ("dagre.min.js",)
_FRAME_HEIGHT = 720


class ReportFileError(RFAError, OSError):
    """A report could not be written to where it was asked for."""


@attrs.frozen(repr=False)
class Report:
    """A finished report; a notebook shows it in a frame.

    Attributes:
        html: the whole page.
        title: what the page is called.

    >>> from rfa_toolbox.architectures.vgg import vgg11
    >>> make_report({"vgg11": vgg11()}, input_res=32)
    Report('vgg11', ... KB)
    """

    html: str
    title: str

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page into a file, as a whole or not at all, and return the file's path.

        Raises:
            ReportFileError: an OSError, if the file cannot be written there.
        """
        file = Path(path)
        if file.is_dir():
            raise ReportFileError(
                f"The report cannot be written to {os.fspath(path)!r}, which is a folder; give "
                "the name of a file in it, such as 'report.html'."
            )
        try:
            write_whole(file, self.html.encode("utf-8"))
        except OSError as error:
            raise ReportFileError(
                f"The report cannot be written to {os.fspath(path)!r}: "
                f"{error.strerror or error}. Choose a folder that you may write to."
            ) from error
        return file

    def __repr__(self) -> str:
        return f"Report({self.title!r}, {len(self.html) // 1000} KB)"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Return the page in a frame, for notebooks; it can reach nothing outside of it."""
        frame = (
            f'<iframe srcdoc="{html.escape(self.html)}" title="{html.escape(self.title)}" '
            'sandbox="allow-scripts allow-downloads allow-modals" '
            f'width="100%" height="{_FRAME_HEIGHT}" style="border:1px solid #8884"></iframe>'
        )
        return {"text/plain": repr(self), "text/html": frame}


def make_report(
    graph_or_graphs: Graphs,
    input_res: Resolution = 224,
    *,
    title: str | None = None,
    compare_at: Sequence[Resolution] = (),
    filter_kernel_size_1: bool = False,
    layers: Literal["blocks", "nodes"] = "blocks",
    refinements: int = 3,
    time_limit: float | None = None,
) -> Report:
    """Return a report on one graph or several: one page to explore them at any resolution.

    Args:
        graph_or_graphs: any node of a graph; or several graphs, in a mapping from names or in
            a sequence.
        input_res: resolution in pixels that the page opens with, one number or one per axis
            (height, width); the page can change it.
        title: heading of the page; None makes it from the names of the graphs.
        compare_at: further resolutions in pixels, shown side by side with the first.
        filter_kernel_size_1: never call a 1x1 layer unproductive for its receptive field.
        layers: what the page counts and draws at first: "blocks" (a layer with the norms and
            activations behind it) or "nodes" (every operation); the page can change it.
        refinements: how many better architectures to suggest per graph, the best one of every idea
            (``suggest_refinements``); the page can show each beside the original. They are for
            ``input_res``, and left out where the graphs have more than 1,000 nodes together.
        time_limit: without effect, since the page lays out what it shows; kept for callers of
            earlier versions.

    Raises:
        InvalidResolutionError: a ValueError, if a resolution does not fit the graphs.
        InvalidGraphError: a ValueError, if there is no graph, or something else among them.
        ValueError: if ``layers`` is neither "blocks" nor "nodes", or ``refinements`` negative.

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> make_report(resnet18(), input_res=32).html[:15]
    '<!doctype html>'
    """
    if layers not in ("blocks", "nodes"):
        raise ValueError(f"layers is {layers!r}; it must be 'blocks' or 'nodes'.")
    if refinements < 0:
        raise ValueError(f"refinements is {refinements!r}; it must be a whole number, 0 for none.")
    graphs = _named(graph_or_graphs)
    nodes = [node for graph in graphs.values() for node in graph.all_layers]
    axes = axes_of(nodes)
    heading = ", ".join(graphs) if title is None else str(title)
    models = [graph_facts(name, graph, filter_kernel_size_1) for name, graph in graphs.items()]
    resolution = style.resolution_of(nodes, input_res)
    if refinements:
        for model, graph in zip(models, graphs.values(), strict=True):
            model["refinements"] = (
                refinement_facts(model, graph, resolution, refinements, filter_kernel_size_1)
                if len(nodes) <= MOST_NODES
                else TOO_LARGE
            )
    facts = {
        "title": heading,
        "resolution": resolution,
        "compare": [style.resolution_of(nodes, one) for one in compare_at],
        "axes": axes,
        "terms": attrs.asdict(terms_of(axes)),
        "level": layers,
        "models": models,
    }
    return Report(_page(facts), heading)


def report_html(graph_or_graphs: Graphs, input_res: Resolution = 224, **options: Any) -> str:
    """Return a report as the text of an HTML page; arguments and errors as in ``make_report``.

    >>> from rfa_toolbox.architectures.vgg import vgg11
    >>> report_html(vgg11(), 32).rstrip()[-7:]
    '</html>'
    """
    return make_report(graph_or_graphs, input_res, **options).html


def write_report(
    graph_or_graphs: Graphs,
    path: str | os.PathLike[str],
    input_res: Resolution = 224,
    **options: Any,
) -> Path:
    """Write a report into an HTML file and return its path; nothing half-written is left behind.

    The other arguments and errors are those of ``make_report``.

    Raises:
        ReportFileError: an OSError, if the file cannot be written there.

    >>> import tempfile
    >>> from rfa_toolbox.architectures.vgg import vgg11
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(vgg11(), f"{folder}/report.html", input_res=32).name
    'report.html'
    """
    return make_report(graph_or_graphs, input_res, **options).save(path)


def _named(graphs: Any) -> dict[str, EnrichedNetworkNode]:
    if isinstance(graphs, Mapping):
        named = {str(name): require_node(node) for name, node in graphs.items()}
    elif isinstance(graphs, Iterable) and not isinstance(graphs, str | bytes):
        nodes = [require_node(node) for node in graphs]
        named = {f"model {at}": node for at, node in enumerate(nodes, start=1)}
    else:
        named = {"model": require_node(graphs)}
    if not named:
        raise InvalidGraphError(
            f"The report is to be on {graphs!r}, which holds no graph; give a node of a graph, or "
            "several graphs."
        )
    return named


# --- the page --------------------------------------------------------------------------------


@functools.cache
def _asset(name: str) -> str:
    from importlib.resources import files  # slow to import, and needed by nothing else

    return files(__package__).joinpath("assets", name).read_text(encoding="utf-8")


@functools.cache
def _script() -> str:
    """Return the script of the page, without the comments that fill lines of their own."""
    whole = "".join(map(_asset, _SCRIPTS))
    return re.sub(r"^[ ]*(//.*|/\*(?:[^*]|\*(?!/))*\*/)\n", "", whole, flags=re.MULTILINE)


def _hash(text: str) -> str:
    """Return what a Content-Security-Policy knows a script or a style by."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _page(facts: Mapping[str, Any]) -> str:
    script = _script()
    library = "".join(map(_asset, _LIBRARIES))
    css = _asset("report.css")
    policy = (
        f"default-src 'none'; script-src {_hash(library)} {_hash(script)}; style-src {_hash(css)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": html.escape(policy),
        "axes": "" if facts["axes"] == 1 else " on all axes, partially critical (yellow) on some",
        "whole": facts["terms"]["whole"],
        "size": facts["terms"]["size"],
        "title": html.escape(labels.visible(labels.shortened(facts["title"], 100))),
        "style": css,
        "facts": _json(facts),
        "library": library,
        "script": script,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _asset("report.html"))


def _json(value: Any) -> str:
    r"""Return JSON for the inside of a script element, where no text may look like markup.

    >>> _json("</script>")
    '"\\u003c/script\\u003e"'
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return re.sub(r"[<>&]", lambda found: f"\\u{ord(found[0]):04x}", text)
