/* The architecture: boxes and arrows at the places that were laid out beforehand, modules that fold,
   and the window that looks at them. Every module has a region of its own in the layout, so that
   folding can take out the rows and columns that hold nothing else. */

/** @typedef {{left: number, top: number, right: number, bottom: number}} Region */

const MARGIN = 22;
const HEADING = 15;

const stage = {
  /** @type {Set<number>} */
  folded: new Set(),
  /** Boxes that are drawn: those of nodes, and of folded modules. @type {Map<number, SVGGElement>} */
  nodes: new Map(),
  /** @type {Map<number, SVGGElement>} */
  modules: new Map(),
  /** @type {{element: SVGPathElement, tail: number, head: number}[]} */
  arrows: [],
  /** What holds a node: the folded module around it, or -1. @type {Int32Array} */
  holder: new Int32Array(0),
  width: 1,
  height: 1,
  /** Where the upper left corner looks at, and how large a unit is on the screen. */
  x: 0,
  y: 0,
  scale: 1,
  /** @type {SVGGElement} */
  layer: svg("g"),
  /** @type {SVGRectElement} */
  window: svg("rect", { class: "window" }),
};
/** @type {SVGSVGElement} */
const pictureElement = /** @type {any} */ (byId("picture"));
/** @type {SVGSVGElement} */
const overviewElement = /** @type {any} */ (byId("overview"));

/** The modules around one, from the outside in, without the picture itself. @param {number} module */
function enclosing(module) {
  const found = [];
  for (let at = module; at > 0; at = model().picture.modules[at][1]) found.unshift(at);
  return found;
}

/** The regions of all modules, as they are laid out. @param {Picture} picture @returns {Region[]} */
function regionsOf(picture) {
  const regions = picture.modules.map(() => ({ left: Infinity, top: Infinity, right: -Infinity, bottom: -Infinity }));
  /** @param {number} module @param {Region} inner */
  const widen = (module, inner) => {
    const region = regions[module];
    region.left = Math.min(region.left, inner.left);
    region.top = Math.min(region.top, inner.top);
    region.right = Math.max(region.right, inner.right);
    region.bottom = Math.max(region.bottom, inner.bottom);
  };
  const [width, height] = picture.box;
  picture.module.forEach((module, node) => {
    const x = picture.x[node];
    const y = picture.y[node];
    widen(module, { left: x - width / 2, right: x + width / 2, top: y - height / 2, bottom: y + height / 2 });
  });
  // A module comes before those in it, so that going backwards completes the inner ones first.
  for (let module = regions.length - 1; module > 0; module -= 1) {
    const region = regions[module];
    region.left -= 7;
    region.right += 7;
    region.top -= HEADING;
    region.bottom += 7;
    widen(picture.modules[module][1], region);
  }
  return regions;
}

/** Lengths that folding takes out of one axis. @param {[number, number][]} free @param {[number, number][]} kept @returns {(at: number) => number} */
function squeeze(free, kept) {
  /** @type {[number, number, number][]} position, change of free, change of kept */
  const steps = [];
  for (const [from, to] of free) steps.push([from, 1, 0], [to, -1, 0]);
  for (const [from, to] of kept) steps.push([from, 0, 1], [to, 0, -1]);
  steps.sort((one, other) => one[0] - other[0]);
  const places = [-Infinity];
  const removed = [0];
  let opened = 0;
  let held = 0;
  let total = 0;
  let before = 0;
  for (const [place, free, kept] of steps) {
    if (opened && !held) total += place - before;
    opened += free;
    held += kept;
    before = place;
    places.push(place);
    removed.push(total);
  }
  return (at) => {
    let low = 0;
    let high = places.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (places[middle] <= at) low = middle;
      else high = middle;
    }
    // Between two steps the same share is taken out everywhere: all or nothing.
    const next = low + 1;
    const gone = next < places.length && removed[next] > removed[low] ? at - places[low] : 0;
    return at - removed[low] - gone;
  };
}

