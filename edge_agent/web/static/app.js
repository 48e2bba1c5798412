// The page: listens to the agent's live status, and draws it. It asks for charts every minute, for a device's points when one is opened.

import { drawCharts } from "./charts.js";
import { SMALLEST_W, drawFlow, flowList, parts, sentence } from "./flow.js";
import { count, element, energy, marked, moment, role, span, svg, useZone, watts } from "./words.js";

const by = (id) => document.getElementById(id);
const HEALTH = { healthy: "All is well", degraded: "Needs a look", failing: "Not working" };
const DIRECTIONS = { grid: ["import", "export"], battery: ["charging", "giving"] };
const STATES = { ok: "read", partial: "incomplete", silent: "silent", stale: "its polls no longer end", waiting: "waiting" };
const UPDATES = { judging: "proves itself", confirmed: "has proved itself", "rolled-back": "was taken back", stuck: "does not work" };
let status = null;
let charts = null;
let session = { csrf: null, password: false };
let heardAt = 0;

async function ask(path, options) {
  const answer = await fetch(path, { cache: "no-store", ...options });
  if (answer.status === 401) location.href = "/login";
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error ?? answer.statusText);
  return body;
}

// Live values: a stream; where there is none to be had, a question every ten seconds.
function listen() {
  const stream = new EventSource("/api/live");
  stream.onmessage = (event) => take(JSON.parse(event.data));
  stream.onerror = () => {
    if (stream.readyState !== EventSource.CLOSED) return;
    setTimeout(async () => {
      await look();
      listen();
    }, 10000);
  };
}

async function look() {
  try {
    take(await ask("/api/status"));
  } catch {
    // the banner says for how long nothing has come
  }
}

function take(document_) {
  const first = status === null;
  status = document_;
  heardAt = Date.now();
  useZone(status.time_zone);
  draw();
  if (first) showCharts();
}

function draw() {
  const starting = status.devices.every((device) => device.state === "waiting");
  say(starting ? "Starting" : HEALTH[status.health], starting ? "" : status.health);
  drawAdvice();
  const nodes = parts(status.flow);
  drawFlow(by("flow"), nodes);
  by("sentence").textContent = starting ? "The first readings are on their way." : sentence(nodes);
  by("flow").querySelector("ul")?.remove();
  by("flow").append(flowList(nodes));
  drawDevices();
  drawCloud();
  by("foot").textContent = `edge-agent ${status.version} · building ${status.building_id} · running for ${span(status.uptime_s)} · ${moment(status.at)}`;
}

// The one word at the top, and in the browser's tab.
function say(words, kind) {
  const health = by("health");
  if (health.textContent !== words) health.textContent = words;
  health.className = `pill ${kind}`;
  document.title = `${words} · edge-agent`;
}

// Replaces the children only when they say something else, so that nothing flickers and a screen reader is left in peace.
function fill(box, key, make) {
  const text = JSON.stringify(key);
  if (box.dataset.key === text) return;
  box.dataset.key = text;
  box.replaceChildren(...make());
}

function drawAdvice() {
  const box = by("advice");
  box.hidden = !status.advice.length;
  box.classList.toggle("note", !status.advice.some((one) => one.problem));
  fill(box.querySelector("ul"), status.advice, () => status.advice.map((one) => {
    const device = status.devices.find((device) => device.id === one.subject);
    return element("li", { class: one.problem ? "problem" : null }, element("strong", {}, device?.name ?? role(one.subject)), " ", element("span", {}, ...marked(one.text)));
  }));
}

function drawDevices() {
  const box = by("devices");
  fill(box, status.devices.map((device) => device.id), () => status.devices.map(deviceRow));
  for (const device of status.devices) updateDevice(box.querySelector(`[data-device="${CSS.escape(device.id)}"]`), device);
}

function deviceRow(device) {
  const row = element(
    "details",
    { "data-device": device.id },
    element("summary", {}, element("span", { class: "dot" }), element("span", { class: "name" }, device.name), element("span", { class: "value" }), element("span", { class: "age" }), chevron()),
    element("div", { class: "inside" }, element("p", { class: "error", hidden: "" }), element("dl", {}), element("div", { class: "points", tabindex: "0", role: "region", "aria-label": `Points of ${device.name}` })),
  );
  row.addEventListener("toggle", () => row.open && updateDevice(row, status.devices.find((one) => one.id === device.id)));
  return row;
}

const chevron = () => svg("svg", { viewBox: "0 0 12 12", class: "chevron", "aria-hidden": "true" }, svg("path", { d: "M4 2l4 4-4 4" }));

