// Charts of the past as SVG: power with the state of charge below it, and energy as bars. Gaps stay gaps.

import { clock, day, element, energy, hour, moment, svg, watts, weekday } from "./words.js";

let WIDTH = 640; // of the drawing: that of its place on the page, so that letters keep their size
const LEFT = 36;
const RIGHT = 8;
const LINES = [["sun", "Sun", true], ["house", "House", false], ["grid", "Grid", false], ["battery", "Battery", false], ["charger", "Car", false], ["heat_pump", "Heat pump", false]];
const FAINT_W = 50; // a consumer that never takes more has no line

export function drawCharts(box, charts, span) {
  WIDTH = Math.min(Math.max(box.clientWidth, 280), 900);
  const power = charts[span];
  const nothing = !power || !Object.keys(power.columns).length;
  if (nothing) {
    box.replaceChildren(element("p", { class: "empty" }, "The charts begin with the first minutes of measurements."));
    return;
  }
  const rows = slots(charts.energy, span);
  const blocks = [figures(rows), powerChart(power, span)];
  if (power.columns.soc) blocks.push(socChart(power, span));
  box.replaceChildren(...blocks, energyChart(rows, charts.energy, span));
}

function scaleX(count) {
  return (index) => LEFT + ((WIDTH - LEFT - RIGHT) * index) / (count - 1);
}

// A round step so that there are about three lines.
function step(range) {
  const raw = range / 3;
  const size = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 2.5, 5, 10].find((factor) => factor * size >= raw) * size;
}

// The path of a column; a gap begins a new piece, and a single value is a dot of a line.
function line(values, x, y) {
  return pieces(values).map((piece) => `M${piece.map(([index, value]) => `${x(index).toFixed(1)} ${y(value).toFixed(1)}`).join("L")}${piece.length === 1 ? "h1" : ""}`).join("");
}

function area(values, x, y) {
  const zero = y(0).toFixed(1);
  return pieces(values).map((piece) => {
    const edge = piece.map(([index, value]) => `${x(index).toFixed(1)} ${y(value).toFixed(1)}`).join("L");
    return `M${x(piece[0][0]).toFixed(1)} ${zero}L${edge}L${x(piece.at(-1)[0]).toFixed(1)} ${zero}Z`;
  }).join("");
}

function pieces(values) {
  const found = [];
  values.forEach((value, index) => {
    if (value === null) return;
    if (index && values[index - 1] !== null) found.at(-1).push([index, value]);
    else found.push([[index, value]]);
  });
  return found;
}

function ticks(chart, span, x, height, count) {
  const marks = [];
  for (let index = 1; index < count; index++) {
    const at = chart.start + index * chart.step_s;
    const before = at - chart.step_s;
    const turned = span === "day" ? hour(at) !== hour(before) && hour(at) % 6 === 0 : hour(at) < hour(before);
    if (turned) marks.push([x(index), span === "day" ? clock(at) : weekday(at + 43200)]);
  }
  return marks.flatMap(([at, text]) => [
    svg("line", { x1: at, x2: at, y1: 6, y2: height - 20, class: "tick" }),
    at < WIDTH - 30 ? svg("text", { x: span === "day" ? at : at + 4, y: height - 5, class: "axis", "text-anchor": span === "day" ? "middle" : "start" }, text) : null,
  ]);
}

function levels(low, high, y, unit) {
  const by = step(high - low);
  const marks = [];
  for (let value = Math.ceil(low / by) * by; value <= high + 1e-9; value += by) {
    marks.push(svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value), class: Math.abs(value) < 1e-9 ? "zero" : "level" }));
    marks.push(svg("text", { x: LEFT - 6, y: y(value) + 4, class: "axis", "text-anchor": "end" }, unit(value, by)));
  }
  return marks;
}

const kilo = (value, by) => `${value < -1e-9 ? "−" : ""}${(Math.abs(value) / 1000).toFixed(by % 1000 ? 1 : 0)}`;

