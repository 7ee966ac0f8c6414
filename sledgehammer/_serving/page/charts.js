// Show where texts leave and how long they take, from /metrics, while the page is visible.

import {at, chosen, drawn, percent, send} from "./shared.js";

const SECONDS = 2, POINTS = 61;  // two minutes
const still = matchMedia("(prefers-reduced-motion: reduce)");

let following = false, busy = false, history = [];

// Return {name: [{labels, value}]} of a page in Prometheus's text format.
function metricsOf(text) {
  const found = {};
  for (const line of text.split("\n")) {
    const parts = /^([a-z_]+)\{(.*)\} (\S+)$/.exec(line);
    if (!parts) continue;
    const labels = {};
    for (const [, name, value] of parts[2].matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g))
      labels[name] = value.replace(/\\(.)/g, (_, c) => c === "n" ? "\n" : c);
    (found[parts[1]] ??= []).push({labels, value: Number(parts[3].replace("+Inf", "Infinity"))});
  }
  return found;
}

// Return the counts so far of the chosen model: texts by exit, and by the time that they took.
async function counted(model) {
  const metrics = metricsOf(await (await send("/metrics")).text());
  const own = name => (metrics[name] ?? []).filter(sample => sample.labels.model === model.name);
  const exits = Object.fromEntries(model.exit_layers.map(layer => [layer, 0]));
  for (const {labels, value} of own("sledgehammer_texts_total")) exits[labels.exit_layer] += value;
  const buckets = own("sledgehammer_text_seconds_bucket")
    .map(({labels, value}) => [labels.le === "+Inf" ? Infinity : Number(labels.le), value]);
  return {name: model.name, time: performance.now(), exits, buckets};
}

// Return the seconds within which a share of the texts between two counts was answered.
function quantile(before, after, share) {
  const counts = after.buckets.map(([end, count], i) => [end, count - (before.buckets[i]?.[1] ?? 0)]);
  const wanted = share * (counts.at(-1)?.[1] ?? 0);
  if (!(wanted > 0)) return null;
  let start = 0, below = 0;
  for (const [end, count] of counts) {
    if (count >= wanted)
      return end === Infinity ? start : start + (end - start) * (wanted - below) / (count - below);
    [start, below] = [end, count];
  }
  return start;
}

async function look() {
  const model = chosen();
  if (busy || !model) return;
  busy = true;
  try {
    const now = await counted(model);
    const last = history.at(-1);
    const sum = ({exits}) => Object.values(exits).reduce((a, b) => a + b, 0);
    // Another model, or a server that was started anew.
    if (last && (last.name !== now.name || sum(now) < sum(last))) history = [];
    history = [...history, now].slice(-POINTS);
    draw(model);
  } catch (error) {
    at("live-text").textContent = `No figures: ${error.message}`;
  } finally {
    busy = false;
  }
}

function draw(model) {
  const first = history[0], now = history.at(-1), before = history.at(-2) ?? now;
  const grown = layer => now.exits[layer] - first.exits[layer];
  const total = model.exit_layers.reduce((sum, layer) => sum + grown(layer), 0);
  const seconds = (now.time - first.time) / 1000;
  const lately = model.exit_layers.reduce((sum, l) => sum + now.exits[l] - before.exits[l], 0);
  const rate = lately / Math.max((now.time - before.time) / 1000, 1e-3);
  at("live-text").textContent =
    `${total} texts in the last ${Math.round(seconds)} seconds; ${rate.toFixed(rate < 10 ? 1 : 0)} texts a second now.`;
  drawExits(model, grown, total);
  drawLatency();
}

function drawExits(model, grown, total) {
  const height = Math.min(24, 150 / model.exit_layers.length);
  const shares = model.exit_layers.map(layer => total ? grown(layer) / total : 0);
  const name = layer => layer < 0 ? "words" : `layer ${layer}`;
  const title = total ? "Texts left after " +
    model.exit_layers.map((layer, i) => `${name(layer)}: ${percent(shares[i])}`).join(", ") : "No texts yet";
  const chart = at("exits-chart");
  chart.setAttribute("aria-label", title);
  // Bars are kept, so that they can grow smoothly for those who like that.
  if (chart.dataset.exits !== String(model.exit_layers)) {
    chart.dataset.exits = String(model.exit_layers);
    chart.replaceChildren(...model.exit_layers.flatMap((layer, i) => [
      drawn("text", {x: 0, y: (i + .7) * height}, name(layer)),
      drawn("rect", {class: "share", x: 70, y: i * height + 2, height: height - 4, width: 0}),
      drawn("text", {class: "share-text", x: 75, y: (i + .7) * height}, ""),
    ]));
  }
  chart.querySelectorAll(".share").forEach((bar, i) => { bar.style.width = `${340 * shares[i]}px`; });
  chart.querySelectorAll(".share-text").forEach((text, i) => {
    text.setAttribute("x", 75 + 340 * shares[i]);
    text.textContent = percent(shares[i]);
  });
}

function drawLatency() {
  const chart = at("latency-chart"), now = history.at(-1);
  const points = history.slice(1).map((after, i) => ({
    age: (now.time - after.time) / 1000,
    middle: quantile(history[i], after, .5), slowest: quantile(history[i], after, .95),
  }));
  const known = points.filter(point => point.middle !== null);
  const top = Math.max(...known.map(point => point.slowest), 1e-3);
  const x = age => 460 - 400 * age / (SECONDS * (POINTS - 1)), y = s => 130 - 110 * s / top;
  const shown = s => (s >= .01 ? Math.round(1000 * s) : (1000 * s).toPrecision(2)) + " ms";
  const last = known.at(-1);
  chart.setAttribute("aria-label", last ?
    `Half of the texts took at most ${shown(last.middle)}, 95 % at most ${shown(last.slowest)}` : "No texts yet");
  chart.replaceChildren(
    drawn("path", {class: "axis", d: "M60 20V130H460", fill: "none"}),
    drawn("text", {x: 55, y: 25, "text-anchor": "end"}, known.length ? shown(top) : ""),
    drawn("text", {x: 55, y: 134, "text-anchor": "end"}, "0"),
    drawn("text", {x: 60, y: 150}, "2 minutes ago"),
    drawn("text", {x: 460, y: 150, "text-anchor": "end"}, "now"),
    ...["middle", "slowest"].flatMap(name => parts(points, name).map(part => drawn("polyline", {
      class: name, points: part.map(p => `${x(p.age)},${y(p[name])}`).join(" "),
    }))),
  );
}

// Return the stretches without a gap: when no text came there is no time to draw.
function parts(points, name) {
  const found = [[]];
  for (const point of points) {
    if (point[name] === null) { if (found.at(-1).length) found.push([]); }
    else found.at(-1).push(point);
  }
  // A lone point becomes a short dash.
  return found.filter(part => part.length)
    .map(part => part.length > 1 ? part : [part[0], {...part[0], age: part[0].age + 1}]);
}

function follow(wanted) {
  following = wanted;
  at("follow").setAttribute("aria-pressed", String(wanted));
  if (wanted) look();
}

at("follow").addEventListener("click", () => follow(!following));
at("model").addEventListener("change", look);
document.addEventListener("models", () => follow(!still.matches));
document.addEventListener("visibilitychange", () => { if (following && !document.hidden) look(); });
setInterval(() => { if (following && !document.hidden) look(); }, 1000 * SECONDS);
if (still.matches) at("live-text").textContent = "Nothing moves until you press the button.";
