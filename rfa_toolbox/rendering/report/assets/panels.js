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

/** @param {Sizes} sizes */
function inShort(sizes) {
  return Array.isArray(sizes) ? sizes.map((size) => sizeText(size ?? Infinity)).join("×") : sizeText(sizes ?? Infinity);
}

/** The good resolutions of a model in short. @param {Model} one */
function goodText(one) {
  const [low, high] = [inShort(one.good.from), inShort(one.good.to)];
  if ([one.good.to].flat().includes(null)) return `from ${sized(low)} on`;
  return low === high ? sized(low) : `${low} to ${sized(high)}`;
}

// --- summary ---------------------------------------------------------------------------------

/** The finding, as rfa_toolbox.analysis.summarize says it. @param {Model} one @param {ReturnType<typeof balance>} sum @param {number[]} resolution @returns {Child[]} */
function finding(one, sum, resolution) {
  const wasted = sum.found.unproductive;
  const limited = sum.all.filter((node) => ["critical", "partially"].includes(view.states[node]));
  const at = ` at ${sized(inShort(resolution.length > 1 && new Set(resolution).size > 1 ? resolution : resolution[0]))}`;
  const total = sum.all.length;
  if (!total) return [`No layer of the network looks at a part of the ${WHOLE} only.`];
  if (wasted.length)
    return [
      html("b", {}, total === 1 ? "The only layer" : countedInWords(one, wasted, sum.all)),
      ` cannot help${at}`,
      ...(wasted.length === total ? ["."] : [wasted.length === 1 ? ": " : ", from ", chooser(one, wasted[0], 40), wasted.length === 1 ? "." : " on."]),
    ];
  if (limited.length) return [`Every layer can help${at}, though `, html("b", { class: "fine" }, countedInWords(one, limited, sum.all)), ` see${limited.length === 1 ? "s" : ""} beyond the ${WHOLE}.`];
  const beyond = judgedAt(one, resolution).some((size, axis) => size > pixels(one.good.to, axis));
  return [total === 1 ? "The only layer" : total === 2 ? "Both layers" : `All ${counted(total, "layer")}`, ` can help${at}.`, beyond ? ` No unit sees the whole ${WHOLE}.` : ""];
}

/** What is wrong along each axis of an image that is not square. @param {Model} one @param {ReturnType<typeof balance>} sum @param {number[]} resolution */
function perAxis(one, sum, resolution) {
  if (new Set(resolution).size < 2) return "";
  const parts = resolution.map((size, axis) => {
    const wasted = sum.all.filter((node) => size <= wasteLimit(one, node, axis)).length;
    return `along the ${AXIS_NAMES[axis]} (${sized(sizeText(size))}) ${wasted ? `${wasted.toLocaleString("en")} of ${sum.all.length.toLocaleString("en")} layers see nothing new` : "every layer sees something new"}`;
  });
  return `${capital(parts.join("; "))}.`;
}

/** Why the good resolutions are good. @param {Model} one */
function goodReason(one) {
  const { from, useful, to } = one.good;
  const [low, help] = [inShort(from), inShort(useful)];
  const begin = `From ${sized(help)} on every layer can help${low === help ? "" : `; from ${sized(low)} on none sees beyond the ${WHOLE}`}`;
  if ([to].flat().includes(null)) return `${begin}; some units see the whole ${WHOLE} at any size.`;
  return `${begin}; above ${sized(inShort(to))} no unit sees the whole ${WHOLE}.`;
}

function showSummary() {
  const one = model();
  const sum = balance(one, view.states);
  const resolution = judgedAt(one, view.resolution);
  byId("headline").replaceChildren(...finding(one, sum, resolution).flatMap(unbroken).map((child) => (child instanceof Node ? child : String(child ?? ""))));
  const axes = perAxis(one, sum, resolution);
  const parameters = costs(one, view.states, one.nodes.parameters);
  const macs = costs(one, view.states, view.work);
  const shares = sum.counts.unproductive
    ? [parameters && `${percent(parameters.share)} of the parameters`, macs && `${percent(macs.share)} of the compute`].filter(Boolean)
    : [];
  const held = shares.length ? `${sum.counts.unproductive === 1 ? "It holds" : "They hold"} ${listed(shares.map(String))}.` : "";
  byId("subline").replaceChildren(
    ...[one.good.unknown && html("strong", {}, `${one.good.unknown} `), one.resized && `The model resizes every ${WHOLE} to ${sized(inShort(new Set(one.resized).size > 1 ? one.resized : one.resized[0]))}, and is judged there. `, axes && html("span", { class: resolution.length > 2 && "axes" }, `${axes} `), held && `${held} `, sum.all.length > 0 && html("b", {}, `Good ${/^from/.test(goodText(one)) ? "" : /to/.test(goodText(one)) ? "from " : "at "}${goodText(one)}.`)].filter((child) => child instanceof Node || Boolean(child)).map((child) => /** @type {Node | string} */ (child)),
  );
  byId("subline").title = sum.all.length ? goodReason(one) : "";
  const shown = STATES.filter((state) => state !== "partially" || sum.counts.partially);
  byId("balance").replaceChildren(
    barOf(sum.counts, "bar"),
    html(
      "div",
      { class: "chips" },
      ...shown.filter((state) => sum.counts[state] || state === "productive").map((state) => {
        const chip = button("", { class: "chip", "aria-pressed": String(view.only.has(state)), "data-state": state, title: `Show only the ${STATE_NAMES[state]} layers in the table` }, () => {
          if (!view.only.delete(state)) view.only.add(state);
          chip.setAttribute("aria-pressed", String(view.only.has(state)));
          filterTable();
        });
        chip.append(sign(state), STATE_NAMES[state], html("b", {}, sum.counts[state].toLocaleString("en")));
        return chip;
      }),
      ...(sum.design ? [html("span", { class: "design-note" }, html("i", { class: "swatch design" }), `${sum.design.toLocaleString("en")} more see${sum.design === 1 ? "s" : ""} everything by design`)] : []),
    ),
  );
  /** @type {[string, Child, string][]} */
  const figures = sum.all.length ? [[`Good ${SIZE}s`, goodText(one), goodReason(one)]] : [];
  if (parameters) figures.push(["Parameters that cannot help", percent(parameters.share), `${shortNumber(parameters.wasted)} of ${shortNumber(parameters.total)}`]);
  if (macs) figures.push(["Compute that cannot help", percent(macs.share), `${shortNumber(macs.wasted)} of ${shortNumber(macs.total)} multiply-adds${aboutText(one, view.resolution)}`]);
  byId("figures").replaceChildren(
    ...figures.map(([title, value, note]) => html("div", {}, html("dt", {}, title), html("dd", {}, value, note && html("small", {}, note)))),
  );
  byId("advice").replaceChildren(
    ...advice(one, sum).map(([title, ...text]) => html("li", {}, html("b", {}, title), ...text)),
  );
}