/** Draw the picture anew: after folding, or for another model. */
function drawPicture() {
  const one = model();
  const picture = one.picture;
  const regions = regionsOf(picture);
  const [width, height] = picture.box;
  const outermost = picture.modules.map((_, module) => enclosing(module).find((inner) => stage.folded.has(inner)) ?? -1);
  stage.holder = Int32Array.from(picture.module, (module) => outermost[module]);
  const shut = [...new Set(outermost)].filter((module) => module > 0);
  /** @type {[number, number][][]} */
  const [freeX, freeY, keptX, keptY] = [[], [], [], []];
  for (const module of shut) {
    const { left, right, top, bottom } = regions[module];
    const [x, y] = [(left + right) / 2, (top + bottom) / 2];
    freeX.push([left, right]);
    freeY.push([top, bottom]);
    keptX.push([x - width / 2 - 7, x + width / 2 + 7]);
    keptY.push([y - height / 2 - 7, y + height / 2 + 7]);
  }
  one.nodes.name.forEach((_, node) => {
    if (stage.holder[node] >= 0) return;
    const [x, y] = [picture.x[node], picture.y[node]];
    keptX.push([x - width / 2 - 7, x + width / 2 + 7]);
    keptY.push([y - height / 2 - 16, y + height / 2 + 16]);
  });
  const toX = squeeze(freeX, keptX);
  const toY = squeeze(freeY, keptY);
  stage.width = toX(Math.max(picture.size[0], regions[0].right));
  stage.height = toY(Math.max(picture.size[1], regions[0].bottom));
  stage.nodes = new Map();
  stage.modules = new Map();
  stage.arrows = [];

  const frames = svg("g");
  picture.modules.forEach(([path, parent], module) => {
    if (module === 0 || outermost[module] >= 0) return;
    const region = regions[module];
    frames.append(frameOf(module, path, parent, toX(region.left), toY(region.top), toX(region.right), toY(region.bottom)));
  });
  const boxes = svg("g");
  one.nodes.name.forEach((_, node) => {
    if (stage.holder[node] < 0) boxes.append(boxOf(node, toX(picture.x[node]), toY(picture.y[node])));
  });
  for (const module of shut) {
    const region = regions[module];
    boxes.append(foldedBoxOf(module, toX((region.left + region.right) / 2), toY((region.top + region.bottom) / 2)));
  }
  const arrows = svg("g");
  const drawn = new Set();
  for (const arrow of picture.arrows) {
    const [tail, head, joined] = arrow;
    const [from, to] = [stage.holder[tail], stage.holder[head]];
    if (from >= 0 && from === to) continue;
    if (from >= 0 || to >= 0) {
      const key = `${from >= 0 ? `m${from}` : tail} ${to >= 0 ? `m${to}` : head} ${joined}`;
      if (drawn.has(key)) continue;
      drawn.add(key);
    }
    const path = curveOf(arrow, from < 0 ? null : regions[from], to < 0 ? null : regions[to], toX, toY, height);
    const element = svg("path", { class: joined ? "arrow joined" : "arrow", d: path });
    stage.arrows.push({ element, tail, head });
    arrows.append(element);
  }
  stage.layer = svg("g", {}, arrows, frames, boxes);
  pictureElement.replaceChildren(stage.layer);
  drawOverview(regions, toX, toY);
  paintPicture();
  markPicture();
}

/** @param {number[]} arrow @param {Region | null} from the folded module that it starts in @param {Region | null} to
 * @param {(at: number) => number} toX @param {(at: number) => number} toY @param {number} height of a box */