function updateDevice(row, device) {
  row.querySelector(".dot").className = `dot ${device.state}`;
  row.querySelector(".value").textContent = device.state === "silent" ? "silent" : headline(device);
  const old = device.state === "silent" && device.failing_s !== null ? `for ${span(device.failing_s)}` : device.age_s === null ? "never read" : `${span(device.age_s)} ago`;
  row.querySelector(".age").textContent = old;
  if (!row.open) return;
  const error = row.querySelector(".error");
  error.hidden = !device.error;
  fill(error, device.error, () => marked(device.error));
  const facts = [
    ["State", STATES[device.state]],
    ["Address", device.address],
    ["Profile", device.profile],
    ["Id", device.id],
    ["Round trip", device.round_trip_ms === null ? "–" : `${device.round_trip_ms} ms`],
    ["Polls", `${device.reads}, ${device.failures} of them failed`],
  ];
  fill(row.querySelector("dl"), facts, () => facts.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]));
  if (Date.now() - Number(row.dataset.asked ?? 0) > 5000) showPoints(row, device.id);
}

function headline(device) {
  const of = (quantity) => device.values.find((value) => value.quantity === quantity && value.value !== null);
  const power = device.values.filter((value) => ["power_w", "generation_w"].includes(value.quantity) && value.value !== null);
  const said = power.map((value) => directed(value) ?? (power.length > 1 ? `${role(value.role)} ${watts(value.value)}` : watts(value.value)));
  const soc = of("soc_percent");
  if (soc) said.push(`${Math.round(soc.value)}\u00a0%`);
  const warm = of("temperature_c") ?? of("water_temperature_c");
  if (!said.length && warm) said.push(`${warm.value.toFixed(1)}\u00a0°C`);
  return said.join(" · ");
}

// "export 1.84 kW" where a sign would have to be explained.
function directed({ role, value }) {
  const words = DIRECTIONS[role];
  return words && Math.abs(value) >= SMALLEST_W ? `${words[value < 0 ? 1 : 0]} ${watts(Math.abs(value))}` : null;
}

async function showPoints(row, id) {
  row.dataset.asked = Date.now();
  const box = row.querySelector(".points");
  try {
    const device = await ask(`/api/device/${encodeURIComponent(id)}`);
    fill(box, device.points, () => [pointTable(device.points)]);
  } catch (error) {
    fill(box, error.message, () => [element("p", { class: "empty" }, error.message)]);
  }
}

function pointTable(points) {
  if (!points.length) return element("p", { class: "empty" }, "Nothing was read.");
  const cells = (tag, texts) => element("tr", {}, ...texts.map((text, index) => element(index ? tag : "th", { scope: index ? null : tag === "th" ? "col" : "row" }, text)));
  const rows = points.map((point) => {
    const value = point.value === null ? "–" : `${typeof point.value === "number" ? +point.value.toPrecision(10) : point.value} ${point.unit}`;
    const row = cells("td", [point.point, value, point.quality + (point.reason ? `: ${point.reason}` : ""), point.raw]);
    row.className = point.quality === "ok" ? "" : "odd";
    return row;
  });
  return element("table", {}, element("thead", {}, cells("th", ["Point", "Value", "Quality", "Raw"])), element("tbody", {}, ...rows));
}

function drawCloud() {
  const { queue, uploads } = status;
  const ago = (at) => (at === null ? "nothing yet" : `${span(status.at - at)} ago`);
  const rows = [
    ["Uploads", uploads.state === "running" ? "running" : uploads.state, uploads.state === "running" ? "" : "problem"],
    ["Last accepted", ago(uploads.accepted_at)],
    ["Waiting", queue.waiting ? `${count(queue.waiting)} events, the oldest from ${ago(queue.oldest_at)}` : "nothing: all is delivered"],
    ["Delivered", `${count(queue.accepted_live)} live, ${count(queue.accepted_historical)} as history`],
  ];
  if (uploads.next_try_at !== null) rows.splice(1, 0, ["Next attempt", `in ${span(uploads.next_try_at - status.at)}`]);
  if (uploads.backlog_starts_at !== null) rows.push(["Backlog", `starts in ${span(uploads.backlog_starts_at - status.at)}`]);
  else if (uploads.time_left_s !== null && queue.waiting > 20) rows.push(["Backlog", `done in about ${span(uploads.time_left_s)}, ${Math.round(uploads.events_per_s)} events a second`]);
  if (queue.dropped) rows.push(["Dropped", `${count(queue.dropped)} events, for want of space`, "problem"]);
  rows.push(["Token", status.token_left_s === null ? "none yet" : `good for ${span(status.token_left_s)}`]);
  rows.push(["Building", status.building]);
  const { clock, balance } = status;
  rows.push(["Clock", clock.trusted ? "right" : `not trusted: ${clock.reason}${clock.held ? `; ${clock.held} readings wait for their date` : ""}`, clock.trusted ? "" : "problem"]);
  if (balance.lost_today_wh !== null) rows.push(["Lost in inverters", `${energy(balance.lost_today_wh)} today, ${energy(balance.lost_yesterday_wh)} yesterday`]);
  if (status.updates?.state) rows.push(["Updates", `${status.updates.version_to} ${UPDATES[status.updates.state] ?? status.updates.state}`, status.updates.state === "stuck" ? "problem" : ""]);
  if (queue.possibly_doubled) rows.push(["Possibly doubled", `${queue.possibly_doubled} events, after answers that were lost`]);
  fill(by("cloud"), rows, () => rows.flatMap(([name, text, kind]) => [element("dt", {}, name), element("dd", { class: kind || null }, text)]));
  fill(by("dead"), [queue.dead, session], deadLetters);
}

