// Read the rows of a file, and write rows with their answers. Nothing here knows of the page.
//
// A row is {cells: {column: value}, error, answer}: one that can't be read has an error and what there
// is of it; an answer may be {error} too.

// Return {columns, rows}; of a file of lines the only column is "text".
export function parsed(name, content) {
  const kind = name.toLowerCase().replace(/^.*\./, "");
  if (kind === "jsonl" || kind === "ndjson") return parsedJson(content);
  if (kind === "tsv") return parsedCells(content, "\t");
  if (kind === "csv") {
    const header = content.slice(0, (content + "\n").indexOf("\n"));
    return parsedCells(content, header.split(";").length > header.split(",").length ? ";" : ",");
  }
  if (kind === "txt") {
    const lines = content.split(/\r?\n/).filter(line => line.trim());
    return {columns: ["text"], rows: lines.map(text => ({cells: {text}}))};
  }
  throw new Error(`${name} must be .txt, .csv, .tsv or .jsonl`);
}

function parsedJson(content) {
  const columns = new Set();
  const rows = content.split("\n").filter(line => line.trim()).map(line => {
    let cells;
    try { cells = JSON.parse(line); } catch { return {cells: {line}, error: "the line is not JSON"}; }
    if (typeof cells === "string") cells = {text: cells};
    if (cells === null || typeof cells !== "object" || Array.isArray(cells))
      return {cells: {line}, error: "the line must be a JSON object or a string"};
    Object.keys(cells).forEach(name => columns.add(name));
    return {cells};
  });
  return {columns: [...columns], rows};
}

function parsedCells(content, separator) {
  const [header, ...lines] = split(content, separator);
  if (!header) return {columns: [], rows: []};
  const columns = header.map((name, i) => name.trim() || `column ${i + 1}`);
  if (new Set(columns).size < columns.length) throw new Error("two columns have the same name");
  const rows = lines.map(cells => {
    const named = Object.fromEntries(columns.map((name, i) => [name, cells[i] ?? ""]));
    if (cells.length === columns.length) return {cells: named};
    return {cells: named, error: `the row should have ${columns.length} cells, and has ${cells.length}`};
  });
  return {columns, rows};
}

// Return the cells of each line, as RFC 4180 has them; a quoted cell may hold separators, quotes
// (written twice) and line ends. Empty lines are left out.
function split(content, separator) {
  const lines = [];
  let cells = [], cell = "", quoted = false;
  const ended = () => {
    if (cells.length || cell.trim()) lines.push([...cells, cell]);
    cells = []; cell = "";
  };
  for (let i = 0; i < content.length; i++) {
    const c = content[i];
    if (quoted) {
      if (c !== '"') cell += c;
      else if (content[i + 1] === '"') { cell += c; i++; }
      else quoted = false;
    } else if (c === '"' && !cell) quoted = true;
    else if (c === separator) { cells.push(cell); cell = ""; }
    else if (c === "\n" || c === "\r") { if (c === "\n" || content[i + 1] !== "\n") ended(); }
    else cell += c;
  }
  ended();
  return lines;
}

const said = row => row.error ? {error: row.error} : row.answer ?? {error: "not answered"};

const ANSWERED = ["label", "confidence", "exit_layer", "layers_run", "error"];

// Return a function that gives an answer's field a name that no column of the file has.
function namer(columns) {
  const free = name => columns.includes(name) ? free("answered_" + name) : name;
  return free;
}

export function asJsonLines({columns, rows}) {
  const name = namer(columns);
  return rows.map(row => {
    const named = Object.entries(said(row)).map(([field, value]) => [name(field), value]);
    return JSON.stringify({...row.cells, ...Object.fromEntries(named)}) + "\n";
  }).join("");
}

export function asCsv({columns, rows}) {
  const name = namer(columns);
  const lines = rows.map(row => {
    const answer = said(row);
    return [...columns.map(c => row.cells[c]), ...ANSWERED.map(field => answer[field])];
  });
  return [[...columns, ...ANSWERED.map(name)], ...lines]
    .map(cells => cells.map(inCsv).join(",") + "\r\n").join("");
}

function inCsv(value) {
  const text = value === undefined || value === null ? "" :
    typeof value === "object" ? JSON.stringify(value) : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
