/* Where boxes and arrows stand. Every open module is laid out by itself, by dagre, with its inner
   modules as boxes; what enters or leaves a module does so through ports on its frame. */

/** @typedef {{left: number, top: number, right: number, bottom: number}} Region */
/** @typedef {[number, number]} Point */
/** A box: a unit, or a folded module together with those that repeat it.
 * @typedef {Region & {id: string, unit: number, modules: number[]}} Box */
/** @typedef {{module: number, pieces: Region[]}} Frame */
/** A line from what a box yields, or a part of it; heads are the boxes that read it. Turns lead to a point in the next column.
 * @typedef {{points: Point[], joined: boolean, tip: boolean, tail: string, heads: Set<string>, turns: Map<number, {under: number, between: number, above: number}>}} Wire */
/** @typedef {{boxes: Map<string, Box>, frames: Frame[], wires: Wire[], holder: string[], width: number, height: number, columns: number}} Scene */
/** @typedef {{from: string, to: string, joined: boolean, tail: string, heads: Set<string>}} Edge */
/** @typedef {{width: number, height: number, places: Map<string, Region>, lines: Point[][]}} Inner */

const BOX_WIDTH = 184;
const BOX_HEIGHT = 52;
const PADDING = 10;
const HEADING = 20;
const NARROWEST = 110;
const GUTTER = 26;
const LANE = 7;
const MOST_TRIED = 60;

/** What stands in every module: units as numbers, modules as names. @param {Level} level @returns {(number | string)[][]} */
function itemsOf(level) {
  if (level.items) return level.items;
  /** @type {(number | string)[][]} */
  const items = level.modules.map(() => []);
  const placed = new Set([0]);
  level.module.forEach((module, unit) => {
    items[module].push(unit);
    // A module stands where its first unit does.
    for (let inner = module, unplaced = inner; !placed.has(inner); inner = unplaced) {
      placed.add(inner);
      unplaced = level.modules[inner][1];
      items[unplaced].push(`m${inner}`);
    }
  });
  // Its first unit was pushed into it before it was pushed into its own parent, and so stays the first.
  level.items = items;
  return items;
}

/** The modules around one, from the outside in, without the picture itself. @param {number} module @param {Level} [level] */
function enclosing(module, level = levelOf(model())) {
  const found = [];
  for (let at = module; at > 0; at = level.modules[at][1]) found.unshift(at);
  return found;
}

/** The units inside every module. @param {Level} level @returns {number[][]} */
function unitsOf(level) {
  if (level.units) return level.units;
  /** @type {number[][]} */
  const units = level.modules.map(() => []);
  level.module.forEach((module, unit) => {
    for (let at = module; at >= 0; at = level.modules[at][1]) units[at].push(unit);
  });
  level.units = units;
  return units;
}

/** What a module does, as a text that is equal for modules that repeat each other. @param {Model} one @param {Level} level @returns {(string | null)[]} */
function signatures(one, level) {
  if (level.signatures) return level.signatures;
  level.signatures = unitsOf(level).map((inside) => {
    if (inside.length > 2000) return null;
    const set = new Set(inside);
    return inside
      .map((unit) => {
        const layer = layerOf(one, level.main[unit]);
        const reads = level.inputs[unit].map((before) => (set.has(before) ? before - unit : "x"));
        return [layer.type, layer.kernel, layer.stride, layer.dilation, layer.filters, ...reads].join(" ");
      })
      .join(";");
  });
  return level.signatures;
}

/** Folded modules that repeat the one before them: each with the first of its row. @param {Model} one @param {Level} level @param {Set<number>} folded @param {Set<number>} split @returns {Map<number, number>} */
function repeats(one, level, folded, split) {
  const alike = signatures(one, level);
  /** @type {Map<number, number>} */
  const first = new Map();
  for (const items of itemsOf(level)) {
    let before = -1;
    for (const item of items) {
      const module = typeof item === "string" ? Number(item.slice(1)) : -1;
      const shut = module > 0 && folded.has(module) && !split.has(module) && alike[module] !== null;
      if (shut && before > 0 && alike[module] === alike[before] && follows(level, before, module)) first.set(module, first.get(before) ?? before);
      before = shut ? module : -1;
    }
  }
  return first;
}

