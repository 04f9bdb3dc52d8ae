/* What the page does when something is pressed, and how it begins. */

/** Words that people use for a layer, besides its name and type. @type {[RegExp, string][]} */
const SYNONYMS = [
  [/conv/i, "convolution conv"],
  [/linear|dense|gemm/i, "dense linear fully connected fc"],
  [/pool/i, "pooling pool"],
  [/norm/i, "normalization norm"],
  [/relu|gelu|silu|swish|elu|sigmoid|tanh|activation|mish/i, "activation nonlinearity"],
  [/attention|attn/i, "attention"],
  [/^add$|addition/i, "add residual sum skip"],
  [/cat|concat/i, "concatenation concat join"],
];

/** What can be searched of every node of a model, in small letters. @type {WeakMap<Model, string[]>} */
const searched = new WeakMap();

/** @param {Model} one @returns {string[]} */
function textsOf(one) {
  const found = searched.get(one) ?? one.nodes.name.map((name, node) => {
    const layer = layerOf(one, node);
    const words = SYNONYMS.flatMap(([kind, text]) => (kind.test(layer.type) ? [text] : []));
    const strided = /^([2-9]|\d\d)/.test(layer.stride) ? "stride strided downsampling" : "";
    const dilated = /^([2-9]|\d\d)/.test(layer.dilation) ? "dilated atrous" : "";
    return [name, pathOf(one, node) ?? "", layer.type, titleOf(layer).replaceAll("×", "x"), ...words, strided, dilated].join(" ").toLowerCase();
  });
  searched.set(one, found);
  return found;
}

/** The layers that the search has found: every word of it is somewhere in what is known of them. */
function matches() {
  const one = model();
  const level = levelOf(one);
  const texts = textsOf(one);
  const words = view.query.toLowerCase().replaceAll("×", "x").split(/\s+/).filter(Boolean);
  return level.main.filter((node, unit) => {
    const look = lookOf(one, node);
    const state = look === "design" ? (level.kind[unit] === "global" ? "by design grey" : "") : `${STATE_NAMES[look]} ${{ unproductive: "red border wasted", critical: "orange", partially: "yellow", productive: "white" }[look]}`;
    const parts = membersOf(level)[unit].map((member) => texts[member]).join(" ");
    return words.every((word) => parts.includes(word) || state.split(" ").includes(word));
  });
}

/** @param {string} query */
function search(query) {
  view.query = query.trim();
  const found = matches();
  byId("found").textContent = view.query ? String(found.length) : "";
  byId("found").setAttribute("aria-label", view.query ? counted(found.length, "layer") : "");
  markPicture();
  filterTable();
}

/** Judge and paint everything at a resolution. @param {number[]} resolution one number, or one per axis */
function setResolution(resolution) {
  view.resolution = resolution;
  view.states = statesAt(model(), resolution);
  view.work = workAt(model(), resolution);
  paintPicture();
  showSummary();
  showRefinements();
  showDetails();
  paintFieldChart();
  followResolution(resolution);
  filterTable();
  paintCards();
  keepAddress();
}

/** @param {number} node @param {boolean} [bring] bring it into view */
function choose(node, bring = false) {
  view.chosen = node;
  view.module = -1;
  if (node >= 0 && bring) {
    reveal(node);
    bringIntoView(node);
  }
  markPicture();
  markTable(bring);
  paintFieldChart();
  showDetails();
  keepAddress();
}

/** @param {number} module */
function chooseModule(module) {
  choose(-1);
  view.module = module;
  markPicture();
  showDetails();
}

/** Choose the first layer that cannot help, or else the first that sees beyond the image, or else the first of all. */
function showAnswer() {
  const sum = balance(model(), view.states);
  const first = [...sum.found.unproductive, ...sum.found.critical, ...sum.found.partially, ...sum.all][0] ?? -1;
  choose(first, true);
  beginPicture();
}

/** @param {number} step forwards or backwards, through what the search has found if there is a search */
function walk(step) {
  const among = view.query ? matches() : levelOf(model()).main;
  if (!among.length) return;
  const at = among.findIndex((node) => node >= view.chosen);
  const here = among[at] === view.chosen && view.chosen >= 0;
  const next = step > 0 ? (here ? at + 1 : Math.max(at, 0)) : (at < 0 ? among.length : at) - 1;
  choose(among[(next + among.length) % among.length], true);
}

/** @param {number} at */
function showModel(at) {
  view.model = at;
  view.chosen = -1;
  view.module = -1;
  for (const tab of byId("models").children) {
    tab.setAttribute("aria-selected", String(tab === byId("models").children[at]));
    tab.setAttribute("tabindex", tab === byId("models").children[at] ? "0" : "-1");
  }
  drawModel();
  showAnswer();
}

/** Draw all that shows the current model, or another count of its layers. */
function drawModel() {
  view.states = statesAt(model(), view.resolution);
  view.work = workAt(model(), view.resolution);
  foldAtFirst();
  drawTools();
  drawResolution();
  drawPicture();
  drawFieldChart();
  drawStateChart();
  drawTable();
  setResolution(view.resolution);
  search(view.query);
}

