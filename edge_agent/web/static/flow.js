// The energy flow as a picture: sources around the house, consumers below it, dots that run the way the power goes.

import { element, role, shortWatts, svg, watts } from "./words.js";

export const SMALLEST_W = 5; // less is shown, but does not move
const PLACES = { sun: [180, 48], grid: [52, 172], house: [180, 172], battery: [308, 172] };
const BELOW_Y = 302;
const ICONS = {
  sun: "M12 7a5 5 0 1 0 0 10 5 5 0 0 0 0-10zM12 1v3M12 20v3M1 12h3M20 12h3M4.2 4.2l2.1 2.1M17.7 17.7l2.1 2.1M4.2 19.8l2.1-2.1M17.7 6.3l2.1-2.1",
  grid: "M8 22 11 2h2l3 20M6 7h12M4 11h16M10.3 7l4.3 8M13.7 7l-4.3 8M9.2 15l6.4 7M14.8 15l-6.4 7",
  battery: "M7 5h10v17H7zM10 2h4v3h-4zM10 18h4M10 14.500h4M10 11h4",
  house: "M3 12 12 3.500 21 12M5.500 10v11h13V10M10 21v-6h4v6",
  charger: "M3 16v-4l2-5.500h14l2 5.500v4zM3 12h18M5 16v2.500M19 16v2.500M7 14h1M16 14h1",
  heat_pump: "M3 4h18v16H3zM12 7a5 5 0 1 0 0 10 5 5 0 0 0 0-10zM12 12V7M12 12l4.300 2.500M12 12l-4.300 2.500",
  water_heater: "M12 2.500c4 5 6 8 6 11.500a6 6 0 0 1-12 0c0-3.500 2-6.500 6-11.500z",
  other: "M9 2v6M15 2v6M6 8h12v4a6 6 0 0 1-12 0zM12 18v4",
};

// The nodes to draw: what the status names, with the smaller consumers together, and what is left of the house.
export function parts(flow) {
  const shown = flow.filter((node) => node.kind in PLACES || ["charger", "heat_pump", "water_heater"].includes(node.kind)).map((node) => ({ ...node }));
  const small = flow.filter((node) => !shown.some((one) => one.kind === node.kind));
  const house = flow.find((node) => node.kind === "house")?.power_w ?? null;
  const consumers = shown.filter((node) => !(node.kind in PLACES));
  if (consumers.length + small.length) {
    const known = house !== null && consumers.every((node) => node.power_w !== null);
    const total = (nodes) => nodes.reduce((sum, node) => sum + node.power_w, 0);
    const measured = small.length && small.every((node) => node.power_w !== null) ? total(small) : null;
    const rest = known ? house - total(consumers) : measured; // where the house is not measured, what is measured in it
    shown.push({ kind: "other", power_w: rest !== null && rest > -50 ? Math.max(rest, 0) : null, reason: "", soc_percent: null, names: small.flatMap((node) => node.names) });
  }
  return shown;
}

// Watts that a node gives to the house; negative: it takes them.
function given(node) {
  if (node.power_w === null) return null;
  return node.kind === "sun" || node.kind === "grid" ? node.power_w : -node.power_w;
}

export function sentence(nodes) {
  const verbs = {
    sun: (w) => (w > SMALLEST_W ? `The sun gives ${watts(w)}` : "No sun"),
    grid: (w) => (w > SMALLEST_W ? `the grid gives ${watts(w)}` : w < -SMALLEST_W ? `${watts(-w)} go to the grid` : "nothing to or from the grid"),
    battery: (w) => (w > SMALLEST_W ? `the battery charges with ${watts(w)}` : w < -SMALLEST_W ? `the battery gives ${watts(-w)}` : "the battery rests"),
    house: (w) => `the house uses ${watts(w)}`,
  };
  const said = nodes.filter((node) => node.kind in verbs).map((node) => (node.power_w === null ? `${role(node.kind).toLowerCase()} unknown` : verbs[node.kind](node.power_w)));
  const text = said.join(", ");
  return text ? `${text.charAt(0).toUpperCase()}${text.slice(1)}.` : "No device measures power yet.";
}

export function drawFlow(box, nodes) {
  const shape = nodes.map((node) => node.kind).join(" ");
  if (box.dataset.shape !== shape) {
    box.dataset.shape = shape;
    box.replaceChildren(picture(nodes));
  }
  for (const node of nodes) update(box, node, nodes);
}