/** Whether all that enters a module comes from another one. @param {Level} level @param {number} before @param {number} module */
function follows(level, before, module) {
  /** @param {number} unit @param {number} around */
  const isIn = (unit, around) => {
    for (let at = level.module[unit]; at > 0; at = level.modules[at][1]) if (at === around) return true;
    return false;
  };
  return unitsOf(level)[module].every((unit) => level.inputs[unit].every((one) => isIn(one, module) || isIn(one, before)));
}

/** Lay out a level as it is folded. @param {Model} one @param {Level} level @param {Set<number>} folded @param {Set<number>} split modules that do not stand for their repetitions @param {number} aspect width of the place by its height @returns {Scene} */
function layOut(one, level, folded, split, aspect) {
  const repeated = repeats(one, level, folded, split);
  const outermost = level.modules.map((_, module) => enclosing(module, level).find((inner) => folded.has(inner)) ?? -1);
  /** @type {Map<string, {unit: number, modules: number[], home: number}>} */
  const shown = new Map();
  const holder = level.main.map((_, unit) => {
    const shut = outermost[level.module[unit]];
    if (shut < 0) {
      shown.set(`u${unit}`, { unit, modules: [], home: level.module[unit] });
      return `u${unit}`;
    }
    const first = repeated.get(shut) ?? shut;
    const id = `m${first}`;
    const box = shown.get(id) ?? { unit: -1, modules: [], home: level.modules[first][1] };
    if (!box.modules.includes(shut)) box.modules.push(shut);
    shown.set(id, box);
    return id;
  });
  const edges = edgesOf(level, holder, shown);
  const insides = new Map();
  /** @type {Set<number>} */
  const open = new Set([0]);
  for (const { home } of shown.values()) for (const module of enclosing(home, level)) open.add(module);
  // Inner modules first: their sizes are those of their frames.
  for (const module of [...open].sort((a, b) => enclosing(b, level).length - enclosing(a, level).length))
    insides.set(module, layOutModule(itemsOf(level)[module], shown, open, insides, edges.get(module) ?? []));
  return compose(level, shown, holder, open, insides, edges, aspect);
}

/** The arrows that cross each open module, with their ports. @param {Level} level @param {string[]} holder @param {Map<string, {home: number}>} shown @returns {Map<number, Edge[]>} */
function edgesOf(level, holder, shown) {
  /** @type {Map<number, Map<string, Edge>>} */
  const found = new Map();
  /** @type {Map<number, number[]>} */
  const ways = new Map();
  /** @param {string} id */
  const wayTo = (id) => {
    const home = shown.get(id)?.home ?? 0;
    if (!ways.has(home)) ways.set(home, [0, ...enclosing(home, level)]);
    return ways.get(home) ?? [0];
  };
  /** @param {number} module @param {string} from @param {string} to @param {boolean} joined @param {string} tail @param {string} head */
  const add = (module, from, to, joined, tail, head) => {
    const edges = found.get(module) ?? new Map();
    found.set(module, edges);
    const key = `${from} ${to} ${joined} ${from[0] === "f" || to[0] === "f" ? tail : ""}`;
    const edge = edges.get(key) ?? { from, to, joined, tail, heads: new Set() };
    edge.heads.add(head);
    edges.set(key, edge);
  };
  for (const [tailUnit, headUnit, marked] of level.arrows) {
    const [tail, head, joined] = [holder[tailUnit], holder[headUnit], Boolean(marked)];
    if (tail === head) continue;
    const [out, into] = [wayTo(tail), wayTo(head)];
    let common = 0;
    while (common < out.length && common < into.length && out[common] === into[common]) common += 1;
    const port = joined ? `j${tail}` : tail;
    let from = tail;
    for (let at = out.length - 1; at >= common; at -= 1) {
      add(out[at], from, `o${port}`, joined, tail, head);
      from = `f${out[at]}`;
    }
    const to = common < into.length ? `f${into[common]}` : head;
    add(out[common - 1], from, to, joined, tail, head);
    for (let at = common; at < into.length; at += 1) add(into[at], `i${port}`, at + 1 < into.length ? `f${into[at + 1]}` : head, joined, tail, head);
  }
  return new Map([...found].map(([module, edges]) => [module, [...edges.values()]]));
}

