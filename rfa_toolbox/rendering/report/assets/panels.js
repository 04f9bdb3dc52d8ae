/* Everything around the picture: summary, comparison, details of a layer, charts and the table. */

/** A large number with three digits and a letter. @param {number} value */
function shortNumber(value) {
  for (const [size, letter] of /** @type {const} */ ([[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]))
    if (value >= size) return `${Number((value / size).toPrecision(3))} ${letter}`;
  return String(value);
}

/** @param {number} part */
function percent(part) {
  return part > 0 && part < 0.01 ? "< 1 %" : part < 1 && part > 0.99 ? "> 99 %" : `${Math.round(part * 100)} %`;
}

/** @param {Model} one */
function rangeText(one) {
  return `${shortText(one.range[0])} to ${shortText(one.range[1])} px`;
}

// --- summary ---------------------------------------------------------------------------------

function showSummary() {
  const one = model();
  const sum = balance(one, view.states);
  const at = resolutionText(view.resolution);
  const wasted = sum.extractor.unproductive;
  const strained = sum.extractor.critical + sum.extractor.partially;
  const headline = byId("headline");
  if (wasted)
    headline.replaceChildren(
      "At ", at, ", ", html("b", {}, `${wasted} of ${counted(sum.layers, "layer")}`), ` cannot help.`,
    );
  else if (strained)
    headline.replaceChildren("At ", at, ", every layer can help, ", html("b", { class: "fine" }, `${strained} of ${sum.layers} only a little.`));
  else headline.replaceChildren("At ", at, html("b", { class: "fine" }, `, all ${counted(sum.layers, "layer")} can help.`));
  byId("subline").textContent = sum.behind
    ? `Counted is the feature extractor. ${counted(sum.behind, "further layer")} ${sum.behind === 1 ? "stands" : "stand"} behind a global operation and ${sum.behind === 1 ? "sees" : "see"} the whole image at any resolution.`
    : "Counted are all layers; none stands behind a global operation.";

  const shown = STATES.filter((state) => state !== "partially" || sum.all.partially || one.axes !== 1);
  byId("balance").replaceChildren(
    barOf(sum.extractor, "bar"),
    html(
      "div",
      { class: "chips" },
      ...shown.map((state) => {
        const chip = button("", { class: "chip", "aria-pressed": String(view.only.has(state)), "data-state": state, title: `Show only the ${STATE_NAMES[state]} layers in the table` }, () => {
          if (!view.only.delete(state)) view.only.add(state);
          chip.setAttribute("aria-pressed", String(view.only.has(state)));
          filterTable();
        });
        chip.append(sign(state), STATE_NAMES[state], html("b", {}, sum.extractor[state]));
        return chip;
      }),
    ),
  );

  const parameters = costs(one, view.states, one.nodes.parameters);
  const macs = costs(one, view.states, view.work);
  /** @type {[string, Child, string][]} */
  const figures = [["Unproductive layers", percent(sum.layers ? wasted / sum.layers : 0), `${wasted} of ${sum.layers}`]];
  if (parameters) figures.push(["Their parameters", percent(parameters.share), `${shortNumber(parameters.wasted)} of ${shortNumber(parameters.total)}`]);
  if (macs) figures.push(["Their compute", percent(macs.share), `${shortNumber(macs.wasted)} of ${shortNumber(macs.total)} multiply-adds${aboutText(one, view.resolution)}`]);
  figures.push(["Feasible resolutions", rangeText(one), "smallest and largest that make sense"]);
  const first = sum.first;
  figures.push([
    "First unproductive layer",
    first < 0 ? "none" : chooser(one, first, 34),
    first < 0 ? "" : `number ${first} of ${one.nodes.name.length}, ${visible(shortened(layerOf(one, first).type, 30))}`,
  ]);
  byId("figures").replaceChildren(
    ...figures.map(([title, value, note]) => html("div", {}, html("dt", {}, title), html("dd", {}, value, note && html("small", {}, note)))),
  );
  byId("advice").replaceChildren(
    ...advice(one, sum, parameters, macs).map(([title, ...text]) => html("li", {}, html("b", {}, title), ...text)),
  );
}

/** @param {Model} one */
function encodedText(one) {
  return one.encoded ? ` at ${one.encoded.join(" × ")} px` : "";
}

/** Of which resolution a compute is, and whether it is an estimate. @param {Model} one @param {number[]} resolution */
function aboutText(one, resolution) {
  const sizes = spread(one, resolution);
  const exact = one.encoded?.length === sizes.length && one.encoded.every((size, axis) => size === sizes[axis]);
  return exact ? "" : ", estimated";
}

/** @param {Record<State, number>} counts @param {string} kind */
function barOf(counts, kind) {
  const bar = html("div", { class: kind, role: "img", "aria-label": STATES.map((state) => `${counts[state]} ${STATE_NAMES[state]}`).join(", ") });
  for (const state of STATES)
    if (counts[state]) {
      const part = html("span", { class: `bg-${state}` });
      part.style.flexGrow = String(counts[state]);
      bar.append(part);
    }
  return bar;
}

/** A name to press, which chooses the layer. @param {Model} one @param {number} node @param {number} longest */
function chooser(one, node, longest) {
  const made = button("", { class: "link" }, () => {
    const at = facts.models.indexOf(one);
    if (at !== view.model) showModel(at);
    choose(node, true);
  });
  made.append(named(shortened(one.nodes.name[node], longest)));
  return made;
}

/** What to do, in the order of the price. @param {Model} one @param {ReturnType<typeof balance>} sum
 * @param {ReturnType<typeof costs>} parameters @param {ReturnType<typeof costs>} macs @returns {[string, ...Child[]][]} */
function advice(one, sum, parameters, macs) {
  const resolution = spread(one, view.resolution);
  const useful = firstUsefulResolution(one);
  const low = one.range[0];
  const smallest = Math.max(...resolution.map((_, axis) => pixels(low, axis)));
  const saved = [
    parameters && parameters.wasted ? `${percent(parameters.share)} of the parameters` : "",
    macs && macs.wasted ? `${percent(macs.share)} of the compute` : "",
  ].filter(Boolean);
  /** @type {[string, ...Child[]][]} */
  const found = [];
  if (sum.extractor.unproductive) {
    found.push([
      "Cut what cannot help",
      `${counted(sum.extractor.unproductive, "layer")}, first `, chooser(one, sum.first, 40), `, cannot improve on what reaches ${sum.extractor.unproductive === 1 ? "it" : "them"}`,
      saved.length ? `; together they hold ${listed(saved)}. ` : ". ",
      ...(sum.last < 0
        ? ["At this size no layer helps at all."]
        : sum.last > sum.end
          ? []
          : ["Behind ", chooser(one, sum.last, 40), " no layer helps any more: what follows can go, and was observed not to be missed."]),
    ]);
    const early = earlyStrides(one);
    found.push([
      "Or let the field grow more slowly",
      early.length
        ? `Every stride doubles all growth behind it. Removing an early one (${early.length === 1 ? "it is" : "the first are"} `
        : "Smaller kernels in the first layers slow down all growth behind them",
      ...early.flatMap((node, at) => [at ? " and " : "", chooser(one, node, 30)]),
      early.length ? ") about halves the fields behind it, at the price of compute." : ".",
    ]);
    found.push([
      `Or enlarge the images to ${useful} px or more${new Set(resolution).size > 1 ? " on every axis" : ""}`,
      useful < smallest
        ? `From there on no layer is unproductive, and from ${shortText(low)} px on none is critical. The cost grows with the area.`
        : "From there on no layer is unproductive. The cost grows with the area.",
    ]);
    return found;
  }
  if (sum.extractor.critical + sum.extractor.partially)
    found.push([
      "This is close to a good size",
      `No layer is unproductive, but ${counted(sum.extractor.critical + sum.extractor.partially, "layer")} ${sum.extractor.critical + sum.extractor.partially === 1 ? "sees" : "see"} past the border of the image. From ${shortText(low)} px on, every layer works on the image alone.`,
    ]);
  const beyond = resolution.every((size, axis) => size > pixels(one.range[1], axis));
  if (beyond)
    found.push([
      "No unit sees the whole image",
      `The largest field is ${sizesText(one.range[1], one.axes ?? 1)} px. Smaller images save compute; if large objects matter, more or wider layers would help.`,
    ]);
  else if (!found.length) found.push(["Nothing is wasted", `Every layer of the feature extractor still adds context, and the largest field covers the image. Keep it so: below ${useful} px the first layer becomes unproductive.`]);
  return found;
}

/** The first two layers that make the map coarser. @param {Model} one */
function earlyStrides(one) {
  const found = [];
  for (let node = 0; node < one.nodes.name.length && found.length < 2; node += 1)
    if (one.nodes.extracts[node] && /[2-9]|\d\d/.test(layerOf(one, node).stride) && layerOf(one, node).upsampling.replace(/[1x]/g, "") === "") found.push(node);
  return found;
}

// --- resolution ------------------------------------------------------------------------------

function largestOnSlider() {
  const bounds = facts.models.map((one) => one.range.map((sizes) => Math.max(1, ...[sizes].flat().filter((size) => size !== null))));
  const low = Math.max(...bounds.map(([smallest]) => smallest));
  const high = Math.max(...bounds.map(([, largest]) => largest));
  const shown = Math.max(...facts.resolution, ...facts.compare.flat());
  return Math.ceil(Math.max(256, Math.min(1.1 * high, 4 * low), 1.25 * shown) / 64) * 64;
}

const sliderEnd = largestOnSlider();

function drawResolution() {
  const several = view.resolution.length > 1;
  const axes = facts.axes ?? 2;
  const rows = view.resolution.flatMap((size, axis) => {
    const name = several ? AXIS_NAMES[axis] : "Resolution";
    const slider = html("input", { type: "range", id: `slider-${axis}`, min: 1, max: sliderEnd, value: Math.min(size, sliderEnd), "aria-valuetext": `${size} px`, "aria-label": several ? `Resolution, ${name}` : "Resolution" });
    const number = html("input", { type: "number", id: `pixels-${axis}`, min: 1, step: 1, value: size, inputmode: "numeric", "aria-label": `${several ? `Resolution, ${name}` : "Resolution"} in pixels` });
    slider.addEventListener("input", () => {
      number.value = slider.value;
      setPixels(axis, Number(slider.value));
      slider.setAttribute("aria-valuetext", `${slider.value} px`);
    });
    number.addEventListener("input", () => {
      const value = Number(number.value);
      const valid = Number.isSafeInteger(value) && value > 0;
      number.setAttribute("aria-invalid", String(!valid));
      if (!valid) return;
      slider.value = String(Math.min(value, sliderEnd));
      setPixels(axis, value);
    });
    number.addEventListener("change", () => {
      number.value = String(view.resolution[axis]);
      number.setAttribute("aria-invalid", "false");
    });
    const extra = axis || axes === 1 ? html("span") : button(several ? "Same on all axes" : "Per axis", { "aria-pressed": String(several), id: "per-axis" }, () => {
      setResolution(several ? [view.resolution[0]] : Array.from({ length: axes }, () => view.resolution[0]));
      drawResolution();
      byId("per-axis").focus();
    });
    return [html("label", { for: `pixels-${axis}` }, name), slider, html("span", { class: "pixels" }, number), extra];
  });
  byId("resolution").replaceChildren(...rows);
}

/** @param {number} axis @param {number} size */
function setPixels(axis, size) {
  setResolution(view.resolution.map((old, at) => (at === axis ? size : old)));
}

// --- details ---------------------------------------------------------------------------------

function showDetails() {
  const one = model();
  const place = byId("details");
  if (view.module >= 0) place.replaceChildren(...moduleDetails(one, view.module));
  else if (view.chosen >= 0) place.replaceChildren(...layerDetails(one, view.chosen));
  else place.replaceChildren(
    html("h2", {}, "Choose a layer"),
    html("p", { class: "why soft" }, "Press a box, a bar of the chart or a name in the table to see what the layer does, and why it has its colour."),
    keysHelp(),
  );
}

function keysHelp() {
  /** @type {[string, string][]} */
  const keys = [["N", "next layer"], ["P", "previous layer"], ["F", "fold its module"], ["+ −", "zoom"], ["0", "show all"], ["arrows", "move"], ["/", "search"]];
  return html("p", { class: "keys" }, ...keys.flatMap(([key, does]) => [html("kbd", {}, key), ` ${does}   `]));
}

/** @param {string} title @param {Child} value @returns {[HTMLElement, HTMLElement] | []} */
function fact(title, value) {
  return value === null || value === undefined || value === "" ? [] : [html("dt", {}, title), html("dd", {}, value)];
}

/** @param {State} state */
function badge(state) {
  return html("span", { class: `badge ${state} ink-${state}` }, sign(state), STATE_NAMES[state]);
}

/** Buttons that fold the modules around a node. @param {number} module */
function crumbs(module) {
  const modules = model().picture.modules;
  return html(
    "div",
    { class: "crumbs" },
    ...enclosing(module).map((inner) =>
      button(`${stage.folded.has(inner) ? "▸" : "▾"} ${shortened(moduleName(modules[inner][0], modules[inner][1]), 30)}`, { class: "link", "aria-expanded": String(!stage.folded.has(inner)), title: "Fold or unfold this module" }, () => {
        toggleFold(inner);
        showDetails();
      }),
    ),
  );
}

/** @param {Model} one @param {number} node @returns {Element[]} */
function layerDetails(one, node) {
  const layer = layerOf(one, node);
  const nodes = one.nodes;
  const path = pathOf(one, node);
  const resolution = spread(one, view.resolution);
  const [certainty, reason] = one.certainties[nodes.certainty[node]];
  const unless = (/** @type {string} */ text) => (/^1(x1)*$/.test(text) ? "" : text.replaceAll("x", " × "));
  const jump = nodes.jump[node];
  const jumps = Array.isArray(jump) ? jump.map((one) => one ?? "–").join(" × ") : jump;
  const measured = nodes.map[node];
  const window_ = nodes.window[node];
  const parameters = nodes.parameters[node];
  const macs = view.work[node];
  return [
    crumbs(one.picture.module[node]),
    html("h2", {}, named(nodes.name[node])),
    html("p", {}, badge(view.states[node])),
    html("p", { class: "why" }, ...why(one, node, resolution)),
    html(
      "dl",
      { class: "facts" },
      ...fact("Type", named(layer.type)),
      ...fact("Module", path === null ? null : path === "" ? "top level" : named(path)),
      ...fact("Kernel", layer.grows ? "grows with the image" : layer.kernel.replaceAll("x", " × ")),
      ...fact("Stride", layer.stride.replaceAll("x", " × ")),
      ...fact("Dilation", unless(layer.dilation)),
      ...fact("Up-sampling", unless(layer.upsampling)),
      ...fact("Padding", layer.padding && layer.padding !== "0" ? layer.padding.replaceAll("x", " × ") : null),
      ...fact("Filters", layer.filters),
      ...fact("Units", layer.units),
      ...fact("Smallest field", `${sizesText(nodes.smallest[node])} px`),
      ...fact("Largest field", `${sizesText(nodes.largest[node])} px`),
      ...fact("Jump", jumps === null ? null : `${jumps} px between neighbours`),
      ...fact("Window", window_ && windowText(one, window_)),
      ...fact("Feature map", `${mapSize(jump, resolution).join(" × ")} at ${resolutionText(view.resolution)}`),
      ...fact("Measured map", measured ? `${measured.join(" × ")}${encodedText(one)}` : null),
      ...fact("Parameters", parameters === null ? null : parameters.toLocaleString("en")),
      ...fact("Multiply-adds", macs === null ? null : macs ? `${shortNumber(macs)}${aboutText(one, view.resolution)}` : "0"),
      ...fact("Known as", certainty === "exact" ? "exact" : named(`${certainty}: ${reason}`)),
      ...fact("Reads", nodes.inputs[node].length ? links(one, nodes.inputs[node]) : "the image"),
    ),
  ];
}

/** What the first unit sees. @param {Model} one @param {[Sizes, Sizes]} window first pixel and size, per axis */
function windowText(one, [start, size]) {
  const same = !Array.isArray(start) && !Array.isArray(size);
  const axes = Array.from({ length: same ? 1 : one.axes ?? 1 }, (_, axis) => axis);
  const ends = axes.map((axis) => {
    const [first, many] = [on(start, axis), pixels(size, axis)];
    return first === null || many === Infinity ? "everything" : `${first} to ${first + many - 1}`.replaceAll("-", "−");
  });
  return ends.every((one) => one === "everything") ? "sees everything" : `${sizesText(size)} px; unit 0 sees ${ends.join(" × ")}`;
}

/** @param {Model} one @param {number[]} nodes */
function links(one, nodes) {
  const shown = nodes.slice(0, 6);
  const list = html("span", {}, ...shown.flatMap((node, at) => [at ? ", " : "", chooser(one, node, 40)]));
  if (shown.length < nodes.length) list.append(` and ${nodes.length - shown.length} more`);
  return list;
}

/** @param {Model} one @param {number} module @returns {Element[]} */
function moduleDetails(one, module) {
  const inside = one.picture.module.flatMap((inner, node) => (enclosing(inner).includes(module) ? [node] : []));
  /** @type {Record<State, number>} */
  const counts = { unproductive: 0, critical: 0, partially: 0, productive: 0 };
  for (const node of inside) counts[view.states[node]] += 1;
  /** @param {(number | null)[]} values */
  const total = (values) => (inside.some((node) => values[node] !== null) ? inside.reduce((sum, node) => sum + (values[node] ?? 0), 0) : null);
  const parameters = total(one.nodes.parameters);
  const macs = total(view.work);
  const folded = stage.folded.has(module);
  return [
    crumbs(one.picture.modules[module][1]),
    html("h2", {}, named(one.picture.modules[module][0])),
    html("p", { class: "why" }, `A module of ${counted(inside.length, "layer")}: ${STATES.filter((state) => counts[state]).map((state) => `${counts[state]} ${STATE_NAMES[state]}`).join(", ")}.`),
    barOf(counts, "bar"),
    html(
      "dl",
      { class: "facts" },
      ...fact("Parameters", parameters === null ? null : parameters.toLocaleString("en")),
      ...fact("Multiply-adds", macs === null ? null : macs ? `${shortNumber(macs)}${aboutText(one, view.resolution)}` : "0"),
      ...fact("First layer", chooser(one, inside[0], 40)),
      ...fact("Last layer", chooser(one, inside[inside.length - 1], 40)),
    ),
    html("p", { class: "why" }, button(folded ? "Unfold" : "Fold", {}, () => {
      toggleFold(module);
      showDetails();
    })),
  ];
}

/** Why a layer is in its state, in sentences with numbers. @param {Model} one @param {number} node @param {number[]} resolution @returns {Child[]} */
function why(one, node, resolution) {
  const nodes = one.nodes;
  const state = view.states[node];
  const inputs = nodes.inputs[node];
  const axes = resolution.map((_, axis) => axis);
  const image = `the image of ${resolutionText(view.resolution)}`;
  const own = `${sizesText(nodes.smallest[node], axes.length)} px`;
  const ownInfinite = axes.every((axis) => pixels(nodes.smallest[node], axis) === Infinity);
  /** @type {Child[]} */
  const text = [];
  if (state === "unproductive") {
    if (axes.every((axis) => resolution[axis] <= pixels(nodes.seen[node], axis))) {
      const least = inputs.reduce((best, other) => (pixels(nodes.smallest[other], 0) < pixels(nodes.smallest[best], 0) ? other : best), inputs[0]);
      const before = inputs.length ? nodes.smallest[least] : 1;
      const beforeInfinite = axes.every((axis) => pixels(before, axis) === Infinity);
      text.push(
        inputs.length > 1 ? "Everything that reaches this layer has" : "What reaches this layer has",
        ` already seen all of ${image}: the smallest field in front of it `,
        ...(inputs.length > 1 ? ["(", chooser(one, least, 30), ") "] : []),
        beforeInfinite ? "is infinite" : `is ${sizesText(before, axes.length)} px`,
        `, and its own ${ownInfinite ? "is infinite" : `is ${own}`}. It has no new context to add. `,
      );
    }
    if (axes.every((axis) => resolution[axis] <= pixels(nodes.filled[node], axis))) {
      const maps = inputs.map((other) => mapSize(nodes.jump[other], resolution).join(" × "));
      const layer = layerOf(one, node);
      text.push(
        `The feature map that reaches it is ${maps.length ? listed([...new Set(maps)].slice(0, 4)) : resolution.join(" × ")} units large at ${resolutionText(view.resolution)}, and the layer looks at ${sizesText(layer.window, axes.length)}: the map is not larger than the window, so nothing is left to slide over.`,
      );
    }
  } else if (state === "critical" || state === "partially") {
    const over = axes.filter((axis) => pixels(nodes.smallest[node], axis) > resolution[axis]).map((axis) => AXIS_NAMES[axis]);
    text.push(
      state === "critical"
        ? `Its smallest field, ${ownInfinite ? "infinite" : own}, is larger than ${image}, so that a growing part of what it looks at is padding. `
        : `Its smallest field, ${own}, is larger than ${image} on the ${listed(over)} alone, so that there it looks at padding. `,
    );
    if (state === "critical") {
      const fresh = inputs.find((other) => axes.some((axis) => pixels(nodes.smallest[other], axis) < resolution[axis]));
      if (fresh !== undefined)
        text.push("Yet ", chooser(one, fresh, 30), ` in front of it has a field of only ${sizesText(nodes.smallest[fresh], axes.length)} px: the layer still joins parts of the image, and may help a little.`);
    }
  } else {
    text.push(
      ownInfinite ? "It sees the whole image, and is the first to do so." : `Its smallest field, ${own}, fits into ${image}: it still adds context.`,
    );
  }
  const limit = Math.max(
    ...[nodes.seen[node], nodes.filled[node]].map((limits) => Math.min(...axes.map((axis) => pixels(limits, axis)))),
  );
  if (limit === Infinity) text.push(" That is so at any resolution.");
  else if (limit > 0) text.push(` Unproductive up to ${limit} px${axes.length > 1 ? " on every axis" : ""}.`);
  return text;
}

// --- charts ----------------------------------------------------------------------------------

const WIDTH = 860;
const HEIGHT = 300;
const LEFT = 44;
const RIGHT = 12;
const BOTTOM = 22;
const TOP = 16;

/** Where the parts of the chart of fields are that follow the resolution. */
const fieldChart = {
  /** @type {SVGElement[]} */
  bars: [],
  /** @type {SVGLineElement} */
  line: svg("line"),
  /** @type {SVGTextElement} */
  text: svg("text"),
  /** @type {(size: number) => number} */
  toY: (size) => size,
  axis: 0,
};

function drawFieldChart() {
  const one = model();
  const { smallest, largest } = one.nodes;
  const axes = one.axes ?? 1;
  fieldChart.axis = Math.min(fieldChart.axis, axes - 1);
  const axis = fieldChart.axis;
  const finite = [...smallest, ...largest].map((sizes) => pixels(sizes, axis)).filter((size) => size < Infinity);
  const most = Math.max(64, ...finite.map(Number), pixels(one.range[1], axis) === Infinity ? 1 : pixels(one.range[1], axis)) * 1.3;
  const end = Math.log2(most);
  const floor = HEIGHT - BOTTOM;
  fieldChart.toY = (size) => (size === Infinity ? TOP : floor - (Math.log2(Math.min(size, most)) / end) * (floor - TOP - 14));
  const { toY } = fieldChart;
  const chart = svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `Smallest and largest receptive field of every layer of ${visible(one.name)}; the table below has the numbers.` });
  const low = pixels(one.range[0], axis);
  const high = pixels(one.range[1], axis);
  chart.append(svg("rect", { class: "band", x: LEFT, width: WIDTH - LEFT - RIGHT, y: toY(high), height: Math.max(toY(low) - toY(high), 1.5) }));
  for (const edge of [low, high]) chart.append(svg("line", { class: "band-edge", x1: LEFT, x2: WIDTH - RIGHT, y1: toY(edge), y2: toY(edge) }));
  for (let power = 0; 2 ** power <= most; power += end > 12 ? 2 : 1)
    chart.append(
      svg("line", { class: "rule", x1: LEFT, x2: WIDTH - RIGHT, y1: toY(2 ** power), y2: toY(2 ** power) }),
      svg("text", { x: LEFT - 6, y: toY(2 ** power) + 4, "text-anchor": "end" }, 2 ** power),
    );
  if (finite.length < 2 * smallest.length) chart.append(svg("text", { x: LEFT - 6, y: TOP + 4, "text-anchor": "end" }, "∞"));
  const count = smallest.length;
  const step = (WIDTH - LEFT - RIGHT) / count;
  const thick = Math.max(Math.min(step * 0.72, 14), 0.6);
  fieldChart.bars = smallest.map((sizes, node) => {
    const [top, bottom] = [toY(pixels(largest[node], axis)), toY(pixels(sizes, axis))];
    const height = Math.max(bottom - top, 3);
    return svg("rect", { class: "field", "data-index": node, x: LEFT + step * (node + 0.5) - thick / 2, y: Math.min(top, bottom - 1.5), width: thick, height, rx: Math.min(1.5, thick / 2) }, svg("title", {}, `${shortened(visible(one.nodes.name[node]), 80)}: ${sizesText(sizes)} to ${sizesText(largest[node])} px`));
  });
  chart.append(...fieldChart.bars);
  const every = Math.max(1, Math.ceil((count - 1) / 4));
  for (let node = 0; node < count; node += every)
    chart.append(svg("text", { x: LEFT + step * (node + 0.5), y: HEIGHT - 5, "text-anchor": "middle" }, node || "layer 0"));
  fieldChart.line = svg("line", { class: "now", x1: LEFT, x2: WIDTH - RIGHT });
  fieldChart.text = svg("text", { class: "now-text", x: WIDTH - RIGHT - 4, "text-anchor": "end" });
  chart.append(fieldChart.line, fieldChart.text);
  chart.addEventListener("click", (event) => {
    const bar = event.target instanceof Element ? event.target.closest("[data-index]") : null;
    if (bar) choose(Number(bar.getAttribute("data-index")), true);
  });
  const switches = axes < 2 || [...smallest, ...largest].every((sizes) => !Array.isArray(sizes)) ? [] : [
    html("div", { class: "chips" }, ...Array.from({ length: axes }, (_, at) =>
      button(AXIS_NAMES[at], { class: "chip", "aria-pressed": String(at === axis) }, () => {
        fieldChart.axis = at;
        drawFieldChart();
        paintFieldChart();
      }))),
  ];
  byId("field-chart").replaceChildren(...switches, chart);
}

