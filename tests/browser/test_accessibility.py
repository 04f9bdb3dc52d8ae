"""The report breaks no rule that axe-core knows, in any setting of a reader."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from rfa_toolbox.architectures.resnet import resnet18
from rfa_toolbox.architectures.vgg import vgg16

AXE = "axe-core@4.10.3"
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice")


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the script of axe-core."""
    npm = shutil.which("npm")
    if npm is None or "npx" not in os.environ.get("RFA_TEST_REQUIRE", "").split():
        pytest.skip("asked for with 'npx' in RFA_TEST_REQUIRE: it fetches axe-core")
    folder = tmp_path_factory.mktemp("axe")
    subprocess.run([npm, "pack", "--silent", AXE], cwd=folder, check=True, capture_output=True)
    (archive,) = folder.glob("axe-core-*.tgz")
    with tarfile.open(archive) as files:
        script = files.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode("utf-8")


@pytest.mark.parametrize(
    "setting",
    [
        {"color_scheme": "light"},
        {"color_scheme": "dark"},
        {"forced_colors": "active"},
        {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
    ],
    ids=["light", "dark", "forced", "phone"],
)
def test_the_page_breaks_no_rule_of_axe(
    open_page: Callable[..., Any], axe: str, setting: dict[str, Any]
) -> None:
    graphs = {"resnet18": resnet18(), "vgg16": vgg16()}
    page = open_page(graphs, 32, compare_at=[224], refinements=3, view=setting)
    page.evaluate(axe)
    found = page.evaluate(
        "(rules) => axe.run(document, { runOnly: rules }).then((all) => all.violations.map((one) =>"
        " `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map((node) => node.html).join(' ')}`))",
        list(RULES),
    )
    assert found == []