/** @param {"blocks" | "nodes"} level */
function showLevel(level) {
  const chosen = view.chosen;
  view.level = level;
  view.module = -1;
  view.chosen = -1;
  drawModel();
  const now = levelOf(model());
  if (chosen >= 0) choose(now.main[now.unit[chosen]], true);
  beginPicture();
}

function drawTools() {
  const modules = levelOf(model()).modules.length > 1;
  const folding = [
    button("Fold all", {}, () => foldBelow(0)),
    button("−", { class: "icon", "aria-label": "Fold the innermost open modules" }, () => foldBelow(Math.max(openDepth() - 1, 0))),
    button("+", { class: "icon", "aria-label": "Unfold one more level of modules" }, () => foldBelow(openDepth() + 1)),
    button("Unfold all", {}, () => foldBelow(Infinity)),
    html("span", { class: "gap" }),
  ];
  const shown = view.level === "blocks";
  byId("picture-tools").replaceChildren(
    button("Every operation", { id: "level", "aria-pressed": String(!shown), title: "Count and draw norms, activations and additions one by one" }, () => {
      showLevel(shown ? "nodes" : "blocks");
      byId("level").focus();
    }),
    html("span", { class: "gap" }),
    ...(modules ? folding : []),
    button("−", { class: "icon", "aria-label": "Zoom out" }, () => zoom(1 / 1.3)),
    button("+", { class: "icon", "aria-label": "Zoom in" }, () => zoom(1.3)),
    button("Fit", { "aria-label": "Show the whole picture" }, fitPicture),
    html("span", { class: "gap" }),
    button("SVG", { "aria-label": "Save the picture as SVG" }, () => downloadPicture("svg")),
    button("PNG", { "aria-label": "Save the picture as PNG" }, () => downloadPicture("png")),
    button("Compare", { title: `Keep this ${SIZE}, to see it beside others` }, keepForComparison),
  );
}

// --- what the address says -------------------------------------------------------------------

let addressKept = false;

/** Put what the page shows into its address, so that a link shows the same. */
function keepAddress() {
  if (!addressKept) return;
  const level = levelOf(model());
  const parts = [`px=${view.resolution.join("x")}`];
  const made = facts.models.flatMap((one) => { const source = refined.get(one); return source ? [`${facts.models.indexOf(source.of)}.${source.at}`] : []; });
  if (made.length) parts.push(`refined=${made.join(",")}`);
  if (facts.models.length > 1) parts.push(`model=${view.model}`);
  if (view.level !== facts.level) parts.push(`layers=${view.level}`);
  if (view.chosen >= 0) parts.push(`layer=${encodeURIComponent(model().nodes.name[view.chosen].toWellFormed?.() ?? "").slice(0, 300)}`);
  const open = level.modules.flatMap((_, module) => (module && !stage.folded.has(module) ? [module] : []));
  parts.push(`open=${ranges(open)}`);
  try {
    history.replaceState(null, "", `#${parts.join("&")}`);
  } catch {
    addressKept = false; // a frame without an address of its own
  }
}

/** Ascending numbers in short: 1-3,7. @param {number[]} numbers */
function ranges(numbers) {
  /** @type {[number, number][]} */
  const found = [];
  for (const number of numbers) {
    const last = found[found.length - 1];
    if (last && last[1] === number - 1) last[1] = number;
    else found.push([number, number]);
  }
  return found.map(([from, to]) => (from === to ? from : `${from}-${to}`)).join(",");
}

/** Show what the address says; whatever in it does not fit is left out. Returns whether it chose a layer. */
function followAddress() {
  const said = new Map(location.hash.slice(1).split("&").map((part) => /** @type {[string, string]} */ ([part.split("=")[0], part.split("=").slice(1).join("=")])));
  const sizes = (said.get("px") ?? "").split("x").map(Number);
  const axes = facts.axes ?? 2;
  if ((sizes.length === 1 || sizes.length === axes) && sizes.every((size) => Number.isSafeInteger(size) && size > 0)) view.resolution = sizes;
  const asked = said.get("layers");
  if (asked === "blocks" || asked === "nodes") view.level = asked;
  for (const made of (said.get("refined") ?? "").split(",")) {
    const [of, which] = made.split(".").map(Number);
    if (facts.models[of]?.refinements?.found[which]) facts.models.push(refine(facts.models[of], which));
  }
  const at = Number(said.get("model") ?? -1);
  const named_ = facts.models[at] ? at : -1;
  return { said, model: named_ };
}

/** @param {Map<string, string>} said */
function followFolding(said) {
  const open = said.get("open");
  if (open === undefined) return;
  const wanted = new Set(open.split(",").flatMap((part) => {
    const [from, to = from] = part.split("-").map(Number);
    const most = Math.min(to, levelOf(model()).modules.length - 1);
    return Array.from({ length: Math.max(0, most - from + 1) || 0 }, (_, at) => from + at);
  }));
  foldTo(levelOf(model()).modules.flatMap((_, module) => (module && !wanted.has(module) ? [module] : [])));
  let name = "";
  try {
    name = decodeURIComponent(said.get("layer") ?? "");
  } catch {
    name = ""; // not what this page wrote
  }
  const node = name ? levelOf(model()).main.find((node) => model().nodes.name[node].startsWith(name)) : undefined;
  if (node !== undefined) choose(node, true);
  beginPicture();
}