function paintFieldChart() {
  view.states.forEach((state, node) => fieldChart.bars[node].setAttribute("class", node === view.chosen ? `field ${state} chosen` : `field ${state}`));
  const size = spread(model(), view.resolution)[fieldChart.axis];
  const y = fieldChart.toY(size);
  fieldChart.line.setAttribute("y1", String(y));
  fieldChart.line.setAttribute("y2", String(y));
  fieldChart.text.setAttribute("y", String(y - 5));
  fieldChart.text.textContent = `image, ${size} px`;
}

/** Charts of states that follow the resolution, with what moves their mark. @type {Map<Element, (resolution: number[]) => void>} */
const stateCharts = new Map();

/** How many layers are in which state at every resolution. @param {Model} one @param {number} width @param {number} height @param {boolean} small */
function stateChartOf(one, width, height, small) {
  const [left, right, top, bottom] = small ? [4, 4, 4, 14] : [34, 10, 8, 22];
  const places = width - left - right;
  const samples = Math.min(160, sliderEnd);
  const layers = Math.max(1, one.nodes.extracts.reduce((sum, one) => sum + one, 0));
  /** @param {number} size */
  const toX = (size) => left + (Math.min(size, sliderEnd) / sliderEnd) * places;
  /** @param {number} count */
  const toY = (count) => top + (1 - count / layers) * (height - top - bottom);
  /** @type {Record<State, string[]>} */
  const upper = { unproductive: [], critical: [], partially: [], productive: [] };
  /** @type {Record<State, string[]>} */
  const lower = { unproductive: [], critical: [], partially: [], productive: [] };
  for (let at = 0; at <= samples; at += 1) {
    const size = Math.max(1, Math.round((at / samples) * sliderEnd));
    const { extractor } = balance(one, statesAt(one, [size]));
    let below = 0;
    for (const state of STATES) {
      lower[state].push(`${toX(size).toFixed(1)} ${toY(below).toFixed(1)}`);
      below += extractor[state];
      upper[state].push(`${toX(size).toFixed(1)} ${toY(below).toFixed(1)}`);
    }
  }
  const chart = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Layers of ${visible(one.name)} by state against the resolution; no layer is unproductive from ${firstUsefulResolution(one)} pixels on.` });
  for (const state of STATES)
    chart.append(svg("path", { class: `area ${state}`, d: `M${upper[state].join("L")}L${lower[state].reverse().join("L")}Z` }));
  // Images as high as wide fit where all axes do; if these differ much, no such image does.
  const axes = Array.from({ length: one.axes ?? 1 }, (_, axis) => axis);
  const low = Math.max(...axes.map((axis) => pixels(one.range[0], axis)));
  const high = Math.min(...axes.map((axis) => pixels(one.range[1], axis)));
  if (low <= high) chart.append(svg("rect", { class: "band", x: toX(low), width: Math.max(toX(high) - toX(low), 1), y: top, height: height - top - bottom }));
  for (const edge of low <= high ? [low, high] : []) if (edge <= sliderEnd) chart.append(svg("line", { class: "band-edge", x1: toX(edge), x2: toX(edge), y1: top, y2: height - bottom }));
  for (let at = 0; at <= (small ? 2 : 4); at += 1) {
    const size = Math.round((at / (small ? 2 : 4)) * sliderEnd);
    chart.append(svg("text", { x: toX(size), y: height - 3, "text-anchor": at === 0 ? "start" : at === (small ? 2 : 4) ? "end" : "middle" }, at ? size : "0 px"));
  }
  if (!small) for (const count of [0, layers]) chart.append(svg("text", { x: left - 5, y: toY(count) + 4, "text-anchor": "end" }, count));
  const line = svg("line", { class: "now", y1: top, y2: height - bottom });
  chart.append(line);
  chart.addEventListener("click", (event) => {
    const box = chart.getBoundingClientRect();
    const size = Math.round(((((event.clientX - box.left) / box.width) * width - left) / places) * sliderEnd);
    setResolution([Math.min(Math.max(size, 1), sliderEnd)]);
    drawResolution();
  });
  /** @param {number[]} resolution */
  const follow = (resolution) => {
    const x = String(toX(Math.min(...resolution)));
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
  };
  return { chart, follow };
}

function drawStateChart() {
  const { chart, follow } = stateChartOf(model(), 480, 300, false);
  stateCharts.clear();
  stateCharts.set(chart, follow);
  byId("state-chart").replaceChildren(chart);
}

// --- side by side ----------------------------------------------------------------------------

/** What is compared: a model at a resolution, or (null) at that of the page. @type {{model: number, resolution: number[] | null, follow?: (resolution: number[]) => void, body?: HTMLElement}[]} */
let cards = [];

function firstCards() {
  const live = facts.models.map((_, at) => ({ model: at, resolution: /** @type {number[] | null} */ (null) }));
  const fixed = facts.compare.flatMap((resolution) => facts.models.map((_, at) => ({ model: at, resolution })));
  cards = live.length + fixed.length > 1 ? [...live, ...fixed] : [];
}

function drawCards() {
  byId("comparison").hidden = cards.length < 2;
  byId("cards").replaceChildren(
    ...cards.map((card) => {
      const one = facts.models[card.model];
      const { chart, follow } = stateChartOf(one, 300, 92, true);
      card.follow = follow;
      card.body = html("div");
      const close = button("✕", { class: "icon", "aria-label": "Remove from the comparison" }, () => {
        cards = cards.filter((other) => other !== card);
        if (cards.length < 2) cards = [];
        drawCards();
      });
      const title = html("h3", {}, facts.models.length > 1 ? named(shortened(one.name, 60)) : card.resolution ? "Kept" : "Now");
      return html("article", { class: "card" }, html("div", { class: "strip" }, title, close), card.body, chart);
    }),
  );
  paintCards();
}

function paintCards() {
  for (const card of cards) {
    const one = facts.models[card.model];
    const resolution = card.resolution ?? view.resolution;
    const states = card.resolution === null && card.model === view.model ? view.states : statesAt(one, resolution);
    const sum = balance(one, states);
    const [parameters, macs] = [costs(one, states, one.nodes.parameters), costs(one, states, card.resolution === null && card.model === view.model ? view.work : workAt(one, resolution))];
    card.follow?.(resolution);
    card.body?.replaceChildren(
      html("p", { class: "soft" }, `at ${resolutionText(resolution)}`),
      barOf(sum.extractor, "bar small"),
      html(
        "dl",
        { class: "figures" },
        ...[
          fact("Unproductive", `${sum.extractor.unproductive} of ${sum.layers} layers`),
          fact("Critical", counted(sum.extractor.critical + sum.extractor.partially, "layer")),
          fact("Their parameters", parameters && percent(parameters.share)),
          fact("Their compute", macs && percent(macs.share)),
          fact("Feasible", rangeText(one)),
          fact("First unproductive", sum.first < 0 ? "none" : chooser(one, sum.first, 24)),
        ].flatMap((pair) => (pair.length ? [html("div", {}, ...pair)] : [])),
      ),
    );
  }
}

/** Keep what is shown now, to look at it beside other resolutions. */
function keepForComparison() {
  if (!cards.length) cards = facts.models.map((_, at) => ({ model: at, resolution: null }));
  cards.push({ model: view.model, resolution: [...view.resolution] });
  drawCards();
  byId("comparison").scrollIntoView({ block: "nearest" });
}

// --- table -----------------------------------------------------------------------------------

/** @typedef {{title: string, key: string, number: boolean, value: (one: Model, node: number) => string | number | null, text?: (one: Model, node: number) => Child}} Column */

/** @param {Sizes} sizes */
function sortSize(sizes) {
  return Array.isArray(sizes) ? Math.max(...sizes.map((size) => size ?? Infinity)) : sizes ?? Infinity;
}

/** @type {Column[]} */
const COLUMNS = [
  { title: "#", key: "index", number: true, value: (_, node) => node },
  { title: "Layer", key: "name", number: false, value: (one, node) => one.nodes.name[node], text: (one, node) => chooser(one, node, 90) },
  { title: "Type", key: "type", number: false, value: (one, node) => layerOf(one, node).type, text: (one, node) => named(shortened(layerOf(one, node).type, 40)) },
  { title: "Kernel", key: "kernel_size", number: true, value: (one, node) => layerOf(one, node).kernel, text: (one, node) => layerOf(one, node).kernel.replaceAll("x", " × ") },
  { title: "Stride", key: "stride_size", number: true, value: (one, node) => layerOf(one, node).stride, text: (one, node) => layerOf(one, node).stride.replaceAll("x", " × ") },
  { title: "Smallest field", key: "receptive_field_min", number: true, value: (one, node) => sortSize(one.nodes.smallest[node]), text: (one, node) => shortText(one.nodes.smallest[node]) },
  { title: "Largest field", key: "receptive_field_max", number: true, value: (one, node) => sortSize(one.nodes.largest[node]), text: (one, node) => shortText(one.nodes.largest[node]) },
  { title: "Feature map", key: "feature_map_size", number: true, value: (one, node) => Math.max(...mapSize(one.nodes.jump[node], spread(one, view.resolution))), text: (one, node) => mapSize(one.nodes.jump[node], spread(one, view.resolution)).join(" × ") },
  { title: "Parameters", key: "parameters", number: true, value: (one, node) => one.nodes.parameters[node], text: (one, node) => one.nodes.parameters[node]?.toLocaleString("en") ?? "–" },
  { title: "Multiply-adds", key: "multiply_accumulates", number: true, value: (_, node) => view.work[node], text: () => null },
  { title: "State", key: "state", number: false, value: (_, node) => STATES.indexOf(view.states[node]), text: () => null },
];

const table = {
  /** @type {HTMLTableRowElement[]} */
  rows: [],
  /** @type {Column[]} */
  columns: [],
  sort: "index",
  falling: false,
};

function drawTable() {
  const one = model();
  table.columns = COLUMNS.filter((column) => !(column.key === "parameters" && !costs(one, view.states, one.nodes.parameters)) && !(column.key === "multiply_accumulates" && !costs(one, view.states, view.work)));
  const head = html("tr", {}, ...table.columns.map((column) => {
    const cell = html("th", { scope: "col", class: column.number && "number", "data-key": column.key });
    cell.append(button(column.title, {}, () => {
      table.falling = table.sort === column.key && !table.falling;
      table.sort = column.key;
      sortTable();
    }));
    return cell;
  }));
  byId("table").querySelector("thead")?.replaceChildren(head);
  table.rows = one.nodes.name.map((_, node) => html("tr", { "data-index": node }, ...table.columns.map((column) => html("td", { class: column.number ? "number" : column.key }, column.text ? column.text(one, node) : column.value(one, node)))));
  sortTable();
}

function sortTable() {
  const one = model();
  const column = table.columns.find((column) => column.key === table.sort) ?? table.columns[0];
  const order = table.rows.map((_, node) => node);
  const values = order.map((node) => column.value(one, node));
  const collator = new Intl.Collator("en", { numeric: true });
  const sense = table.falling ? -1 : 1;
  order.sort((first, second) => {
    const [a, b] = [values[first], values[second]];
    if (a === b) return first - second;
    if (a === null) return 1;
    if (b === null) return -1;
    return sense * (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(String(a), String(b))) || first - second;
  });
  byId("table").querySelector("tbody")?.replaceChildren(...order.map((node) => table.rows[node]));
  for (const cell of byId("table").querySelectorAll("th"))
    cell.setAttribute("aria-sort", cell.dataset.key !== table.sort ? "none" : table.falling ? "descending" : "ascending");
}

function paintTable() {
  const one = model();
  const map = table.columns.findIndex((column) => column.key === "feature_map_size");
  const work = table.columns.findIndex((column) => column.key === "multiply_accumulates");
  view.states.forEach((state, node) => {
    const row = table.rows[node];
    const size = String(table.columns[map].text?.(one, node) ?? "");
    if (row.cells[map].textContent !== size) row.cells[map].textContent = size;
    const cost = view.work[node];
    const costText = cost === null ? "–" : shortNumber(cost);
    if (work >= 0 && row.cells[work].textContent !== costText) row.cells[work].textContent = costText;
    if (row.dataset.state === state) return;
    row.dataset.state = state;
    row.cells[row.cells.length - 1].replaceChildren(html("span", { class: `ink-${state}` }, sign(state), STATE_NAMES[state]));
  });
  filterTable();
}

function filterTable() {
  const found = view.query ? new Set(matches()) : null;
  let shown = 0;
  table.rows.forEach((row, node) => {
    const hidden = (found !== null && !found.has(node)) || (view.only.size > 0 && !view.only.has(view.states[node]));
    if (row.hidden !== hidden) row.hidden = hidden;
    if (!hidden) shown += 1;
  });
  byId("rows").textContent = shown === table.rows.length ? counted(shown, "layer") : `${shown} of ${counted(table.rows.length, "layer")}`;
}

/** The rows that the table shows, in their order, as CSV: that of Analysis.to_csv. */
function tableAsCsv() {
  const one = model();
  const resolution = spread(one, view.resolution);
  /** @param {unknown} value */
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  /** @param {Sizes} sizes */
  const sizes = (sizes) => {
    const all = Array.from({ length: one.axes ?? 1 }, (_, axis) => pixels(sizes, axis));
    return all.every((size) => size === Infinity) ? "inf" : all.map((size) => (size === Infinity ? "inf" : size)).join("x");
  };
  /** @param {Jump | Jump[]} jump */
  const jumps = (jump) => {
    const all = Array.from({ length: one.axes ?? 1 }, (_, axis) => on(jump, axis));
    return all.every((one) => one === null) ? null : all.map((one) => one ?? "-").join("x");
  };
  /** @type {[string, (node: number) => unknown][]} */
  const columns = [
    ["index", (node) => node],
    ["name", (node) => one.nodes.name[node]],
    ["module_path", (node) => pathOf(one, node)],
    ["type", (node) => layerOf(one, node).type],
    ["kernel_size", (node) => layerOf(one, node).kernel.replaceAll("∞", "inf")],
    ["stride_size", (node) => layerOf(one, node).stride],
    ["dilation", (node) => layerOf(one, node).dilation],
    ["receptive_field_min", (node) => sizes(one.nodes.smallest[node])],
    ["receptive_field_max", (node) => sizes(one.nodes.largest[node])],
    ["jump", (node) => jumps(one.nodes.jump[node])],
    ["feature_map_size", (node) => mapSize(one.nodes.jump[node], resolution).join("x")],
    ["filters", (node) => layerOf(one, node).filters],
    ["units", (node) => layerOf(one, node).units],
    ["parameters", (node) => one.nodes.parameters[node]],
    ["multiply_accumulates", (node) => view.work[node]],
    ["state", (node) => STATE_NAMES[view.states[node]]],
    ["in_feature_extractor", (node) => (one.nodes.extracts[node] ? "True" : "False")],
    ["certainty", (node) => one.certainties[one.nodes.certainty[node]][0]],
    ["certainty_reason", (node) => one.certainties[one.nodes.certainty[node]][1]],
  ];
  const shown = [...(byId("table").querySelectorAll("tbody tr:not([hidden])") ?? [])].map((row) => Number(row.getAttribute("data-index")));
  return [columns.map(([title]) => title).join(","), ...shown.map((node) => columns.map(([, value]) => cell(value(node))).join(",")), ""].join("\r\n");
}

function downloadTable() {
  const address = URL.createObjectURL(new Blob(["\ufeff", tableAsCsv()], { type: "text/csv;charset=utf-8" }));
  const name = visible(model().name).replace(/[^\p{L}\p{N}._-]+/gu, "_").slice(0, 60) || "model";
  const link = html("a", { href: address, download: `${name}_${view.resolution.join("x")}px.csv` });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