/** Layouts by what was laid out, since many modules are alike. @type {Map<string, {x: number, y: number}[][]>} */
const known = new Map();

/** @param {(number | string)[]} items @param {Map<string, unknown>} shown @param {Set<number>} open @param {Map<number, Inner>} insides @param {Edge[]} edges @returns {Inner} */
function layOutModule(items, shown, open, insides, edges) {
  /** @type {Map<string, [number, number]>} */
  const sizes = new Map();
  for (const item of items) {
    const inner = typeof item === "string" ? Number(item.slice(1)) : -1;
    if (inner >= 0 && open.has(inner)) {
      const inside = /** @type {Inner} */ (insides.get(inner));
      sizes.set(`f${inner}`, [Math.max(inside.width + 2 * PADDING, NARROWEST), inside.height + HEADING + PADDING]);
    } else {
      const id = inner >= 0 ? `m${inner}` : `u${item}`;
      if (shown.has(id)) sizes.set(id, [BOX_WIDTH, BOX_HEIGHT]);
    }
  }
  for (const { from, to } of edges) for (const end of [from, to]) if (!sizes.has(end)) sizes.set(end, [2, 0]);
  const ids = [...sizes.keys()];
  const number = new Map(ids.map((id, at) => [id, at]));
  const shape = JSON.stringify([[...sizes.values()], ids.map((id) => id[0]), edges.map(({ from, to, joined }) => [number.get(from), number.get(to), joined])]);
  const placed = known.get(shape) ?? askDagre(ids, [...sizes.values()], edges.map(({ from, to }) => [number.get(from) ?? 0, number.get(to) ?? 0]));
  known.set(shape, placed);
  const [centres, ...lines] = placed;
  /** @type {Map<string, Region>} */
  const places = new Map();
  const whole = { left: Infinity, top: Infinity, right: -Infinity, bottom: -Infinity };
  ids.forEach((id, at) => {
    const [width, height] = sizes.get(id) ?? [0, 0];
    const { x, y } = centres[at];
    const region = { left: x - width / 2, top: y - height / 2, right: x + width / 2, bottom: y + height / 2 };
    places.set(id, region);
    widen(whole, region);
  });
  for (const line of lines) for (const { x, y } of line.slice(1, -1)) widen(whole, { left: x, top: y, right: x, bottom: y });
  /** @param {Region} region */
  const moved = ({ left, top, right, bottom }) => ({ left: left - whole.left, top: top - whole.top, right: right - whole.left, bottom: bottom - whole.top });
  return {
    width: whole.right - whole.left,
    height: whole.bottom - whole.top,
    places: new Map([...places].map(([id, region]) => [id, moved(region)])),
    lines: lines.map((line) => line.map(({ x, y }) => /** @type {Point} */ ([x - whole.left, y - whole.top]))),
  };
}

/** @param {Region} region @param {Region} other */
function widen(region, other) {
  region.left = Math.min(region.left, other.left);
  region.top = Math.min(region.top, other.top);
  region.right = Math.max(region.right, other.right);
  region.bottom = Math.max(region.bottom, other.bottom);
}

/** Centres of the nodes, and then the points of every edge.
 * @typedef {{x: number, y: number}[][]} Placed */