function powerChart(chart, span) {
  const height = 220;
  const seen = (name) => chart.columns[name]?.some((value) => value !== null && (["sun", "house", "grid", "battery"].includes(name) || value > FAINT_W));
  const columns = LINES.filter(([name]) => seen(name));
  const all = columns.flatMap(([name]) => chart.columns[name]).filter((value) => value !== null);
  const high = Math.max(1000, ...all) * 1.05;
  const low = Math.min(0, ...all) * 1.05;
  const count = columns.length ? chart.columns[columns[0][0]].length : 2;
  const x = scaleX(count);
  const y = (value) => 8 + ((height - 30) * (high - value)) / (high - low);
  const root = frame(height);
  root.append(...levels(low, high, y, kilo), ...ticks(chart, span, x, height, count).filter(Boolean));
  for (const [name, , filled] of columns) {
    if (filled) root.append(svg("path", { d: area(chart.columns[name], x, y), class: `fill ${name}` }));
    root.append(svg("path", { d: line(chart.columns[name], x, y), class: `line ${name}` }));
  }
  const signs = [["grid", "Grid: above 0 import, below 0 export."], ["battery", "Battery: above 0 charging."]];
  const read = (index) => columns.map(([name, text]) => `${text} ${watts(chart.columns[name][index])}`).join(" · ");
  return figure("Power in kW", root, { chart, count, x, height, read }, columns.map(([name, text]) => [name, text]), signs.filter(([name]) => seen(name)).map(([, text]) => text).join(" "));
}

function socChart(chart, span) {
  const height = 96;
  const values = chart.columns.soc;
  const x = scaleX(values.length);
  const y = (value) => 8 + ((height - 30) * (100 - value)) / 100;
  const root = frame(height);
  for (const value of [0, 50, 100]) {
    root.append(svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value), class: value ? "level" : "zero" }));
    root.append(svg("text", { x: LEFT - 6, y: y(value) + 4, class: "axis", "text-anchor": "end" }, `${value}`));
  }
  root.append(...ticks(chart, span, x, height, values.length).filter(Boolean));
  root.append(svg("path", { d: area(values, x, y), class: "fill battery" }), svg("path", { d: line(values, x, y), class: "line battery" }));
  const read = (index) => `Battery ${values[index] === null ? "–" : `${Math.round(values[index])} %`}`;
  const found = figure("Battery in %", root, { chart, count: values.length, x, height, read }, []);
  found.classList.add("short");
  return found;
}

const BARS = [
  ["self", "Used, own", "used"],
  ["bought", "Used, from the grid", "used"],
  ["kept", "Produced, kept", "made"],
  ["sold", "Produced, to the grid", "made"],
];

const ENERGIES = [
  ["used", "consumption"], ["made", "generation"], ["bought", "import"], ["sold", "export"],
  ["car", "charger"], ["heat", "heat_pump"], ["charged", "charged"], ["gave", "discharged"],
];

// One row per bar: hours of the last day, or days of the last week.
function slots(chart, span) {
  const column = (name, index) => chart.columns[name]?.[index] ?? null;
  const count = Math.max(0, ...Object.values(chart.columns).map((values) => values.length));
  const found = new Map();
  for (let index = span === "day" ? Math.max(0, count - 25) : 0; index < count; index++) {
    const at = chart.start + index * chart.step_s;
    const key = span === "day" ? String(at) : day(at);
    const slot = found.get(key) ?? { at, ...Object.fromEntries(ENERGIES.map(([target]) => [target, null])) };
    for (const [target, name] of ENERGIES) {
      const value = column(name, index);
      if (value !== null) slot[target] = (slot[target] ?? 0) + value;
    }
    found.set(key, slot);
  }
  return [...found.values()];
}

function stacks(slot) {
  const bought = slot.used === null ? slot.bought : Math.min(slot.bought ?? 0, slot.used);
  const sold = slot.made === null ? slot.sold : Math.min(slot.sold ?? 0, slot.made);
  return {
    used: [["self", slot.used === null ? 0 : slot.used - (bought ?? 0)], ["bought", bought ?? 0]],
    made: [["kept", slot.made === null ? 0 : slot.made - (sold ?? 0)], ["sold", sold ?? 0]],
  };
}

