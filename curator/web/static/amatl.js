// What every page shares: the list of keys, and a line that says what happened. Pages work without any of it.
import "./gallery.js";
import "./image.js";
import "./runs.js";

export const said = (text) => {
  document.getElementById("said").textContent = text;
};

export const typing = (event) =>
  event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog");

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