/** @param {Model} one */
function encodedText(one) {
  return one.encoded ? ` at ${sized(one.encoded.map(sizeText).join(" × "))}` : "";
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
    const level = levelOf(one);
    choose(level.main[level.unit[node]], true);
  });
  made.append(named(shortened(one.nodes.name[node], longest)));
  return made;
}

/** What can be done, the cheapest first. @param {Model} one @param {ReturnType<typeof balance>} sum @returns {[string, ...Child[]][]} */
function advice(one, sum) {
  if (!sum.all.length) return [["Nothing to judge", `Only layers that look at a part of the ${WHOLE} are judged, and there is none.`]];
  const resolution = judgedAt(one, view.resolution);
  const use = one.resized ? `Let the model resize ${WHOLE}s to` : `Use ${WHOLE}s of`;
  const enough = resolution.map((size, axis) => Math.max(size, pixels(one.good.from, axis)));
  const enoughText = inShort(new Set(enough).size === 1 ? enough[0] : enough);
  /** @type {[string, ...Child[]][]} */
  const found = [];
  if (sum.counts.unproductive) {
    const cut = cutOf(one, view.states, view.work);
    const early = earlyStrides(one);
    if (cut) {
      const saved = [cut.parameters === null ? "" : `${percent(cut.parameters)} of the parameters`, cut.work === null ? "" : `${percent(cut.work)} of the compute`].filter(Boolean);
      found.push([
        "Cut the end off",
        "Put the head behind ", chooser(one, cut.behind, 40), ` and leave out the last ${cut.layers === 1 ? "layer" : counted(cut.layers, "layer")}`,
        saved.length ? `: that saves ${listed(saved)}.` : ".",
      ]);
    }
    found.push([
      "Let the field grow more slowly",
      ...(early.length ? ["Smaller strides early on, at ", ...early.flatMap((node, at) => [at ? " or " : "", chooser(one, node, 30)]), ", about halve all fields behind them, at the price of compute."] : ["Smaller kernels early on slow down all growth behind them."]),
    ]);
    found.push([`${use} ${sized(enoughText)} or more`, priceOf(one, enough)]);
    return found;
  }
  if (sum.counts.critical + sum.counts.partially) return [[`${use} ${sized(enoughText)} or more`, priceOf(one, enough)]];
  if (resolution.some((size, axis) => size > pixels(one.good.to, axis))) return [[`Nothing is wasted, but no unit sees the whole ${WHOLE}`, `The largest field is ${sized(inShort(one.good.to))}. Where the task needs the whole ${WHOLE}, let the field grow faster.`]];
  return [[`Nothing to do at this ${SIZE}`, `Every layer can help, none sees beyond the ${WHOLE}, and some unit sees all of it.`]];
}

/** What larger images bring, and cost. @param {Model} one @param {number[]} resolution */
function priceOf(one, resolution) {
  const [then, now] = [resolution, view.resolution].map((size) => costs(one, view.states, workAt(one, size))?.total);
  const price = one.resized || !then || !now ? "" : `, at ${then >= 9.5 * now ? Math.round(then / now) : (then / now).toFixed(1)} times the compute`;
  return `There every layer is used fully${price}.`;
}

// --- better architectures --------------------------------------------------------------------

/** Models that were made by refinements: of which one, and by its which. @type {Map<Model, {of: Model, at: number}>} */
const refined = new Map();

/** The model that a refinement makes, judged by the page as any other. @param {Model} one @param {number} at @returns {Model} */
function refine(one, at) {
  for (const [made, source] of refined) if (source.of === one && source.at === at) return made;
  const refinement = /** @type {Refinement} */ (one.refinements?.found[at]);
  // What was worked out of a level belongs to that level alone.
  /** @param {Level} level @returns {Level} */
  const bare = ({ main, kind, inputs, unit, looks, modules, module, arrows }) => ({ main, kind, inputs, unit, looks, modules, module, arrows });
  const original = { ...one, levels: { blocks: bare(one.levels.blocks), nodes: bare(one.levels.nodes) } };
  const made = /** @type {Model} */ (merged(original, { ...refinement.model, name: `${one.name}, refinement ${at + 1}`, refinements: undefined }));
  refined.set(made, { of: one, at });
  return made;
}

/** Show a refinement beside the original, as a second model. @param {Model} one @param {number} at */
function openRefinement(one, at) {
  const made = refine(one, at);
  if (!facts.models.includes(made)) facts.models.push(made);
  for (const model of [facts.models.indexOf(one), facts.models.indexOf(made)])
    if (!cards.some((card) => card.model === model && card.resolution === null)) cards.push({ model, resolution: null });
  drawTabs();
  showModel(facts.models.indexOf(made));
  scrollTo(0, 0);
}