function curveOf(arrow, from, to, toX, toY, height) {
  /** @type {[number, number][]} */
  let points = [];
  let [x, y] = [0, 0];
  for (let at = 3; at < arrow.length; at += 2) {
    x += arrow[at];
    y += arrow[at + 1];
    points.push([x, y]);
  }
  /** @param {Region} region @param {[number, number]} point */
  const inside = (region, [px, py]) => px >= region.left && px <= region.right && py >= region.top && py <= region.bottom;
  /** @param {Region} region @param {number} side @returns {[number, number]} */
  const port = (region, side) => [toX((region.left + region.right) / 2), toY((region.top + region.bottom) / 2) + (side * height) / 2];
  let first = 0;
  let last = points.length - 1;
  if (from) while (first < last && inside(from, points[first])) first += 3;
  if (to) while (last > first && inside(to, points[last])) last -= 3;
  const mapped = points.map(([px, py]) => /** @type {[number, number]} */ ([toX(px), toY(py)]));
  points = mapped.slice(first, Math.max(first, last) + 1);
  if (from && to && first >= last) points = [];
  /** @param {[number, number]} one @param {[number, number]} other */
  const bow = (one, other) => {
    const half = (one[1] + other[1]) / 2;
    return `C${one[0]} ${half} ${other[0]} ${half} ${other[0]} ${other[1]}`;
  };
  const start = from ? port(from, 1) : points[0];
  let path = `M${start[0]} ${start[1]}`;
  let end = start;
  if (from && points.length) {
    path += bow(start, points[0]);
    end = points[0];
  }
  for (let at = 1; at + 2 < points.length; at += 3) {
    path += `C${points[at].join(" ")} ${points[at + 1].join(" ")} ${points[at + 2].join(" ")}`;
    end = points[at + 2];
  }
  return to ? path + bow(end, port(to, -1)) : path;
}

const pen = /** @type {CanvasRenderingContext2D} */ (html("canvas").getContext("2d"));

/** A text that fits into so many pixels, without its middle if need be. @param {string} text @param {number} room @param {string} font size, with the weight */
function fitted(text, room, font) {
  pen.font = `${font} ${getComputedStyle(document.body).fontFamily}`;
  let short = shortened(text, 26);
  for (let longest = Array.from(short).length - 1; longest > 2 && pen.measureText(short).width > room; longest -= 1) short = shortened(text, longest);
  return short;
}

/** @param {number} node @param {number} x @param {number} y */
function boxOf(node, x, y) {
  const one = model();
  const [width, height] = one.picture.box;
  const layer = layerOf(one, node);
  const name = one.nodes.name[node];
  const around = one.picture.modules[one.picture.module[node]][0];
  const short = around && name.startsWith(around) && name.length > around.length + 1 ? name.slice(around.length).replace(/^[./]/, "") : name;
  const moving = layer.text.startsWith("kernel") ? ` ${layer.kernel}${/^1(x1)*$/.test(layer.stride) ? "" : ` / ${layer.stride}`}` : "";
  const low = shortText(one.nodes.smallest[node]);
  const high = shortText(one.nodes.largest[node]);
  const mark = { exact: "", bound: "≤ ", unknown: "? " }[one.certainties[one.nodes.certainty[node]][0]] ?? "";
  const box = svg(
    "g",
    { class: "node", transform: `translate(${x - width / 2} ${y - height / 2})`, "data-index": node },
    svg("title", {}, [shortened(visible(name), 200), [shortened(visible(layer.type), 60), layer.text].filter(Boolean).join(", "), `field ${mark}${low} … ${high} px`].join("\n")),
    svg("rect", { width, height, rx: /^input/i.test(layer.type) ? height / 2 : 7 }),
    // An inner picture cuts off what is too wide, whatever the script of the name.
    svg(
      "svg",
      { x: 10, width: width - 30, height },
      svg("text", { class: "name", y: 17 }, fitted(visible(short), width - 31, "620 12px") || "layer"),
      svg("text", { y: 31 }, shortened(visible(layer.type), moving ? 16 : 25) + moving.replaceAll("x", "×")),
      svg("text", { y: 45 }, low === high ? `field ${mark}${low} px` : `field ${mark}${low} … ${high} px`),
    ),
    svg("use", { href: "#sign-productive", x: width - 19, y: 7, width: 12, height: 12, class: "mark" }),
  );
  if (!one.nodes.inputs[node].length && !/^input/i.test(layer.type))
    box.append(svg("text", { x: width / 2, y: -7, "text-anchor": "middle" }, "image ↓"));
  stage.nodes.set(node, box);
  return box;
}

