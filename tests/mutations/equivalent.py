"""Mutants that cannot change a result, by module, with the reason why."""

from __future__ import annotations

SHORTCUT = "A shortcut: the general way behind it gives the same, only later."
ALONE = "There is one entry, so the first is the last."

EQUIVALENT: dict[str, dict[str, list[str]]] = {
    "rfa_toolbox.arithmetic": {
        SHORTCUT: [
            "field_of: if not levels => if False",
            "jump_of: if not levels => if False",
            "grow_paths: if kernel == 1 and stride == 1 and (upsampling == 1) => if False",
            "grow_paths: kernel == 1 => kernel == 0",
            "grow_paths: stride == 1 => stride == 0",
            "grow_paths: upsampling == 1 => upsampling == 0",
            "grow_paths: if len(paths) == 1 => if False",
            "grow_paths: len(paths) == 1 => len(paths) == 0",
            "merge_paths: if len(merged) == 1 => if False",
            "merge_paths: len(merged) == 1 => len(merged) == 0",
            "prune: _extremes(group) if group[0][2] else group => _extremes(group)",
            "prune: group[0][2] => group[0][1]",
            (
                "smallest_field: field_of(paths[0]) if len(paths) == 1"
                " else min(map(field_of, paths), default=0)"
                " => min(map(field_of, paths), default=0)"
            ),
            (
                "largest_field: field_of(paths[0]) if len(paths) == 1"
                " else max(map(field_of, paths), default=0)"
                " => max(map(field_of, paths), default=0)"
            ),
            "_whole_number: if type(value) is int => if False",
            "normalise_integers: if type(value) is int and value >= minimum => if False",
            "normalise_integers: value >= minimum => value > minimum",
            "normalise_infinite: if type(value) is int and value >= 1 => if False",
            "normalise_infinite: value >= 1 => value > 1",
            "normalise_infinite: value >= 1 => value >= 2",
        ],
        ALONE: [
            "grow_paths: paths[0] => paths[-1]",
            "smallest_field: paths[0] => paths[-1]",
            "largest_field: paths[0] => paths[-1]",
            "unproductive_limits: several[0] => several[-1]",
        ],
        "Where the first level has gaps and another one is on top, the rule below it says no.": [
            "is_exact: -1 => 0",
        ],
        "A block of one unit is the unit itself.": [
            "grow_blocks: (1, math.inf) => (0, math.inf)",
        ],
        "The key only has to tell infinite paths from finite ones.": [
            ("prune: 0 if base == math.inf else jump => -1 if base == math.inf else jump"),
        ],
        "Without levels, paths of one jump and one field are the same path.": [
            "prune: base < group[0][0] => base <= group[0][0]",
            "prune: base > group[-1][0] => base >= group[-1][0]",
        ],
        "All paths of a group have levels, or none has.": [
            "prune: group[0] => group[-1] (2)",
        ],
    },
    "rfa_toolbox.unit_windows": {
        SHORTCUT: [
            "slid: if period == 1 and upsampling == 1 => if False",
            "slid: period == 1 => period == 0",
            "slid: upsampling == 1 => upsampling == 0",
            "_taps: if upsampling == 1 => if False",
            "_taps: upsampling == 1 => upsampling == 0",
            "shifted: if not offset => if False",
            "union: if not others => if False",
            (
                "union: if all((len(one.firsts) == 1 and one.advance == first.advance"
                " for one in several)) => if False"
            ),
            "union: len(one.firsts) == 1 => len(one.firsts) == 0",
            "union: len(one.firsts) == 1 => len(one.firsts) == 2",
            "union: one.advance == first.advance => one.advance != first.advance",
        ],
        ALONE: [
            "slid: firsts[0] => firsts[-1]",
            "slid: lasts[0] => lasts[-1]",
            "union: one.firsts[0] => one.firsts[-1]",
            "union: one.lasts[0] => one.lasts[-1]",
        ],
        "What sees nothing has no stride.": [
            (
                "NOTHING: UnitWindows(1, (math.inf,), (-math.inf,))"
                f" => UnitWindows({advance}, (math.inf,), (-math.inf,))"
            )
            for advance in (0, 2)
        ],
        "What sees everything has no stride.": [
            (
                "seen_in_blocks: 1 if block == math.inf else int(block)"
                " => 2 if block == math.inf else int(block)"
            ),
            (
                "seen_in_blocks: 1 if block == math.inf else int(block)"
                " => 0 if block == math.inf else int(block)"
            ),
        ],
        "Pooling makes no period longer, so what was followed before still is.": [
            "seen_in_blocks: pooled is None or pooled == EVERYTHING => pooled == EVERYTHING",
        ],
        "No more than half of a period divides it, but the period itself.": [
            "_reduced: period // 2 => period * 2",
            "_reduced: period // 2 => period // 1",
            "_reduced: period // 2 + 1 => period // 2 + 2",
        ],
    },
    "rfa_toolbox.operators.windows": {},
    "rfa_toolbox.analysis.placement": {
        "A node without axes of its own has one entry.": [
            "missed_pixels: several[0] => several[-1]",
        ],
        "A single branch has no other one to be apart from.": [
            "misaligned_merges: if len(node.predecessors) + len(node.offsets) > 1 => if True",
            (
                "misaligned_merges: len(node.predecessors) + len(node.offsets) > 1"
                " => len(node.predecessors) + len(node.offsets) >= 1"
            ),
            (
                "misaligned_merges: len(node.predecessors) + len(node.offsets) > 1"
                " => len(node.predecessors) + len(node.offsets) > 0"
            ),
            "_distance: len(placed) < 2 => len(placed) < 1",
        ],
        "Both ranges are empty, and so equal.": [
            "cells_of_box: range(0) => range(-1)",
        ],
    },
    "rfa_toolbox.analysis.tiling": {
        ALONE: [
            "_along: axis if len(windows) > 1 else 0 => axis if len(windows) > 1 else -1",
            "_right_behind: axis if axes > 1 else 0 => axis if axes > 1 else -1",
        ],
        "Branches whose place is not known were refused before.": [
            "_offsets: read[axis] or 0 => read[axis]",
        ],
        "It only spares a copy of the graph.": [
            (
                "_with_blocks_counted: if all((one.layer_info.norm_blocks is None for one in "
                "node.all_layers)) => if False"
            ),
            (
                "_with_blocks_counted: one.layer_info.norm_blocks is None => "
                "one.layer_info.norm_blocks is not None"
            ),
        ],
        "Nothing follows the last tile.": [
            "_slices: stop if stop is not None else done => stop",
        ],
    },
}