/** The best refinements for the resolution that the page was written for, with what they give at the one that it shows. */
function showRefinements() {
  const source = refined.get(model());
  const one = source?.of ?? model();
  const { found, note } = one.refinements ?? { found: [], note: "" };
  const place = byId("refinements");
  place.hidden = !found.length && !note;
  if (place.hidden) return;
  const before = found.length ? figuresAt(one, view.resolution) : null;
  const [searched, shown] = [resolutionText(facts.resolution), resolutionText(view.resolution)];
  place.replaceChildren(
    html("h3", {}, found.length ? `Better architectures for ${searched}` : "Better architectures"),
    found.length && searched !== shown ? html("p", { class: "soft" }, `They were searched for ${searched}. The figures below are for ${shown}, the ${SIZE} chosen above.`) : "",
    note && html("p", { class: "soft" }, visible(note)),
    before ? html("ol", {}, ...found.map((refinement, at) => refinementItem(one, refinement, at, before, source?.at === at))) : "",
  );
}

/** @param {Model} one @param {Refinement} refinement @param {number} at @param {ReturnType<typeof figuresAt>} before @param {boolean} isShown */
function refinementItem(one, refinement, at, before, isShown) {
  const made = refine(one, at);
  const after = figuresAt(made, view.resolution);
  const good = goodText(made);
  const show = button(isShown ? "Back to the original" : "Show beside the original", { "aria-label": isShown ? "Back to the original" : `Show refinement ${at + 1} beside the original` }, () => {
    if (isShown) showModel(facts.models.indexOf(one));
    else openRefinement(one, at);
  });
  return html(
    "li",
    {},
    html("b", {}, `${at + 1}. ${refinement.idea[0].toUpperCase()}${refinement.idea.slice(1)}`),
    html("p", { class: "change" }, `${capital(visible(refinement.words))}.`),
    html("dl", { class: "facts" },
      ...fact("Cannot help", `${after.wasted.toLocaleString("en")} of ${counted(after.layers, "layer")}`),
      ...fact(`See beyond the ${WHOLE}`, after.beyond ? counted(after.beyond, "layer") : null),
      ...fact("Good", /^from/.test(good) || !/to/.test(good) ? good : `from ${good}`),
      ...fact("Compute", timesText(after.work, before.work)),
      ...fact("Parameters", timesText(after.parameters, before.parameters)),
      ...fact("Weights", refinement.weights),
      ...fact("Source", refinement.source)),
    show,
  );
}

/** A count, and by how much it is more than it was. @param {number | null} now @param {number | null} was */
function timesText(now, was) {
  if (now === null || !was) return null;
  const times = now >= 10 * was ? String(Math.round(now / was)) : (now / was).toFixed(2);
  return `${shortNumber(now)} (${now === was ? "as before" : times === "1.00" ? "about as before" : `${times} ×`})`;
}

/** What a model has to show at a resolution. @param {Model} one @param {number[]} resolution */
function figuresAt(one, resolution) {
  const states = statesAt(one, resolution);
  const sum = balance(one, states);
  return {
    wasted: sum.counts.unproductive,
    beyond: sum.counts.critical + sum.counts.partially,
    layers: sum.all.length,
    parameters: costs(one, states, one.nodes.parameters)?.total ?? null,
    work: costs(one, states, workAt(one, resolution))?.total ?? null,
  };
}

/** The first two layers that make the map coarser. @param {Model} one */
function earlyStrides(one) {
  const found = [];
  for (let node = 0; node < one.nodes.name.length && found.length < 2; node += 1)
    if (one.nodes.extracts[node] && /^([2-9]|\d\d)/.test(layerOf(one, node).stride) && layerOf(one, node).upsampling.replace(/[1x]/g, "") === "") found.push(node);
  return found;
}

// --- resolution ------------------------------------------------------------------------------

