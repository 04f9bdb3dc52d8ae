"use strict";
/* The data of the page, and the rules that judge layers: those of rfa_toolbox.arithmetic.layer_state. */

/** One size for all axes or one per axis; null is infinite (for a jump: there is none).
 * @typedef {number | null | (number | null)[]} Sizes */
/** A jump: a whole number, a fraction such as "1/2", or null where no finite path is.
 * @typedef {number | string | null} Jump */
/** @typedef {{type: string, text: string, kernel: string, stride: string, dilation: string,
 *   upsampling: string, padding: string | null, filters: number | null, units: number | null,
 *   window: Sizes, steps: [number | null, number, number, number, number | null][], blocks: boolean,
 *   grows: boolean}} Layer */
/** @typedef {{name: string[], path: (string | null | 0)[], layer: number[], inputs: number[][],
 *   smallest: Sizes[], largest: Sizes[], jump: (Jump | Jump[])[], seen: Sizes[], filled: Sizes[],
 *   extracts: number[], placed: number[], certainty: number[], parameters: (number | null)[],
 *   work: ([number, number[]][] | null)[], map: (number[] | null)[],
 *   window: ([Sizes, Sizes] | null)[], resized?: (number[] | 0)[]}} Nodes */
/** What counts as one layer: blocks, or every operation. Units are known by their places, nodes by
 * theirs; modules are [path, parent, name of a part of a long module or 0].
 * @typedef {{main: number[], kind: ("layer" | "global" | "input" | "joint")[], inputs: number[][],
 *   unit: number[], looks: number[], modules: [string, number, string | 0][], module: number[],
 *   arrows: [number, number, number][], items?: (number | string)[][], units?: number[][],
 *   signatures?: (string | null)[], members?: number[][], inner?: Map<number, number>}} Level */
/** @typedef {{from: Sizes, useful: Sizes, to: Sizes, unknown: string}} Good */
/** @typedef {{name: string, axes: number | null, resized: number[] | null, good: Good, layers: Layer[],
 *   certainties: [string, string][], encoded: number[] | null, nodes: Nodes,
 *   levels: {blocks: Level, nodes: Level}, refinements?: {found: Refinement[], note: string}}} Model */
/** A better architecture for the resolution of the page: what it changes, and how its model differs.
 * @typedef {{idea: string, words: string, source: string, weights: string, model: object}} Refinement */
/** @typedef {{title: string, resolution: number[], compare: number[][], axes: number | null,
 *   terms: {whole: string, unit: string, size: string},
 *   level: "blocks" | "nodes", models: Model[]}} Facts */
/** @typedef {"productive" | "partially" | "critical" | "unproductive"} State */
/** @typedef {State | "design"} Look */

/** @param {string} id @returns {HTMLElement} */
function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The page has no element "${id}".`);
  return found;
}

/** @type {Facts} */
const facts = JSON.parse(byId("facts").textContent ?? "");

/** What the input is called, what its size is given in, and what the size is called. */
const { whole: WHOLE, unit: UNIT, size: SIZE } = facts.terms;

/** A text that begins with a capital. @param {string} text */
function capital(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}`;
}

/** A size with its unit. @param {string | number} size */
function sized(size) {
  return `${size} ${String(size) === "1" ? UNIT.replace(/s$/, "") : UNIT}`;
}

/** @type {State[]} */
const STATES = ["unproductive", "critical", "partially", "productive"];
/** @type {Record<State, string>} */
const STATE_NAMES = {
  unproductive: "unproductive",
  critical: "critical",
  partially: "partially critical",
  productive: "productive",
};
const AXIS_NAMES =
  { 1: ["length"], 2: ["height", "width"], 3: ["depth", "height", "width"] }[facts.axes ?? 2] ??
  Array.from({ length: facts.axes ?? 2 }, (_, axis) => `axis ${axis}`);

/** What the page shows. */
const view = {
  model: 0,
  /** What counts as one layer. @type {"blocks" | "nodes"} */
  level: facts.level,
  /** Pixels per axis; one number while all axes have the same. @type {number[]} */
  resolution: facts.resolution,
  /** @type {State[]} the states of the current model's nodes */
  states: [],
  /** Their multiply-accumulates, null where they are not known. @type {(number | null)[]} */
  work: [],
  /** The chosen node, or -1. */
  chosen: -1,
  /** The chosen folded module, or -1. */
  module: -1,
  query: "",
  /** States that the table shows; none means all. @type {Set<State>} */
  only: new Set(),
};

