// The image page: walks, accepts, edits and undoes by key. The server draws each page; only its main part is put in
// place, the neighbours are fetched ahead, and what was changed is remembered for as long as the tab is open.
import { said, typing } from "./status.js";

const CHOSEN = "amatl chosen set";
const CHANGES = "amatl changes";
const LOGGED_OUT = "You aren't logged in any more. Log in in another tab, then do this once more.";
const page = () => document.querySelector('[data-page="image"]');
const ahead = new Map(); // address -> promise of a page
const WAITING_AT_MOST = 200;
const OTHER_WAY_MS = 400;
let waiting = []; // keys that were pressed while a page came, and those since, until it is their turn
let busy = false;
let later; // the neighbour the other way is fetched when whoever looks rests

const fetched = async (address, options) => {
  const answer = await fetch(address, options);
  if (answer.status === 401) throw new Error(LOGGED_OUT);
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({ detail: answer.statusText }));
    throw Object.assign(new Error(problem.detail), { status: answer.status });
  }
  const next = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (!next.querySelector('[data-page="image"]')) {
    throw new Error(LOGGED_OUT); // it led to the page to log in at
  }
  return { address: answer.url, next };
};

const unsaved = (form) => form.elements.text.value !== form.elements.text.defaultValue;

/** Puts a page in place; the focus stays where it was, and so does what was typed for this image's other sets. */
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
  // After a save by key, keys walk on: the text has the focus no more.
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
  coming.catch(() => {}); // said when it is asked for
  ahead.set(link.href, coming);
  new Image().src = link.dataset.picture;
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
  // What would be typed into a page that is about to be replaced would be lost.
  const held = forms().map((form) => form.elements.text).filter((text) => !text.readOnly);
  held.forEach((text) => (text.readOnly = true));
  try {
    return await action();
  } catch (error) {
    stop(error.message);
  } finally {
    busy = false;
    held.forEach((text) => (text.readOnly = false));
    setTimeout(goOn); // once what follows the action has been done, too
  }
}

/** Says why something isn't done; keys that were meant for afterwards are forgotten. */
function stop(why) {
  waiting = [];
  said(why);
}

/** Keeps a key that comes while a page does: nobody waits, and no letter of a caption becomes a command. */
function hold(event) {
  const { key, shiftKey, isComposing } = event;
  const known = key.length === 1 || ["Enter", "Escape", "ArrowLeft", "ArrowRight"].includes(key);
  if (!known || isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  if (!event.repeat && waiting.length < WAITING_AT_MOST) waiting.push({ key, shiftKey });
  if (!busy) setTimeout(goOn);
}

function goOn() {
  while (waiting.length && !busy) {
    const { key, shiftKey } = waiting.shift();
    const text = document.activeElement;
    if (!text.matches(".caption textarea")) command(key);
    else if (key === "Enter") enter(text, shiftKey);
    else if (key === "Escape") leave(text);
    else if (key.length === 1) text.setRangeText(key, text.selectionStart, text.selectionEnd, "end");
  }
}

/** Whether nothing typed would be lost by leaving; else says so, and goes there. */
function saved() {
  const form = forms().find(unsaved);
  if (!form) return true;
  choose(form.dataset.set);
  form.elements.text.focus();
  stop(`Not saved yet: ${form.dataset.set}. Enter saves it, Esc leaves it as it was.`);
  return false;
}

async function go(where) {
  const link = page().querySelector(`[data-go="${where}"]`);
  if (!link) {
    stop(where === "next" ? "This is the last one." : "This is the first one.");
    return false;
  }
  if (!saved()) return false;
  put(await (ahead.get(link.href) ?? fetched(link.href)), undefined, where);
  said("");
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
  const answer = await ask().catch(async (error) => {
    if (error.status !== 403 || !(await renewed())) throw error;
    return ask();
  });
  put(answer, sent);
}

/** Whether whoever looks at it has logged in anew meanwhile: the forms then have the new login's token. */
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
  said(now === before ? "Nothing to save: it is yours already." : `${what} in ${name}. U undoes it.`);
}

async function undo() {
  const changes = remembered();
  const last = changes.pop();
  if (!last) {
    stop("Nothing of yours to undo since this tab was opened.");
    return;
  }
  if (!saved()) return;
  remember(changes); // also where it can't be undone any more: the one before can
  await send(chosen() ?? forms()[0], last.undo, { caption_id: last.id });
  choose(last.name);
  said(`Undone in ${last.name}.`);
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
  const told = document.getElementById("said").textContent;
  if (await go("next")) said(told);
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

/** Does what a key stands for; false where it stands for nothing. */
function command(pressed) {
  if (/^[1-9]$/.test(pressed) && forms()[pressed - 1]) {
    const name = forms()[pressed - 1].dataset.set;
    localStorage.setItem(CHOSEN, name);
    choose(name);
    said(`Keys work on ${name}.`);
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
      said(`Undone in ${name}.`);
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

/** Whoever comes from a gallery of one set's captions has the keys work on that set; a reload changes nothing. */
function begin() {
  const asked = new URLSearchParams(location.search);
  const named = asked.get("caption_set") || asked.get("show");
  const arrived = performance.getEntriesByType("navigation")[0]?.type === "navigate";
  if (arrived && forms().some((form) => form.dataset.set === named)) localStorage.setItem(CHOSEN, named);
  arrive();
}

if (page()) begin();
