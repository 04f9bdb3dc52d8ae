"use strict";
/* The data of the page, and the rules that judge layers: those of rfa_toolbox.arithmetic.layer_state. */

/** One size for all axes or one per axis; null is infinite (for a jump: there is none).
 * @typedef {number | null | (number | null)[]} Sizes */
/** A jump: a whole number, a fraction such as "1/2", or null where no finite path is.
 * @typedef {number | string | null} Jump */
/** @typedef {{type: string, text: string, kernel: string, stride: string, dilation: string,
 *   upsampling: string, padding: string | null, filters: number | null, units: number | null,
 *   window: Sizes, steps: [number | null, number, number, number][], blocks: boolean,
 *   grows: boolean}} Layer */
/** @typedef {{name: string[], path: (string | null | 0)[], layer: number[], inputs: number[][],
 *   smallest: Sizes[], largest: Sizes[], jump: (Jump | Jump[])[], seen: Sizes[], filled: Sizes[],
 *   extracts: number[], certainty: number[], parameters: (number | null)[],
 *   work: ([number, number[]][] | null)[], map: (number[] | null)[],
 *   window: ([Sizes, Sizes] | null)[]}} Nodes */
/** @typedef {{box: [number, number], size: [number, number], x: number[], y: number[],
 *   arrows: number[][], modules: [string, number][], module: number[]}} Picture */
/** @typedef {{name: string, axes: number | null, range: [Sizes, Sizes], layers: Layer[],
 *   certainties: [string, string][], encoded: number[] | null, nodes: Nodes, picture: Picture}} Model */
/** @typedef {{title: string, resolution: number[], compare: number[][], axes: number | null,
 *   models: Model[]}} Facts */
/** @typedef {"productive" | "partially" | "critical" | "unproductive"} State */

/** @param {string} id @returns {HTMLElement} */
function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The page has no element "${id}".`);
  return found;
}

/** @type {Facts} */
const facts = JSON.parse(byId("facts").textContent ?? "");

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

/** @returns {Model} */
function model() {
  return facts.models[view.model];
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

/** Names in a sentence or a cell: isolated, so that they cannot turn the text around them. @param {string} text */
function named(text) {
  return html("bdi", {}, visible(text) || "(no name)");
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
  return size === Infinity ? "∞" : String(size);
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

/** @param {number[]} resolution */
function resolutionText(resolution) {
  const all = resolution.length > 1 ? resolution : Array.from({ length: facts.axes ?? 1 }, () => resolution[0]);
  return `${all.join(" × ")} px`;
}

/** Units of a layer's output, as compute_feature_map_size counts them. @param {Jump | Jump[]} jumps @param {number[]} resolution */
function mapSize(jumps, resolution) {
  return resolution.map((size, axis) => {
    const jump = on(jumps, axis);
    if (jump === null) return 1;
    const [over, under] = typeof jump === "string" ? jump.split("/").map(Number) : [jump, 1];
    return Math.max(1, Math.floor((size * under) / over));
  });
}

// --- states ----------------------------------------------------------------------------------

/** How useful a layer can be. @param {Nodes} nodes @param {number} node @param {number[]} resolution one number per axis @returns {State} */
function stateOf(nodes, node, resolution) {
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

/** What a model is worth at a resolution: its layers by state, the first and the last unproductive
 * layer of the feature extractor (end), and the last one that helps. @param {Model} one @param {State[]} states */
function balance(one, states) {
  /** @type {Record<State, number>} */
  const extractor = { unproductive: 0, critical: 0, partially: 0, productive: 0 };
  /** @type {Record<State, number>} */
  const all = { ...extractor };
  let first = -1;
  let last = -1;
  let end = -1;
  let layers = 0;
  states.forEach((state, node) => {
    all[state] += 1;
    if (!one.nodes.extracts[node]) return;
    layers += 1;
    extractor[state] += 1;
    if (state === "unproductive" && first < 0) first = node;
    if (state === "unproductive") end = node;
    else last = node;
  });
  return { all, extractor, layers, behind: states.length - layers, first, last, end };
}

/** The smallest resolution, equal on all axes, without unproductive layers in the feature extractor. @param {Model} one */
function firstUsefulResolution(one) {
  let largest = 0;
  one.nodes.name.forEach((_, node) => {
    if (!one.nodes.extracts[node]) return;
    for (const limits of [one.nodes.seen[node], one.nodes.filled[node]]) {
      const all = Array.from({ length: one.axes ?? 1 }, (_, axis) => pixels(limits, axis));
      largest = Math.max(largest, Math.min(...all));
    }
  });
  return largest + 1;
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
    if (encoded.length === sizes.length && encoded.every((size, axis) => size === sizes[axis])) return known;
    if (encoded.length !== sizes.length) return work.some(([, powers]) => powers.some(Boolean)) ? null : known;
    const inputs = one.nodes.inputs[node];
    maps[node] = mapsBehind(one, node, inputs.length ? inputs.map((before) => maps[before] ?? image) : [image]);
    const growth = maps[node].map(([then, now]) => Math.max(1, now) / Math.max(1, then));
    return Math.round(work.reduce((sum, [count, powers]) => sum + count * powers.reduce((all, power, axis) => all * growth[axis] ** power, 1), 0));
  });
}

/** @param {Model} one @param {number} node @param {MapSize[][]} before the maps that the node reads @returns {MapSize[]} */
function mapsBehind(one, node, before) {
  const layer = layerOf(one, node);
  return layer.steps.map(([kernel, stride, factor, reach], axis) => {
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
      const [old, fresh] = [then, size].map((one) => Math.floor(((one - 1) * factor - reach) / stride));
      now = units + fresh - old;
    }
    return [units, Math.max(1, now)];
  });
}

/** Total and unproductive costs of a model, null where they are not known. @param {Model} one @param {State[]} states @param {(number | null)[]} values of every layer */
function costs(one, states, values) {
  if (values.every((value) => value === null)) return null;
  let total = 0;
  let wasted = 0;
  values.forEach((value, node) => {
    total += value ?? 0;
    if (states[node] === "unproductive" && one.nodes.extracts[node]) wasted += value ?? 0;
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