/** @param {any} whole @param {any} change what of it is not as it was @returns {any} */
function merged(whole, change) {
  const isPlain = (/** @type {any} */ one) => typeof one === "object" && one !== null && !Array.isArray(one);
  if (!isPlain(whole) || !isPlain(change)) return change;
  return { ...whole, ...Object.fromEntries(Object.entries(change).map(([key, value]) => [key, merged(whole[key], value)])) };
}

/** @returns {Model} */
function model() {
  return facts.models[view.model];
}

/** @param {Model} one @returns {Level} */
function levelOf(one) {
  return one.levels[view.level];
}

/** Whether a node is in what is counted: a layer of the feature extractor. @param {Model} one @param {number} node */
function isCounted(one, node) {
  const level = levelOf(one);
  return level.kind[level.unit[node]] === "layer";
}

/** The nodes of every unit. @param {Level} level @returns {number[][]} */
function membersOf(level) {
  if (level.members) return level.members;
  /** @type {number[][]} */
  const members = level.main.map(() => []);
  level.unit.forEach((unit, node) => members[unit].push(node));
  level.members = members;
  return members;
}

/** The sum over the nodes of a unit, null where that of its main layer is not known. @param {Level} level @param {number} unit @param {(number | null)[]} values */
function sumOf(level, unit, values) {
  if (values[level.main[unit]] === null) return null;
  return membersOf(level)[unit].reduce((sum, node) => sum + (values[node] ?? 0), 0);
}

// --- elements: text from the data becomes text, never markup ---------------------------------

/** @typedef {Record<string, string | number | boolean | null | undefined>} Attributes */
/** @typedef {Node | string | number | null | undefined | false} Child */

/** @template {Element} T @param {T} element @param {Attributes} attributes @param {Child[]} children @returns {T} */
function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes))
    if (value !== null && value !== undefined && value !== false)
      element.setAttribute(key, value === true ? "" : String(value));
  for (const child of children)
    if (child !== null && child !== undefined && child !== false)
      element.append(typeof child === "number" ? String(child) : child);
  return element;
}

/** @template {keyof HTMLElementTagNameMap} K @param {K} tag @param {Attributes} [attributes] @param {Child[]} children */
function html(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** @template {keyof SVGElementTagNameMap} K @param {K} tag @param {Attributes} [attributes] @param {Child[]} children */
function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

/** @param {string} text @param {Attributes} attributes @param {() => void} action */
function button(text, attributes, action) {
  const made = html("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", action);
  return made;
}

/** The sign of a state. @param {State} state @param {Attributes} [attributes] */
function sign(state, attributes = {}) {
  return svg("svg", { class: `sign ink-${state}`, "aria-hidden": "true", ...attributes }, svg("use", { href: `#sign-${state}` }));
}

/** Names in a sentence or a cell: isolated, so that they cannot turn the text around them, and broken between their parts if at all. @param {string} text */
function named(text) {
  const parts = (visible(text) || "(no name)").split(/(?<=[._])/);
  return html("bdi", {}, ...parts.flatMap((part, at) => (at ? [html("wbr"), part] : [part])));
}

/** A sentence of which no size is broken: 64 × 64 px stays on one line. @param {Child} text @returns {Child[]} */
function unbroken(text) {
  if (typeof text !== "string") return [text];
  return text.split(/([\d,]*\d(?: × [\d,]*\d)+(?: px)?|\d[\d,×]* (?:px|samples?))/).map((part, at) => (at % 2 ? html("span", { class: "unbroken" }, part) : part));
}

/** A text with everything that cannot be seen spelled out. @param {string} text */
function visible(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (one) =>
    one === "\u200c" || one === "\u200d" ? one : one === "\n" ? "\\n" : `\\u${(one.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`,
  );
}

/** A text of at most so many characters, without its middle. @param {string} text @param {number} longest */
function shortened(text, longest) {
  const letters = Array.from(text.length > 4 * longest ? text.slice(0, 2 * longest) + text.slice(-2 * longest) : text);
  if (letters.length <= longest) return letters.join("");
  const end = (longest - 1) >> 1;
  return `${letters.slice(0, longest - 1 - end).join("")}…${letters.slice(-end).join("")}`;
}

