// The image page: walks, accepts, edits and undoes by key. The server draws each page; only its main part is put in
// place, the neighbours are fetched ahead, and what was changed is remembered for as long as the tab is open.
import { said, typing } from "./amatl.js";

const CHOSEN = "amatl chosen set";
const CHANGES = "amatl changes";
const page = () => document.querySelector('[data-page="image"]');
const ahead = new Map(); // address -> promise of a page
let busy = false;

const fetched = async (address, options) => {
  const answer = await fetch(address, options);
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({ detail: answer.statusText }));
    throw new Error(problem.detail);
  }
  return { address: answer.url, text: await answer.text() };
};

function put({ address, text }) {
  const next = new DOMParser().parseFromString(text, "text/html");
  page().replaceChildren(...next.querySelector("main").childNodes);
  document.title = next.title;
  if (address !== location.href) history.pushState({}, "", address);
  ahead.clear();
  arrive();
}

function arrive() {
  choose(localStorage.getItem(CHOSEN));
  for (const link of page().querySelectorAll('[data-go="next"], [data-go="previous"]')) {
    const coming = fetched(link.href);
    coming.catch(() => {}); // said when it is asked for
    ahead.set(link.href, coming);
    new Image().src = link.dataset.picture;
  }
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
  try {
    await action();
  } catch (error) {
    said(error.message);
  } finally {
    busy = false;
  }
}

async function go(where) {
  const link = page().querySelector(`[data-go="${where}"]`);
  if (!link) {
    said(where === "next" ? "This is the last one." : "This is the first one.");
    return false;
  }
  put(await (ahead.get(link.href) ?? fetched(link.href)));
  said("");
  return true;
}

const remembered = () => JSON.parse(sessionStorage.getItem(CHANGES) ?? "[]");
const remember = (changes) => sessionStorage.setItem(CHANGES, JSON.stringify(changes.slice(-200)));

async function send(form, address, more = {}) {
  const body = new URLSearchParams(new FormData(form));
  Object.entries(more).forEach(([name, value]) => body.set(name, value));
  put(await fetched(address, { method: "POST", body, headers: { Accept: "application/problem+json" } }));
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
    said("Nothing of yours to undo since this tab was opened.");
    return;
  }
  remember(changes); // also where it can't be undone any more: the one before can
  await send(chosen() ?? forms()[0], last.undo, { caption_id: last.id });
  choose(last.name);
  said(`Undone in ${last.name}.`);
}

async function accept() {
  const form = chosen();
  if (!form || form.elements.expected.value === "none") {
    said("There is no caption to accept. E writes one.");
    return;
  }
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

function editing(event) {
  const text = event.target;
  if (event.key === "Escape") {
    text.value = text.dataset.asItWas;
    text.blur();
  } else if (event.key === "Enter" && !event.isComposing) {
    event.preventDefault();
    alone(async () => {
      await save(text.form, "Saved");
      if (event.shiftKey && (await go("next"))) edit();
    });
  }
}

document.addEventListener("keydown", (event) => {
  if (!page()) return;
  if (event.target.matches(".caption textarea")) {
    editing(event);
    return;
  }
  if (typing(event)) return;
  if (/^[1-9]$/.test(event.key) && forms()[event.key - 1]) {
    const name = forms()[event.key - 1].dataset.set;
    localStorage.setItem(CHOSEN, name);
    choose(name);
    said(`Keys work on ${name}.`);
  } else if (KEYS[event.key] && !(event.target.closest("button, summary") && event.key === "Enter")) {
    event.preventDefault();
    KEYS[event.key]();
  }
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
    if (dataset.do === "accept") form.elements.text.value = form.elements.text.dataset.asItWas;
    await save(form, dataset.do === "accept" ? "Accepted" : "Saved");
  });
});

document.addEventListener("click", (event) => {
  const link = page() && event.target.closest('[data-go="next"], [data-go="previous"]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  alone(() => go(link.dataset.go));
});

addEventListener("popstate", () => {
  if (page()) location.reload();
});

if (page()) arrive();
