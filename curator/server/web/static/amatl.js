// What every page shares: the list of keys, and a line that says what happened. Pages work without any of it.
import "./gallery.js";
import "./image.js";
import "./jobs.js";
import "./runs.js";
import "./selection.js";
import { typing } from "./status.js";

// Where a phone shows a part of a row of links: the one of this page.
for (const here of document.querySelectorAll("nav [aria-current]")) here.parentElement.scrollLeft = here.offsetLeft - here.parentElement.offsetLeft - 16;

// A form sends a change once, however often its button is pressed.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post") return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
});
addEventListener("pageshow", () => document.querySelectorAll("[data-sent]").forEach((form) => delete form.dataset.sent));

const keys = document.getElementById("keys");
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-keys]")) keys.showModal();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "?" && !typing(event)) {
    event.preventDefault();
    keys.showModal();
  }
});
