"""Which refinements to try at an input resolution, ranked by strategy."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import attrs

from rfa_toolbox.analysis.costs import short_number
from rfa_toolbox.analysis.states import axes_of, resolution_of
from rfa_toolbox.domain import Resolution
from rfa_toolbox.errors import RefinementError
from rfa_toolbox.graphs import EnrichedNetworkNode, require_node
from rfa_toolbox.refinement.contracted import Contracted, Estimate
from rfa_toolbox.refinement.edits import Edit, Rebuild, words_of
from rfa_toolbox.refinement.plan import (
    Prediction,
    Refinement,
    predict,
    refined_further,
    unchanged,
)
from rfa_toolbox.refinement.strategies import STRATEGIES, Network

__all__ = ["Advice", "Criterion", "suggest_refinements"]

Criterion: TypeAlias = Literal["strict", "layers"]
_CRITERIA: Final[tuple[Criterion, ...]] = ("strict", "layers")
_MOST: Final = 20_000
"""Candidates of one strategy that are looked at; more are not, and the result says so."""
_NO_CONSTRUCTOR: Final = (
    "Shorter and wider networks are those of the model's own constructor: pass "
    "rebuilt=other_widths(model). It is known of EfficientNet, and of ResNet with bottlenecks, of "
    "torchvision."
)
_OPEN: Final = (
    "The graph does not tell what its layers compute; encode the model at a size to compare that."
)
_MARGIN: Final = 1.25
"""How far estimates of compute may be off: what is estimated above it is not predicted exactly."""


@attrs.frozen
class Advice:
    """What can be done about an architecture at an input resolution.

    Attributes:
        input_res: resolution in pixels, one number per axis.
        criterion: what makes a network feasible; see ``suggest_refinements``.
        before: the architecture as it is.
        rankings: per strategy its feasible refinements, the best first.
        pareto: over all strategies but cuts, what no other one beats in both feasible resolution
            and compute, the cheapest first; also what is not yet feasible at ``input_res``. A cut
            saves compute by giving up layers, and is no part of it.
        notes: what was left out, and why nothing helps where that is so.
    """

    input_res: tuple[int, ...]
    criterion: Criterion
    before: Prediction
    rankings: Mapping[str, tuple[Refinement, ...]]
    pareto: tuple[Refinement, ...]
    notes: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Whether the network needs no refinement at this resolution."""
        strict = self.criterion == "strict"
        found = self.before.resolution if strict else self.before.layers_resolution
        return _is_below(found, self.input_res)

    @property
    def best(self) -> tuple[Refinement, ...]:
        """The best refinement of every strategy, the cheapest first."""
        firsts = [ranking[0] for ranking in self.rankings.values() if ranking]
        return tuple(sorted(firsts, key=lambda one: (one.compute_ratio or math.inf, one.words)))

    @property
    def all(self) -> tuple[Refinement, ...]:
        """All ranked refinements, strategy by strategy, as the table numbers them.

        What several strategies come to is there once, under the first of them.
        """
        found: dict[frozenset[Edit], Refinement] = {}
        for one in itertools.chain.from_iterable(self.rankings.values()):
            found.setdefault(frozenset(one.edits), one)
        return tuple(found.values())

    def __str__(self) -> str:
        """Return the rankings as a table."""
        size = "x".join(map(str, dict.fromkeys(self.input_res)))
        lines = [f"As it is: {_row(self.before, None)}"]
        several = self.all
        for number, one in enumerate(several, start=1):
            if number == 1 or one.strategy != several[number - 2].strategy:
                strategy = STRATEGIES[one.strategy]
                lines.append(f"{strategy.words} ({strategy.source}):")
            row = _row(one.after, one.compute_ratio)
            lines.append(f"{number:>4}  {row}  {one.marked_words}")
        if not several and not self.is_good:
            unit = self.before.unit
            lines.append(f"No refinement makes the network feasible at {size} {unit}.")
        return "\n".join((*lines, *self.notes))


