// The image page: move, accept, edit and undo by key. The server renders each page; only its main part is replaced.
// Neighbours are fetched ahead, and changes are remembered while the tab is open.
import { showStatus, typing } from "./status.js";

const CHOSEN = "amatl chosen set";
const CHANGES = "amatl changes";
const LOGGED_OUT = "You are no longer logged in. Log in in another tab, then try again.";
const page = () => document.querySelector('[data-page="image"]');
const ahead = new Map(); // address -> promise of a page
const MAX_WAITING = 200;
const OTHER_WAY_MS = 400;
let waiting = []; // keys pressed while a page was loading, in order
let busy = false;
let later; // timer: fetches the other neighbour after a pause

const fetched = async (address, options) => {
  const response = await fetch(address, options);
  if (response.status === 401) throw new Error(LOGGED_OUT);
  if (!response.ok) {
    const problem = await response.json().catch(() => ({ detail: response.statusText }));
    throw Object.assign(new Error(problem.detail), { status: response.status });
  }
  const next = new DOMParser().parseFromString(await response.text(), "text/html");
  if (!next.querySelector('[data-page="image"]')) {
    throw new Error(LOGGED_OUT); // redirected to the login page
  }
  return { address: response.url, next };
};

const unsaved = (form) => form.elements.text.value !== form.elements.text.defaultValue;

/** Replace the page's main part. Keep the focus, and text typed for other sets of the same image. */
function put({ address, next }, sent, where = "next") {
  const same = new URL(address).pathname === location.pathname;
  const typed = same ? forms().filter((form) => form !== sent && unsaved(form)) : [];
  const at = page().contains(document.activeElement) ? document.activeElement : null;
  page().replaceChildren(...next.querySelector("main").childNodes);
  document.title = next.title;
  if (address !== location.href) history.pushState({}, "", address);
  for (const old of typed) {
    const form = forms().find((one) => one.dataset.set === old.dataset.set);
    if (form) form.elements.text.value = old.elements.text.value;
  }
  ahead.clear();
  arrive(where);
  if (at) refocus(at);
}

function refocus(at) {
  const form = forms().find((one) => one.dataset.set === at.form?.dataset.set);
  const same = at.dataset.go
    ? page().querySelector(`[data-go="${at.dataset.go}"]`)
    : form?.querySelector(at.dataset.do ? `[data-do="${at.dataset.do}"]:enabled` : "textarea");
  // After saving by key the text loses the focus, so that keys move on.
  (at.matches("textarea") ? page() : same ?? form?.querySelector("button:enabled") ?? page()).focus({ preventScroll: true });
}

function arrive(where = "next") {
  choose(localStorage.getItem(CHOSEN));
  fetchAhead(where);
  clearTimeout(later);
  later = setTimeout(() => fetchAhead(where === "next" ? "previous" : "next"), OTHER_WAY_MS);
}

function fetchAhead(where) {
  const link = page().querySelector(`[data-go="${where}"]`);
  if (!link || ahead.has(link.href)) return;
  const coming = fetched(link.href);
  coming.catch(() => {}); // reported when the page is used
  ahead.set(link.href, coming);
  new Image().src = link.dataset.image;
}

const forms = () => [...page().querySelectorAll("form.caption")];
const chosen = () => forms().find((form) => form.classList.contains("chosen"));

function choose(name) {
  const form = forms().find((one) => one.dataset.set === name) ?? forms()[0];
  forms().forEach((one) => one.classList.toggle("chosen", one === form));
}

async function alone(action) {
  if (busy) return;
  busy = true;
  // Text typed into a page that is being replaced would be lost.
  const held = forms().map((form) => form.elements.text).filter((text) => !text.readOnly);
  held.forEach((text) => (text.readOnly = true));
  try {
    return await action();
  } catch (error) {
    stop(error.message);
  } finally {
    busy = false;
    held.forEach((text) => (text.readOnly = false));
    setTimeout(handleWaiting); // after the action's own follow-up
  }
}