/** Lay out some nodes so that what follows each other stands below each other. @param {string[]} ids @param {[number, number][]} sizes @param {[number, number][]} edges @returns {Placed} */
function askDagre(ids, sizes, edges) {
  let best = placedBy(ids, sizes, edges, undefined);
  let least = crookedness(best);
  // The usual placement is a mean of four, in which a branch beside a chain makes a staircase of it.
  for (const side of ids.length <= MOST_TRIED ? /** @type {const} */ (["UL", "UR", "DL", "DR"]) : []) {
    if (!least) break;
    const placed = placedBy(ids, sizes, edges, side);
    const found = crookedness(placed);
    if (found < least) [best, least] = [placed, found];
  }
  return best;
}

/** How far from straight the lines between nodes are, and how wide that makes all of it. @param {Placed} placed */
function crookedness([centres, ...lines]) {
  let sum = 0;
  for (const points of lines)
    for (let at = 1; at < points.length; at += 1) {
      const off = Math.abs(points[at].x - points[at - 1].x);
      if (off > 1) sum += 60 + off;
    }
  const across = centres.map(({ x }) => x);
  return sum && sum + Math.max(...across) - Math.min(...across);
}

/** @param {string[]} ids @param {[number, number][]} sizes @param {[number, number][]} edges @param {"UL" | "UR" | "DL" | "DR" | undefined} align the side to which nodes are moved @returns {Placed} */
function placedBy(ids, sizes, edges, align) {
  const graph = new dagre.graphlib.Graph({ multigraph: true });
  graph.setGraph({ rankdir: "TB", align, nodesep: 16, edgesep: 12, ranksep: 26, ranker: ids.length > 120 ? "longest-path" : "network-simplex" });
  ids.forEach((_, at) => graph.setNode(String(at), { width: sizes[at][0], height: sizes[at][1] }));
  edges.forEach(([from, to], at) => graph.setEdge(String(from), String(to), { minlen: 1, weight: 1 }, String(at)));
  // Several ports stand in one row, at the upper or lower end of the module.
  for (const [kind, row] of /** @type {const} */ ([["i", "above"], ["o", "below"]])) {
    const ports = ids.flatMap((id, at) => (id[0] === kind && sizes[at][1] === 0 ? [String(at)] : []));
    if (ports.length < 2) continue;
    graph.setNode(row, { width: 1, height: 0 });
    for (const port of ports) graph.setEdge(row === "above" ? row : port, row === "above" ? port : row, { minlen: 1, weight: 50 }, row);
  }
  dagre.layout(graph);
  const centres = ids.map((_, at) => ({ x: graph.node(String(at)).x, y: graph.node(String(at)).y }));
  return [centres, ...edges.map(([from, to], at) => graph.edge(String(from), String(to), String(at)).points)];
}

