/* What the page does when something is pressed, and how it begins. */

/** The nodes that the search has found. */
function matches() {
  const one = model();
  const wanted = view.query.toLowerCase();
  return one.nodes.name.flatMap((name, node) =>
    name.toLowerCase().includes(wanted) || layerOf(one, node).type.toLowerCase().includes(wanted) || (pathOf(one, node) ?? "").toLowerCase().includes(wanted) ? [node] : [],
  );
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
  showDetails();
  paintFieldChart();
  for (const follow of stateCharts.values()) follow(resolution);
  paintTable();
  paintCards();
}

/** @param {number} node @param {boolean} [bring] bring it into view */
function choose(node, bring = false) {
  table.rows[view.chosen]?.classList.remove("chosen");
  view.chosen = node;
  view.module = -1;
  table.rows[node]?.classList.add("chosen");
  if (node >= 0 && bring) {
    reveal(node);
    bringIntoView(node);
  }
  markPicture();
  paintFieldChart();
  showDetails();
}

/** @param {number} module */
function chooseModule(module) {
  choose(-1);
  view.module = module;
  markPicture();
  showDetails();
}

/** @param {number} step forwards or backwards, through what the search has found if there is a search */
function walk(step) {
  const among = view.query ? matches() : model().nodes.name.map((_, node) => node);
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
  view.states = statesAt(model(), view.resolution);
  view.work = workAt(model(), view.resolution);
  for (const tab of byId("models").children) {
    tab.setAttribute("aria-selected", String(tab === byId("models").children[at]));
    tab.setAttribute("tabindex", tab === byId("models").children[at] ? "0" : "-1");
  }
  foldAtFirst();
  drawPicture();
  drawFieldChart();
  drawStateChart();
  drawTable();
  setResolution(view.resolution);
  beginPicture();
  search(view.query);
}

function drawTools() {
  const modules = model().picture.modules.length > 1 || facts.models.some((one) => one.picture.modules.length > 1);
  const folding = [
    button("Fold all", {}, () => foldBelow(0)),
    button("−", { class: "icon", "aria-label": "Fold the innermost open modules" }, () => foldBelow(Math.max(openDepth() - 1, 0))),
    button("+", { class: "icon", "aria-label": "Unfold one more level of modules" }, () => foldBelow(openDepth() + 1)),
    button("Unfold all", {}, () => foldTo([])),
    html("span", { class: "gap" }),
  ];
  byId("picture-tools").replaceChildren(
    ...(modules ? [html("span", { class: "soft" }, "Modules"), ...folding] : []),
    button("−", { class: "icon", "aria-label": "Zoom out" }, () => zoom(1 / 1.3)),
    button("+", { class: "icon", "aria-label": "Zoom in" }, () => zoom(1.3)),
    button("Fit", { "aria-label": "Show the whole picture" }, fitPicture),
    button("100 %", { "aria-label": "Show the beginning in its natural size" }, beginPicture),
    html("span", { class: "gap" }),
    button("Compare", { title: "Keep this resolution, to see it beside others" }, keepForComparison),
  );
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
    n: () => walk(1),
    p: () => walk(-1),
    f: () => {
      const module = view.module >= 0 ? view.module : view.chosen >= 0 ? model().picture.module[view.chosen] : 0;
      if (module <= 0) return;
      toggleFold(module);
      chooseModule(module);
    },
    Escape: () => choose(-1),
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

/** @param {"light" | "dark"} theme */
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
}

function begin() {
  const preference = matchMedia("(prefers-color-scheme: dark)");
  setTheme(preference.matches ? "dark" : "light");
  preference.addEventListener("change", () => setTheme(preference.matches ? "dark" : "light"));
  byId("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  byId("title").append(named(shortened(facts.title, 80)));
  const tabs = byId("models");
  tabs.hidden = facts.models.length < 2;
  tabs.append(
    ...facts.models.map((one, at) => {
      const tab = button("", { role: "tab" }, () => showModel(at));
      tab.append(named(shortened(one.name, 24)));
      return tab;
    }),
  );
  tabs.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    showModel((view.model + step + facts.models.length) % facts.models.length);
    /** @type {HTMLElement} */ (tabs.children[view.model]).focus();
  });
  if (facts.models.length > 1) byId("title").hidden = facts.title === facts.models.map((one) => one.name).join(", ");

  const field = /** @type {HTMLInputElement} */ (byId("search"));
  field.addEventListener("input", () => search(field.value));
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && view.query) walk(event.shiftKey ? -1 : 1);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target instanceof HTMLInputElement) return;
    event.preventDefault();
    field.focus();
  });
  pictureElement.addEventListener("keydown", pressInPicture);
  listenToPicture(pressPicture);
  byId("download").addEventListener("click", downloadTable);
  new ResizeObserver(() => look()).observe(pictureElement);
  addEventListener("beforeprint", putOnPaper);
  addEventListener("afterprint", takeFromPaper);

  if (view.resolution.every((size) => size === view.resolution[0])) view.resolution = [view.resolution[0]];
  drawTools();
  drawResolution();
  firstCards();
  showModel(0);
  drawCards();
}

begin();
