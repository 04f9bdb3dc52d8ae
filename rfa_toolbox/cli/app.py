"""The commands of ``rfa``: each reads its options, asks the package, and hands the answer on."""

from __future__ import annotations

import math
import subprocess
import warnings
from collections import Counter
from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any

import attrs
import typer

import rfa_toolbox
from rfa_toolbox import EnrichedNetworkNode, analyze, input_resolution_range, summarize
from rfa_toolbox.analysis.states import axes_of
from rfa_toolbox.analysis.table import Analysis
from rfa_toolbox.analysis.words import resolution_text, several, terms_of
from rfa_toolbox.arithmetic import LayerState
from rfa_toolbox.cli import arguments, refining, specs, tables
from rfa_toolbox.cli.options import Debug, Format, Output
from rfa_toolbox.cli.output import Target, progress, target
from rfa_toolbox.cli.problems import UsageError, complain, remark
from rfa_toolbox.cli.screening import screen_command
from rfa_toolbox.domain import DEFAULT_TIME_LIMIT, EXPERIMENT_TIME_LIMIT, Resolution
from rfa_toolbox.errors import RFAError
from rfa_toolbox.refinement import Advice, Refinement, edit, other_widths, suggest_refinements
from rfa_toolbox.rendering.layout import LayoutTimeoutError

__all__ = ["app", "run"]

DEFAULT_RESOLUTION = 224

OK, FOUND, PROBLEM, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="rfa",
    help="Find the layers of a neural network that cannot help, before training it.",
    epilog=(
        "SPEC is a built-in architecture (resnet18, vgg16, ...), package.module:callable "
        "(torchvision.models:resnet50), path/to/file.py:callable, an ONNX, Keras JSON or .keras "
        "file, or a graph stored as JSON. "
        "Exit codes: 0 fine (of verify: nothing contradicts, as far as it came in its time), "
        "1 --fail-on or verify found something, 2 wrong usage or input, "
        "130 Ctrl-C. "
        "Example: rfa analyze resnet18 --input-res 32"
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

# click's in older versions of typer, typer's own in newer ones
_ParserError: Any = typer.BadParameter.__base__


class FailOn(str, Enum):
    """Which layers make a run fail."""

    UNPRODUCTIVE = "unproductive"
    CRITICAL = "critical"
    UNKNOWN = "unknown"


class Page(str, Enum):
    """A sheet of paper that a picture is to fit onto."""

    A4 = "a4"
    LETTER = "letter"


class Layers(str, Enum):
    """What counts as a layer."""

    BLOCKS = "blocks"
    NODES = "nodes"


class Criterion(str, Enum):
    """What makes a network feasible at a resolution."""

    STRICT = "strict"
    LAYERS = "layers"


def _complete_spec(incomplete: str) -> list[str]:
    return [name for name in specs.BUILT_IN if name.startswith(incomplete)]


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"rfa {rfa_toolbox.__version__}")
        raise typer.Exit


def _check_time_limit(seconds: float | None) -> float | None:
    if seconds is not None and not seconds > 0:  # which is also so for NaN
        raise UsageError(f"--time-limit is {seconds:g}; it must be a positive number of seconds.")
    return seconds