/** Keys that work everywhere outside of fields to write in. @param {KeyboardEvent} event */
function pressAnywhere(event) {
  const target = event.target;
  const writing = target instanceof HTMLInputElement && target.type !== "range";
  if (writing || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  /** @type {Record<string, () => void>} */
  const keys = {
    "/": () => byId("search").focus(),
    n: () => walk(1),
    p: () => walk(-1),
    f: () => {
      const level = levelOf(model());
      const module = view.module >= 0 ? view.module : view.chosen >= 0 ? level.module[level.unit[view.chosen]] : 0;
      if (module <= 0) return;
      toggleFold(module);
      chooseModule(module);
    },
    Escape: () => {
      pictureElement.blur();
      choose(-1);
    },
  };
  const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

/** @param {KeyboardEvent} event */
function pressInPicture(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const far = 60 / stage.scale;
  /** @type {Record<string, () => void>} */
  const keys = {
    ArrowLeft: () => look(stage.x - far),
    ArrowRight: () => look(stage.x + far),
    ArrowUp: () => look(stage.x, stage.y - far),
    ArrowDown: () => look(stage.x, stage.y + far),
    PageUp: () => look(stage.x, stage.y - 6 * far),
    PageDown: () => look(stage.x, stage.y + 6 * far),
    Home: beginPicture,
    End: () => look(stage.x, stage.height),
    "+": () => zoom(1.3),
    "=": () => zoom(1.3),
    "-": () => zoom(1 / 1.3),
    0: fitPicture,
  };
  const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

/** @param {Element} target */
function pressPicture(target) {
  const fold = target.closest("[data-fold]");
  const module = target.closest("[data-module]");
  const node = target.closest("[data-index]");
  if (fold) {
    const folded = Number(fold.getAttribute("data-fold"));
    toggleFold(folded);
    chooseModule(folded);
  } else if (module) {
    const opened = Number(module.getAttribute("data-module"));
    toggleFold(opened);
    chooseModule(opened);
  } else choose(node ? Number(node.getAttribute("data-index")) : -1);
}

/** @param {Point} [field] sizes on paper @param {Point} [state] */
function drawCharts(field, state) {
  drawFieldChart(field);
  drawStateChart(state);
  paintFieldChart();
}

/** @param {"light" | "dark"} theme */
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
}

function drawTabs() {
  const tabs = byId("models");
  tabs.hidden = facts.models.length < 2;
  tabs.replaceChildren(
    ...facts.models.map((one, at) => {
      const source = refined.get(one);
      const tab = button("", { role: "tab", title: visible(one.name) }, () => showModel(at));
      tab.append(...(source ? [named(shortened(source.of.name, 14)), ` #${source.at + 1}`] : [named(shortened(one.name, 24))]));
      return tab;
    }),
  );
  byId("title").classList.toggle("hidden", facts.models.length > 1 && facts.title === facts.models.filter((one) => !refined.has(one)).map((one) => one.name).join(", "));
}

function begin() {
  const preference = matchMedia("(prefers-color-scheme: dark)");
  setTheme(preference.matches ? "dark" : "light");
  preference.addEventListener("change", () => setTheme(preference.matches ? "dark" : "light"));
  byId("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  byId("title").append(named(shortened(facts.title, 80)));
  byId("models").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    showModel((view.model + step + facts.models.length) % facts.models.length);
    /** @type {HTMLElement} */ (byId("models").children[view.model]).focus();
  });

  const field = /** @type {HTMLInputElement} */ (byId("search"));
  field.addEventListener("input", () => search(field.value));
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && view.query) walk(event.shiftKey ? -1 : 1);
  });
  document.addEventListener("keydown", pressAnywhere);
  pictureElement.addEventListener("keydown", pressInPicture);
  listenToPicture(pressPicture);
  byId("download").addEventListener("click", downloadTable);
  byId("table-scroll").addEventListener("scroll", followScroll, { passive: true });
  byId("close-details").addEventListener("click", () => choose(-1));
  new ResizeObserver(() => look()).observe(pictureElement);
  let wide = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === wide) return;
    wide = innerWidth;
    drawCharts();
    drawPicture();
    look();
  });
  addEventListener("beforeprint", () => {
    drawSheetHead();
    putOnPaper();
    drawCharts([400, 200], [232, 200]);
    const short = table.shown.length <= (cards.length ? 24 : 60); // three sheets have room for that
    byId("layers").classList.toggle("long", !short);
    drawRows(short);
  });
  addEventListener("afterprint", () => {
    takeFromPaper();
    drawCharts();
    drawRows();
  });

  const { said, model: asked } = followAddress();
  if (view.resolution.length > 1 && view.resolution.every((size) => size === view.resolution[0])) view.resolution = [view.resolution[0]];
  firstCards();
  drawTabs();
  showModel(asked >= 0 ? asked : worstModel());
  followFolding(said);
  addressKept = true;
}

begin();