/** @param {string} path @param {number} parent */
function moduleName(path, parent) {
  const around = model().picture.modules[parent][0];
  return visible(around && path.startsWith(`${around}.`) ? path.slice(around.length + 1) : path);
}

/** @param {number} module @param {number} x @param {number} y */
function foldedBoxOf(module, x, y) {
  const one = model();
  const [width, height] = one.picture.box;
  const [path, parent] = one.picture.modules[module];
  const layers = stage.holder.reduce((sum, holder) => sum + Number(holder === module), 0);
  const box = svg(
    "g",
    { class: "node module", transform: `translate(${x - width / 2} ${y - height / 2})`, "data-module": module },
    svg("rect", { class: "body", x: 4, y: 4, width: width - 4, height: height - 4, rx: 7 }),
    svg("rect", { class: "body", width: width - 4, height: height - 4, rx: 7 }),
    svg("text", { class: "name", x: 10, y: 17 }, fitted(`▸ ${moduleName(path, parent)}`, width - 24, "620 12px")),
    svg("text", { class: "count", x: 10, y: 31 }, counted(layers, "layer")),
    svg("g", { class: "parts" }),
  );
  stage.modules.set(module, box);
  return box;
}

/** @param {number} module @param {string} path @param {number} parent @param {number} left @param {number} top @param {number} right @param {number} bottom */
function frameOf(module, path, parent, left, top, right, bottom) {
  const text = `▾ ${shortened(moduleName(path, parent), Math.max(6, Math.floor((right - left - 20) / 6)))}`;
  return svg(
    "g",
    { class: "frame" },
    svg("rect", { x: left, y: top, width: right - left, height: bottom - top }),
    svg(
      "g",
      { class: "fold", "data-fold": module },
      svg("title", {}, `Fold ${visible(path)}`),
      svg("text", { x: left + 7, y: top + 11 }, text),
    ),
  );
}

/** @param {Region[]} regions @param {(at: number) => number} toX @param {(at: number) => number} toY */
function drawOverview(regions, toX, toY) {
  const picture = model().picture;
  const [width, height] = picture.box;
  overviewElement.setAttribute("viewBox", `0 0 ${stage.width} ${stage.height}`);
  const marks = svg("g");
  for (const node of stage.nodes.keys())
    marks.append(svg("rect", { class: "part", "data-of": node, x: toX(picture.x[node]) - width / 2, y: toY(picture.y[node]) - height / 2, width, height }));
  for (const module of stage.modules.keys()) {
    const region = regions[module];
    const [x, y] = [toX((region.left + region.right) / 2), toY((region.top + region.bottom) / 2)];
    marks.append(svg("rect", { class: "part", "data-of": `m${module}`, x: x - width / 2, y: y - height / 2, width, height }));
  }
  overviewElement.replaceChildren(marks, stage.window);
}

/** Give every box the look of its state. */
function paintPicture() {
  for (const [node, box] of stage.nodes) {
    const state = view.states[node];
    if (box.dataset.state === state) continue;
    if (box.dataset.state) box.classList.remove(box.dataset.state);
    box.classList.add(state);
    box.dataset.state = state;
    box.querySelector("use")?.setAttribute("href", `#sign-${state}`);
    box.querySelector("use")?.classList.toggle("mark", state === "productive");
  }
  /** @type {Map<number, Record<string, number>>} */
  const sums = new Map([...stage.modules.keys()].map((module) => [module, { layers: 0 }]));
  view.states.forEach((state, node) => {
    const sum = sums.get(stage.holder[node]);
    if (!sum) return;
    sum[state] = (sum[state] ?? 0) + 1;
    sum.layers += 1;
  });
  const [width, height] = model().picture.box;
  for (const [module, box] of stage.modules) {
    const sum = sums.get(module) ?? { layers: 1 };
    const parts = STATES.filter((state) => sum[state]);
    const most = parts.reduce((best, state) => (sum[state] > sum[best] ? state : best), parts[0]);
    let x = 10;
    box.querySelector(".parts")?.replaceChildren(
      ...parts.map((state) => {
        const long = ((width - 24) * sum[state]) / sum.layers;
        const part = svg("rect", { class: `part ${state}`, x, y: height - 14, width: Math.max(long - 1, 1), height: 5 });
        x += long;
        return part;
      }),
    );
    const count = box.querySelector(".count");
    if (count) count.textContent = counted(sum.layers, "layer") + (sum.unproductive ? `, ${sum.unproductive} unproductive` : "");
    overviewElement.querySelector(`[data-of="m${module}"]`)?.setAttribute("class", `part ${most}`);
  }
  for (const part of overviewElement.querySelectorAll("rect.part")) {
    const state = view.states[Number(part.getAttribute("data-of"))];
    if (state) part.setAttribute("class", `part ${state}`);
  }
}

