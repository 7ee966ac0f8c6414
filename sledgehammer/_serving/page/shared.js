// What all parts of the page use: elements, requests, and the models that the server has.

export const at = id => document.getElementById(id);
export const percent = value => (100 * value).toFixed(1) + " %";
export const state = {models: []};
export const chosen = () => state.models.find(model => model.name === at("model").value);
export const sweeps = model => model.settings.threshold !== undefined;

export function made(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

export function drawn(tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  return element;
}

// Return the response to a request; an error of the server becomes one to show.
export async function send(path, options = {}) {
  const headers = {...options.headers};
  if (at("key").value) headers.Authorization = "Bearer " + at("key").value;
  const response = await fetch(path, {...options, headers});
  if (response.status === 401) at("asking").hidden = false;
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail || `the server answered with status ${response.status}`);
  }
  return response;
}

export async function ask(path, content) {
  const response = await send(path, content && {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(content),
  });
  return response.json();
}

export function say(element, text, isError = false) {
  element.classList.toggle("error", isError);
  element.textContent = text;
}