/** @param {number} count @param {string} thing */
function counted(count, thing) {
  return `${count.toLocaleString("en")} ${thing}${count === 1 ? "" : "s"}`;
}

/** Names as a list in a sentence. @param {string[]} names */
function listed(names) {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]}`;
}

// --- sizes -----------------------------------------------------------------------------------

/** @template T @param {T | T[]} value @param {number} axis @returns {T} */
function on(value, axis) {
  return Array.isArray(value) ? value[axis] : value;
}

/** A size in pixels on one axis. @param {Sizes} sizes @param {number} axis */
function pixels(sizes, axis) {
  return on(sizes, axis) ?? Infinity;
}

/** @param {number} size */
function sizeText(size) {
  return size === Infinity ? "∞" : size.toLocaleString("en");
}

/** Sizes as people write them: 3 × 3. @param {Sizes} sizes @param {number} axes */
function sizesText(sizes, axes = model().axes ?? 1) {
  const all = Array.from({ length: axes }, (_, axis) => pixels(sizes, axis));
  return all.every((size) => size === Infinity) ? "∞" : all.map(sizeText).join(" × ");
}

/** Sizes as one number where all axes are alike. @param {Sizes} sizes */
function shortText(sizes) {
  return Array.isArray(sizes) ? sizesText(sizes) : sizeText(sizes ?? Infinity);
}

/** One number per axis of the model. @param {Model} one @param {number[]} resolution */
function spread(one, resolution) {
  return resolution.length > 1 ? resolution : Array.from({ length: one.axes ?? 1 }, () => resolution[0]);
}

/** Where a model is judged: at the size that it gives to every image, or else at that of the page. @param {Model} one @param {number[]} resolution */
function judgedAt(one, resolution) {
  return one.resized ?? spread(one, resolution);
}

/** @param {number[]} resolution */
function resolutionText(resolution) {
  const all = resolution.length > 1 ? resolution : Array.from({ length: facts.axes ?? 1 }, () => resolution[0]);
  return sized(all.map(sizeText).join(" × "));
}

/** Units of a layer's output, as rfa_toolbox.analysis.states.map_size_at counts them. @param {Model} one @param {number} node @param {number[]} resolution one number per axis */
function mapSize(one, node, resolution) {
  const known = one.nodes.map[node];
  if (one.nodes.resized?.[node] && known) return known;
  return resolution.map((size, axis) => {
    const jump = on(one.nodes.jump[node], axis);
    if (jump === null) return 1;
    const [over, under] = typeof jump === "string" ? jump.split("/").map(Number) : [jump, 1];
    return Math.max(1, Math.floor((size * under) / over));
  });
}

// --- states ----------------------------------------------------------------------------------

/** How useful a layer can be. @param {Nodes} nodes @param {number} node @param {number[]} asked one number per axis @returns {State} */
function stateOf(nodes, node, asked) {
  const resolution = nodes.resized?.[node] || asked;
  const seen = nodes.seen[node];
  const full = nodes.filled[node];
  const field = nodes.smallest[node];
  let allSeen = true;
  let allFull = true;
  let beyond = 0;
  for (let axis = 0; axis < resolution.length; axis += 1) {
    const size = resolution[axis];
    allSeen &&= size <= pixels(seen, axis);
    allFull &&= size <= pixels(full, axis);
    if (pixels(field, axis) > size) beyond += 1;
  }
  if (allSeen || allFull) return "unproductive";
  if (beyond === resolution.length) return "critical";
  return beyond ? "partially" : "productive";
}

/** @param {Model} one @param {number[]} resolution @returns {State[]} */
function statesAt(one, resolution) {
  const sizes = spread(one, resolution);
  return one.nodes.name.map((_, node) => stateOf(one.nodes, node, sizes));
}

/** What is counted at a resolution: layers of the feature extractor, by state. @param {Model} one @param {State[]} states of all nodes */
function balance(one, states) {
  const level = levelOf(one);
  /** @type {Record<State, number[]>} */
  const found = { unproductive: [], critical: [], partially: [], productive: [] };
  /** @type {number[]} */
  const all = [];
  level.main.forEach((node, unit) => {
    if (level.kind[unit] !== "layer") return;
    all.push(node);
    found[states[node]].push(node);
  });
  const counts = { unproductive: found.unproductive.length, critical: found.critical.length, partially: found.partially.length, productive: found.productive.length };
  return { all, found, counts, design: level.kind.filter((kind) => kind === "global").length };
}

/** @param {Model} one @param {number} node @param {number} axis up to how many pixels a layer sees nothing new on an axis */
function wasteLimit(one, node, axis) {
  return Math.max(pixels(one.nodes.seen[node], axis), pixels(one.nodes.filled[node], axis));
}

/** @type {[string, RegExp][]} */
const KINDS = [["convolution", /conv/i], ["pooling", /pool/i], ["dense layer", /linear|dense|gemm/i], ["attention layer", /attention|attn/i]];

/** How many of some layers there are, by kind while that is short. @param {Model} one @param {number[]} some @param {number[]} of */
function countedInWords(one, some, of) {
  if (view.level === "nodes") return `${some.length.toLocaleString("en")} of ${counted(of.length, "operation")}`;
  /** @param {number} node */
  const kind = (node) => KINDS.find(([, words]) => words.test(layerOf(one, node).type))?.[0] ?? "other";
  /** @param {number[]} nodes */
  const tally = (nodes) => nodes.reduce((sums, node) => sums.set(kind(node), (sums.get(kind(node)) ?? 0) + 1), new Map());
  const [parts, whole] = [tally(some), tally(of)];
  if (parts.size > 2 || parts.has("other")) return `${some.length.toLocaleString("en")} of ${counted(of.length, "layer")}`;
  return [...parts].sort((one, other) => other[1] - one[1]).map(([name, count]) => `${count.toLocaleString("en")} of ${counted(whole.get(name), name)}`).join(" and ");
}

/** Where a network can end because nothing behind helps: analysis.advice.cut_of. @param {Model} one @param {State[]} states @param {(number | null)[]} work
 * @returns {{behind: number, layers: number, parameters: number | null, work: number | null} | null} */
function cutOf(one, states, work) {
  const level = one.levels.blocks;
  /** @type {number[][]} */
  const readers = level.main.map(() => []);
  level.inputs.forEach((inputs, unit) => inputs.forEach((before) => readers[before].push(unit)));
  const ends = new Set(level.main.map((_, unit) => unit));
  const read = new Set(one.nodes.inputs.flat());
  membersOf(level).forEach((nodes, unit) => { if (nodes.every((node) => read.has(node))) ends.delete(unit); });
  const missing = level.inputs.map((inputs) => inputs.length);
  const ready = missing.flatMap((count, unit) => (count ? [] : [unit]));
  const order = [];
  while (ready.length) {
    const unit = /** @type {number} */ (ready.shift());
    order.push(unit);
    for (const reader of readers[unit]) if (!(missing[reader] -= 1)) ready.push(reader);
  }
  /** @param {number} unit */
  const canGo = (unit) => {
    const kind = level.kind[unit];
    if (kind === "global") return readers[unit].every((reader) => level.kind[reader] === "global");
    if (kind === "input" || ends.has(unit)) return false;
    return kind === "joint" || states[level.main[unit]] === "unproductive" || !level.looks[unit];
  };
  const gone = new Set();
  /** @type {Set<number>} */
  const sources = new Set();
  /** @type {[number, number[]] | null} */
  let best = null;
  for (const unit of order.reverse()) {
    if (!canGo(unit)) break;
    gone.add(unit);
    sources.delete(unit);
    for (const before of level.inputs[unit]) sources.add(before);
    const [source] = sources;
    if (level.kind[unit] === "layer" && states[level.main[unit]] === "unproductive" && sources.size === 1 && level.kind[source] !== "input") best = [source, [...gone]];
  }
  if (!best) return null;
  const going = best[1].filter((unit) => level.kind[unit] !== "global");
  /** @param {(number | null)[]} values */
  const share = (values) => {
    const total = values.reduce((/** @type {number} */ sum, value) => sum + (value ?? 0), 0);
    return total ? going.reduce((sum, unit) => sum + (sumOf(level, unit, values) ?? 0), 0) / total : null;
  };
  const [parameters, macs] = [share(one.nodes.parameters), share(work)];
  const most = Math.max(...[parameters, macs].filter((one) => one !== null), -1);
  if (most >= 0 && most < 0.01) return null;
  return { behind: level.main[best[0]], layers: going.filter((unit) => level.kind[unit] === "layer").length, parameters, work: macs };
}

// --- compute ---------------------------------------------------------------------------------

/** Units of a feature map on one axis: at the encoded resolution, and at the one in question.
 * @typedef {[number, number]} MapSize */

/** Multiply-accumulates of every layer, as rfa_toolbox.analysis.compute_at estimates them. @param {Model} one @param {number[]} resolution @returns {(number | null)[]} */
function workAt(one, resolution) {
  const sizes = spread(one, resolution);
  const encoded = one.encoded ?? [];
  const image = sizes.map((size, axis) => /** @type {MapSize} */ ([encoded[axis], size]));
  /** @type {MapSize[][]} */
  const maps = [];
  return one.nodes.work.map((work, node) => {
    if (work === null) return null;
    const known = work.reduce((sum, [count]) => sum + count, 0);
    if (!one.nodes.placed[node] || (encoded.length === sizes.length && encoded.every((size, axis) => size === sizes[axis]))) return known;
    if (encoded.length !== sizes.length) return work.some(([, powers]) => powers.some(Boolean)) ? null : known;
    const inputs = one.nodes.inputs[node].filter((before) => one.nodes.placed[before]);
    maps[node] = mapsBehind(one, node, inputs.length ? inputs.map((before) => maps[before] ?? image) : [image]);
    const growth = maps[node].map(([then, now]) => Math.max(1, now) / Math.max(1, then));
    return Math.round(work.reduce((sum, [count, powers]) => sum + count * powers.reduce((all, power, axis) => all * growth[axis] ** power, 1), 0));
  });
}

/** @param {Model} one @param {number} node @param {MapSize[][]} before the maps that the node reads @returns {MapSize[]} */
function mapsBehind(one, node, before) {
  const layer = layerOf(one, node);
  return layer.steps.map(([kernel, stride, factor, reach, begin], axis) => {
    const read = before.map((map) => map[axis]);
    const largest = read.reduce((best, map) => (map[0] > best[0] || (map[0] === best[0] && map[1] > best[1]) ? map : best));
    const units = one.nodes.map[node]?.[axis] ?? largest[0];
    const [then, size] = read.find((map) => map[0] === units) ?? largest;
    let now = size;
    if (layer.grows || (kernel === null && units !== then)) now = units;
    else if (layer.blocks && kernel !== null) {
      const [blocks, more] = [then, size].map((one) => Math.ceil(one / kernel) * kernel);
      now = units === blocks ? more : size + units - then;
    } else if (kernel !== null) {
      const [old, fresh] = [then, size].map((one) => {
        const last = (one - 1) * factor;
        if (begin === null) return Math.floor((last - reach) / stride);
        const steps = Math.ceil((last - reach) / stride); // windows count that end behind the padding
        return steps * stride <= last + begin ? steps : steps - 1;
      });
      now = units + fresh - old;
    }
    return [units, Math.max(1, now)];
  });
}

/** Total and unproductive costs of a model, null where those of most layers are not known. @param {Model} one @param {State[]} states @param {(number | null)[]} values of every layer */
function costs(one, states, values) {
  const level = levelOf(one);
  const mains = level.main.filter((_, unit) => level.kind[unit] === "layer");
  const known = mains.length ? mains : values.map((_, node) => node);
  if (2 * known.filter((node) => values[node] === null).length > known.length) return null;
  let total = 0;
  let wasted = 0;
  values.forEach((value, node) => {
    total += value ?? 0;
    const main = level.main[level.unit[node]];
    if (states[main] === "unproductive" && level.kind[level.unit[node]] === "layer") wasted += value ?? 0;
  });
  return total ? { total, wasted, share: wasted / total } : null;
}

/** @param {Model} one @param {number} node @returns {Layer} */
function layerOf(one, node) {
  return one.layers[one.nodes.layer[node]];
}

/** @param {Model} one @param {number} node */
function pathOf(one, node) {
  const path = one.nodes.path[node];
  return path === 0 ? one.nodes.name[node] : path;
}