Spec = Annotated[
    str,
    typer.Argument(
        metavar="SPEC",
        help="The model: a built-in architecture, a file, or the code that makes it.",
        autocompletion=_complete_spec,
    ),
]
Specs = Annotated[
    list[str],
    typer.Argument(metavar="SPEC...", help="The models.", autocompletion=_complete_spec),
]
InputRes = Annotated[
    list[str] | None,
    typer.Option(
        "--input-res",
        "-r",
        metavar="SIZE",
        help="Resolution of the images in pixels: 32, or 32x64 (height x width). Several are "
        "separated by commas.",
        show_default="that of the model or of --input-shape, else 224",
    ),
]
InputShape = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        metavar="SHAPE",
        help="Shape of the input, batch first and channels where the model has them, such as "
        "1x3x224x224; of a text model with the type of its numbers, 1x128:int64. Several inputs "
        "are separated by commas.",
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="MODULE",
        help="Read a PyTorch model up to this module, such as backbone.layer4.",
    ),
]
Partial = Annotated[
    bool,
    typer.Option(
        "--partial/--no-partial",
        metavar="",
        help="Show what ran of a PyTorch model that cannot be followed to its end, or refuse it.",
    ),
]
Kwargs = Annotated[
    list[str] | None,
    typer.Option(
        "--kwargs",
        "-k",
        metavar="JSON",
        help="""Arguments of the callable: '{"num_classes": 10}', or num_classes=10. Repeatable.""",
    ),
]
PictureFormat = Annotated[
    str | None,
    typer.Option("--format", "-f", metavar="FORMAT", help="svg, pdf, png or dot."),
]
_LAYERS_HELP = (
    "blocks: a layer together with the norms, activations and additions behind it; "
    "nodes: every operation."
)
Unit = Annotated[
    Layers | None,
    typer.Option(
        "--layers",
        metavar="WHAT",
        help=_LAYERS_HELP,
        show_default="blocks; nodes for the rows of json and csv",
    ),
]
ReportUnit = Annotated[Layers, typer.Option("--layers", metavar="WHAT", help=_LAYERS_HELP)]
Spare1x1 = Annotated[
    bool,
    typer.Option(
        "--filter-kernel-size-1",
        metavar="",
        help="Never call a 1x1 layer unproductive for its field.",
    ),
]
TimeLimit = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        callback=_check_time_limit,
        help="Give up laying out a picture after this time.",
    ),
]

NoTimeLimit = Annotated[
    float | None,
    typer.Option("--time-limit", hidden=True, callback=_check_time_limit),
]
"""Without effect, since a page lays out what it shows; scripts of earlier versions may pass it."""


_TABLES = ("table", "json", "csv")


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            metavar="",
            callback=_show_version,
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
    debug: Debug = False,
) -> None:
    """Find the layers of a neural network that cannot help, before training it."""


@app.command("analyze", epilog="Example: rfa analyze resnet18 --input-res 32")
def analyze_command(
    spec: Spec,
    input_res: InputRes = None,
    input_shape: InputShape = None,
    kwargs: Kwargs = None,
    until: Until = None,
    partial: Partial = True,
    format_name: Format = None,
    output: Output = None,
    fail_on: Annotated[
        FailOn | None,
        typer.Option(
            metavar="STATE",
            help="unproductive or critical: exit with 1 if the feature extractor has layers in "
            "this state or a worse one; unknown: if it has layers that nothing knows.",
        ),
    ] = None,
    layers: Unit = None,
    filter_kernel_size_1: Spare1x1 = False,
    debug: Debug = False,
) -> int:
    """Show every layer of a model, and which of them cannot help at a resolution."""
    where = target(output, format_name, _TABLES, "table")
    asked = arguments.parse_resolutions(input_res or ())
    (model,) = _read([spec], input_shape, kwargs, until, partial)
    found = [
        analyze(model.graph, resolution, filter_kernel_size_1)
        for resolution in asked or (model.resolution,)
    ]
    nodes = layers is Layers.NODES
    if where.format == "table":
        plain = where.is_plain()
        content = "\n".join(tables.analysis_text(one, plain, nodes) for one in found)
    elif where.format == "json":
        results = [tables.analysis_values(one, layers is Layers.BLOCKS) for one in found]
        content = tables.as_json("analysis", {"model": model.title, "results": results})
    else:
        content = tables.analyses_as_csv(found, layers is Layers.BLOCKS)
    where.deliver(content)
    return OK if fail_on is None else _judge(found, fail_on, nodes)