function deadLetters() {
  if (!status.queue.dead) return [];
  const list = element("div", { class: "points", tabindex: "0", role: "region", "aria-label": "Dead letters" });
  const more = element("details", {}, element("summary", {}, element("span", { class: "dot partial" }), element("span", { class: "name" }, `${count(status.queue.dead)} refused for good`), chevron()), list);
  more.addEventListener("toggle", async () => more.open && list.replaceChildren(letterTable(await ask("/api/dead"))));
  return [more, session.csrf ? retryButton() : element("p", { class: "hint" }, session.password ? "Log in to send them again." : "edge-agent queue retry sends them again; with web.password_file set, a button here does.")];
}

function letterTable(letters) {
  const rows = letters.map((one) => element("tr", {}, element("th", { scope: "row" }, moment(one.at)), element("td", {}, one.device_id), element("td", {}, `${one.type} ${one.value}`), element("td", {}, one.reason)));
  const head = ["At", "Device", "Event", "Reason"].map((text) => element("th", { scope: "col" }, text));
  return element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows));
}

function retryButton() {
  const button = element("button", {}, "Send them again");
  const out = element("output", { class: "hint" });
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const { retried } = await ask("/api/retry", { method: "POST", headers: { "x-csrf-token": session.csrf } });
      out.textContent = `${retried} are in the queue again.`;
    } catch (error) {
      out.textContent = error.message;
    }
    button.disabled = false;
  });
  return element("p", {}, button, " ", out);
}

// The commissioning check: a minute of all meters, and what does not fit.
async function check() {
  const [button, said, box] = [by("check"), by("checking"), by("checked")];
  const until = Date.now() + 60000;
  button.disabled = true;
  box.replaceChildren();
  const ticking = setInterval(() => (said.textContent = `Watching all meters, ${Math.max(0, Math.round((until - Date.now()) / 1000))} s to go.`), 1000);
  try {
    const answer = await ask("/api/check");
    said.textContent = answer.wrong ? "Something does not fit:" : "Nothing speaks against it.";
    box.replaceChildren(...findings(answer));
  } catch (error) {
    said.textContent = error.message;
  }
  clearInterval(ticking);
  button.disabled = false;
}

function findings(answer) {
  const said = answer.findings.map((one) => element("li", { class: one.wrong ? "problem" : null }, ...marked(one.text)));
  const errors = answer.errors.map((text) => element("li", { class: "problem" }, ...marked(text)));
  const terms = answer.terms.map((term) => element("tr", {}, element("th", { scope: "row" }, role(term.role)), element("td", {}, term.point), element("td", {}, watts(term.watts))));
  const head = ["Role", "Point", "Power into the house"].map((text) => element("th", { scope: "col" }, text));
  return [element("ul", { class: "findings" }, ...said, ...errors), element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...terms))];
}

async function showCharts() {
  try {
    charts = await ask("/api/charts");
    redraw();
  } catch {
    // the next minute tries again
  }
}

function redraw() {
  const box = by("charts");
  if (charts && !box.contains(document.activeElement)) drawCharts(box, charts, document.querySelector("[name=span]:checked").value);
}

function watchSilence() {
  const silent = (Date.now() - heardAt) / 1000;
  const lost = heardAt && silent > 8;
  by("lost").hidden = !lost;
  document.body.classList.toggle("stale", Boolean(lost));
  if (!lost) return;
  say("No contact", "failing");
  by("lost").textContent = `Nothing has been heard from the agent for ${span(silent)}; what you see is old.`;
}

by("span").addEventListener("change", redraw);
by("check").addEventListener("click", check);
new ResizeObserver(redraw).observe(by("charts"));
setInterval(showCharts, 60000);
setInterval(watchSilence, 2000);
document.addEventListener("visibilitychange", () => document.hidden || showCharts());
session = await ask("/api/session");
by("logout").hidden = !session.csrf;
listen();