/** Put the modules into one another, and the whole into columns. @param {Level} level @param {Map<string, {unit: number, modules: number[], home: number}>} shown @param {string[]} holder @param {Set<number>} open @param {Map<number, Inner>} insides @param {Map<number, Edge[]>} edges @param {number} aspect @returns {Scene} */
function compose(level, shown, holder, open, insides, edges, aspect) {
  /** @type {Map<number, Region>} */
  const regions = new Map();
  /** @type {Map<number, Point>} */
  const corners = new Map([[0, [0, 0]]]);
  /** @type {Map<string, Box>} */
  const boxes = new Map();
  const inward = [...open].sort((a, b) => enclosing(a, level).length - enclosing(b, level).length);
  for (const module of inward) {
    const [x, y] = corners.get(module) ?? [0, 0];
    for (const [id, place] of insides.get(module)?.places ?? []) {
      const region = { left: place.left + x, top: place.top + y, right: place.right + x, bottom: place.bottom + y };
      if (id[0] === "f") {
        const inner = Number(id.slice(1));
        const inside = /** @type {Inner} */ (insides.get(inner));
        regions.set(inner, region);
        corners.set(inner, [(region.left + region.right - inside.width) / 2, region.top + HEADING]);
      } else if (shown.has(id)) boxes.set(id, { ...region, id, unit: shown.get(id)?.unit ?? -1, modules: shown.get(id)?.modules ?? [] });
    }
  }
  /** Where a line meets something. @param {number} module @param {string} id @param {"top" | "bottom"} side @param {string} port @returns {Point} */
  const meets = (module, id, side, port) => {
    const inside = /** @type {Inner} */ (insides.get(module));
    const [x, y] = corners.get(module) ?? [0, 0];
    const place = /** @type {Region} */ (inside.places.get(id));
    const middle = (place.left + place.right) / 2 + x;
    if (id[0] !== "f") return [middle, place[side] + y];
    const inner = Number(id.slice(1));
    const at = insides.get(inner)?.places.get(`${side === "top" ? "i" : "o"}${port}`);
    const corner = corners.get(inner) ?? [0, 0];
    return [at ? (at.left + at.right) / 2 + corner[0] : middle, place[side] + y];
  };
  /** @type {Wire[]} */
  const wires = [];
  for (const module of inward)
    (edges.get(module) ?? []).forEach(({ from, to, joined, tail, heads }, at) => {
      const [x, y] = corners.get(module) ?? [0, 0];
      const frame = regions.get(module);
      const port = joined ? `j${tail}` : tail;
      const line = insides.get(module)?.lines[at] ?? [];
      /** @type {Point[]} */
      const middle = line.length > 3 ? line.slice(1, -1).map(([px, py]) => [px + x, py + y]) : [];
      const points = [meets(module, from, "bottom", port), ...middle, meets(module, to, "top", port)];
      const isPort = (/** @type {string} */ id) => !shown.has(id) && id[0] !== "f";
      if (frame && isPort(from)) points.unshift([points[0][0], frame.top]);
      if (frame && isPort(to)) points.push([points[points.length - 1][0], frame.bottom]);
      wires.push({ points, joined, tip: shown.has(to), tail, heads, turns: new Map() });
    });
  return inColumns({ boxes, frames: [...regions].map(([module, region]) => ({ module, pieces: [region] })), wires, holder, width: insides.get(0)?.width ?? 1, height: insides.get(0)?.height ?? 1, columns: 1 }, aspect);
}

// --- columns ---------------------------------------------------------------------------------

/** Cut a long picture into columns between its boxes, as many as let it be largest. @param {Scene} scene @param {number} aspect @returns {Scene} */
function inColumns(scene, aspect) {
  const gaps = gapsOf(scene);
  const contents = contentsOf(scene);
  let best = [0, scene.height];
  let scale = 0;
  for (let columns = 1; columns <= Math.min(gaps.length + 1, 24); columns += 1) {
    const cuts = cutsOf(scene, gaps, columns);
    const tallest = Math.max(...cuts.slice(1).map((end, at) => end - cuts[at]));
    const found = Math.min(aspect / columnsOf(scene, contents, cuts).width, 1 / (tallest + 2 * MARGIN));
    if (found > scale * 1.12) [best, scale] = [cuts, found];
  }
  return best.length > 2 ? moved(scene, contents, best) : scene;
}

/** Where no box stands, with how much a cut there would cut: frames, and the arrows across. @param {Scene} scene @returns {[number, number][]} */
function gapsOf(scene) {
  const rows = [...scene.boxes.values()].sort((one, other) => one.top - other.top);
  const frames = counter(scene.frames.map(({ pieces: [{ top, bottom }] }) => [top, bottom]));
  const wires = counter(scene.wires.map(({ points }) => [points[0][1], points[points.length - 1][1]]));
  const beginnings = scene.frames.map(({ pieces }) => pieces[0].top);
  /** @type {[number, number][]} */
  const gaps = [];
  let floor = rows.length ? rows[0].bottom : 0;
  for (const { top, bottom } of rows) {
    // Cut in front of the frames that begin in a gap: they would leave a scrap behind.
    if (top > floor) {
      const gap = Math.max(floor + 1, beginnings.reduce((least, one) => (one > floor && one < least ? one : least), top) - 4);
      gaps.push([gap, 0.1 * frames(gap) + 0.03 * wires(gap)]);
    }
    floor = Math.max(floor, bottom);
  }
  return gaps;
}

