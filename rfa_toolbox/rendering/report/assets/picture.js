/* The architecture: boxes and arrows where the layout has put them, modules that fold, and the
   window that looks at them. */

const MARGIN = 22;

/** The words of a box, the first line first, and how they are written now.
 * @typedef {{element: SVGGElement, left: number, top: number, lines: string[], isFolded: boolean, texts: SVGTextElement[], detail: Detail | null, isShown: boolean}} Labelled */
/** How words are written from a scale on: as so many lines, with their sizes, and their places in a box and in a folded one.
 * @typedef {{name: string, from: number, sizes: number[], places: number[], folded: number[]}} Detail */

/** The farther away, the fewer and the larger words. @type {Detail[]} */
const DETAILS = [
  { name: "all", from: 0.82, sizes: [12, 11, 11], places: [17, 31, 45], folded: [17, 31] },
  { name: "two", from: 0.56, sizes: [16, 14.5], places: [21, 41], folded: [17, 33] },
  { name: "one", from: 0.36, sizes: [25], places: [34], folded: [28] },
  { name: "far", from: 0.22, sizes: [30], places: [36], folded: [30] },
];

const stage = {
  /** @type {Set<number>} */
  folded: new Set(),
  /** Folded modules that do not stand for those that repeat them. @type {Set<number>} */
  split: new Set(),
  /** Boxes that are drawn: those of layers, and of folded modules. @type {Map<number, SVGGElement>} */
  nodes: new Map(),
  /** @type {Map<string, {element: SVGGElement, modules: number[], label: Labelled}>} */
  modules: new Map(),
  /** @type {{element: SVGPathElement, wire: Wire}[]} */
  arrows: [],
  /** @type {Scene} */
  scene: { boxes: new Map(), frames: [], wires: [], holder: [], width: 1, height: 1, columns: 1 },
  /** Boxes with their places and words. @type {Labelled[]} */
  labelled: [],
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

/** Width of the stage by its height. */
function stageAspect() {
  const { width, height } = pictureElement.getBoundingClientRect();
  return width && height ? width / height : 1.5;
}

/** Draw the picture anew: after folding, or for another model. @param {number} [aspect] width of the place by its height */
function drawPicture(aspect = stageAspect()) {
  const one = model();
  const level = levelOf(one);
  const scene = layOut(one, level, stage.folded, stage.split, aspect);
  stage.scene = scene;
  stage.width = scene.width;
  stage.height = scene.height;
  stage.nodes = new Map();
  stage.modules = new Map();
  stage.labelled = [];
  const frames = svg("g");
  for (const { module, pieces } of scene.frames) pieces.forEach((piece, at) => frames.append(frameOf(level, module, piece, at > 0)));
  const boxes = svg("g");
  for (const box of scene.boxes.values()) boxes.append(box.unit >= 0 ? boxOf(one, level, box) : foldedBoxOf(level, box));
  const arrows = svg("g");
  stage.arrows = scene.wires.map((wire) => {
    const element = svg("path", { class: `arrow${wire.joined ? " joined" : ""}${wire.tip ? "" : " open"}`, d: pathOfWire(wire) });
    arrows.append(element);
    return { element, wire };
  });
  stage.layer = svg("g", {}, frames, arrows, boxes);
  pictureElement.replaceChildren(stage.layer);
  drawOverview();
  paintPicture();
  markPicture();
}

const pen = /** @type {CanvasRenderingContext2D} */ (html("canvas").getContext("2d"));
const FONT = getComputedStyle(document.body).fontFamily;

/** Widths of texts that were asked for: the same words stand in many boxes. @type {Map<string, number>} */
const widths = new Map();

/** How wide a text is. @param {string} text @param {string} font size, with the weight */
function widthOf(text, font) {
  const key = `${font} ${text}`;
  const known = widths.get(key);
  if (known !== undefined) return known;
  pen.font = `${font} ${FONT}`;
  const width = pen.measureText(text).width;
  widths.set(key, width);
  return width;
}

/** A text that fits into so many pixels, without its middle if need be. @param {string} text @param {number} room @param {string} font size, with the weight @param {number} [most] characters */
function fitted(text, room, font, most = 26) {
  let short = shortened(text, most);
  for (let longest = Array.from(short).length - 1; longest > 2 && widthOf(short, font) > room; longest -= 1) short = shortened(text, longest);
  return short;
}

/** Functions that are called otherwise as layers. @type {Record<string, string>} */
const FUNCTIONS = { relu: "ReLU", relu6: "ReLU6", "leaky relu": "Leaky ReLU", elu: "ELU", selu: "SELU", gelu: "GELU", silu: "SiLU", cat: "Concat", mul: "Multiply", layernorm: "Layer norm", groupnorm: "Group norm" };

/** What people call a layer: its kind, kernel and stride. @param {Layer} layer */
function titleOf(layer) {
  /** @param {string} sizes */
  const sizes = (sizes) => sizes.replaceAll("x", "×");
  const plain = visible(layer.type).replace(/_/g, " ");
  // Names of layers made by hand tell their kernel a second time.
  const looks = layer.text.startsWith("kernel") || (layer.kernel !== "1" && !/^1(x1)*$/.test(layer.kernel));
  const bare = looks ? plain.replace(/\s*\d+([x×]\d+)+$/, "") || plain : plain;
  const kind = /^(Lazy)?(Depthwise|Separable)?Conv(Transpose|olution)?([123]D?)?(Transpose)?(d|D|Same|2dSame|Simple)?$/i.test(bare) ? (/transpose/i.test(plain) ? "Up-conv" : /depthwise/i.test(plain) ? "Depthwise conv" : "Conv") : bare;
  const common = FUNCTIONS[kind.toLowerCase()] ?? (/^[a-z ]+$/.test(kind) ? capital(kind) : kind);
  const names = common.replace(/^(Max|Avg|Average|LP) ?Pool(ing)?([123][dD](Same)?)?$/i, (_, which) => `${which[0].toUpperCase()}${which.slice(1)} pool`).replace(/^Linear$|^Dense$/, "Dense").replace(/^BatchNorm(alization)?[123]?d?$/, "Batch norm").replace(/^Adaptive ?Avg ?Pool\dd$|^GlobalAveragePooling\dD$/i, layer.kernel === "∞" || /global/i.test(kind) ? "Global average pool" : "Adaptive average pool");
  const kernel = looks && !layer.grows && layer.kernel !== "∞" ? ` ${sizes(/x/.test(layer.kernel) ? layer.kernel : Array.from({ length: model().axes ?? 2 }, () => layer.kernel).join("x"))}` : "";
  const alike = [...new Set(layer.stride.split("x"))];
  const stride = /^1(x1)*$/.test(layer.stride) || layer.stride === "" ? "" : ` /${alike.length === 1 ? alike[0] : sizes(layer.stride)}`;
  const dilated = /^1(x1)*$/.test(layer.dilation) || layer.dilation === "" ? "" : ` dil. ${[...new Set(layer.dilation.split("x"))].join("×")}`;
  return `${names}${kernel}${stride}${dilated}`;
}

/** What a layer sees, without its largest field where there is no room for it. @param {Model} one @param {number} node @param {number} [room] */
function fieldText(one, node, room = Infinity) {
  const [low, high] = [shortText(one.nodes.smallest[node]), shortText(one.nodes.largest[node])];
  const mark = { exact: "", bound: "≤ ", unknown: "? " }[one.certainties[one.nodes.certainty[node]][0]] ?? "";
  const text = low === "∞" ? "sees everything" : low === high ? `sees ${mark}${sized(low)}` : `sees ${mark}${low} to ${sized(high)}`;
  const short = text.replaceAll(" × ", "×");
  return widthOf(short, "11px") <= room ? short : `sees ${mark}${sized(low)} or more`.replaceAll(" × ", "×");
}

/** @param {Model} one @param {Level} level @param {Box} place */
function boxOf(one, level, place) {
  const node = level.main[place.unit];
  const [width, height] = [BOX_WIDTH, BOX_HEIGHT];
  const layer = layerOf(one, node);
  const name = one.nodes.name[node];
  const around = level.modules[level.module[place.unit]][0].replace(/#\d+/g, "");
  const short = around && name.startsWith(around) && name.length > around.length + 1 ? name.slice(around.length).replace(/^[./]/, "") : name;
  const title = level.kind[place.unit] === "input" ? inputTitle(level) : titleOf(layer);
  const box = svg(
    "g",
    { class: "node", transform: `translate(${round(place.left)} ${round(place.top)})`, "data-index": node },
    svg("title", {}, [shortened(visible(name), 200), [shortened(visible(layer.type), 60), layer.text].filter(Boolean).join(", "), fieldText(one, node)].join("\n")),
    svg("rect", { width, height, rx: level.kind[place.unit] === "input" ? height / 2 : 7 }),
    labelOf(),
    svg("use", { href: "#sign-productive", x: width - 19, y: 7, width: 12, height: 12, class: "mark" }),
  );
  if (!level.inputs[place.unit].length && level.kind[place.unit] !== "input") box.append(svg("text", { class: "source", x: width - 2, y: -5, "text-anchor": "end" }, `${inputTitle(level).toLowerCase()} ↓`));
  stage.nodes.set(node, box);
  keepLabel(box, place, false, [title || "layer", visible(short) || "layer", level.kind[place.unit] === "input" ? "" : fieldText(one, node, width - 22)]);
  return box;
}

/** Three lines for the words of a box; an inner picture cuts off what is too wide, whatever the script of the name. */
function labelOf() {
  return svg("svg", { class: "label", x: 10, width: BOX_WIDTH - 14, height: BOX_HEIGHT }, svg("text", { class: "name" }), svg("text"), svg("text"));
}

/** @param {SVGGElement} element @param {Box} place @param {boolean} isFolded @param {string[]} lines the last one says most of what is seen */
function keepLabel(element, place, isFolded, lines) {
  /** @type {Labelled} */
  const label = { element, left: place.left, top: place.top, lines, isFolded, texts: [...element.querySelectorAll("text")].slice(0, lines.length), detail: null, isShown: true };
  stage.labelled.push(label);
  writeLabel(label, DETAILS[0]);
  return label;
}

/** Write the words of a box anew, if they are not as they should be. @param {Labelled} label @param {Detail} detail */
function writeLabel(label, detail) {
  if (label.detail === detail) return;
  label.detail = detail;
  const places = label.isFolded ? detail.folded : detail.places;
  const last = label.texts.length - 1;
  label.texts.forEach((text, line) => {
    // The first line stays, and then the last one.
    const at = detail.sizes.length === 2 && line ? (line === last ? 1 : -1) : line;
    const isShown = at >= 0 && at < places.length;
    // The sign stands beside the first line, and is left out far away.
    const room = BOX_WIDTH - (line === 0 && detail.name !== "far" ? 33 : 20);
    text.textContent = "";
    if (!isShown) return;
    const weight = line ? "" : "620 ";
    const whole = label.lines[line].length > 26 ? Infinity : widthOf(label.lines[line], `${weight}${detail.sizes[at]}px`);
    // Rather a little smaller than without its middle.
    const size = detail.sizes[at] * Math.max(Math.min(1, room / whole), 0.8);
    text.textContent = whole > room / 0.8 ? fitted(label.lines[line], room, `${weight}${size}px`) : label.lines[line];
    text.style.fontSize = `${round(size)}px`;
    text.setAttribute("y", String(places[at]));
  });
}

/** What an input is called: one of several is not the image. @param {Level} level */
function inputTitle(level) {
  const sources = level.inputs.filter((inputs) => !inputs.length).length;
  return sources > 1 ? "Input" : capital(WHOLE);
}

/** @param {Level} level @param {number} module */
function moduleName(level, module) {
  const [path, parent, label] = level.modules[module];
  if (label) return label;
  const around = level.modules[parent][0].replace(/#\d+/g, "");
  return visible(around && path.startsWith(`${around}.`) ? path.slice(around.length + 1) : path);
}

/** @param {Level} level @param {Box} place */
function foldedBoxOf(level, place) {
  const [width, height] = [BOX_WIDTH, BOX_HEIGHT];
  const [first, last] = [place.modules[0], place.modules[place.modules.length - 1]];
  const times = place.modules.length;
  const name = times > 1 ? `${moduleName(level, first)} to ${moduleName(level, last)} × ${times}` : moduleName(level, first);
  const element = svg(
    "g",
    { class: "node module", transform: `translate(${round(place.left)} ${round(place.top)})`, "data-module": first },
    svg("title", {}, `Unfold ${visible(level.modules[first][0])}`),
    svg("rect", { class: "body", x: 4, y: 4, width: width - 4, height: height - 4, rx: 7 }),
    svg("rect", { class: "body", width: width - 4, height: height - 4, rx: 7 }),
    labelOf(),
    svg("g", { class: "parts" }),
  );
  stage.modules.set(place.id, { element, modules: place.modules, label: keepLabel(element, place, true, [`▸ ${name}`, ""]) });
  return element;
}

/** @param {Level} level @param {number} module @param {Region} region @param {boolean} goesOn */
function frameOf(level, module, { left, top, right, bottom }, goesOn) {
  const outline = svg("rect", { x: round(left), y: round(top), width: round(right - left), height: round(bottom - top) });
  if (goesOn) return svg("g", { class: "frame on" }, outline);
  const text = `▾ ${shortened(moduleName(level, module), Math.max(6, Math.floor((right - left - 20) / 6.5)))}`;
  return svg(
    "g",
    { class: "frame" },
    outline,
    svg(
      "g",
      { class: "fold", "data-fold": module },
      svg("title", {}, `Fold ${visible(level.modules[module][0].replace(/#\d+/g, ""))}`),
      svg("rect", { class: "target", x: round(left), y: round(top), width: Math.min(round(right - left), 110), height: 20 }),
      svg("text", { x: round(left + 8), y: round(top + 14) }, text),
    ),
  );
}

function drawOverview() {
  overviewElement.setAttribute("viewBox", `0 0 ${stage.width} ${stage.height}`);
  const level = levelOf(model());
  const marks = svg("g");
  for (const box of stage.scene.boxes.values())
    marks.append(svg("rect", { class: "part", "data-of": box.unit >= 0 ? level.main[box.unit] : box.id, x: box.left, y: box.top, width: BOX_WIDTH, height: BOX_HEIGHT }));
  overviewElement.replaceChildren(marks, stage.window);
}

/** How a layer is painted: by its state, or grey where it does not count. @param {Model} one @param {number} node @returns {Look} */
function lookOf(one, node) {
  return isCounted(one, node) ? view.states[node] : "design";
}

/** How many counted layers of some units are in which state. @param {Model} one @param {number[]} units */
function countStates(one, units) {
  const level = levelOf(one);
  /** @type {Record<State, number>} */
  const counts = { unproductive: 0, critical: 0, partially: 0, productive: 0 };
  let layers = 0;
  for (const unit of units) {
    if (level.kind[unit] !== "layer") continue;
    counts[view.states[level.main[unit]]] += 1;
    layers += 1;
  }
  return { counts, layers };
}

/** Give every box the look of its state. */
function paintPicture() {
  const one = model();
  for (const [node, box] of stage.nodes) {
    const state = lookOf(one, node);
    if (box.dataset.state === state) continue;
    if (box.dataset.state) box.classList.remove(box.dataset.state);
    box.classList.add(state);
    box.dataset.state = state;
    const use = box.querySelector("use");
    use?.setAttribute("href", `#sign-${state === "design" ? "productive" : state}`);
    use?.classList.toggle("mark", state === "productive" || state === "design");
  }
  const width = BOX_WIDTH;
  /** @type {Map<string, string>} */
  const most = new Map();
  for (const [id, { element, modules, label }] of stage.modules) {
    const units = modules.flatMap((module) => unitsOf(levelOf(one))[module]);
    const { counts, layers } = countStates(one, units);
    const parts = STATES.filter((state) => counts[state]);
    most.set(id, parts.length ? parts.reduce((best, state) => (counts[state] > counts[best] ? state : best), parts[0]) : "design");
    let x = 10;
    element.querySelector(".parts")?.replaceChildren(
      ...parts.map((state) => {
        const long = ((width - 24) * counts[state]) / layers;
        const part = svg("rect", { class: `part ${state}`, x, y: BOX_HEIGHT - 14, width: Math.max(long - 1, 1), height: 5 });
        x += long;
        return part;
      }),
    );
    const text = layers ? counted(layers, "layer") + (counts.unproductive ? `, ${counts.unproductive.toLocaleString("en")} unproductive` : "") : "sees everything by design";
    if (label.lines[1] === text) continue;
    label.lines[1] = text;
    const { detail } = label;
    label.detail = null;
    writeLabel(label, detail ?? DETAILS[0]);
  }
  for (const part of overviewElement.querySelectorAll("rect.part")) {
    const of = part.getAttribute("data-of") ?? "";
    part.setAttribute("class", `part ${of[0] === "m" ? most.get(of) : lookOf(one, Number(of))}`);
  }
}

/** The box that shows a node: its own, or that of a folded module around it. @param {number} node */
function holderOf(node) {
  return node < 0 ? "" : stage.scene.holder[levelOf(model()).unit[node]];
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
  const holders = new Set([...found].map(holderOf));
  const chosen = holderOf(view.chosen);
  for (const [id, { element, modules }] of stage.modules) {
    element.classList.toggle("chosen", modules.includes(view.module) || id === chosen);
    element.classList.toggle("other", searching && !holders.has(id));
    element.classList.toggle("match", holders.has(id));
  }
  for (const { element, wire } of stage.arrows) {
    element.classList.toggle("near", chosen !== "" && (wire.tail === chosen || wire.heads.has(chosen)));
    element.classList.toggle("other", searching);
  }
}

// --- folding ---------------------------------------------------------------------------------

/** @param {Iterable<number>} modules those that are folded from now on */
function foldTo(modules) {
  stage.folded = new Set(modules);
  drawPicture();
  look();
  keepAddress();
}

/** @param {number} module */
function toggleFold(module) {
  const folded = new Set(stage.folded);
  const row = [...stage.modules.values()].find(({ modules }) => modules[0] === module && modules.length > 1);
  const before = placeOf(elementOfModule(module));
  if (row) for (const one of row.modules) stage.split.add(one);
  else if (folded.has(module)) folded.delete(module);
  else {
    folded.add(module);
    stage.split.clear();
  }
  foldTo(folded);
  const after = placeOf(elementOfModule(module));
  // What was pressed stays under the pointer.
  if (before && after) look(stage.x + (after.left - before.left) / stage.scale, stage.y + (after.top - before.top) / stage.scale);
}

/** @param {number} module */
function elementOfModule(module) {
  return pictureElement.querySelector(`[data-fold="${module}"]`) ?? [...stage.modules.values()].find(({ modules }) => modules.includes(module))?.element ?? null;
}

/** @param {Element | null | undefined} element */
function placeOf(element) {
  return element ? element.getBoundingClientRect() : null;
}

/** Fold everything that lies deeper than some levels. @param {number} depth */
function foldBelow(depth) {
  stage.split.clear();
  foldTo(levelOf(model()).modules.flatMap((_, module) => (module && enclosing(module).length > depth ? [module] : [])));
  fitPicture();
}

/** The levels of modules that are open now. */
function openDepth() {
  const depths = [...stage.folded].map((module) => enclosing(module).length);
  return depths.length ? Math.min(...depths) - 1 : deepest();
}

function deepest() {
  return levelOf(model()).modules.reduce((most, _, module) => Math.max(most, enclosing(module).length), 0);
}

const MOST_AT_FIRST = 60;
const SMALLEST_SCALE = 0.72;

/** Open as many levels as fill the stage and can be read. */
function foldAtFirst() {
  const one = model();
  const level = levelOf(one);
  const depths = level.modules.map((_, module) => enclosing(module).length);
  const most = depths.reduce((most, depth) => Math.max(most, depth), 0);
  const { width, height } = pictureElement.getBoundingClientRect();
  stage.split = new Set();
  for (let depth = most; depth >= 0; depth -= 1) {
    const shown = level.module.filter((module) => depths[module] <= depth).length + depths.filter((one) => one === depth + 1).length;
    stage.folded = new Set(depths.flatMap((one, module) => (one > depth ? [module] : [])));
    if (shown > MOST_AT_FIRST && depth > 0) continue;
    const scene = layOut(one, level, stage.folded, stage.split, stageAspect());
    if (Math.min(width / (scene.width + 2 * MARGIN), height / (scene.height + 2 * MARGIN)) >= SMALLEST_SCALE) break;
  }
}

/** Unfold what hides a node. @param {number} node */
function reveal(node) {
  const level = levelOf(model());
  const around = enclosing(level.module[level.unit[node]]);
  if (around.some((module) => stage.folded.has(module))) foldTo([...stage.folded].filter((module) => !around.includes(module)));
}

// --- looking around --------------------------------------------------------------------------

/** Look at a place; without arguments, at the same one. */
function look(x = stage.x, y = stage.y, scale = stage.scale) {
  const { width, height } = pictureElement.getBoundingClientRect();
  stage.scale = Math.min(4, Math.max(0.02, scale));
  /** @param {number} at @param {number} whole @param {number} shown @param {number} hidden */
  const held = (at, whole, shown, hidden) =>
    whole + 2 * MARGIN <= shown - hidden ? (whole - shown + hidden) / 2 : Math.min(Math.max(at, -MARGIN), whole - shown + hidden + MARGIN);
  stage.x = held(x, stage.width, width / stage.scale, 0);
  stage.y = held(y, stage.height, height / stage.scale, hiddenHeight() / stage.scale);
  stage.layer.setAttribute("transform", `scale(${stage.scale}) translate(${-stage.x} ${-stage.y})`);
  overviewElement.classList.toggle("idle", Math.max(stage.width / width, stage.height / height) * stage.scale <= 1);
  const whole = { x: stage.x, y: stage.y, width: width / stage.scale, height: height / stage.scale };
  for (const [key, value] of Object.entries(whole)) stage.window.setAttribute(key, String(value));
  stage.window.setAttribute("stroke-width", String((2 * stage.height) / Math.max(height, 1)));
  showLabels(whole);
}

/** How much of the picture lies under the sheet that shows the details on a phone, while at least a box is left. */
function hiddenHeight() {
  const panel = byId("panel");
  if (panel.classList.contains("empty") || getComputedStyle(panel).position !== "fixed") return 0;
  const { top, bottom, height } = pictureElement.getBoundingClientRect();
  return Math.min(Math.max(0, bottom - Math.max(top, panel.getBoundingClientRect().top)), Math.max(0, height - 90));
}

/** Show the words of the boxes in sight, if they can be read: words are what a step of a zoom costs. @param {{x: number, y: number, width: number, height: number}} seen @param {number} [scale] */
function showLabels(seen, scale = stage.scale) {
  const detail = DETAILS.find(({ from }) => scale >= from);
  const name = detail?.name ?? "none";
  if (pictureElement.dataset.detail !== name) pictureElement.dataset.detail = name;
  for (const label of stage.labelled) {
    const { element, left, top } = label;
    const inWidth = left + BOX_WIDTH + MARGIN > seen.x && left - MARGIN < seen.x + seen.width;
    const inHeight = top + BOX_HEIGHT + MARGIN > seen.y && top - MARGIN < seen.y + seen.height;
    const isShown = detail !== undefined && inWidth && inHeight;
    if (label.isShown !== isShown) element.classList.toggle("wordless", !isShown);
    label.isShown = isShown;
    if (isShown) writeLabel(label, detail);
  }
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

/** Lay the picture out for paper, in columns that fit a page. */
function putOnPaper() {
  const [paperWidth, paperHeight] = [186, 195];
  drawPicture(paperWidth / paperHeight);
  stage.layer.removeAttribute("transform");
  const [width, height] = [stage.width + 2 * MARGIN, stage.height + 2 * MARGIN];
  pictureElement.setAttribute("viewBox", `${-MARGIN} ${-MARGIN} ${width} ${height}`);
  pictureElement.style.aspectRatio = `${width} / ${height}`;
  const scale = (Math.min(paperWidth / width, paperHeight / height) * 96) / 25.4;
  showLabels({ x: 0, y: 0, width: stage.width, height: stage.height }, scale);
}

function takeFromPaper() {
  pictureElement.removeAttribute("viewBox");
  pictureElement.style.aspectRatio = "";
  drawPicture();
  look();
}

/** Show the picture as large as it can be read, with what is chosen in view. */
function beginPicture() {
  const { width, height } = pictureElement.getBoundingClientRect();
  const whole = Math.min(width / (stage.width + 2 * MARGIN), height / (stage.height + 2 * MARGIN));
  if (whole >= 0.55) fitPicture();
  else look(-MARGIN, -MARGIN, Math.min(1, Math.max(0.62, width / (stage.width + 2 * MARGIN))));
  if (view.chosen >= 0) bringIntoView(view.chosen);
}

/** Bring the box of a node into the middle. @param {number} node */
function bringIntoView(node) {
  const box = stage.scene.boxes.get(holderOf(node));
  if (!box) return;
  const { width, height: whole } = pictureElement.getBoundingClientRect();
  const height = whole - hiddenHeight();
  const [left, top] = [(box.left - stage.x) * stage.scale, (box.top - stage.y) * stage.scale];
  const [right, bottom] = [(box.right - stage.x) * stage.scale, (box.bottom - stage.y) * stage.scale];
  if (left >= 0 && right <= width && top >= 0 && bottom <= height && stage.scale >= 0.45) return;
  const scale = Math.max(stage.scale, 0.8);
  look((box.left + box.right) / 2 - width / scale / 2, (box.top + box.bottom) / 2 - height / scale / 2, scale);
}

/** @param {(target: Element) => void} press what a click does */
function listenToPicture(press) {
  /** Pointers that are down. @type {Map<number, {x: number, y: number}>} */
  const down = new Map();
  let moved = 0;
  pictureElement.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    // The picture has the focus once it was pressed; Escape or a press elsewhere gives it back.
    pictureElement.focus({ preventScroll: true });
    down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (down.size === 1) moved = 0;
  });
  pictureElement.addEventListener("pointermove", (event) => {
    const before = down.get(event.pointerId);
    if (!before) return;
    if (event.pointerType === "touch" && down.size < 2) return; // one finger scrolls the page
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
  // Two fingers move the picture: the page must not take them for its own.
  for (const kind of /** @type {const} */ (["touchstart", "touchmove"]))
    pictureElement.addEventListener(kind, (event) => { if (event.touches.length > 1 && event.cancelable) event.preventDefault(); }, { passive: false });
  for (const kind of /** @type {const} */ (["pointerup", "pointercancel"]))
    window.addEventListener(kind, (event) => down.delete(event.pointerId));
  pictureElement.addEventListener("click", (event) => {
    if (moved <= 5 && event.target instanceof Element) press(event.target);
  });
  pictureElement.addEventListener(
    "wheel",
    (event) => {
      const step = event.deltaMode === 1 ? 16 : 1;
      // Without the focus, the wheel belongs to the page.
      if (!event.ctrlKey && !event.metaKey && document.activeElement !== pictureElement) return;
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
