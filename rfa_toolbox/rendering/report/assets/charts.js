/* The charts: what reaches every layer against the image, and what is wasted at every resolution. */

const LEFT = 46;
const RIGHT = 14;
const TOP = 26;
const BOTTOM = 34;

/** Where the parts of the chart of fields are that follow the resolution. */
const fieldChart = {
  /** @type {Map<number, SVGElement>} */
  bars: new Map(),
  /** @type {SVGLineElement} */
  line: svg("line"),
  /** @type {SVGTextElement} */
  text: svg("text"),
  /** @type {(size: number) => number} */
  toY: (size) => size,
  axis: 0,
};

/** The smallest field of what reaches a layer. @param {Model} one @param {number} node @param {number} axis */
function arriving(one, node, axis) {
  const inputs = one.nodes.inputs[node].filter((before) => one.nodes.placed[before]);
  return inputs.length ? Math.min(...inputs.map((before) => pixels(one.nodes.smallest[before], axis))) : 1;
}

/** Rows of neighbouring layers whose maps have the same size. @param {Model} one @param {number[]} nodes @param {number} axis */
function stagesOf(one, nodes, axis) {
  /** @type {{from: number, to: number, jump: Jump}[]} */
  const stages = [];
  nodes.forEach((node, at) => {
    const inputs = one.nodes.inputs[node];
    // The map that a layer reads: what a stride makes of it belongs to the layers behind.
    const jump = inputs.length ? on(one.nodes.jump[inputs[0]], axis) : 1;
    const last = stages[stages.length - 1];
    if (last && last.jump === jump) last.to = at;
    else stages.push({ from: at, to: at, jump });
  });
  return stages;
}

/** @param {Jump} jump */
function stageName(jump) {
  if (jump === null) return `whole ${WHOLE}`;
  const [over, under] = typeof jump === "string" ? jump.split("/").map(Number) : [jump, 1];
  return over === under ? "full size" : over > under ? `1/${sizeText(Number((over / under).toFixed(2)))}` : `×${sizeText(Number((under / over).toFixed(2)))}`;
}

/** Width and height of a chart: those of its place, or those that it is given on paper. @param {HTMLElement} place @param {number} usual @param {Point} [paper] @returns {Point} */
function chartSize(place, usual, paper) {
  if (paper) return paper;
  const width = Math.max(300, Math.round(place.clientWidth || usual));
  return [width, width < 500 ? 260 : 320];
}

