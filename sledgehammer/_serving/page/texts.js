// Answer the texts that are typed, and show the curve of the model.

import {ask, at, chosen, drawn, made, percent, say, state, sweeps} from "./shared.js";

let asked = 0;

async function loadModels() {
  state.models = (await ask("/info")).models;
  at("asking").hidden = !at("key").value;
  at("model").replaceChildren(...state.models.map(model => new Option(model.name)));
  showModel();
  document.dispatchEvent(new Event("models"));
}

function showModel() {
  const model = chosen();
  at("pairs").hidden = model.fields.length === 1;
  at("sliding").hidden = !sweeps(model);
  if (sweeps(model)) at("threshold").value = model.settings.threshold.value;
  showThreshold();
}

function showThreshold() {
  at("value").textContent = at("threshold").value;
  drawCurve();
}

async function classify() {
  const model = chosen(), number = ++asked;
  let texts = at("texts").value.split("\n").filter(line => line.trim());
  if (!texts.length) { at("answers").replaceChildren(); at("status").textContent = "No texts."; return; }
  if (model.fields.length === 2) texts = texts.map(line => line.split("\t"));
  const content = {model: model.name, input: texts, trace: true};
  if (sweeps(model)) content.threshold = Number(at("threshold").value);
  const began = performance.now();
  try {
    const data = (await ask("/v1/classify", content)).data;
    if (number !== asked) return;  // the slider has moved on
    const seconds = (performance.now() - began) / 1000;
    at("answers").replaceChildren(...data.map((datum, i) => shown(model, texts[i], datum)));
    say(at("status"), summary(model, data, seconds));
  } catch (error) {
    if (number !== asked) return;
    failed(error);
  }
}

function summary(model, data, seconds) {
  const good = data.filter(datum => !datum.error);
  const layers = good.reduce((sum, datum) => sum + datum.layers_run, 0) / Math.max(good.length, 1);
  return `${good.length} of ${data.length} texts answered in ${(1000 * seconds).toFixed(1)} ms; ` +
    `${layers.toFixed(2)} of ${model.full_layers} layers on average.`;
}

function shown(model, text, datum) {
  const item = made("li");
  item.append(made("p", "text", Array.isArray(text) ? text.join(" | ") : text));
  if (datum.error) {
    item.append(made("p", "error", datum.error));
    return item;
  }
  const left = datum.exit_layer < 0 ? "at the words, before the first layer" : `after layer ${datum.exit_layer}`;
  const answer = made("p", "dim");
  answer.append(made("span", "answer", datum.label), ` ${percent(datum.confidence)}, left ${left}` +
    (datum.truncated ? ", truncated" : "") + (datum.deadline ? ", cut short by the deadline" : ""));
  item.append(answer, bar(model, datum), exits(datum));
  const probs = model.labels.map((label, i) => `${label} ${percent(datum.probs[i])}`).join(", ");
  item.append(made("p", "dim", "Probabilities: " + probs));
  return item;
}

function bar(model, datum) {
  const layers = made("div", "layers");
  layers.setAttribute("role", "img");
  layers.setAttribute("aria-label", `${datum.layers_run} of ${model.full_layers} layers run`);
  for (let layer = 0; layer < model.full_layers; layer++)
    layers.append(made("span", layer < datum.layers_run ? "layer run" : "layer"));
  return layers;
}

function exits(datum) {
  const list = made("ul", "exits");
  for (const exit of datum.exits) {
    list.append(made("li", "", `exit ${exit.exit_layer}: ${exit.label} ${percent(exit.confidence)}`));
  }
  return list;
}

function drawCurve() {
  const model = chosen(), curve = model.expected_layers;
  at("curve").hidden = curve.length < 2;
  if (curve.length < 2) return;
  const x = t => 40 + 420 * t, y = n => 170 - 150 * n / model.full_layers;
  const threshold = Number(at("threshold").value);
  let above = curve.findIndex(point => point[0] >= threshold);
  if (above < 0) above = curve.length - 1;
  const [t0, n0] = curve[Math.max(above - 1, 0)], [t1, n1] = curve[above];
  const here = t1 > t0 ? n0 + (n1 - n0) * (threshold - t0) / (t1 - t0) : n1;
  const title = `At threshold ${threshold}, ${here.toFixed(2)} of ${model.full_layers} layers on average`;
  at("plot").setAttribute("aria-label", title);
  at("plot").replaceChildren(
    drawn("title", {}, title),
    drawn("path", {class: "axis", d: `M40 20V170H460`, fill: "none"}),
    drawn("polyline", {class: "curve", points: curve.map(p => `${x(p[0])},${y(p[1])}`).join(" ")}),
    drawn("circle", {class: "point", cx: x(threshold), cy: y(here), r: 5}),
    drawn("text", {x: 40, y: 190}, "0"), drawn("text", {x: 455, y: 190}, "1"),
    drawn("text", {x: 220, y: 190}, "threshold"),
    drawn("text", {x: 5, y: 174}, "0"), drawn("text", {x: 5, y: 24}, `${model.full_layers} layers`),
  );
}

at("form").addEventListener("submit", event => {
  event.preventDefault();
  (state.models.length ? Promise.resolve() : loadModels()).then(classify).catch(failed);
});
at("model").addEventListener("change", () => { showModel(); classify(); });
at("threshold").addEventListener("input", () => { showThreshold(); classify(); });
function failed(error) {
  say(at("status"), error.message, true);
}
loadModels().catch(failed);