/** Mark what is chosen, and what the search has found. */
function markPicture() {
  const searching = view.query !== "";
  const found = new Set(searching ? matches() : []);
  for (const [node, box] of stage.nodes) {
    box.classList.toggle("chosen", node === view.chosen);
    box.classList.toggle("other", searching && !found.has(node));
    box.classList.toggle("match", found.has(node));
  }
  const holders = new Set([...found].map((node) => stage.holder[node]));
  for (const [module, box] of stage.modules) {
    box.classList.toggle("chosen", module === view.module || (view.chosen >= 0 && stage.holder[view.chosen] === module));
    box.classList.toggle("other", searching && !holders.has(module));
    box.classList.toggle("match", holders.has(module));
  }
  for (const { element, tail, head } of stage.arrows) {
    element.classList.toggle("near", view.chosen >= 0 && (tail === view.chosen || head === view.chosen));
    element.classList.toggle("other", searching);
  }
}

// --- folding ---------------------------------------------------------------------------------

/** @param {Iterable<number>} modules those that are folded from now on */
function foldTo(modules) {
  stage.folded = new Set(modules);
  drawPicture();
  look();
}

/** @param {number} module */
function toggleFold(module) {
  const folded = new Set(stage.folded);
  const opening = folded.has(module);
  if (opening) folded.delete(module);
  else folded.add(module);
  const before = placeOf(opening ? stage.modules.get(module) : pictureElement.querySelector(`[data-fold="${module}"]`));
  foldTo(folded);
  const after = placeOf(opening ? pictureElement.querySelector(`[data-fold="${module}"]`) : stage.modules.get(module));
  // What was pressed stays under the pointer.
  if (before && after) look(stage.x + (after.left - before.left) / stage.scale, stage.y + (after.top - before.top) / stage.scale);
}

/** @param {Element | null | undefined} element */
function placeOf(element) {
  return element ? element.getBoundingClientRect() : null;
}

/** Fold everything that lies deeper than some levels. @param {number} depth */
function foldBelow(depth) {
  foldTo(model().picture.modules.flatMap((_, module) => (module && enclosing(module).length > depth ? [module] : [])));
}

/** The levels of modules that are open now. */
function openDepth() {
  const depths = [...stage.folded].map((module) => enclosing(module).length);
  return depths.length ? Math.min(...depths) - 1 : deepest();
}

function deepest() {
  return Math.max(0, ...model().picture.modules.map((_, module) => enclosing(module).length));
}

/** Open as many levels as can be looked at. */
function foldAtFirst() {
  const picture = model().picture;
  const depths = picture.modules.map((_, module) => enclosing(module).length);
  stage.folded = new Set();
  if (picture.x.length <= 200) return;
  for (let depth = 0; depth < deepest(); depth += 1) {
    const shown =
      picture.module.filter((module) => depths[module] <= depth).length + depths.filter((one) => one === depth + 1).length;
    if (shown > 150 && depth > 0) break;
    stage.folded = new Set(depths.flatMap((one, module) => (one > depth ? [module] : [])));
    if (shown > 150) break;
  }
}

