"""Configuration of Sphinx; build with ``python -m sphinx -W -n docs docs/_build/html``."""

from __future__ import annotations

from importlib.util import find_spec

import rfa_toolbox

project = "RFA-Toolbox"
author = "RFA-Toolbox contributors"
copyright = f"2026, {author}"
version = release = rfa_toolbox.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}

html_theme = "furo"
html_title = f"RFA-Toolbox {release}"
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_mock_imports = [] if find_spec("torch") else ["torch"]
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Two frameworks have a class LayerCall each; a type that names it does not say which.
suppress_warnings = ["ref.python"]

nitpicky = True
nitpick_ignore_regex = [
    # Types of other libraries, whose pages are not consulted.
    (
        r"py:.*",
        r"(torch|nn|numpy|np|pandas|pd|graphviz|attrs?|collections|fractions|os|pathlib)\b.*",
    ),
    (r"py:.*", r"(Any|Axes|AxesOrSeveral|Callable|Executor|FigureSize|Fraction)"),
    (r"py:.*", r"(Iterable|Iterator|Literal|Mapping|Path|PathLike|Sequence)"),
    # Names of types that are explained on the page of contracts, and type variables.
    (
        r"py:.*",
        r"(.*\.)?(CaptureMode|Certainty|FieldProvider|GlobalOps|InfoFilter|Jump|LayerState|Paths?|PathState)",
    ),
    (r"py:.*", r"(.*\.)?(Offsets|PerAxis|Resolution|Size|Slide|Call|Call_contra|Part|Condition|T)"),
    # Classes that are no part of the interface.
    (r"py:.*", r".*\._\w+"),
    (r"py:.*", r"rfa_toolbox\.encodings\.tensorflow_keras\.(model_json|lowering.*)\..*"),
    # The docstring of a property is a sentence, also where it has a colon.
    (r"py:.*", r".* .*"),
]
