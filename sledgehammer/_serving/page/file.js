// Classify the rows of a file through /v1/stream, and offer the answers as a file.

import {at, chosen, made, say, send, sweeps} from "./shared.js";
import {asCsv, asJsonLines, parsed} from "./tables.js";

const ROWS = 256, CHARACTERS = 1 << 19;  // of one request
const SHOWN = 5;  // rows with an error that the page lists

let file = null, stopping = null;

async function take(chosenFile) {
  stopping?.abort();
  file = null;
  at("start").disabled = true;
  at("running").hidden = at("results").hidden = true;
  at("columns").replaceChildren();
  try {
    const content = new TextDecoder("utf-8", {fatal: true}).decode(await chosenFile.arrayBuffer());
    const table = parsed(chosenFile.name, content);
    if (!table.rows.length) throw new Error(`${chosenFile.name} has no rows`);
    file = {...table, name: chosenFile.name};
    showColumns();
    at("start").disabled = false;
    say(at("file-status"), `${chosenFile.name}: ${table.rows.length} rows.`);
  } catch (error) {
    const message = error instanceof TypeError ? `${chosenFile.name} is not a text in UTF-8` : error.message;
    say(at("file-status"), message, true);
  }
}

// Let the user say which column holds each text of the model.
function showColumns() {
  const model = chosen();
  if (!file || !model) return;
  at("columns").replaceChildren(...model.fields.flatMap((field, i) => {
    const label = made("label", "", model.fields.length > 1 ? `Column of ${field}` : "Column of the text");
    const select = made("select");
    select.id = label.htmlFor = `column-${i}`;
    select.append(...file.columns.map(name => new Option(name)));
    select.value = guessed(field, i);
    return [label, select];
  }));
  at("columns").hidden = file.columns.length === 1 && model.fields.length === 1;
}

function guessed(field, i) {
  const named = file.columns.find(name => name.toLowerCase() === field.toLowerCase());
  const usual = file.columns.find(name => /^(text|sentence|review|content)$/i.test(name));
  return named ?? (i === 0 && usual) ?? file.columns[i] ?? file.columns[0];
}

// Return what is sent of a row, or answer it with why it can't be.
function line(model, row) {
  row.answer = undefined;  // of the run before
  if (row.error) return null;
  const sent = {};
  for (const [i, field] of model.fields.entries()) {
    const text = row.cells[at(`column-${i}`).value];
    if (typeof text === "string") { sent[field] = text; continue; }
    row.answer = {error: `no text in column ${at(`column-${i}`).value}`};
    return null;
  }
  return JSON.stringify(sent) + "\n";
}

async function run() {
  const model = chosen(), table = file;
  stopping = new AbortController();
  const meter = started(table, stopping);
  try {
    let lines = [], rows = [], size = 0;
    for (const row of table.rows) {
      const next = line(model, row);
      if (next === null) { meter.saw(row); continue; }
      lines.push(next); rows.push(row); size += next.length;
      if (rows.length < ROWS && size < CHARACTERS) continue;
      await classifyRows(model, lines, rows, meter);
      lines = []; rows = []; size = 0;
    }
    if (rows.length) await classifyRows(model, lines, rows, meter);
    meter.ended("");
  } catch (error) {
    meter.ended(error.name === "AbortError" ? "Stopped." : `Stopped: ${error.message}.`, error.name !== "AbortError");
  }
}

async function classifyRows(model, lines, rows, meter) {
  const query = new URLSearchParams({model: model.name});
  if (sweeps(model)) query.set("threshold", at("threshold").value);
  const response = await send(`/v1/stream?${query}`, {
    method: "POST", headers: {"Content-Type": "application/x-ndjson"}, body: lines.join(""),
    signal: stopping.signal,
  });
  for await (const text of linesOf(response)) {
    const {line: number, ...answer} = JSON.parse(text);
    rows[number - 1].answer = answer;
    meter.saw(rows[number - 1]);
  }
  if (rows.some(row => !row.answer)) throw new Error("the server broke off");
}

async function* linesOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const {done, value} = await reader.read();
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    yield* parts;
  }
  if (rest) yield rest;
}

// Show how far it is. Screen readers hear of each quarter only.
function started(table, controller) {
  const total = table.rows.length, began = performance.now();
  let seen = 0, bad = 0, layers = 0, shownAt = 0, quarter = 0;
  at("progress").max = total;
  at("bad").replaceChildren();
  at("running").hidden = at("stop").hidden = false;
  at("start").disabled = at("results").hidden = true;
  say(at("file-status"), `Classifying ${total} rows.`);
  const show = () => {
    const seconds = (performance.now() - began) / 1000, good = seen - bad;
    at("progress").value = seen;
    at("counts").textContent = `${seen} of ${total} rows, ${bad} with an error; ` +
      `${Math.round(seen / Math.max(seconds, 1e-3))} rows a second; ` +
      `${(layers / Math.max(good, 1)).toFixed(2)} layers on average`;
    if (Math.floor(4 * seen / total) > quarter && seen < total) {
      quarter = Math.floor(4 * seen / total);
      say(at("file-status"), `${25 * quarter} % of ${total} rows answered.`);
    }
  };
  return {
    saw(row) {
      seen++;
      const error = row.error ?? row.answer.error;
      if (error) {
        if (++bad <= SHOWN) at("bad").append(made("li", "", `row ${table.rows.indexOf(row) + 1}: ${error}`));
      } else layers += row.answer.layers_run;
      if (performance.now() - shownAt < 100) return;
      shownAt = performance.now();
      show();
    },
    ended(message, isError = false) {
      if (table !== file || controller !== stopping) return;  // another file was chosen
      stopping = null;
      show();
      at("stop").hidden = true;
      at("start").disabled = at("results").hidden = false;
      say(at("file-status"), `${message} ${seen} of ${total} rows answered, ${bad} with an error.`.trim(), isError);
    },
  };
}

function download(content, ending, type) {
  const link = made("a");
  link.href = URL.createObjectURL(new Blob([content], {type}));
  link.download = file.name.replace(/\.[^.]*$/, "") + ".answers." + ending;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

at("file").addEventListener("change", () => at("file").files.length && take(at("file").files[0]));
at("start").addEventListener("click", run);
at("stop").addEventListener("click", () => { stopping?.abort(); at("start").focus(); });
at("as-jsonl").addEventListener("click", () => download(asJsonLines(file), "jsonl", "application/x-ndjson"));
at("as-csv").addEventListener("click", () => download(asCsv(file), "csv", "text/csv"));
at("model").addEventListener("change", showColumns);
document.addEventListener("models", showColumns);
// A file that misses the box must not replace the page.
for (const name of ["dragover", "drop"]) document.addEventListener(name, event => event.preventDefault());
document.addEventListener("dragover", () => at("drop").classList.add("over"));
document.addEventListener("dragleave", event => event.relatedTarget ?? at("drop").classList.remove("over"));
document.addEventListener("drop", event => {
  at("drop").classList.remove("over");
  if (!event.dataTransfer.files.length) return;
  at("file").files = event.dataTransfer.files;  // shows its name
  take(event.dataTransfer.files[0]);
});