/** Unfold what hides a node. @param {number} node */
function reveal(node) {
  const around = enclosing(model().picture.module[node]);
  if (around.some((module) => stage.folded.has(module))) foldTo([...stage.folded].filter((module) => !around.includes(module)));
}

// --- looking around --------------------------------------------------------------------------

/** Look at a place; without arguments, at the same one. */
function look(x = stage.x, y = stage.y, scale = stage.scale) {
  const { width, height } = pictureElement.getBoundingClientRect();
  stage.scale = Math.min(4, Math.max(0.02, scale));
  /** @param {number} at @param {number} whole @param {number} shown */
  const held = (at, whole, shown) =>
    whole + 2 * MARGIN <= shown ? (whole - shown) / 2 : Math.min(Math.max(at, -MARGIN), whole - shown + MARGIN);
  stage.x = held(x, stage.width, width / stage.scale);
  stage.y = held(y, stage.height, height / stage.scale);
  if (stage.height + 2 * MARGIN <= height / stage.scale) stage.y = Math.max(stage.y, -60 / stage.scale);
  stage.layer.setAttribute("transform", `scale(${stage.scale}) translate(${-stage.x} ${-stage.y})`);
  overviewElement.classList.toggle("idle", Math.max(stage.width / width, stage.height / height) * stage.scale <= 1);
  const whole = { x: stage.x, y: stage.y, width: width / stage.scale, height: height / stage.scale };
  for (const [key, value] of Object.entries(whole)) stage.window.setAttribute(key, String(value));
  stage.window.setAttribute("stroke-width", String((2 * stage.height) / Math.max(height, 1)));
}

/** @param {number} factor @param {number} [x] place on the screen that stays @param {number} [y] */
function zoom(factor, x, y) {
  const place = pictureElement.getBoundingClientRect();
  const [dx, dy] = [x === undefined ? place.width / 2 : x - place.left, y === undefined ? place.height / 2 : y - place.top];
  const scale = Math.min(4, Math.max(0.02, stage.scale * factor));
  look(stage.x + dx / stage.scale - dx / scale, stage.y + dy / stage.scale - dy / scale, scale);
}

/** Show all of the picture. */
function fitPicture() {
  const { width, height } = pictureElement.getBoundingClientRect();
  look(-MARGIN, -MARGIN, Math.min(width / (stage.width + 2 * MARGIN), height / (stage.height + 2 * MARGIN), 1.2));
}

/** Cut a long picture into columns, as many as let it be largest on paper. */
function putOnPaper() {
  const [paperWidth, paperHeight] = [186, 230];
  const [width, height] = [stage.width + 2 * MARGIN, stage.height + 2 * MARGIN];
  /** @param {number} columns */
  const scaleOf = (columns) => Math.min(paperWidth / (columns * width), (paperHeight * columns) / height);
  let columns = 1;
  while (columns < 12 && scaleOf(columns + 1) > scaleOf(columns)) columns += 1;
  const scale = scaleOf(columns);
  stage.layer.removeAttribute("transform");
  stage.layer.id = "whole-picture";
  const cuts = Array.from({ length: columns }, (_, at) =>
    svg(
      "svg",
      { x: (at * paperWidth) / columns, width: width * scale, height: (height / columns) * scale, viewBox: `${-MARGIN} ${(at * height) / columns - MARGIN} ${width} ${height / columns}` },
      svg("use", { href: "#whole-picture" }),
    ),
  );
  pictureElement.setAttribute("viewBox", `0 0 ${paperWidth} ${Math.min(paperHeight, (height / columns) * scale)}`);
  pictureElement.replaceChildren(svg("defs", {}, stage.layer), ...cuts);
}

function takeFromPaper() {
  pictureElement.removeAttribute("viewBox");
  pictureElement.replaceChildren(stage.layer);
  look();
}

