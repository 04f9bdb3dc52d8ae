"""What a rule answers: a value that says what an operation does, and changes nothing.

Only the walk (:mod:`.trail`) writes down what follows from it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import attrs

from rfa_toolbox.operators.layout import Layout, Offsets
from rfa_toolbox.operators.record import Numbers, Operation
from rfa_toolbox.operators.values import Facts, Parts, Scores, Value
from rfa_toolbox.operators.windows import Window

if TYPE_CHECKING:
    from rfa_toolbox.operators.known import Known

__all__ = ["IN_FRONT", "Effect", "Moved", "Rule", "Slides", "Written", "rule"]


IN_FRONT = "within a block its units see only those in front of them, or behind them"
"""Why a scan of blocks is a bound."""


class Slides(NamedTuple):
    """What axes a sliding window takes for channels, and which ones it slides over.

    A dense layer, an attention, a recurrent layer or a norm of one dimension takes that dimension
    for channels and slides over none.
    """

    channels: tuple[int, ...]
    axes: tuple[tuple[int, ...], ...]

    def slid(self) -> set[int]:
        """Return the axes that the window slides over."""
        return {axis for axes in self.axes for axis in axes}

    def among_others(self) -> set[int]:
        """Return the axes that it slides over together with others, as one that was shuffled in."""
        return {axis for axes in self.axes if len(axes) > 1 for axis in axes}

    def only_channels(self) -> list[int]:
        """Return the axes that are channels alone, or became places between those of others.

        Channels that also hold positions, as behind a hand-written pixel-unshuffle, are none.
        """
        alone = {axis for axes in self.axes if len(axes) == 1 for axis in axes}
        return sorted(set(self.channels) - alone)


class Written(NamedTuple):
    """What was written to a tensor so far.

    Attributes:
        dependent: whether it depended on the input before anything was written.
        places: what was written of every dimension, and the step that made it, one after another.
    """

    dependent: bool
    places: tuple[tuple[tuple[range, ...], int | None], ...] = ()


@attrs.frozen(slots=False)
class Effect(Facts):
    """What an operation does that computes; the walk makes a step of it.

    Attributes:
        windows: by axis, measured in units of the map of ``base``; where there is none, every unit
            sees the one at its own place.
        layouts: where positions are in each output; all alike if only one is given. A rule of a
            user may leave them out where windows slide over the dimensions that hold positions.
        base: the value whose map is worked on; by default that of the operand with most axes.
        operation: the operation that the step is made of, if that is another one than ran.
        offsets: those of the step; None if the layouts of the operands tell.
        unaligned: axes along which operands are known not to lie upon each other, beside those that
            the layouts of the operands tell.
        padded: axes along which padding takes the place of units that were cut off.
        closes: axes whose size the model leaves open in front of it, and not behind it.
        mixed: the dimensions that become one, where channels stay apart from each other otherwise;
            None if nothing is known to stay apart.
        as_it_lies: whether operands are taken with what plumbing put between their units.
        laid: where positions are in the first output, if not where they are on the map that the
            step makes.
        parts: the parts of different sight that the first output has.
        gaps: its ``Value.gaps``.
        apart: its ``Value.apart``, if known.
        copies: how many units at the ends of it are copies of others, by axis.
        written: what was written to it so far.
        slides: over what its windows slide, if it takes some dimension for channels.
        mirrored: axes along which its result is mirrored, as what it reads.
        allowed: its ``Value.allowed``.
        scores: its ``Value.scores``.
    """

    windows: Mapping[int, Window]
    layouts: tuple[Layout, ...] = ()
    base: Value | None = None
    offsets: Offsets | None = None
    unaligned: frozenset[int] = frozenset()
    padded: tuple[int, ...] = ()
    closes: tuple[int, ...] = ()
    mixed: Sequence[int] | None = None
    as_it_lies: bool = False
    operation: Operation | None = None
    laid: Callable[[Layout], Layout] | None = None
    parts: Parts | None = None
    gaps: Mapping[int, int] | None = None
    apart: bool | None = None
    copies: Mapping[int, int | float] = MappingProxyType({})
    written: Written | None = None
    slides: Slides | None = None
    mirrored: frozenset[int] = frozenset()
    allowed: Numbers | None = None
    scores: Scores = ""

    def facts(self) -> dict[str, Any]:
        """Return what goes into the step as it is."""
        return dict(zip(_FACTS, _facts_of(self), strict=True))


_FACTS = tuple(attrs.fields_dict(Facts))
_facts_of = operator.attrgetter(*_FACTS)


@attrs.frozen(slots=True)
class Moved:
    """What an operation does that only moves positions, or makes a constant; no step is made.

    Attributes:
        values: per number of an output what is known of it now.
        even: per number of a constant the dimensions along which it is the same everywhere.
    """

    values: Mapping[int, Value] = MappingProxyType({})
    even: Mapping[int, tuple[int, ...]] = MappingProxyType({})


Answer: TypeAlias = "Effect | Moved"
Takes: TypeAlias = Literal["settled", "one grid", "one map", "as it lies", "as filled"]


@attrs.frozen
class Rule:
    """What a family of operators does: a pure function from a call to its effect.

    Attributes:
        effect: gets what is known so far and the operation, and returns its effect.
        takes: how the walk prepares the operands. "settled": what plumbing left out of a map, or
            put in, is a step of its own already. "one grid": units of all of them are as far apart,
            too. "one map": and what has one unit only is spread over the others, as arithmetic
            does. "as it lies": plumbing goes on. "as filled": what a tensor is written to may have
            gaps that are filled in turn.
        cuts: the dimensions that plumbing cuts, and in which its operand has to be settled.
        mirrors: whether it goes on with a single operand that is mirrored.
    """

    effect: Callable[[Known, Operation], Answer]
    takes: Takes = "settled"
    cuts: Callable[[Known, Operation], Sequence[int]] | None = None
    mirrors: bool = False

    def __call__(self, known: Known, operation: Operation) -> Answer:
        """Return the effect of an operation."""
        return self.effect(known, operation)


def rule(
    takes: Takes = "settled",
    cuts: Callable[[Known, Operation], Sequence[int]] | None = None,
    mirrors: bool = False,
) -> Callable[[Callable[[Known, Operation], Answer]], Rule]:
    """Return what makes a rule of a function; see :class:`Rule`."""
    return lambda effect: Rule(effect, takes, cuts, mirrors)