/** @param {Point} [paper] */
function drawFieldChart(paper) {
  const one = model();
  const axes = one.axes ?? 1;
  fieldChart.axis = Math.min(fieldChart.axis, axes - 1);
  const axis = fieldChart.axis;
  const nodes = balance(one, view.states).all;
  const place = byId("field-chart");
  const [width, height] = chartSize(place, 860, paper);
  const floor = height - BOTTOM;
  const low = pixels(one.good.from, axis);
  const finite = nodes.flatMap((node) => [arriving(one, node, axis), pixels(one.nodes.smallest[node], axis)]).filter((size) => size < Infinity);
  const most = finite.reduce((most, size) => Math.max(most, size), Math.max(64, 1.15 * Math.max(1, ...facts.resolution), low)) * 1.15;
  const end = Math.log2(most);
  fieldChart.toY = (size) => (size === Infinity ? TOP : floor - (Math.log2(Math.max(1, Math.min(size, most))) / end) * (floor - TOP - 10));
  const { toY } = fieldChart;
  const chart = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `The smallest field that reaches every layer of ${visible(one.name)}, and the layer's own; the table below has the numbers.` });
  const step = (width - LEFT - RIGHT) / Math.max(1, nodes.length);
  let free = -Infinity;
  stagesOf(one, nodes, axis).forEach(({ from, to, jump }, at) => {
    const [x, wide] = [LEFT + step * from, step * (to - from + 1)];
    if (at % 2) chart.append(svg("rect", { class: "stage", x, y: TOP, width: wide, height: floor - TOP }));
    const name = stageName(jump);
    const room = name.length * 6.4 + 8;
    const middle = x + wide / 2;
    if (middle - room / 2 > free && middle + room / 2 < width) {
      chart.append(svg("text", { x: middle, y: height - 6, "text-anchor": "middle" }, name));
      free = middle + room / 2;
    }
  });
  chart.append(svg("text", { x: 2, y: 12 }, `${UNIT} of the ${WHOLE} that are seen`));
  for (let power = 0; 2 ** power <= most; power += end > 9 ? 2 : 1)
    chart.append(
      svg("line", { class: "rule", x1: LEFT, x2: width - RIGHT, y1: toY(2 ** power), y2: toY(2 ** power) }),
      svg("text", { x: LEFT - 6, y: toY(2 ** power) + 4, "text-anchor": "end" }, sizeText(2 ** power)),
    );
  const thick = Math.max(Math.min(step * 0.7, 16), Math.min(1.2, step));
  fieldChart.bars = new Map(nodes.map((node, at) => {
    const [bottom, top] = [toY(arriving(one, node, axis)), toY(pixels(one.nodes.smallest[node], axis))];
    const bar = svg("rect", { class: "field", "data-index": node, x: round(LEFT + step * (at + 0.5) - thick / 2), y: round(Math.min(top, bottom - 3)), width: round(thick), height: round(Math.max(bottom - top, 3)), rx: Math.min(1.5, thick / 3) });
    return [node, bar];
  }));
  fieldChart.line = svg("line", { class: "now", x1: LEFT, x2: width - RIGHT });
  fieldChart.text = svg("text", { class: "now-text", x: LEFT + 6 });
  for (const bar of fieldChart.bars.values()) chart.append(bar); // too many for one call
  chart.append(fieldChart.line, fieldChart.text);
  /** The layer under the pointer: the whole height belongs to it. @param {MouseEvent} event */
  const under = (event) => {
    const box = chart.getBoundingClientRect();
    const at = Math.floor((((event.clientX - box.left) / box.width) * width - LEFT) / step);
    return nodes[Math.min(Math.max(at, 0), nodes.length - 1)];
  };
  chart.addEventListener("click", (event) => { if (nodes.length) choose(under(event), true); });
  chart.addEventListener("pointermove", (event) => { if (nodes.length) showCard(under(event), event.clientX, event.clientY); });
  chart.addEventListener("pointerleave", hideCard);
  const switches = axes < 2 || nodes.every((node) => !Array.isArray(one.nodes.smallest[node])) && new Set(spread(one, view.resolution)).size < 2 ? [] : [
    html("div", { class: "chips" }, ...Array.from({ length: axes }, (_, at) =>
      button(AXIS_NAMES[at], { class: "chip", "aria-pressed": String(at === axis) }, () => {
        fieldChart.axis = at;
        drawFieldChart();
        paintFieldChart();
      }))),
  ];
  place.replaceChildren(...switches, chart);
}