def _judge(found: Sequence[Analysis], fail_on: FailOn, nodes: bool) -> int:
    """Return 1 if layers in a state, or in a worse one, are where images are looked at.

    The layers behind the global pooling see everything at any resolution, and do not count.
    """
    if fail_on is FailOn.UNKNOWN:
        warning = found[0].findings().warning
        if warning:
            complain(f"{warning.rstrip('.')} (--fail-on unknown).")
        return FOUND if warning else OK
    states: tuple[LayerState, ...] = ("unproductive",)
    if fail_on is FailOn.CRITICAL:
        states = ("unproductive", "critical")
    code = OK
    for analysis in found:
        summary = analysis.findings()
        if nodes:
            extracting = [row for row in analysis.rows if row.in_feature_extractor]
            total = len(extracting)
            bad = [row.name for row in extracting if row.state in states]
        else:
            total = len(summary.counted)
            bad = [block.name for block in summary.blocks_in(*states)]
        if bad:
            code, unit = FOUND, terms_of(axes_of(analysis.graph.all_layers)).unit
            complain(
                f"{len(bad):,} of {several(total, 'operation' if nodes else 'layer')} "
                f"{'is' if len(bad) == 1 else 'are'} {' or '.join(states)} at "
                f"{resolution_text(summary.input_resolution)} {unit} (--fail-on {fail_on.value}), "
                f"the first is {bad[0]}."
            )
    return code


@app.command(
    "draw",
    epilog="Example: rfa draw resnet18 --input-res 32 --output resnet18.pdf",
)
def draw_command(
    spec: Spec,
    input_res: InputRes = None,
    input_shape: InputShape = None,
    kwargs: Kwargs = None,
    until: Until = None,
    partial: Partial = True,
    format_name: PictureFormat = None,
    output: Output = None,
    clusters: Annotated[
        bool,
        typer.Option(
            "--clusters", metavar="", help="Put a frame around the layers of each module."
        ),
    ] = False,
    legend: Annotated[bool, typer.Option(metavar="", help="Explain colours and borders.")] = True,
    fuse: Annotated[
        bool,
        typer.Option(
            "--fuse", metavar="", help="Draw a layer with its norm and activation as one box."
        ),
    ] = False,
    depth: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Draw modules deeper than N names as one box each."),
    ] = None,
    columns: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Break a long network into N columns.")
    ] = None,
    page: Annotated[
        Page | None, typer.Option(metavar="SHEET", help="Fit it onto one sheet: a4 or letter.")
    ] = None,
    filter_kernel_size_1: Spare1x1 = False,
    time_limit: TimeLimit = DEFAULT_TIME_LIMIT,
    debug: Debug = False,
) -> int:
    """Draw the architecture, each layer in the colour of its state, as svg, pdf, png or dot."""
    where = target(output, format_name, ("svg", "pdf", "png", "dot"), "dot")
    asked = arguments.parse_resolutions(input_res or ())
    if len(asked) > 1:
        raise UsageError(
            f"--input-res names {len(asked)} resolutions, and a picture shows one; draw one "
            "after the other, or see them in one page with rfa report."
        )
    (model,) = _read([spec], input_shape, kwargs, until, partial)
    (resolution,) = asked or (model.resolution,)
    picture = rfa_toolbox.visualize_architecture(
        model.graph,
        model.title,
        input_res=resolution,
        filter_kernel_size_1=filter_kernel_size_1,
        clusters=clusters,
        legend=legend,
        time_limit=time_limit,
        fuse=fuse,
        depth=depth,
        columns=columns,
        page=None if page is None else page.value,
    )
    if where.format == "dot":
        where.deliver(picture.source)
        return OK
    with progress(f"Laying out {model.title}"):
        drawn = picture.pipe(where.format, quiet=True)
    where.deliver(drawn)
    return OK


@app.command("range", epilog="Example: rfa range vgg16 --format json")
def range_command(
    spec: Spec,
    input_shape: InputShape = None,
    kwargs: Kwargs = None,
    until: Until = None,
    partial: Partial = True,
    format_name: Format = None,
    output: Output = None,
    lower_bound: Annotated[
        bool,
        typer.Option(
            "--lower-bound",
            metavar="",
            help="Ask it only of layers that make the receptive field grow.",
        ),
    ] = False,
    filter_kernel_size_1: Spare1x1 = False,
    debug: Debug = False,
) -> int:
    """Show which input resolutions fit a model."""
    where = target(output, format_name, _TABLES, "table")
    (model,) = _read([spec], input_shape, kwargs, until, partial)
    low, high = input_resolution_range(
        model.graph, filter_kernel_size_1=filter_kernel_size_1, lower_bound=lower_bound
    )
    good = summarize(model.graph, model.resolution, filter_kernel_size_1)
    if where.format == "json":
        values = {"model": model.title, "min": low, "max": high, **tables.good_values(good)}
        content = tables.as_json("range", values)
    else:
        least, most = ("x".join(map(str, one)) for one in (low, high))
        if where.format == "csv":
            content = tables.as_csv([{"model": model.title, "min": least, "max": most}])
        elif lower_bound:
            unit = terms_of(axes_of(model.graph.all_layers)).unit
            content = tables.lower_bound_text(model.title, least, f"{most} {unit}")
        else:
            content = tables.range_text(model.title, good)
    where.deliver(content)
    return OK


