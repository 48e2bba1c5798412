// Numbers and times as people read them, and a way to make elements. What is not known is a dash, never 0. A number stays on the line of its unit.

export function watts(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  return `${value <= -0.5 ? "−" : ""}${size < 1000 ? `${Math.round(size)}\u00a0W` : `${(size / 1000).toFixed(size < 10000 ? 2 : 1)}\u00a0kW`}`;
}

// 48211 as 48 211: no comma and no point, which mean different things in different countries.
export const count = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");

// The same where there is little room.
export function shortWatts(value) {
  if (value === null || value === undefined) return "–";
  return Math.abs(value) < 1000 ? `${Math.round(value)}\u00a0W` : `${(value / 1000).toFixed(1)}\u00a0kW`;
}

export function energy(wh) {
  if (wh === null || wh === undefined) return "–";
  return Math.abs(wh) < 1000 ? `${Math.round(wh)}\u00a0Wh` : `${(wh / 1000).toFixed(wh < 100000 ? 1 : 0)}\u00a0kWh`;
}

export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= 2 * size) return `${seconds / size < 10 && size > 60 ? +(seconds / size).toFixed(1) : Math.round(seconds / size)}\u00a0${unit}`;
  }
  return `${Math.max(0, Math.round(seconds))}\u00a0s`;
}

let zone;

export function useZone(name) {
  zone = name;
}

function written(at, options) {
  try {
    return new Intl.DateTimeFormat("en-GB", { ...options, timeZone: zone }).format(new Date(at * 1000));
  } catch {
    return new Intl.DateTimeFormat("en-GB", options).format(new Date(at * 1000)); // a zone that this browser does not know
  }
}

export const clock = (at) => written(at, { hour: "2-digit", minute: "2-digit" });
export const weekday = (at) => written(at, { weekday: "short" });
export const moment = (at) => written(at, { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
export const day = (at) => written(at, { weekday: "short", day: "numeric", month: "short" });
export const hour = (at) => Number(written(at, { hour: "2-digit", hourCycle: "h23" }));

export const role = (word) => ({ sun: "Sun", grid: "Grid", battery: "Battery", house: "House", charger: "Car", pv: "Sun", other: "Other" })[word]
  ?? (word.charAt(0).toUpperCase() + word.slice(1)).replaceAll("_", " ");

// element("p", {class: "x"}, "text", child): attributes as they stand, text as text.
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

// Text in which `code` is marked as such.
export function marked(text) {
  return text.split("`").map((part, index) => (index % 2 ? element("code", {}, part) : part));
}

export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