/** How many of some spans hold a place. @param {[number, number][]} spans @returns {(place: number) => number} */
function counter(spans) {
  const [starts, ends] = [0, 1].map((end) => spans.map((span) => span[end]).sort((one, other) => one - other));
  return (place) => firstFrom(starts, place) - firstFrom(ends, place);
}

/** Where the numbers begin that are not below another one. @param {number[]} sorted @param {number} place */
function firstFrom(sorted, place) {
  let [from, to] = [0, sorted.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (sorted[middle] < place) from = middle + 1;
    else to = middle;
  }
  return from;
}

/** Where columns of about the same height begin, and the end; rather a little off than through frames. @param {Scene} scene @param {[number, number][]} gaps @param {number} columns */
function cutsOf(scene, gaps, columns) {
  const height = scene.height / columns;
  const starts = [0];
  for (let at = 1; at < columns; at += 1) {
    const wanted = height * at;
    let [best, least] = [Infinity, Infinity];
    for (const [gap, cost] of gaps) {
      const off = Math.abs(gap - wanted) / height;
      if (off + cost < least && (off < 0.3 || !Number.isFinite(best))) [best, least] = [gap, off + cost];
    }
    if (best > starts[starts.length - 1] && best < Infinity) starts.push(best);
  }
  return [...starts, scene.height];
}

/** Which column a place is in. @param {number[]} cuts @returns {(y: number) => number} */
function columnFinder(cuts) {
  return (y) => {
    let at = 0;
    while (at + 2 < cuts.length && y >= cuts[at + 1]) at += 1;
    return at;
  };
}

/** An arrow from one column to the next: where it leaves the one and enters the other, and its lanes beneath, between, and above them.
 * @typedef {{wire: number, from: number, to: number, lane: number, above: number}} Crossing */

/** The arrows that cross each cut. Their lanes lie within one another where they keep their order. @param {Scene} scene @param {number[]} cuts @returns {Crossing[][]} */
function crossingsOf(scene, cuts) {
  const columnAt = columnFinder(cuts);
  /** @type {Crossing[][]} */
  const crossings = cuts.slice(1, -1).map(() => []);
  scene.wires.forEach(({ points }, wire) => {
    for (let at = 1; at < points.length; at += 1) {
      const [[x, y], [nextX, nextY]] = [points[at - 1], points[at]];
      const [first, last] = [columnAt(y) + 1, columnAt(nextY)];
      for (let cut = first; cut <= last; cut += 1) {
        const way = (cuts[cut] - y) / (nextY - y);
        const there = x + (nextX - x) * way * way * (3 - 2 * way);
        crossings[cut - 1].push({ wire, from: cut === first ? x : there, to: cut === last ? nextX : there, lane: 0, above: 0 });
      }
    }
  });
  for (const row of crossings) giveLanes(row, (one, other) => scene.wires[one].tail === scene.wires[other].tail);
  return crossings;
}

/** Give every arrow across a cut its lanes: what leaves on the right turns first. @param {Crossing[]} row @param {(one: number, other: number) => boolean} isOfOne whether two wires come from the same box */
function giveLanes(row, isOfOne) {
  row.sort((one, other) => other.from - one.from || other.to - one.to);
  row.forEach((one, at) => {
    const before = row[at - 1];
    if (before) one.lane = before.lane + (before.from - one.from < 1 && isOfOne(before.wire, one.wire) ? 0 : 1);
  });
  const entering = [...row].sort((one, other) => other.to - one.to || one.lane - other.lane);
  entering.forEach((one, at) => {
    const before = entering[at - 1];
    if (!before) return;
    one.above = before.above + 1;
    // Two arrows to one place come side by side.
    if (before.to - one.to < LANE) one.to = before.to - LANE;
  });
}