function picture(nodes) {
  const below = nodes.filter((node) => !(node.kind in PLACES));
  const top = nodes.some((node) => node.kind === "sun") ? 0 : 118;
  const [left, right] = [nodes.some((node) => node.kind === "grid") || below.length ? 0 : 116, nodes.some((node) => node.kind === "battery") || below.length ? 360 : 244];
  const root = svg("svg", { viewBox: `${(left + right) / 2 - 180} ${top} 360 ${(below.length ? 372 : 242) - top}`, class: "flow", "aria-hidden": "true", focusable: "false" });
  const centre = PLACES.house;
  const places = nodes.map((node) => [node, PLACES[node.kind] ?? [180 + (below.indexOf(node) - (below.length - 1) / 2) * (below.length > 3 ? 88 : 116), BELOW_Y]]);
  for (const [node, place] of places) {
    if (node.kind === "house") continue;
    const from = node.kind in PLACES ? place : centre;
    const to = node.kind in PLACES ? centre : place;
    const bend = `M${from[0]} ${from[1]} C${from[0]} ${(from[1] + to[1]) / 2} ${to[0]} ${(from[1] + to[1]) / 2} ${to[0]} ${to[1]}`;
    const line = from[1] === to[1] || from[0] === to[0] ? `M${from[0]} ${from[1]}L${to[0]} ${to[1]}` : bend;
    root.append(svg("path", { d: line, class: `track ${node.kind}` }), svg("path", { d: line, class: `stream ${node.kind}`, "data-stream": node.kind }));
  }
  for (const [node, place] of places) root.append(circle(node.kind, place));
  return root;
}

function circle(kind, [x, y]) {
  const radius = kind === "house" ? 44 : 36;
  const ring = (name) => svg("circle", { r: radius, class: `ring ${name}`, pathLength: 100, "data-ring": `${kind} ${name}`, transform: "rotate(-90)" });
  const rings = kind === "house" ? ["grid", "battery", "sun"].map(ring) : [ring(kind)];
  const scale = kind === "house" ? 1 : 0.85;
  return svg(
    "g",
    { transform: `translate(${x} ${y})`, class: `node ${kind}`, "data-node": kind },
    svg("circle", { r: radius, class: "disc" }),
    ...rings,
    svg("path", { d: ICONS[kind] ?? ICONS.other, class: "icon", transform: `translate(${-12 * scale} ${kind === "house" ? -30 : -26}) scale(${scale})` }),
    svg("text", { y: 14, class: "power" }),
    svg("text", { y: radius + 16, class: "label" }),
  );
}

function update(box, node, nodes) {
  const group = box.querySelector(`[data-node="${node.kind}"]`);
  const unknown = node.power_w === null;
  group.classList.toggle("unknown", unknown);
  group.querySelector(".power").textContent = shortWatts(unknown ? null : Math.abs(node.power_w));
  group.classList.toggle("idle", Math.abs(node.power_w ?? 0) < SMALLEST_W);
  group.querySelector(".label").textContent = label(node);
  if (node.kind === "house") return shares(box, nodes);
  const full = node.soc_percent ?? 100;
  group.querySelector(".ring").setAttribute("stroke-dasharray", `${full} ${100 - full}`);
  const stream = box.querySelector(`[data-stream="${node.kind}"]`);
  const gives = given(node);
  const size = Math.abs(gives ?? 0);
  stream.classList.toggle("still", size < SMALLEST_W);
  stream.classList.toggle("back", node.kind in PLACES && gives < 0);
  stream.classList.toggle("slow", size < 300);
  stream.classList.toggle("fast", size >= 3000);
}

function label(node) {
  const soc = node.soc_percent === null ? "" : ` ${Math.round(node.soc_percent)} %`;
  const w = node.power_w;
  const words = { grid: w > SMALLEST_W ? "Import" : w < -SMALLEST_W ? "Export" : "Grid", battery: w > SMALLEST_W ? "Charging" : w < -SMALLEST_W ? "Giving" : "Battery" };
  return (w === null ? role(node.kind) : words[node.kind] ?? role(node.kind)) + soc;
}

// The ring around the house: which share of what it gets comes from where.
function shares(box, nodes) {
  const giving = nodes.filter((node) => node.kind in PLACES && node.kind !== "house").map((node) => [node.kind, Math.max(given(node) ?? 0, 0)]);
  const total = giving.reduce((sum, [, w]) => sum + w, 0);
  let before = 0;
  for (const kind of ["grid", "battery", "sun"]) {
    const share = total ? (100 * (giving.find(([name]) => name === kind)?.[1] ?? 0)) / total : 0;
    const ring = box.querySelector(`[data-ring="house ${kind}"]`);
    ring.setAttribute("stroke-dasharray", `${share} ${100 - share}`);
    ring.setAttribute("stroke-dashoffset", -before);
    ring.classList.toggle("none", share < 0.1);
    before += share;
  }
}

export function flowList(nodes) {
  const said = (node) => {
    const [name, words] = [role(node.kind), label(node)];
    const directed = node.kind in PLACES && !words.startsWith(name); // "Battery, giving 31 %: 216 W": no picture shows here whose it is
    return directed ? `${name}, ${words.toLowerCase()}: ${watts(Math.abs(node.power_w))}` : `${words}: ${watts(node.power_w)}`;
  };
  const rows = nodes.map((node) => element("li", {}, `${said(node)}${node.reason ? ` (${node.reason})` : ""}`));
  return element("ul", { class: "unseen" }, ...rows);
}
