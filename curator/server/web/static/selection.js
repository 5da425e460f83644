// Choose images in the gallery: boxes, ranges with Shift, keys, all found images. The boxes also work without scripts.
import { showStatus, typing } from "./status.js";

const form = document.getElementById("selection");
const wanted = form?.querySelector('[name="everything"]'); // true: all found images, also those not loaded
const boxes = () => [...document.querySelectorAll(".pick")];
const chosen = () => document.querySelectorAll(".pick:checked").length;
const everything = () => wanted.value === "true";
const MANY = 10_000;
let last = null; // start of a range

/** Show how many images are chosen. */
function showCount() {
  const count = everything() ? Number(form.dataset.total) : chosen();
  const number = count.toLocaleString("en");
  form.querySelector("[data-chosen]").textContent = `${number} ${count === 1 ? "image" : "images"} chosen`;
  form.querySelector("[data-all]").disabled = everything();
  document.body.classList.toggle("choosing", count > 0);
}

function set(box, on) {
  if (everything() && !on) {
    wanted.value = "false";
    showStatus("Only images on this page are chosen now.");
  }
  box.checked = on;
}

function upTo(box, on) {
  const all = boxes();
  const [from, to] = [all.indexOf(last ?? box), all.indexOf(box)].sort((left, right) => left - right);
  all.slice(Math.max(0, from), to + 1).forEach((one) => set(one, on));
}

function toggle(box, range) {
  const on = range ? true : !box.checked;
  if (range) upTo(box, on);
  else set(box, on);
  last = box;
  showCount();
}

function all() {
  if (!boxes().length) return;
  wanted.value = "true";
  boxes().forEach((box) => (box.checked = true));
  showCount();
}

function none() {
  wanted.value = "false";
  boxes().forEach((box) => (box.checked = false));
  last = null;
  showCount();
}

/** Handle newly loaded images: if all images are chosen, these are too. */
export function arrived() {
  if (!form) return;
  if (everything()) boxes().forEach((box) => (box.checked = true));
  showCount();
}

const boxOf = (event) => event.target.closest(".cell")?.querySelector(".pick");

function clicked(event) {
  const box = boxOf(event);
  if (event.target.matches(".pick")) {
    const on = box.checked;
    if (event.shiftKey && last) upTo(box, on);
    else set(box, on);
    last = box;
    showCount();
  } else if (box && event.shiftKey) {
    event.preventDefault(); // Shift-click would open a window
    toggle(box, Boolean(last));
  } else if (event.target.closest("[data-all]")) {
    event.preventDefault();
    all();
  } else if (event.target.closest("[data-none]")) none();
}

function pressed(event) {
  if (typing(event) || (event.target.matches(".pick") && event.key === " ")) return; // Space already toggles a focused box
  const key = event.key.toLowerCase();
  const box = boxOf(event);
  if (key === "a") all();
  else if (key === "escape" && chosen()) none();
  else if (box && (key === "x" || key === " ")) toggle(box, event.shiftKey && last !== null);
  else return;
  event.preventDefault();
}

if (form) {
  document.addEventListener("click", clicked);
  document.addEventListener("keydown", pressed);
  form.addEventListener("formdata", ({ formData }) => {
    const images = formData.getAll("image");
    formData.delete("image"); // the server allows 1,000 fields of 1 MB
    for (let at = 0; !everything() && at < images.length; at += MANY) formData.append("images", images.slice(at, at + MANY).join(" "));
  });
  addEventListener("pageshow", showCount); // on going back, browsers restore ticked boxes
}