@app.command("compare", epilog="Example: rfa compare resnet18 resnet50 vgg16 --input-res 32,224")
def compare_command(
    several: Specs,
    input_res: InputRes = None,
    input_shape: InputShape = None,
    kwargs: Kwargs = None,
    until: Until = None,
    partial: Partial = True,
    format_name: Format = None,
    output: Output = None,
    layers: Unit = None,
    filter_kernel_size_1: Spare1x1 = False,
    debug: Debug = False,
) -> int:
    """Show several models side by side."""
    where = target(output, format_name, _TABLES, "table")
    asked = arguments.parse_resolutions(input_res or ())
    nodes = layers is Layers.NODES
    rows = [
        tables.comparison_row(
            model.title, analyze(model.graph, resolution, filter_kernel_size_1), nodes
        )
        for model in _read(several, input_shape, kwargs, until, partial)
        for resolution in asked or (model.resolution,)
    ]
    if where.format == "json":
        where.deliver(tables.as_json("comparison", {"models": rows}))
    elif where.format == "csv":
        where.deliver(tables.as_csv(rows))
    else:
        where.deliver(tables.comparison_text(rows, where.is_plain(), nodes))
    return OK


@app.command(
    "report",
    epilog="Example: rfa report resnet18 resnet50 --input-res 32,224 --output report.html",
)
def report_command(
    several: Specs,
    input_res: InputRes = None,
    input_shape: InputShape = None,
    kwargs: Kwargs = None,
    until: Until = None,
    partial: Partial = True,
    layers: ReportUnit = Layers.BLOCKS,
    refinements: Annotated[
        int,
        typer.Option(
            metavar="NUMBER", min=0, help="So many better architectures to suggest per model."
        ),
    ] = 3,
    output: Output = None,
    filter_kernel_size_1: Spare1x1 = False,
    time_limit: NoTimeLimit = None,
    debug: Debug = False,
) -> int:
    """Write one HTML page to explore a model in a browser, or several side by side."""
    where = target(output, None, ("html",), "html")
    asked = arguments.parse_resolutions(input_res or ())
    models = _read(several, input_shape, kwargs, until, partial)
    first, *others = asked or (models[0].resolution,)
    with progress(f"Judging {', '.join(model.title for model in models)}"):
        page = rfa_toolbox.make_report(
            {model.title: model.graph for model in models},
            first,
            compare_at=others,
            filter_kernel_size_1=filter_kernel_size_1,
            layers=layers.value,
            refinements=refinements,
        )
    where.deliver(page.html)
    return OK