/** What a layer is, beside the pointer. @param {number} node @param {number} x @param {number} y */
function showCard(node, x, y) {
  const one = model();
  const axis = fieldChart.axis;
  const card = byId("hover");
  card.replaceChildren(
    html("b", {}, titleOf(layerOf(one, node))),
    html("span", {}, named(shortened(one.nodes.name[node], 44))),
    html("span", {}, `reached by ${sized(sizeText(arriving(one, node, axis)))}, sees ${sized(sizeText(pixels(one.nodes.smallest[node], axis)))}`),
    html("span", { class: `ink-${view.states[node]}` }, STATE_NAMES[view.states[node]]),
  );
  card.hidden = false;
  const { width, height } = card.getBoundingClientRect();
  card.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - width - 8))}px`;
  card.style.top = `${Math.max(8, y - height - 12)}px`;
}

function hideCard() {
  byId("hover").hidden = true;
}

function paintFieldChart() {
  for (const [node, bar] of fieldChart.bars) bar.setAttribute("class", `field ${view.states[node]}${node === view.chosen ? " chosen" : ""}`);
  const size = judgedAt(model(), view.resolution)[fieldChart.axis];
  const y = fieldChart.toY(size);
  fieldChart.line.setAttribute("y1", String(y));
  fieldChart.line.setAttribute("y2", String(y));
  fieldChart.text.setAttribute("y", String(y - 5));
  fieldChart.text.textContent = `the ${WHOLE}, ${sized(sizeText(size))}`;
}

/** How many layers cannot help with images as high as wide, and their share of the compute: rfa_toolbox.analysis.resolution_profile. @param {Model} one @param {number} size @param {boolean} [isCosted] whether the share is asked for @returns {{layers: number, share: number | null}} */
function wastedAt(one, size, isCosted = true) {
  const level = levelOf(one);
  const sizes = spread(one, [size]);
  const wasted = level.main.filter((node, unit) => level.kind[unit] === "layer" && stateOf(one.nodes, node, sizes) === "unproductive");
  if (!isCosted) return { layers: wasted.length, share: null };
  const work = one.nodes.name.length > 3000 ? view.work : workAt(one, [size]);
  const total = costs(one, view.states, work)?.total;
  const gone = wasted.reduce((sum, node) => sum + (sumOf(level, level.unit[node], work) ?? 0), 0);
  return { layers: wasted.length, share: total ? gone / total : null };
}

/** What moves the mark of the chart of resolutions. @type {(resolution: number[]) => void} */
let followResolution = () => {};

/** The unproductive layers, and their share of the compute, at every resolution. @param {Point} [paper] */
function drawStateChart(paper) {
  const one = model();
  const place = byId("state-chart");
  byId("square").hidden = (one.axes ?? 2) < 2;
  const [width, height] = chartSize(place, 480, paper);
  const [floor, ceiling] = [height - BOTTOM, TOP];
  const nodes = balance(one, view.states).all;
  const layers = Math.max(1, nodes.length);
  const samples = Math.min(one.nodes.name.length > 3000 ? 48 : 128, sliderEnd);
  const places = width - LEFT - RIGHT - 30;
  /** @param {number} size */
  const toX = (size) => LEFT + (Math.min(size, sliderEnd) / sliderEnd) * places;
  /** @param {number} share */
  const toY = (share) => ceiling + (1 - share) * (floor - ceiling);
  const [count, share] = [/** @type {string[]} */ ([]), /** @type {string[]} */ ([])];
  const every = Math.max(1, Math.round(samples / 24));
  for (let at = 0; at <= samples; at += 1) {
    const size = Math.max(1, Math.round((at / samples) * sliderEnd));
    const wasted = wastedAt(one, size, at % every === 0);
    count.push(`${round(toX(size))} ${round(toY(wasted.layers / layers))}`);
    if (wasted.share !== null) share.push(`${round(toX(size))} ${round(toY(wasted.share))}`);
  }
  const chart = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `Layers of ${visible(one.name)} that cannot help at every ${SIZE}: none from ${sized(inShort(one.good.useful))} on.` });
  // Images as high as wide fit where all axes do; if these differ much, no such image does.
  const axes = Array.from({ length: one.axes ?? 1 }, (_, axis) => axis);
  const low = Math.max(...axes.map((axis) => pixels(one.good.from, axis)));
  const high = Math.min(...axes.map((axis) => pixels(one.good.to, axis)));
  if (nodes.length && low <= high && low <= sliderEnd) {
    chart.append(svg("rect", { class: "band", x: toX(low), width: Math.max(toX(high) - toX(low), 2), y: ceiling, height: floor - ceiling }));
    chart.append(svg("text", { class: "good", x: Math.min((toX(low) + toX(high)) / 2, width - RIGHT - 50), y: 12, "text-anchor": "middle" }, `good ${goodText(one)}`));
  }
  for (const part of [0, 0.5, 1])
    chart.append(
      svg("line", { class: "rule", x1: LEFT, x2: LEFT + places, y1: toY(part), y2: toY(part) }),
      svg("text", { x: LEFT - 6, y: toY(part) + 4, "text-anchor": "end" }, Number.isInteger(part * layers) ? sizeText(part * layers) : ""),
      ...(share.length ? [svg("text", { x: LEFT + places + 5, y: toY(part) + 4 }, `${100 * part} %`)] : []),
    );
  for (let at = 0; at <= 4; at += 1) {
    const size = Math.round((at / 4) * sliderEnd);
    chart.append(svg("text", { x: toX(size), y: height - 14, "text-anchor": at === 4 ? "end" : "middle" }, at ? sizeText(size) : `0 ${UNIT}`));
  }
  chart.append(svg("path", { class: "area unproductive", d: `M${LEFT} ${floor}L${count.join("L")}L${toX(sliderEnd)} ${floor}Z` }));
  if (share.length) chart.append(svg("path", { class: "share", d: `M${share.join("L")}` }));
  const line = svg("line", { class: "now", y1: ceiling, y2: floor });
  chart.append(line);
  chart.addEventListener("click", (event) => {
    const box = chart.getBoundingClientRect();
    const size = Math.round(((((event.clientX - box.left) / box.width) * width - LEFT) / places) * sliderEnd);
    setResolution([Math.min(Math.max(size, 1), sliderEnd)]);
    drawResolution();
  });
  followResolution = (resolution) => {
    const x = String(toX(Math.min(...resolution)));
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
  };
  followResolution(view.resolution);
  place.replaceChildren(chart, html("p", { class: "key" },
    html("span", {}, html("i", { class: "swatch unproductive" }), "layers that cannot help"),
    share.length > 0 && html("span", {}, html("i", { class: "swatch share" }), "their share of the compute"),
    html("span", {}, html("i", { class: "swatch good" }), `good ${SIZE}s`)));
}