function energyChart(rows, chart, span) {
  const height = 170;
  const high = Math.max(100, ...rows.flatMap((row) => Object.values(stacks(row)).map((stack) => stack.reduce((sum, [, wh]) => sum + wh, 0)))) * 1.05;
  const y = (value) => 8 + ((height - 30) * (high - value)) / high;
  const wide = (WIDTH - LEFT - RIGHT) / Math.max(rows.length, 1);
  const x = (index) => LEFT + wide * (index + 0.5);
  const root = frame(height);
  root.append(...levels(0, high, y, kilo));
  rows.forEach((row, index) => {
    const bar = Math.min(26, wide * 0.38);
    for (const [place, stack] of Object.entries(stacks(row))) {
      let base = 0;
      for (const [name, wh] of stack) {
        if (wh > 0) root.append(svg("rect", { x: x(index) + (place === "made" ? 0.5 : -bar - 0.5), width: bar, y: y(base + wh), height: Math.max(0.5, y(base) - y(base + wh)), class: `bar ${name}` }));
        base += wh;
      }
    }
    const named = span === "day" ? index > 1 && hour(row.at) % 6 === 0 : true;
    if (named) root.append(svg("text", { x: span === "day" ? x(index) - wide / 2 : x(index), y: height - 5, class: "axis", "text-anchor": "middle" }, span === "day" ? clock(row.at) : weekday(row.at)));
  });
  const read = (index) => {
    const row = rows[index];
    return `Used ${energy(row.used)}, of it from the grid ${energy(row.bought)} · produced ${energy(row.made)}, of it to the grid ${energy(row.sold)}`;
  };
  const legend = BARS.filter(([name]) => rows.some((row) => Object.values(stacks(row)).flat().some(([one, wh]) => one === name && wh > 0))).map(([name, text]) => [name, text]);
  const when = (index) => (span === "day" ? `${clock(rows[index].at)} to ${clock(rows[index].at + 3600)}` : day(rows[index].at));
  return figure("Energy in kWh", root, { chart, count: rows.length, x, height, read, when }, legend, remark(rows));
}

const sum = (rows, name) => rows.reduce((all, row) => (row[name] === null ? all : (all ?? 0) + row[name]), null);

// The span in a few large numbers; what nobody measures is not among them.
function figures(rows) {
  const both = rows.filter((row) => row.used !== null && row.bought !== null);
  const [used, bought] = [sum(both, "used"), sum(both, "bought")];
  const named = [["Used", "used"], ["Produced", "made"], ["From the grid", "bought"], ["To the grid", "sold"]];
  const found = named.map(([text, name]) => [text, sum(rows, name)]).filter(([, wh]) => wh !== null).map(([text, wh]) => [text, energy(wh)]);
  if (used && sum(rows, "made") !== null) found.push(["Self-sufficiency", `${Math.round((100 * (used - Math.min(bought, used))) / used)}\u00a0%`]);
  return element("dl", { class: "figures" }, ...found.map(([text, value]) => element("div", {}, element("dt", {}, text), element("dd", {}, value))));
}

function remark(rows) {
  if (rows.every((row) => row.used === null && row.made === null)) return "The first interval is not complete yet.";
  const [car, heat, charged, gave] = ["car", "heat", "charged", "gave"].map((name) => sum(rows, name));
  const parts = [["car", car], ["heat pump", heat]].filter(([, wh]) => wh > 50).map(([name, wh]) => `${name} ${energy(wh)}`);
  if (charged || gave) parts.push(`battery charged ${energy(charged)}, gave ${energy(gave)}`);
  const text = parts.join(" · ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function frame(height) {
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, class: "chart", "aria-hidden": "true", focusable: "false" });
}

// A chart with its legend, and a line that reads out one place of it: under the pointer, or by the arrow keys.
function figure(title, root, { chart, count, x, height, read, when }, legend, note = "") {
  const cursor = svg("line", { y1: 6, y2: height - 20, class: "cursor", hidden: "" });
  root.append(cursor);
  const out = element("output", { class: "reading" });
  const label = when ?? ((index) => moment(chart.start + index * chart.step_s));
  let place = count - 1;
  const show = (index) => {
    place = Math.min(Math.max(index, 0), count - 1);
    cursor.removeAttribute("hidden");
    cursor.setAttribute("x1", x(place));
    cursor.setAttribute("x2", x(place));
    out.textContent = `${label(place)}: ${read(place)}`;
  };
  const hide = () => {
    cursor.setAttribute("hidden", "");
    out.textContent = note;
  };
  const stage = element("div", { class: "stage", tabindex: "0", role: "group", "aria-label": `${title}, arrow keys read it out` }, root);
  stage.addEventListener("pointermove", (event) => {
    const box = root.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * WIDTH;
    show(Math.round(((at - x(0)) / (x(count - 1) - x(0) || 1)) * (count - 1)));
  });
  stage.addEventListener("pointerleave", hide);
  stage.addEventListener("blur", hide);
  stage.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -count, End: count }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    show(place + by);
  });
  out.textContent = note;
  const keys = legend.map(([name, text]) => element("li", {}, element("span", { class: `key ${name}` }), text));
  return element("figure", {}, element("figcaption", {}, element("span", {}, title), element("ul", { class: "legend" }, ...keys)), stage, out);
}