def suggest_refinements(
    graph: EnrichedNetworkNode,
    input_res: Resolution,
    strategies: Iterable[str] | None = None,
    max_compute: float | None = None,
    max_parameters: int | None = None,
    criterion: Criterion = "strict",
    top: int = 10,
    single_units: bool = False,
    rebuilt: Iterable[tuple[Rebuild, EnrichedNetworkNode]] = (),
) -> Advice:
    """Return architectures near a given one whose layers can all use their fields.

    Args:
        graph: any node of the graph; encode the model at the resolution in question, or larger.
        input_res: resolution of the images in pixels, one number or one per axis.
        strategies: names of the ideas to try, of ``STRATEGIES``; None is all of them.
        max_compute: how many times the compute of the original is allowed; None is any.
        max_parameters: how many parameters are allowed; None is any number.
        criterion: "strict": every field of the feature extractor fits into the image; "layers":
            no layer that looks is reached by what has seen all of it.
        top: how many refinements to return of every strategy.
        single_units: also suggest networks whose last maps are a single unit.
        rebuilt: for strategy "wide", what the model's own constructor makes, which no graph tells:
            ``other_widths(model)``.

    Returns:
        Rankings per strategy, the resolution closest below ``input_res`` first, then the cheapest;
        and the front over all strategies. Both are empty where all layers can help as it is. What
        is returned was predicted exactly; a fast estimate of compute chose it. The same graph
        always gives the same advice.

    Raises:
        RefinementError: a ValueError, for an unknown strategy or criterion, or a limit that is no
            positive number.
        InvalidResolutionError: a ValueError, if the resolution does not fit the graph.

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> advice = suggest_refinements(resnet18(), 100, strategies=["drop"], top=1)
    >>> print(advice.rankings["drop"][0].after.resolution)
    (75, 75)
    """
    chosen = _known_strategies(strategies)
    if criterion not in _CRITERIA:
        raise RefinementError(f"criterion is {criterion!r}; valid are {_CRITERIA!r}.")
    _check_limits(max_compute, max_parameters, top)
    if not isinstance(rebuilt, Iterable):
        raise RefinementError(
            f"rebuilt is {rebuilt!r}; it must be what other_widths(model) gives, or left out."
        )
    nodes = require_node(graph).all_layers
    resolution = resolution_of(nodes, input_res)
    search = _Search(graph, resolution, criterion, max_compute, max_parameters, single_units)
    nothing = Advice(resolution, criterion, search.before, dict.fromkeys(chosen, ()), (), ())
    if nothing.is_good:
        size = "x".join(map(str, dict.fromkeys(resolution)))
        unit = search.before.unit
        note = f"All of its layers can help at {size} {unit} as it is; nothing has to be refined."
        return attrs.evolve(nothing, notes=(note,))
    if "wide" in chosen:
        search.rebuild(rebuilt)
        if strategies is not None and not search.network.rebuilt:
            search.notes.append(_NO_CONSTRUCTOR)
    rankings: dict[str, tuple[Refinement, ...]] = {}
    for name in chosen:
        rankings[name] = search.ranking(name, top)
    pareto = search.front(top)
    notes = (*search.notes, *_why(search, rankings))
    return attrs.evolve(nothing, rankings=rankings, pareto=pareto, notes=notes)


@attrs.frozen
class _Candidate:
    strategy: str
    edits: tuple[Edit, ...]
    estimates: tuple[Estimate, ...]

    def resolutions(self, criterion: Criterion) -> tuple[int, ...]:
        return tuple(getattr(one, criterion) for one in self.estimates)

    @property
    def compute(self) -> float:
        return self.estimates[0].compute

    @property
    def kept(self) -> int:
        return self.estimates[0].kept

    @property
    def wasted(self) -> int:
        # What sees something new along one axis is not wasted.
        return min(one.wasted for one in self.estimates)