@app.command("refine", epilog="Example: rfa refine resnet18 --input-res 100")
def refine_command(
    spec: Spec,
    input_res: InputRes = None,
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy",
            metavar="NAME",
            help="Try only this: drop, delay, even, patch, stem, spread, wide, cut. Repeatable.",
            show_default="all",
        ),
    ] = None,
    max_compute: Annotated[
        str | None,
        typer.Option(
            metavar="TIMES", help="At most so many times the compute of the model, such as 2x."
        ),
    ] = None,
    max_parameters: Annotated[
        int | None, typer.Option(metavar="NUMBER", min=1, help="At most so many parameters.")
    ] = None,
    criterion: Annotated[
        Criterion,
        typer.Option(
            metavar="NAME",
            help="strict: all fields fit into the image; layers: no layer is wasted.",
        ),
    ] = Criterion.STRICT,
    top: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, help="So many refinements per idea.")
    ] = 5,
    number: Annotated[
        int | None,
        typer.Option(
            "--apply",
            metavar="NUMBER",
            min=1,
            help="Apply the refinement of this number in the table, and show what it changes.",
        ),
    ] = None,
    report: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="With --apply: a page with the model before and after."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the refinement of --apply, or the first, as JSON for apply_refinement.",
        ),
    ] = None,
    input_shape: InputShape = None,
    kwargs: Kwargs = None,
    format_name: Format = None,
    debug: Debug = False,
) -> int:
    """Find changes with which all layers of a model can help at a resolution."""
    shown = target(None, format_name, _TABLES, "table")
    stored = None if output is None else target(output, None, ("json",), "json")
    page = None if report is None else target(report, None, ("html",), "html")
    if page is not None and number is None:
        raise UsageError("--report shows one refinement; say which with --apply NUMBER.")
    times = refining.parse_ratio(max_compute)
    asked = arguments.parse_resolutions(input_res or ())
    if len(asked) > 1:
        raise UsageError(
            f"--input-res names {len(asked)} resolutions, and a model is refined for one."
        )
    (model,) = _read([spec], input_shape, kwargs)
    (resolution,) = asked or (model.resolution,)
    with progress(f"Refining {model.title}"):
        advice = suggest_refinements(
            model.graph,
            resolution,
            strategy or None,
            max_compute=times,
            max_parameters=max_parameters,
            criterion=criterion.value,
            top=top,
            rebuilt=other_widths(model.source.model, model.shapes or None),
        )
    one = refining.chosen(advice, number or 1) if stored is not None or number else None
    graph, how = (model.graph, "") if number is None or one is None else _refined(model, one)
    # Files first: what cannot be written is said before anything is shown.
    if stored is not None and one is not None:
        stored.deliver(one.to_json())
    if page is not None:
        page.deliver(_before_and_after(model, graph, resolution))
    if number is None or one is None:
        shown.deliver(_advice(advice, model.title, shown))
    else:
        shown.deliver(refining.side_by_side(one, model.title, how))
    return OK


def _advice(advice: Advice, title: str, where: Target) -> str:
    """Return all refinements, numbered."""
    if where.format == "table":
        return refining.as_text(advice, title, where.is_plain())
    rows = refining.as_rows(advice)
    if where.format == "json":
        values = {"model": title, "refinements": rows, "notes": advice.notes}
        return tables.as_json("refinements", values)
    flat = [{**row, "in_code": " ".join(row["in_code"])} for row in rows]
    return tables.as_csv(flat, refining.FIELDS)


def _refined(model: _Model, refinement: Refinement) -> tuple[EnrichedNetworkNode, str]:
    """Return the graph of a refined model, and how it is known."""
    if model.source.kind in ("graph", "Keras file", "ONNX", "exported program"):
        return edit(model.graph, refinement.edits_for(model.graph)), "predicted"
    with progress(f"Applying it to {model.title}"):
        return model.source.refined(refinement, model.shapes), "applied, and as predicted"


def _before_and_after(model: _Model, graph: EnrichedNetworkNode, resolution: Resolution) -> str:
    """Return a page with a model before and after."""
    graphs = {model.title: model.graph, f"{model.title}, refined": graph}
    with progress(f"Laying out {model.title}"):
        return rfa_toolbox.make_report(graphs, resolution).html


@app.command("verify", epilog="Example: rfa verify torchvision.models:resnet18")
def verify_command(
    spec: Spec,
    time_limit: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0.001,
            help="Stop after so many seconds, with what was measured by then; inf for no limit.",
        ),
    ] = EXPERIMENT_TIME_LIMIT,
    input_shape: InputShape = None,
    kwargs: Kwargs = None,
    format_name: Format = None,
    output: Output = None,
    debug: Debug = False,
) -> int:
    """Run a model, and hold what every layer sees against what the analysis says."""
    where = target(output, format_name, _TABLES, "table")
    shapes = arguments.parse_shapes(input_shape or ())
    values = arguments.parse_kwargs(kwargs or ())
    with progress(f"Measuring {spec}"):
        source = specs.load(spec, values)
        limit = None if time_limit == math.inf else time_limit
        found = source.verified(source.inputs(shapes), limit)
    content = {**found.to_dict(), "model": source.title}
    if where.format == "json":
        where.deliver(tables.as_json("verification", content))
    elif where.format == "csv":
        where.deliver(tables.as_csv(content["nodes"]))
    else:
        where.deliver(tables.verification_text(content, plain=where.is_plain()))
    if found.stopped:
        remark(f"Measuring {found.stopped}; --time-limit gives it more time.")
    if found.ok:
        return OK
    complain(
        f"The experiment contradicts the analysis at {len(found.disagreements)} of "
        f"{len(found.nodes)} nodes. If no handler of your own describes them, please report the "
        "smallest model that shows it."
    )
    return FOUND