function largestOnSlider() {
  const bounds = facts.models.map((one) => [one.good.from, one.good.to].map((sizes) => Math.max(1, ...[sizes].flat().filter((size) => size !== null))));
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
    const name = several ? AXIS_NAMES[axis] : capital(SIZE);
    const spoken = several ? `${capital(SIZE)}, ${name}` : name;
    const slider = html("input", { type: "range", id: `slider-${axis}`, min: 1, max: sliderEnd, value: Math.min(size, sliderEnd), "aria-valuetext": sized(size), "aria-label": spoken });
    const number = html("input", { type: "number", id: `pixels-${axis}`, min: 1, step: 1, value: size, inputmode: "numeric", "aria-label": `${spoken} in ${UNIT === "px" ? "pixels" : UNIT}` });
    slider.addEventListener("input", () => {
      number.value = slider.value;
      setPixels(axis, Number(slider.value));
      slider.setAttribute("aria-valuetext", sized(slider.value));
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
    const track = html("span", { class: "track" }, slider);
    const [low, high] = [pixels(model().good.from, axis), Math.min(pixels(model().good.to, axis), sliderEnd)];
    track.classList.toggle("judged", balance(model(), view.states).all.length > 0);
    track.style.setProperty("--from", String(Math.min(low, sliderEnd) / sliderEnd));
    track.style.setProperty("--to", String(high / sliderEnd));
    if (track.classList.contains("judged")) track.title = `Good ${goodText(model())}`;
    return [html("label", { for: `pixels-${axis}` }, name), track, html("span", { class: "pixels" }, number, html("i", {}, ` ${UNIT}`)), extra];
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
  byId("panel").classList.toggle("empty", view.module < 0 && view.chosen < 0);
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

/** @param {Look} state */
function badge(state) {
  if (state === "design") return html("span", { class: "badge design" }, "sees everything by design");
  return html("span", { class: `badge ${state} ink-${state}` }, sign(state), STATE_NAMES[state]);
}

/** Buttons that fold the modules around a node. @param {number} module */
function crumbs(module) {
  const level = levelOf(model());
  return html(
    "div",
    { class: "crumbs" },
    ...enclosing(module).map((inner) =>
      button(`${stage.folded.has(inner) ? "▸" : "▾"} ${shortened(moduleName(level, inner), 30)}`, { class: "link", "aria-expanded": String(!stage.folded.has(inner)), title: "Fold or unfold this module" }, () => {
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
  const resolution = nodes.resized?.[node] || spread(one, view.resolution);
  const [certainty, reason] = one.certainties[nodes.certainty[node]];
  const unless = (/** @type {string} */ text) => (/^1(x1)*$/.test(text) ? "" : text.replaceAll("x", " × "));
  const jump = nodes.jump[node];
  const jumps = jump === null ? null : [jump].flat().map((one) => one?.toLocaleString("en") ?? "–").join(" × ");
  const measured = nodes.map[node];
  const window_ = nodes.window[node];
  const level = levelOf(one);
  const unit = level.unit[node];
  const parameters = sumOf(level, unit, nodes.parameters);
  const macs = sumOf(level, unit, view.work);
  const with_ = membersOf(level)[unit].filter((other) => other !== node).map((other) => titleOf(layerOf(one, other)));
  const reads = level.inputs[unit].map((other) => level.main[other]);
  return [
    crumbs(level.module[unit]),
    html("h2", {}, level.kind[unit] === "input" ? inputTitle(level) : titleOf(layer)),
    html("p", { class: "path" }, named(nodes.name[node])),
    html("p", {}, badge(lookOf(one, node))),
    html("p", { class: "why" }, ...why(one, node, resolution).flatMap(unbroken)),
    html(
      "dl",
      { class: "facts" },
      ...fact("Type", named(layer.type)),
      ...fact("Module", path === null ? null : path === "" ? "top level" : named(path)),
      ...fact("Kernel", layer.grows ? `grows with the ${WHOLE}` : layer.kernel.replaceAll("x", " × ")),
      ...fact("Stride", layer.stride.replaceAll("x", " × ")),
      ...fact("Dilation", unless(layer.dilation)),
      ...fact("Up-sampling", unless(layer.upsampling)),
      ...fact("Padding", layer.padding && layer.padding !== "0" ? layer.padding.replaceAll("x", " × ") : null),
      ...fact("Filters", layer.filters?.toLocaleString("en")),
      ...fact("Units", layer.units?.toLocaleString("en")),
      ...fact("Smallest field", sized(sizesText(nodes.smallest[node]))),
      ...fact("Largest field", sized(sizesText(nodes.largest[node]))),
      ...fact("Neighbours", jumps === null ? null : `${sized(jumps)} apart in the ${WHOLE}`),
      ...fact("First unit", window_ && windowText(one, window_)),
      ...fact("Feature map", `${mapSize(one, node, resolution).map(sizeText).join(" × ")} at ${resolutionText(view.resolution)}`),
      ...fact("Map when read", measured ? `${measured.map(sizeText).join(" × ")}${encodedText(one)}` : null),
      ...fact("Parameters", parameters === null ? null : parameters.toLocaleString("en")),
      ...fact("Multiply-adds", macs === null ? null : macs ? `${shortNumber(macs)}${aboutText(one, view.resolution)}` : "0"),
      ...fact("With", with_.length ? listed([...new Set(with_)].slice(0, 8)) : null),
      ...fact("Certainty", certainty === "exact" ? null : named(certainty === "bound" ? `its field is at most this large: ${reason}` : `nothing knows what it does: ${reason}`)),
      ...fact("Reads", reads.length ? links(one, reads) : level.kind[unit] === "input" ? null : inputTitle(level) === "Input" ? "an input" : `the ${WHOLE}`),
      ...fact("Read by", links(one, level.inputs.flatMap((inputs, other) => (inputs.includes(unit) ? [level.main[other]] : [])))),
    ),
  ];
}

/** What the first unit sees. @param {Model} one @param {[Sizes, Sizes]} window first pixel and size, per axis */
function windowText(one, [start, size]) {
  const same = !Array.isArray(start) && !Array.isArray(size);
  const axes = Array.from({ length: same ? 1 : one.axes ?? 1 }, (_, axis) => axis);
  const ends = axes.map((axis) => {
    const [first, many] = [on(start, axis), pixels(size, axis)];
    return first === null || many === Infinity ? "everything" : `${sizeText(first)} to ${sizeText(first + many - 1)}`.replaceAll("-", "−");
  });
  return ends.every((one) => one === "everything") ? "sees everything" : `sees ${ends.join(" × ")}`;
}

/** @param {Model} one @param {number[]} nodes */
function links(one, nodes) {
  if (!nodes.length) return null;
  const shown = nodes.slice(0, 6);
  const list = html("span", {}, ...shown.flatMap((node, at) => [at ? ", " : "", chooser(one, node, 40)]));
  if (shown.length < nodes.length) list.append(` and ${(nodes.length - shown.length).toLocaleString("en")} more`);
  return list;
}

/** @param {Model} one @param {number} module @returns {Element[]} */
function moduleDetails(one, module) {
  const level = levelOf(one);
  const inside = unitsOf(level)[module];
  const { counts, layers } = countStates(one, inside);
  /** @param {(number | null)[]} values */
  const total = (values) => inside.reduce((/** @type {number | null} */ sum, unit) => { const own = sumOf(level, unit, values); return own === null ? sum : (sum ?? 0) + own; }, null);
  const parameters = total(one.nodes.parameters);
  const macs = total(view.work);
  const folded = stage.folded.has(module);
  const parts = STATES.filter((state) => counts[state]).map((state) => `${counts[state].toLocaleString("en")} ${STATE_NAMES[state]}`);
  return [
    crumbs(level.modules[module][1]),
    html("h2", {}, moduleName(level, module)),
    html("p", { class: "path" }, named(level.modules[module][0].replace(/#\d+/g, ""))),
    html("p", { class: "why" }, layers ? `A module of ${counted(layers, "layer")}: ${parts.join(", ")}.` : "A module that sees everything by design."),
    ...(layers ? [barOf(counts, "bar")] : []),
    html(
      "dl",
      { class: "facts" },
      ...fact("Parameters", parameters === null ? null : parameters.toLocaleString("en")),
      ...fact("Multiply-adds", macs === null ? null : macs ? `${shortNumber(macs)}${aboutText(one, view.resolution)}` : "0"),
      ...fact("First layer", chooser(one, level.main[inside[0]], 40)),
      ...fact("Last layer", chooser(one, level.main[inside[inside.length - 1]], 40)),
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
  const image = `the ${nodes.resized?.[node] ? "resized " : ""}${WHOLE} of ${resolutionText(resolution)}`;
  const own = sized(sizesText(nodes.smallest[node], axes.length));
  const ownInfinite = axes.every((axis) => pixels(nodes.smallest[node], axis) === Infinity);
  /** @type {Child[]} */
  const text = [];
  const kind = levelOf(one).kind[levelOf(one).unit[node]];
  if (kind === "input") return [inputTitle(levelOf(one)) === "Input" ? "One of the inputs." : `The ${WHOLE} itself.`];
  if (kind === "global") return ["It sees everything by design: it stands behind an operation that joins all positions. It is not counted among the layers that should add context."];
  if (kind === "joint") return ["It joins what several layers have seen, and looks at nothing itself. It is not counted."];
  if (state === "unproductive") {
    if (axes.every((axis) => resolution[axis] <= pixels(nodes.seen[node], axis))) {
      const least = inputs.reduce((best, other) => (pixels(nodes.smallest[other], 0) < pixels(nodes.smallest[best], 0) ? other : best), inputs[0]);
      const before = inputs.length ? nodes.smallest[least] : 1;
      const beforeInfinite = axes.every((axis) => pixels(before, axis) === Infinity);
      text.push(
        inputs.length > 1 ? "Everything that reaches this layer has" : "What reaches this layer has",
        ` already seen all of ${image}: the smallest field in front of it `,
        ...(inputs.length > 1 ? ["(", chooser(one, least, 30), ") "] : []),
        beforeInfinite ? "is infinite" : `is ${sized(sizesText(before, axes.length))}`,
        `, and its own ${ownInfinite ? "is infinite" : `is ${own}`}. It has no new context to add. `,
      );
    }
    if (axes.every((axis) => resolution[axis] <= pixels(nodes.filled[node], axis))) {
      const maps = inputs.map((other) => mapSize(one, other, resolution).map(sizeText).join(" × "));
      const sizes = maps.length ? [...new Set(maps)].slice(0, 4) : [resolution.map(sizeText).join(" × ")];
      const layer = layerOf(one, node);
      text.push(
        `The feature map that reaches it is ${listed(sizes)} unit${sizes.join() === "1" ? "" : "s"} large at ${resolutionText(resolution)}, and the layer looks at ${sizesText(layer.window, axes.length)}: the map is not larger than the window, so nothing is left to slide over.`,
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
        text.push("Yet ", chooser(one, fresh, 30), ` in front of it has a field of only ${sized(sizesText(nodes.smallest[fresh], axes.length))}: the layer still joins parts of the ${WHOLE}, and may help a little.`);
    }
  } else {
    text.push(
      ownInfinite ? `It sees the whole ${WHOLE}, and is the first to do so.` : `Its smallest field, ${own}, fits into ${image}: it still adds context.`,
    );
  }
  const limit = Math.max(
    ...[nodes.seen[node], nodes.filled[node]].map((limits) => Math.min(...axes.map((axis) => pixels(limits, axis)))),
  );
  if (limit === Infinity) text.push(` That is so at any ${SIZE}.`);
  else if (limit > 0) text.push(` Unproductive up to ${sized(sizeText(limit))}${axes.length > 1 ? " on every axis" : ""}.`);
  return text;
}

// --- on paper --------------------------------------------------------------------------------

/** What the colours that occur say. @param {Model} one @returns {[Look, string][]} */
function legend(one) {
  const sum = balance(one, view.states);
  /** @type {[Look, string][]} */
  const shown = STATES.filter((state) => sum.counts[state]).map((state) => [state, `${STATE_NAMES[state]}: ${MEANINGS[state]}`]);
  return sum.design ? [...shown, ["design", "sees everything by design"]] : shown;
}

/** What stands on top of every sheet of paper: the model, its resolution, and what the colours say. */
function drawSheetHead() {
  const one = model();
  /** @param {Look} look @param {string} text */
  const sample = (look, text) => html("span", { class: "sample" },
    svg("svg", { width: 30, height: 16 }, svg("g", { class: `node ${look}` }, svg("rect", { x: 2, y: 2, width: 26, height: 12, rx: 3 }))), text);
  byId("sheet-head").replaceChildren(
    html("p", {}, html("strong", {}, named(shortened(facts.models.length > 1 ? one.name : facts.title, 80))), ` at ${resolutionText(judgedAt(one, view.resolution))}`),
    html("p", {}, ...legend(one).map(([look, text]) => sample(look, text))),
  );
}

/** @type {Record<State, string>} */
const MEANINGS = {
  unproductive: "sees nothing new",
  critical: `sees beyond the ${WHOLE}${facts.axes === 1 ? "" : " on all axes"}`,
  partially: `sees beyond the ${WHOLE} on some axes`,
  productive: "adds context",
};

// --- side by side ----------------------------------------------------------------------------

/** What is compared: a model at a resolution, or (null) at that of the page. @type {{model: number, resolution: number[] | null}[]} */
let cards = [];
/** By what the cards are sorted; null keeps the order in which they were asked for. @type {"wasted" | "parameters" | "compute" | "good" | null} */
let cardsBy = null;

function firstCards() {
  const live = facts.models.map((_, at) => ({ model: at, resolution: /** @type {number[] | null} */ (null) }));
  const fixed = facts.compare.flatMap((resolution) => facts.models.map((_, at) => ({ model: at, resolution })));
  cards = live.length + fixed.length > 1 ? [...live, ...fixed] : [];
}

/** What a card says. @param {{model: number, resolution: number[] | null}} card */
function valuesOf(card) {
  const one = facts.models[card.model];
  const resolution = card.resolution ?? view.resolution;
  const live = card.resolution === null && card.model === view.model && view.states.length > 0;
  const states = live ? view.states : statesAt(one, resolution);
  const sum = balance(one, states);
  const parameters = costs(one, states, one.nodes.parameters);
  const macs = costs(one, states, live ? view.work : workAt(one, resolution));
  return { card, one, resolution, states, sum, parameters, macs, wasted: sum.all.length ? sum.counts.unproductive / sum.all.length : 0 };
}

/** The model of which most layers cannot help. */
function worstModel() {
  const shares = facts.models.map((_, at) => valuesOf({ model: at, resolution: null }).wasted);
  return shares.indexOf(Math.max(...shares));
}

function paintCards() {
  byId("comparison").hidden = cards.length < 2;
  if (cards.length < 2) return;
  const values = cards.map(valuesOf);
  /** @type {Record<string, (one: ReturnType<typeof valuesOf>) => number>} */
  const by = {
    wasted: (one) => -one.wasted,
    parameters: (one) => -(one.parameters?.share ?? 0),
    compute: (one) => -(one.macs?.share ?? 0),
    good: (one) => Math.max(...[one.one.good.from].flat().map((size) => size ?? Infinity)),
  };
  const order = cardsBy;
  if (order) values.sort((one, other) => by[order](one) - by[order](other));
  /** @type {["wasted" | "parameters" | "compute" | "good" | null, string][]} */
  const ways = [[null, "As given"], ["wasted", "Most layers"], ["parameters", "Most parameters"], ["compute", "Most compute"], ["good", "Smallest good size"]];
  byId("card-order").replaceChildren(
    html("span", { class: "soft" }, "Sort by what is wasted:"),
    ...ways.map(([way, text]) => button(text, { class: "chip", "aria-pressed": String(cardsBy === way) }, () => {
      cardsBy = way;
      paintCards();
    })),
  );
  byId("cards").replaceChildren(...values.map(cardOf));
}

/** @param {ReturnType<typeof valuesOf>} values */
function cardOf({ card, one, resolution, states, sum, parameters, macs }) {
  const close = button("✕", { class: "icon", "aria-label": "Remove from the comparison" }, () => {
    cards = cards.filter((other) => other !== card);
    if (cards.length < 2) cards = [];
    paintCards();
  });
  const open = button("", { class: "link" }, () => {
    showModel(card.model);
    if (card.resolution) {
      setResolution([...card.resolution]);
      drawResolution();
    }
    showAnswer();
  });
  open.append(facts.models.length > 1 ? named(shortened(one.name, 60)) : card.resolution ? "Kept" : "Now");
  const at = resolutionText(judgedAt(one, resolution));
  return html(
    "article",
    { class: "card" },
    html("div", { class: "strip" }, html("h3", {}, open), close),
    html("p", { class: "soft" }, `at ${at}`),
    barOf(sum.counts, "bar small"),
    html(
      "dl",
      { class: "figures" },
      ...[
        fact("Cannot help", `${sum.counts.unproductive.toLocaleString("en")} of ${counted(sum.all.length, "layer")}`),
        fact(`See beyond the ${WHOLE}`, counted(sum.counts.critical + sum.counts.partially, "layer")),
        fact("Wasted parameters", parameters && percent(parameters.share)),
        fact("Wasted compute", macs && percent(macs.share)),
        fact("Good", goodText(one)),
        fact("First", sum.counts.unproductive ? chooser(one, sum.all.find((node) => states[node] === "unproductive") ?? 0, 24) : "none"),
      ].flatMap((pair) => (pair.length ? [html("div", {}, ...pair)] : [])),
    ),
  );
}

/** Keep what is shown now, to look at it beside other resolutions. */
function keepForComparison() {
  if (!cards.length) cards = facts.models.map((_, at) => ({ model: at, resolution: null }));
  cards.push({ model: view.model, resolution: [...view.resolution] });
  paintCards();
  byId("comparison").scrollIntoView({ block: "nearest" });
}

// --- table -----------------------------------------------------------------------------------

/** @typedef {{title: string, key: string, number: boolean, value: (one: Model, node: number) => string | number | null, text?: (one: Model, node: number) => Child}} Column */

/** @param {Sizes} sizes */
function sortSize(sizes) {
  return Array.isArray(sizes) ? Math.max(...sizes.map((size) => size ?? Infinity)) : sizes ?? Infinity;
}

/** @param {Model} one @param {number} node @param {(number | null)[]} values */
function ofUnit(one, node, values) {
  const level = levelOf(one);
  return sumOf(level, level.unit[node], values);
}

/** @param {Model} one @param {number} node */
function stateCell(one, node) {
  const look = lookOf(one, node);
  const kind = levelOf(one).kind[levelOf(one).unit[node]];
  if (look === "design") return html("span", { class: "soft" }, kind === "global" ? "by design" : "–");
  return html("span", { class: `ink-${look}` }, sign(look), STATE_NAMES[look]);
}

/** @type {Column[]} */
const COLUMNS = [
  { title: "#", key: "index", number: true, value: (_, node) => node, text: (_, node) => node.toLocaleString("en") },
  { title: "Layer", key: "name", number: false, value: (one, node) => one.nodes.name[node], text: (one, node) => chooser(one, node, 32) },
  { title: "Type", key: "type", number: false, value: (one, node) => layerOf(one, node).type, text: (one, node) => named(shortened(titleOf(layerOf(one, node)), 40)) },
  { title: "Kernel", key: "kernel_size", number: true, value: (one, node) => layerOf(one, node).kernel, text: (one, node) => layerOf(one, node).kernel.replaceAll("x", " × ") },
  { title: "Stride", key: "stride_size", number: true, value: (one, node) => layerOf(one, node).stride, text: (one, node) => layerOf(one, node).stride.replaceAll("x", " × ") },
  { title: "Smallest field", key: "receptive_field_min", number: true, value: (one, node) => sortSize(one.nodes.smallest[node]), text: (one, node) => shortText(one.nodes.smallest[node]) },
  { title: "Largest field", key: "receptive_field_max", number: true, value: (one, node) => sortSize(one.nodes.largest[node]), text: (one, node) => shortText(one.nodes.largest[node]) },
  { title: "Feature map", key: "feature_map_size", number: true, value: (one, node) => Math.max(...mapSize(one, node, spread(one, view.resolution))), text: (one, node) => mapSize(one, node, spread(one, view.resolution)).map(sizeText).join(" × ") },
  { title: "Parameters", key: "parameters", number: true, value: (one, node) => ofUnit(one, node, one.nodes.parameters), text: (one, node) => ofUnit(one, node, one.nodes.parameters)?.toLocaleString("en") ?? "–" },
  { title: "Multiply-adds", key: "multiply_accumulates", number: true, value: (one, node) => ofUnit(one, node, view.work), text: (one, node) => { const cost = ofUnit(one, node, view.work); return cost === null ? "–" : shortNumber(cost); } },
  { title: "State", key: "state", number: false, value: (one, node) => (isCounted(one, node) ? STATES.indexOf(view.states[node]) : 9), text: stateCell },
];

const ROW_HEIGHT = 44;

const table = {
  /** Nodes in the order of the table, without those that are filtered out. @type {number[]} */
  shown: [],
  /** @type {Column[]} */
  columns: [],
  sort: "index",
  falling: false,
  /** The rows that are drawn. @type {[number, number]} */
  drawn: [0, 0],
};

function drawTable() {
  const one = model();
  table.columns = COLUMNS.filter((column) => !(column.key === "parameters" && !costs(one, view.states, one.nodes.parameters)) && !(column.key === "multiply_accumulates" && !costs(one, view.states, view.work)));
  const head = html("tr", {}, ...table.columns.map((column) => {
    const cell = html("th", { scope: "col", class: column.number && "number", "data-key": column.key });
    cell.append(button(column.title, {}, () => {
      table.falling = table.sort === column.key && !table.falling;
      table.sort = column.key;
      filterTable();
    }));
    return cell;
  }));
  byId("table").querySelector("thead")?.replaceChildren(head);
  filterTable();
}

/** Choose and sort the rows, and draw those that are in view. */
function filterTable() {
  const one = model();
  const level = levelOf(one);
  const found = view.query ? new Set(matches()) : null;
  const shown = level.main.filter((node) => (found === null || found.has(node)) && (!view.only.size || (isCounted(one, node) && view.only.has(view.states[node]))));
  const column = table.columns.find((column) => column.key === table.sort) ?? table.columns[0];
  const values = new Map(shown.map((node) => [node, column.value(one, node)]));
  const collator = new Intl.Collator("en", { numeric: true });
  const sense = table.falling ? -1 : 1;
  if (table.sort !== "index" || table.falling)
    shown.sort((first, second) => {
      const [a, b] = [values.get(first) ?? null, values.get(second) ?? null];
      if (a === b) return first - second;
      if (a === null) return 1;
      if (b === null) return -1;
      return sense * (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(String(a), String(b))) || first - second;
    });
  table.shown = shown;
  byId("rows").textContent = shown.length === level.main.length ? counted(shown.length, "row") : `${shown.length.toLocaleString("en")} of ${counted(level.main.length, "row")}`;
  for (const cell of byId("table").querySelectorAll("th"))
    cell.setAttribute("aria-sort", cell.dataset.key !== table.sort ? "none" : table.falling ? "descending" : "ascending");
  drawRows();
}

/** Draw the rows that are in view, and room for all others. @param {boolean} [all] every row, for paper */
function drawRows(all = false) {
  const one = model();
  const scroll = byId("table-scroll");
  const from = all ? 0 : Math.max(0, Math.floor(scroll.scrollTop / ROW_HEIGHT) - 12);
  const to = all ? table.shown.length : Math.min(table.shown.length, from + Math.ceil((scroll.clientHeight || 700) / ROW_HEIGHT) + 24);
  table.drawn = [from, to];
  /** @param {number} rows */
  const room = (rows) => {
    if (!rows) return [];
    const empty = html("tr", { class: "room", "aria-hidden": "true" }, html("td", { colspan: table.columns.length }));
    empty.style.height = `${rows * ROW_HEIGHT}px`;
    return [empty];
  };
  const rows = table.shown.slice(from, to).map((node, at) =>
    html(
      "tr",
      { "data-index": node, "data-state": lookOf(one, node), "aria-rowindex": from + at + 2, class: node === view.chosen && "chosen" },
      ...table.columns.map((column) => html("td", { class: column.number ? "number" : column.key }, column.text ? column.text(one, node) : column.value(one, node))),
    ),
  );
  byId("table").setAttribute("aria-rowcount", String(table.shown.length + 1));
  byId("table").querySelector("tbody")?.replaceChildren(...room(from), ...rows, ...room(table.shown.length - to));
}

/** Draw other rows when the table was scrolled to them. */
function followScroll() {
  const scroll = byId("table-scroll");
  const first = Math.floor(scroll.scrollTop / ROW_HEIGHT);
  const last = first + Math.ceil(scroll.clientHeight / ROW_HEIGHT);
  if (first < table.drawn[0] + 4 && table.drawn[0] > 0) drawRows();
  else if (last > table.drawn[1] - 4 && table.drawn[1] < table.shown.length) drawRows();
}

/** Mark the chosen row, and bring it into view of the table. @param {boolean} bring */
function markTable(bring) {
  const at = table.shown.indexOf(view.chosen);
  if (bring && at >= 0) {
    const scroll = byId("table-scroll");
    const top = at * ROW_HEIGHT;
    if (top < scroll.scrollTop || top > scroll.scrollTop + scroll.clientHeight - 2 * ROW_HEIGHT) scroll.scrollTop = top - scroll.clientHeight / 2;
    followScroll();
  }
  for (const row of byId("table").querySelectorAll("tbody tr")) row.classList.toggle("chosen", Number(row.getAttribute("data-index") ?? -1) === view.chosen);
}

/** The rows that the table shows, in their order, as CSV: that of Analysis.to_csv, but for missed pixels. */
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
    ["feature_map_size", (node) => mapSize(one, node, resolution).join("x")],
    ["filters", (node) => layerOf(one, node).filters],
    ["units", (node) => layerOf(one, node).units],
    ["parameters", (node) => ofUnit(one, node, one.nodes.parameters)],
    ["multiply_accumulates", (node) => ofUnit(one, node, view.work)],
    ["state", (node) => STATE_NAMES[view.states[node]]],
    ["in_feature_extractor", (node) => (one.nodes.extracts[node] ? "True" : "False")],
    ["certainty", (node) => one.certainties[one.nodes.certainty[node]][0]],
    ["certainty_reason", (node) => one.certainties[one.nodes.certainty[node]][1]],
    ["has_position", (node) => (one.nodes.placed[node] ? "True" : "False")],
  ];
  const shown = table.shown;
  return [columns.map(([title]) => title).join(","), ...shown.map((node) => columns.map(([, value]) => cell(value(node))).join(",")), ""].join("\r\n");
}

function downloadTable() {
  save(new Blob(["\ufeff", tableAsCsv()], { type: "text/csv;charset=utf-8" }), "csv");
}

/** Hand a file to the reader. @param {Blob} blob @param {string} kind */
function save(blob, kind) {
  const address = URL.createObjectURL(blob);
  const name = visible(model().name).replace(/[^\p{L}\p{N}._-]+/gu, "_").slice(0, 60) || "model";
  const link = html("a", { href: address, download: `${name}_${view.resolution.join("x")}${UNIT}.${kind}` });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** The properties of a drawing that a file must carry with it. */
const DRAWN = ["color", "fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity", "opacity", "font-family", "font-size", "font-weight", "text-anchor", "paint-order", "marker-end", "display"];

function pictureTitle() {
  return `${shortened(visible(model().name), 60)} at ${resolutionText(judgedAt(model(), view.resolution))}`;
}

/** The title above a picture in a file and the legend below, and how much room they take. @param {number} width */
function pictureWords(width) {
  const around = svg("g", {}, svg("text", { class: "heading", x: 0, y: -MARGIN - 6 }, fitted(pictureTitle(), width - 2 * MARGIN, "640 16px", 80)));
  let [x, y] = [0, stage.height + MARGIN + 14];
  for (const [look, text] of legend(model())) {
    const room = 34 + widthOf(text, "11px");
    if (x && x + room > width - 2 * MARGIN) [x, y] = [0, y + 22];
    around.append(
      svg("g", { class: `node ${look}`, transform: `translate(${round(x)} ${round(y - 11)})` }, svg("rect", { width: 26, height: 14, rx: 3 })),
      svg("text", { x: round(x + 32), y: round(y) }, text),
    );
    x += room + 14;
  }
  return { around, above: 28, below: Math.ceil(y - stage.height - MARGIN + 12) };
}

/** The picture as it is folded now, as a file that needs nothing else. */
function pictureAsSvg() {
  showLabels({ x: 0, y: 0, width: stage.width, height: stage.height }, 1); // the file shows all of the picture
  const width = Math.ceil(Math.max(stage.width + 2 * MARGIN, 300));
  const { above, below, around } = pictureWords(width);
  pictureElement.append(around); // among the boxes, so that it has their colours
  const picture = /** @type {SVGSVGElement} */ (pictureElement.cloneNode(true));
  const [originals, copies] = [pictureElement, picture].map((one) => [...one.querySelectorAll("*")]);
  copies.forEach((copy, at) => {
    const style = getComputedStyle(originals[at]);
    for (const property of DRAWN) {
      const value = style.getPropertyValue(property);
      if (value) copy.setAttribute(property, value.replace(/url\("?[^#"]*#([^")]*)"?\)/, "url(#$1)"));
    }
    copy.removeAttribute("class");
  });
  around.remove();
  look();
  const [top, height] = [-MARGIN - above, Math.ceil(stage.height + 2 * MARGIN) + above + below];
  picture.querySelector("g")?.removeAttribute("transform");
  const symbols = /** @type {SVGElement} */ (document.querySelector(".symbols defs"));
  const kept = /** @type {SVGElement} */ (symbols.cloneNode(true));
  const [from, to] = [symbols, kept].map((one) => [...one.querySelectorAll("*")]);
  to.forEach((copy, at) => {
    if (copy.closest("symbol")) { // what uses a sign gives it its colours
      if (copy.classList.contains("solid")) copy.setAttribute("fill", "currentColor");
      return;
    }
    const style = getComputedStyle(from[at]);
    for (const property of ["fill", "stroke", "stroke-width", "stroke-linecap"]) copy.setAttribute(property, style.getPropertyValue(property));
  });
  const ground = getComputedStyle(byId("stage")).getPropertyValue("--card") || "#fff";
  picture.prepend(kept, svg("rect", { x: -MARGIN, y: top, width, height, fill: ground.trim() }));
  picture.prepend(svg("title", {}, pictureTitle()));
  for (const name of [...picture.getAttributeNames()]) picture.removeAttribute(name);
  for (const [name, value] of Object.entries({ width, height, viewBox: `${-MARGIN} ${top} ${width} ${height}`, role: "img" })) picture.setAttribute(name, String(value));
  return { text: `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(picture)}`, width, height };
}

/** @param {"svg" | "png"} kind */
function downloadPicture(kind) {
  const { text, width, height } = pictureAsSvg();
  if (kind === "svg") {
    save(new Blob([text], { type: "image/svg+xml" }), "svg");
    return;
  }
  const image = new Image();
  // As sharp as a screen of today, and no larger than browsers can draw.
  const scale = Math.min(2, 16_000 / Math.max(width, height), Math.sqrt(2e8 / (width * height)));
  image.addEventListener("load", () => {
    const canvas = html("canvas", { width: Math.round(width * scale), height: Math.round(height * scale) });
    canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => { if (blob) save(blob, "png"); }, "image/png");
  });
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
}