/** All that a frame may hold, from the top to the bottom: boxes, frames, and the points of wires. @param {Scene} scene @returns {Region[]} */
function contentsOf(scene) {
  /** @type {Region[]} */
  const all = [...scene.boxes.values(), ...scene.frames.map(({ pieces: [region] }) => region)];
  for (const { points } of scene.wires) for (const [x, y] of points) all.push({ left: x, right: x, top: y, bottom: y });
  return all.sort((one, other) => one.top - other.top);
}

/** The pieces of every frame in the columns that it goes through, no wider than what they hold. @param {Scene} scene @param {Region[]} contents @param {number[]} cuts @param {Crossing[][]} crossings @returns {Map<number, Region>[]} by column */
function piecesOf(scene, contents, cuts, crossings) {
  const columnAt = columnFinder(cuts);
  const tops = contents.map(({ top }) => top);
  /** What the cuts make: ends of wires, and pieces of inner frames. @type {Region[][]} */
  const made = cuts.slice(1).map(() => []);
  crossings.forEach((row, at) => row.forEach(({ from, to }) => {
    made[at].push({ left: from, right: from, top: cuts[at + 1], bottom: cuts[at + 1] });
    made[at + 1].push({ left: to, right: to, top: cuts[at + 1], bottom: cuts[at + 1] });
  }));
  /** @param {Region} region @param {number} column */
  const narrowed = (region, column) => {
    const [top, bottom] = [Math.max(region.top, cuts[column]), Math.min(region.bottom, cuts[column + 1])];
    let [left, right] = [Infinity, -Infinity];
    /** @param {Region} one */
    const hold = (one) => {
      if (one.left < region.left || one.right > region.right || one.top < top || one.bottom > bottom) return;
      left = Math.min(left, one.left);
      right = Math.max(right, one.right);
    };
    for (let at = firstFrom(tops, top); at < tops.length && tops[at] <= bottom; at += 1) hold(contents[at]);
    made[column].forEach(hold);
    left = Math.max(region.left, left - PADDING);
    right = Math.min(region.right, Math.max(right + PADDING, column === columnAt(region.top) ? left + NARROWEST : 0));
    return { left, right, top: Math.max(region.top, cuts[column] + 4), bottom: Math.min(region.bottom, cuts[column + 1] - 4) };
  };
  /** @type {Map<number, Region>[]} */
  const pieces = scene.frames.map(() => new Map());
  for (let number = scene.frames.length - 1; number >= 0; number -= 1) {
    // Inner frames come first: those around them hold them.
    const { pieces: [region] } = scene.frames[number];
    const [first, last] = [columnAt(region.top), columnAt(region.bottom - 1)];
    if (first === last) pieces[number].set(first, region);
    for (let at = first; first < last && at <= last; at += 1) {
      const high = Math.min(region.bottom, cuts[at + 1]) - Math.max(region.top, cuts[at]);
      if (high <= 2 * PADDING && !(at === last && !pieces[number].size)) continue;
      const piece = narrowed(region, at);
      pieces[number].set(at, piece);
      made[at].push(piece);
    }
  }
  return pieces;
}

