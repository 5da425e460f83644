// Shared by all pages: the list of keys and the status line. Pages also work without scripts.
import "./gallery.js";
import "./image.js";
import "./jobs.js";
import "./runs.js";
import "./selection.js";
import { typing } from "./status.js";

// On a phone, scroll a row of links to the current page's link.
for (const here of document.querySelectorAll("nav [aria-current]")) here.parentElement.scrollLeft = here.offsetLeft - here.parentElement.offsetLeft - 16;

// A form is sent once, even if its button is pressed several times.
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