class _Search:
    """All candidates of some strategies, judged by the fast pass."""

    def __init__(
        self,
        graph: EnrichedNetworkNode,
        resolution: Sequence[int],
        criterion: Criterion,
        max_compute: float | None,
        max_parameters: int | None,
        single_units: bool,
    ) -> None:
        self.graph = graph
        self.network = Network.of(graph, resolution)
        self._exact: dict[tuple[Edit, ...], Refinement | None] = {}
        self.resolution = resolution
        self.criterion = criterion
        self.max_compute = max_compute
        self.max_parameters = max_parameters
        self.single_units = single_units
        self.notes: list[str] = []
        self.seen: list[_Candidate] = []
        self.beyond: list[str] = []
        """By what candidates are beyond the limits."""
        self.refused: list[str] = []
        """Why candidates cannot be made."""
        self._plain = unchanged(graph, resolution)
        self.before = self._plain.before
        nodes = graph.all_layers
        first, *others = (
            Contracted(nodes, axis, size)
            for axis, size in enumerate(resolution[: axes_of(nodes) or 1])
        )
        # What is the same on all axes is followed along one of them.
        self._contracted = [first, *(one for one in others if one != first)]
        if self.before.multiply_accumulates is None:
            if max_compute is not None:
                self.notes.append(
                    "The graph does not tell what its layers compute: no limit holds."
                )
            elif self.before.parameters is not None:
                self.notes.append(_OPEN)
        for step in self.network.steps:
            for name, reason in step.obstacles.items():
                self.notes.append(f"{step.words} cannot be changed: {name}: {reason}.")

    def rebuild(self, rebuilt: Iterable[tuple[Rebuild, EnrichedNetworkNode]]) -> None:
        """Learn what the constructor of the model makes."""
        self.network = attrs.evolve(self.network, rebuilt=dict(rebuilt))

    def candidates(self, strategy: str) -> list[_Candidate]:
        """Return what a strategy proposes that gets better somewhere; all of it, up to a limit."""
        found: dict[tuple[Edit, ...], _Candidate] = {}
        for edits in STRATEGIES[strategy].candidates(self.network):
            if len(found) == _MOST:
                self.notes.append(
                    f"Of '{strategy}' only the first {_MOST:,} candidates were looked at."
                )
                break
            if edits and edits not in found:
                found[edits] = _Candidate(strategy, edits, self._estimates(edits))
        several = [one for one in found.values() if self._is_allowed(one)]
        self.seen.extend(several)
        return several

    def _estimates(self, edits: tuple[Edit, ...]) -> tuple[Estimate, ...]:
        if edits and isinstance(edits[0], Rebuild):
            return self._estimates_of_rebuilt(edits[0])
        found = [one.estimate(edits) for one in self._contracted]
        return tuple(found if len(found) > 1 else found * len(self.resolution))

    def _estimates_of_rebuilt(self, edit: Rebuild) -> tuple[Estimate, ...]:
        exact = self._exact[(edit,)] = self._with(edit, self.network.rebuilt[edit])
        nodes = self.network.rebuilt[edit].all_layers
        found = (Contracted(nodes, *one).estimate(()) for one in enumerate(self.resolution))
        return tuple(one._replace(compute=exact.compute_ratio or math.inf) for one in found)

    def _with(self, edit: Rebuild, graph: EnrichedNetworkNode) -> Refinement:
        return attrs.evolve(
            self._plain,
            edits=(edit,),
            strategy="wide",
            source=STRATEGIES["wide"].source,
            weights="new",
            after=predict(graph, self.resolution),
        )

    def _is_allowed(self, one: _Candidate) -> bool:
        if self.max_compute is not None and one.compute > self.max_compute * _MARGIN:
            self.beyond.append(f"it would take {one.compute:.3g} times the compute")
            return False
        sizes = zip(self.resolution, one.estimates, strict=False)
        if self.single_units or all(size >= 2 * estimate.jump for size, estimate in sizes):
            return True
        self.beyond.append("its last map would be a single unit (single_units=True allows that)")
        return False

    def is_feasible(self, resolutions: Sequence[float]) -> bool:
        """Whether a network makes use of all of its layers at the resolution in question."""
        return _is_below(resolutions, self.resolution)

    def ranking(self, strategy: str, top: int) -> tuple[Refinement, ...]:
        """Return the best refinements of a strategy, predicted exactly."""
        several = self.candidates(strategy)
        if strategy == "cut":
            ordered = self._cuts(several)
        else:
            ordered = [one for one in several if self.is_feasible(one.resolutions(self.criterion))]
            # What is closest below the image keeps most of what the network was made for.
            ordered.sort(key=lambda one: (-max(one.resolutions(self.criterion)), one.compute))
        found: list[Refinement] = []
        for one in ordered:
            if len(found) == top:
                break
            exact = self.exact(one)
            if exact is not None and self._is_success(exact):
                found.append(exact)
        return tuple(found)

    @staticmethod
    def _cuts(several: Sequence[_Candidate]) -> list[_Candidate]:
        """Return cuts that save compute first, in order of how many layers are on the wrong side.

        Layers that cannot help stay, or layers that do help are lost: of those behind the same stem
        where nothing is cut off. Of one stem, a cut that keeps less than another one and leaves as
        many layers that cannot help is left out.
        """
        longest: dict[object, _Candidate] = {}
        helping: dict[object, int] = {}
        for one in several:
            stem = one.edits[:-1]
            helping[stem] = max(one.kept - one.wasted, helping.get(stem, 0))
            key = (stem, one.wasted)
            if key not in longest or one.kept > longest[key].kept:
                longest[key] = one

        def misplaced(one: _Candidate) -> int:
            return one.wasted + helping[one.edits[:-1]] - (one.kept - one.wasted)

        return sorted(
            longest.values(), key=lambda one: (one.compute > 1, misplaced(one), one.compute)
        )

    def _is_success(self, one: Refinement) -> bool:
        if one.strategy == "cut":
            return _wasted(one) < self.before.states["unproductive"]
        return self.is_feasible(_resolution(one, self.criterion))

    def exact(self, one: _Candidate) -> Refinement | None:
        """Return a refinement with its exact prediction; None if it is not possible after all."""
        if one.edits not in self._exact:
            self._exact[one.edits] = self._predicted(one)
        found = self._exact[one.edits]
        if found is None or not self._is_within_limits(found):
            return None
        if found.strategy == one.strategy:
            return found
        return attrs.evolve(found, strategy=one.strategy, source=STRATEGIES[one.strategy].source)

    def _predicted(self, one: _Candidate) -> Refinement | None:
        source, network = STRATEGIES[one.strategy].source, self.network.source
        try:
            return refined_further(self._plain, network, one.edits, one.strategy, source)
        except RefinementError as error:
            # Maps that no longer meet, or weights of a fixed size: there is no such network.
            self.refused.append(str(error).removesuffix("."))
            return None

    def _is_within_limits(self, found: Refinement) -> bool:
        ratio = found.compute_ratio
        parameters = None if found.after is None else found.after.parameters
        few = self.max_parameters is None or parameters is None or parameters <= self.max_parameters
        return few and (self.max_compute is None or ratio is None or ratio <= self.max_compute)

    def front(self, top: int) -> tuple[Refinement, ...]:
        """Return what no other candidate beats in both resolution and compute."""
        strict = self.criterion == "strict"
        start = max(self.before.resolution if strict else self.before.layers_resolution)
        whole = [one for one in self.seen if one.strategy != "cut"]
        better = [one for one in whole if max(one.resolutions(self.criterion)) < start]
        better.sort(key=lambda one: (one.compute, max(one.resolutions(self.criterion))))
        found: list[Refinement] = []
        lowest = start
        for one in better:
            if max(one.resolutions(self.criterion)) >= lowest or len(found) == top:
                continue
            exact = self.exact(one)
            if exact is not None:
                lowest = max(one.resolutions(self.criterion))
                found.append(exact)
        return tuple(found)