/** How wide every column is, and where it stands. @param {Scene} scene @param {Region[]} contents @param {number[]} cuts */
function columnsOf(scene, contents, cuts) {
  const columns = cuts.slice(1).map(() => [Infinity, -Infinity]);
  const columnAt = columnFinder(cuts);
  const crossings = crossingsOf(scene, cuts);
  const pieces = piecesOf(scene, contents, cuts, crossings);
  /** @param {number} column @param {number} left @param {number} right */
  const hold = (column, left, right) => {
    columns[column][0] = Math.min(columns[column][0], left);
    columns[column][1] = Math.max(columns[column][1], right);
  };
  for (const { top, left, right } of scene.boxes.values()) hold(columnAt(top), left, right);
  for (const parts of pieces) for (const [at, piece] of parts) hold(at, piece.left, piece.right);
  for (const { points } of scene.wires) for (const [x, y] of points) hold(columnAt(y), x, x);
  crossings.forEach((row, at) => row.forEach(({ from, to }) => {
    hold(at, from, from);
    hold(at + 1, to, to);
  }));
  let x = 0;
  const shifts = columns.map(([left, right], at) => {
    const shift = x - (left === Infinity ? 0 : left);
    x += (left === Infinity ? 0 : right - left) + (crossings[at] ? GUTTER + LANE * crossings[at].length : 0);
    return shift;
  });
  const ends = shifts.map((shift, at) => (columns[at][1] === -Infinity ? shift : columns[at][1] + shift));
  return { columnAt, crossings, pieces, shifts, ends, width: x + 2 * MARGIN };
}

/** @param {Scene} scene @param {Region[]} contents @param {number[]} cuts @returns {Scene} */
function moved(scene, contents, cuts) {
  const { columnAt, crossings, pieces, shifts, ends, width } = columnsOf(scene, contents, cuts);
  const most = Math.max(...crossings.map((row) => row.length));
  const head = LANE * Math.max(0, most - 2); // the margin has room for two lanes
  const tallest = Math.max(...cuts.slice(1).map((end, at) => end - cuts[at]));
  /** @param {number} y @param {number} column */
  const down = (y, column) => y - cuts[column] + head;
  /** @template {Region} T @param {T} region @param {number} column @returns {T} */
  const put = (region, column) => ({ ...region, left: region.left + shifts[column], right: region.right + shifts[column], top: down(region.top, column), bottom: down(region.bottom, column) });
  const boxes = new Map([...scene.boxes].map(([id, box]) => [id, put(box, columnAt(box.top))]));
  const frames = scene.frames.map(({ module }, number) => ({ module, pieces: [...pieces[number]].map(([at, piece]) => put(piece, at)) }));
  const places = crossings.map((row) => new Map(row.map((one) => [one.wire, one])));
  const wires = scene.wires.map((wire, number) => {
    /** @type {Point[]} */
    const points = [];
    /** @type {Wire["turns"]} */
    const turns = new Map();
    let column = columnAt(wire.points[0][1]);
    for (const [x, y] of wire.points) {
      for (; column + 2 < cuts.length && cuts[column + 1] < y; column += 1) {
        const { from, to, lane, above } = /** @type {Crossing} */ (places[column].get(number));
        const floor = down(cuts[column + 1], column);
        points.push([from + shifts[column], floor]);
        turns.set(points.length, { under: floor + LANE * lane, between: ends[column] + GUTTER / 2 + LANE * lane, above: head - 8 - LANE * (crossings[column].length - 1 - above) });
        points.push([to + shifts[column + 1], down(cuts[column + 1], column + 1)]);
      }
      points.push([x + shifts[column], down(y, column)]);
    }
    return { ...wire, points, turns };
  });
  return { ...scene, boxes, frames, wires, width: width - 2 * MARGIN, height: tallest + head + LANE * Math.max(0, most - 2), columns: cuts.length - 1 };
}

/** A wire as a path: through the lane that it has from one column to the next. @param {Wire} wire */
function pathOfWire({ points, turns }) {
  let path = `M${round(points[0][0])} ${round(points[0][1])}`;
  for (let at = 1; at < points.length; at += 1) {
    const [[x, y], [nextX, nextY]] = [points[at - 1], points[at]];
    const turn = turns.get(at);
    if (turn) path += `V${round(turn.under)}H${round(turn.between)}V${round(turn.above)}H${round(nextX)}V${round(nextY)}`;
    else if (Math.abs(x - nextX) < 0.5) path += `V${round(nextY)}`;
    else {
      const half = round((y + nextY) / 2);
      path += `C${round(x)} ${half} ${round(nextX)} ${half} ${round(nextX)} ${round(nextY)}`;
    }
  }
  return path;
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10) / 10;
}