/** Show why an action failed, and drop the waiting keys. */
function stop(why) {
  waiting = [];
  showStatus(why);
}

/** Queue a key pressed while a page is loading, so that no typed letter becomes a command. */
function hold(event) {
  const { key, shiftKey, isComposing } = event;
  const known = key.length === 1 || ["Enter", "Escape", "ArrowLeft", "ArrowRight"].includes(key);
  if (!known || isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  if (!event.repeat && waiting.length < MAX_WAITING) waiting.push({ key, shiftKey });
  if (!busy) setTimeout(handleWaiting);
}

function handleWaiting() {
  while (waiting.length && !busy) {
    const { key, shiftKey } = waiting.shift();
    const text = document.activeElement;
    if (!text.matches(".caption textarea")) command(key);
    else if (key === "Enter") enter(text, shiftKey);
    else if (key === "Escape") leave(text);
    else if (key.length === 1) text.setRangeText(key, text.selectionStart, text.selectionEnd, "end");
  }
}

/** Return whether everything is saved; else focus the unsaved text and say so. */
function saved() {
  const form = forms().find(unsaved);
  if (!form) return true;
  choose(form.dataset.set);
  form.elements.text.focus();
  stop(`Not saved yet: ${form.dataset.set}. Enter saves it, Esc cancels the edit.`);
  return false;
}

async function go(where) {
  const link = page().querySelector(`[data-go="${where}"]`);
  if (!link) {
    stop(where === "next" ? "This is the last image." : "This is the first image.");
    return false;
  }
  if (!saved()) return false;
  put(await (ahead.get(link.href) ?? fetched(link.href)), undefined, where);
  showStatus("");
  document.getElementById("told").textContent = `${page().querySelector("h1").textContent}, ${page().querySelector(".place").textContent}`;
  return true;
}

const remembered = () => JSON.parse(sessionStorage.getItem(CHANGES) ?? "[]");
const remember = (changes) => sessionStorage.setItem(CHANGES, JSON.stringify(changes.slice(-200)));

async function send(form, address, more = {}, sent = form) {
  const ask = () => {
    const body = new URLSearchParams(new FormData(form));
    Object.entries(more).forEach(([name, value]) => body.set(name, value));
    return fetched(address, { method: "POST", body, headers: { Accept: "application/problem+json" } });
  };
  const response = await ask().catch(async (error) => {
    if (error.status !== 403 || !(await renewed())) throw error;
    return ask();
  });
  put(response, sent);
}

/** Return whether the person has logged in again meanwhile; if so, put the new CSRF token into the forms. */
async function renewed() {
  const { next } = await fetched(location.href);
  const fresh = next.querySelector('[name="csrf_token"]')?.value;
  const tokens = [...page().querySelectorAll('[name="csrf_token"]')].filter((one) => fresh && one.value !== fresh);
  tokens.forEach((one) => (one.value = fresh));
  return tokens.length > 0;
}

async function save(form, what) {
  const name = form.dataset.set;
  const before = form.elements.expected.value;
  const undo = form.getAttribute("action").replace(/(\?|$)/, "/undo$1");
  await send(form, form.action);
  const now = forms().find((one) => one.dataset.set === name).elements.expected.value;
  if (now !== before) remember([...remembered(), { undo, id: now, name }]);
  choose(name);
  showStatus(now === before ? "Nothing to save: the caption is already yours." : `${what} in ${name}. U undoes it.`);
}

async function undo() {
  const changes = remembered();
  const last = changes.pop();
  if (!last) {
    stop("You have no change to undo in this tab.");
    return;
  }
  if (!saved()) return;
  remember(changes); // even if this change can't be undone, the one before may
  await send(chosen() ?? forms()[0], last.undo, { caption_id: last.id });
  choose(last.name);
  showStatus(`Undone in ${last.name}.`);
}

async function accept() {
  const form = chosen();
  if (!form || form.elements.expected.value === "none") {
    stop("There is no caption to accept. E writes one.");
    return;
  }
  if (!saved()) return;
  form.elements.text.value = form.elements.text.dataset.asItWas;
  await save(form, "Accepted");
  const status = document.getElementById("said").textContent;
  if (await go("next")) showStatus(status);
}

const edit = () => {
  const text = chosen()?.elements.text;
  text?.focus();
  text?.setSelectionRange(text.value.length, text.value.length);
};

const KEYS = {
  ArrowRight: () => alone(() => go("next")),
  j: () => alone(() => go("next")),
  ArrowLeft: () => alone(() => go("previous")),
  k: () => alone(() => go("previous")),
  a: () => alone(accept),
  e: edit,
  u: () => alone(undo),
  g: () => page().querySelector('[data-go="gallery"]').click(),
};

function leave(text) {
  text.value = text.dataset.asItWas;
  text.blur();
}

function enter(text, onward) {
  alone(async () => {
    await save(text.form, "Saved");
    return onward && (await go("next"));
  }).then((there) => there && edit());
}

function editing(event) {
  if (busy || waiting.length) hold(event);
  else if (event.key === "Escape") leave(event.target);
  else if (event.key === "Enter" && !event.isComposing) {
    event.preventDefault();
    enter(event.target, event.shiftKey);
  }
}

/** Run a key's command; return false if it has none. */
function command(pressed) {
  if (/^[1-9]$/.test(pressed) && forms()[pressed - 1]) {
    const name = forms()[pressed - 1].dataset.set;
    localStorage.setItem(CHOSEN, name);
    choose(name);
    showStatus(`Keys apply to ${name}.`);
    return true;
  }
  const key = pressed.length === 1 ? pressed.toLowerCase() : pressed; // also with Caps Lock
  KEYS[key]?.();
  return key in KEYS;
}

document.addEventListener("keydown", (event) => {
  if (!page()) return;
  if (event.target.matches(".caption textarea")) {
    editing(event);
    return;
  }
  if (typing(event)) return;
  if (busy || waiting.length) hold(event);
  else if (command(event.key)) event.preventDefault();
});

document.addEventListener("focusin", (event) => {
  if (!page() || !event.target.matches(".caption textarea")) return;
  localStorage.setItem(CHOSEN, event.target.form.dataset.set);
  choose(event.target.form.dataset.set);
});

document.addEventListener("submit", (event) => {
  if (!page() || !event.target.matches("form.caption")) return;
  event.preventDefault();
  const { form, dataset, value, formAction } = event.submitter ?? { form: event.target, dataset: { do: "save" } };
  alone(async () => {
    if (dataset.do === "undo") {
      const name = form.dataset.set;
      remember(remembered().filter((change) => change.id !== value));
      await send(form, formAction, { caption_id: value });
      choose(name);
      showStatus(`Undone in ${name}.`);
      return;
    }
    if (dataset.do === "accept") {
      if (unsaved(form) && !saved()) return;
      form.elements.text.value = form.elements.text.dataset.asItWas;
    }
    await save(form, dataset.do === "accept" ? "Accepted" : "Saved");
  });
});

document.addEventListener("click", (event) => {
  const link = page() && event.target.closest('[data-go="next"], [data-go="previous"]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  alone(() => go(link.dataset.go));
});

addEventListener("beforeunload", (event) => {
  if (page() && forms().some(unsaved)) event.preventDefault();
});

addEventListener("popstate", () => {
  if (page()) location.reload();
});

/** Coming from a gallery that shows one set, the keys apply to that set; a reload changes nothing. */
function begin() {
  const asked = new URLSearchParams(location.search);
  const named = asked.get("caption_set") || asked.get("show");
  const arrived = performance.getEntriesByType("navigation")[0]?.type === "navigate";
  if (arrived && forms().some((form) => form.dataset.set === named)) localStorage.setItem(CHOSEN, named);
  arrive();
}

if (page()) begin();
