"""Candidates as a scatter: every one is there, none can break the page."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from rfa_toolbox.rendering.candidates import MOST_POINTS, Candidates, Point

HOSTILE = "<script>alert(1)</script>\"'&"


class _Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_every_point_of_a_page_leads_to_its_facts() -> None:
    points = tuple(Point(n, 10.0**n, f"net {n}", n == 3, (("macs", str(n)),)) for n in range(1, 9))
    page = Candidates(points, "pixels", "MACs").page()
    tags = _Tags(page).found
    targets = {values["href"] for tag, values in tags if tag == "a"}
    ids = {f"#{values['id']}" for tag, values in tags if tag == "section"}
    assert targets == ids
    assert len(ids) == 8
    assert "net 3" in page


def test_names_of_candidates_are_text_and_the_page_needs_nothing_else() -> None:
    page = Candidates((Point(1, 1, HOSTILE, True, ((HOSTILE, HOSTILE),)),), HOSTILE, HOSTILE).page()
    tags = _Tags(page).found
    assert not [tag for tag, _ in tags if tag in ("script", "link", "img", "iframe")]
    assert "http" not in page.replace("http-equiv", "")
    assert not [values for _, values in tags if any(name.startswith("on") for name in values)]


def test_a_page_of_very_many_keeps_the_front_and_says_what_it_leaves_out() -> None:
    points = tuple(Point(n % 97, n + 1.0, f"net {n}", n < 7) for n in range(3 * MOST_POINTS))
    page = Candidates(points, "pixels", "MACs").page()
    assert page.count('class="best"') == 7
    assert page.count("<circle") <= MOST_POINTS + 7
    assert "of the others are left out" in page


@pytest.mark.parametrize("points", [(), (Point(1, 0, "a", True),), (Point(float("inf"), 1, "a"),)])
def test_few_points_and_odd_values_make_a_page(points: tuple[Point, ...], tmp_path: Path) -> None:
    shown = Candidates(points, "pixels", "MACs")
    shown.save_page(tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text().count("<circle") == len(points)


def test_a_plot_has_all_points_and_the_front() -> None:
    pytest.importorskip("matplotlib")
    points = tuple(Point(n, 10.0 * n, f"net {n}", n < 4) for n in range(1, 20))
    (axes,) = Candidates(points, "pixels", "MACs").plot().axes
    (scatter,) = axes.collections
    assert len(scatter.get_offsets()) == 19
    (line,) = axes.lines
    assert list(line.get_xdata()) == [1, 2, 3]
    assert axes.get_xlabel() == "pixels"