/** Show the beginning, as large as it can be read. */
function beginPicture() {
  const { width } = pictureElement.getBoundingClientRect();
  const scale = Math.min(1.1, Math.max(0.7, width / (stage.width + 2 * MARGIN)));
  const first = model().picture.x.findIndex((_, node) => stage.holder[node] < 0 && !model().nodes.inputs[node].length);
  const box = stage.nodes.get(first);
  const middle = box ? Number(/translate\((\S+)/.exec(box.getAttribute("transform") ?? "")?.[1]) + model().picture.box[0] / 2 : stage.width / 2;
  look(middle - width / scale / 2, -MARGIN, scale);
}

/** Bring a box into the middle. @param {number} node */
function bringIntoView(node) {
  const box = stage.nodes.get(node);
  if (!box) return;
  const at = box.getBoundingClientRect();
  const frame = pictureElement.getBoundingClientRect();
  if (at.left >= frame.left && at.right <= frame.right && at.top >= frame.top && at.bottom <= frame.bottom && stage.scale >= 0.5) return;
  const scale = Math.max(stage.scale, 0.8);
  const [x, y] = [
    stage.x + (at.left + at.width / 2 - frame.left) / stage.scale,
    stage.y + (at.top + at.height / 2 - frame.top) / stage.scale,
  ];
  look(x - frame.width / scale / 2, y - frame.height / scale / 2, scale);
}

/** @param {(target: Element) => void} press what a click does */
function listenToPicture(press) {
  /** Pointers that are down. @type {Map<number, {x: number, y: number}>} */
  const down = new Map();
  let moved = 0;
  pictureElement.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (down.size === 1) moved = 0;
  });
  pictureElement.addEventListener("pointermove", (event) => {
    const before = down.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [event.clientX - before.x, event.clientY - before.y];
    moved += Math.abs(dx) + Math.abs(dy);
    // Captured only when it moves: a captured pointer would send its click to the picture.
    if (moved > 5 && !pictureElement.hasPointerCapture(event.pointerId)) pictureElement.setPointerCapture(event.pointerId);
    if (down.size === 1) look(stage.x - dx / stage.scale, stage.y - dy / stage.scale);
    else if (down.size === 2) {
      const other = [...down].find(([id]) => id !== event.pointerId)?.[1] ?? before;
      const was = Math.hypot(before.x - other.x, before.y - other.y);
      const is = Math.hypot(event.clientX - other.x, event.clientY - other.y);
      look(stage.x - dx / 2 / stage.scale, stage.y - dy / 2 / stage.scale);
      if (was > 0) zoom(is / was, (event.clientX + other.x) / 2, (event.clientY + other.y) / 2);
    }
    down.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  for (const kind of /** @type {const} */ (["pointerup", "pointercancel"]))
    window.addEventListener(kind, (event) => down.delete(event.pointerId));
  pictureElement.addEventListener("click", (event) => {
    if (moved <= 5 && event.target instanceof Element) press(event.target);
  });
  pictureElement.addEventListener(
    "wheel",
    (event) => {
      const step = event.deltaMode === 1 ? 16 : 1;
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        zoom(Math.exp(-event.deltaY * step * 0.0035), event.clientX, event.clientY);
        return;
      }
      const [x, y] = [stage.x, stage.y];
      look(x + (event.deltaX * step) / stage.scale, y + (event.deltaY * step) / stage.scale);
      if (x !== stage.x || y !== stage.y) event.preventDefault(); // at its end, the page scrolls
    },
    { passive: false },
  );
  /** @param {PointerEvent} event */
  const jump = (event) => {
    const place = overviewElement.getBoundingClientRect();
    const shown = pictureElement.getBoundingClientRect();
    look(
      ((event.clientX - place.left) / place.width) * stage.width - shown.width / stage.scale / 2,
      ((event.clientY - place.top) / place.height) * stage.height - shown.height / stage.scale / 2,
    );
  };
  overviewElement.addEventListener("pointerdown", (event) => {
    overviewElement.setPointerCapture(event.pointerId);
    jump(event);
  });
  overviewElement.addEventListener("pointermove", (event) => {
    if (event.buttons) jump(event);
  });
}