app.command(
    "screen", epilog="Example: rfa screen space.py:candidates --input-res 32 --jobs 4 --top 20"
)(screen_command)


# --- what the commands share -----------------------------------------------------------------


@attrs.frozen
class _Model:
    """A model as the commands need it: its names, its graph, and the resolution it is made for."""

    spec: str
    title: str
    graph: EnrichedNetworkNode
    resolution: Resolution
    source: specs.ModelSource
    shapes: specs.Inputs


def _read(
    several: list[str],
    input_shape: list[str] | None,
    kwargs: list[str] | None,
    until: str | None = None,
    partial: bool = True,
) -> list[_Model]:
    """Return several models, with titles that tell them apart."""
    shapes = arguments.parse_shapes(input_shape or ())
    values = arguments.parse_kwargs(kwargs or ())
    models: list[_Model] = []
    for spec in several:
        with progress(f"Reading {spec}"):
            source = specs.load(spec, values)
            inputs = source.inputs(shapes)
            graph = source.graph(inputs, until, partial)
        # A PyTorch model does not say what it is made for.
        chosen = graph.encoded_resolution if shapes or source.kind != "PyTorch" else None
        resolution = chosen or DEFAULT_RESOLUTION
        models.append(_Model(spec, source.title, graph, resolution, source, inputs))
    counts = Counter(one.title for one in models)
    names = [one.title if counts[one.title] == 1 else one.spec for one in models]
    return [
        attrs.evolve(
            one,
            title=name if names.count(name) == 1 else f"{name} ({names[: at + 1].count(name)})",
        )
        for at, (one, name) in enumerate(zip(models, names, strict=True))
    ]


# --- from an error to an exit code -----------------------------------------------------------


def run(words: Sequence[str]) -> int:
    """Run the command line on what stands behind ``rfa``, and return its exit code."""
    debug = "--debug" in words
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: remark(message)
            command = typer.main.get_command(app)
            code = command.main(args=[*words] or ["--help"], prog_name="rfa", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except _ParserError as error:
        path = error.ctx.command_path if error.ctx is not None else "rfa"
        said = _said_of(error).rstrip(".")
        complain(f"{said}{'' if said.endswith('?') else '.'} See {path} --help.")
        return PROBLEM
    except LayoutTimeoutError as error:
        complain(
            "The picture took too long to lay out; give it more time with --time-limit SECONDS, "
            "or leave the layout to another program: rfa draw SPEC --output FILE.dot.",
            error if debug else None,
        )
        return PROBLEM
    except (RFAError, OSError, subprocess.SubprocessError) as error:
        complain(str(error), error if debug else None)
        return PROBLEM
    except Exception as error:  # noqa: BLE001 - the last resort: one line that asks for a report
        complain(
            f"{type(error).__name__}: {error}. This is a mistake in RFA-Toolbox; please report it "
            "with what --debug shows.",
            error if debug else None,
        )
        return PROBLEM
    return code if isinstance(code, int) else OK


_WRONG_KINDS = {"int": "not a whole number", "float": "not a number"}


def _said_of(error: Any) -> str:
    """Return what is wrong with the words of a command; newer versions of typer ask pydantic."""
    listed: Any = getattr(error.__cause__, "errors", None)
    if listed is None:
        return str(error.format_message())
    found = listed()[0]
    kind, about = found["type"], found.get("ctx", {})
    if "error" in about:
        error.message = str(about["error"])
    elif "ge" in about:
        error.message = f"{found['input']} is less than {about['ge']}"
    elif kind.partition("_")[0] in _WRONG_KINDS:
        error.message = f"{found['input']!r} is {_WRONG_KINDS[kind.partition('_')[0]]}"
    return str(error.format_message())