def _known_strategies(given: Iterable[str] | None) -> list[str]:
    if given is not None and not isinstance(given, Iterable):
        raise RefinementError(
            f"strategies is {given!r}; it must be a list of names, of "
            f"{', '.join(map(repr, STRATEGIES))}, or None for all of them."
        )
    names = list(STRATEGIES) if given is None else [given] if isinstance(given, str) else [*given]
    for name in names:
        if name not in STRATEGIES:
            near = difflib.get_close_matches(str(name), STRATEGIES, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise RefinementError(
                f"There is no strategy {name!r}; valid are {', '.join(map(repr, STRATEGIES))}."
                f"{hint}"
            )
    return list(dict.fromkeys(names))


def _wasted(one: Refinement) -> int:
    assert one.after is not None  # noqa: S101 - edits of graphs are predicted
    return one.after.states["unproductive"]


def _resolution(one: Refinement, criterion: Criterion) -> Sequence[float]:
    after = one.after
    assert after is not None  # noqa: S101 - edits of graphs are predicted
    return after.resolution if criterion == "strict" else after.layers_resolution


def _why(search: _Search, rankings: Mapping[str, Sequence[Refinement]]) -> list[str]:
    """Say why nothing helps, where nothing does."""
    if any(rankings.values()):
        return []
    if not search.seen:
        limits = [f"Nothing that was tried is within the limits: {one}." for one in search.beyond]
        return limits[:1] or ["There is nothing in it that these strategies could change."]
    best = min(search.seen, key=lambda one: max(one.resolutions(search.criterion)))
    if search.is_feasible(best.resolutions(search.criterion)):
        causes = [f"What would be good cannot be made: {one}." for one in search.refused]
        return causes[:1] or ["What would be good is beyond the limits that were given."]
    size, unit = max(best.resolutions(search.criterion)), search.before.unit
    text = (
        f"The lowest feasible resolution within reach is {size} {unit}, with {words_of(best.edits)}"
    )
    known = search.before.multiply_accumulates
    return [f"{text}, at {best.compute:.3g} times the compute." if known else f"{text}."]


def _is_below(found: Sequence[float], resolution: Sequence[int]) -> bool:
    return all(one < size for one, size in zip(found, resolution, strict=False))


def _check_limits(max_compute: Any, max_parameters: Any, top: Any) -> None:
    """Refuse limits that are no positive numbers."""
    number = isinstance(max_compute, int | float) and not isinstance(max_compute, bool)
    if max_compute is not None and not (number and max_compute > 0):
        raise RefinementError(
            f"max_compute is {max_compute!r}; it must be a positive number of times the compute of "
            "the original, such as 2, or None."
        )
    for name, value in (("max_parameters", max_parameters), ("top", top)):
        none = value is None and name == "max_parameters"
        if not none and (type(value) is not int or value < 1):
            raise RefinementError(f"{name} is {value!r}; it must be a positive whole number.")


def _row(prediction: Prediction | None, ratio: float | None) -> str:
    if prediction is None:
        return "(known when the model is made)"
    size = "x".join(map(str, dict.fromkeys(prediction.resolution)))
    wasted = prediction.states["unproductive"]
    times = "" if ratio is None else f" ({ratio:.3g}x)"
    return (
        f"feasible from {size} {prediction.unit}, {wasted} layers wasted, "
        f"{short_number(prediction.parameters)} parameters, "
        f"{short_number(prediction.multiply_accumulates)} MAC{times}"
    )
