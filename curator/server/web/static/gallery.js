// The gallery: loads more images on scrolling; arrow keys move over them.
import { showStatus, typing } from "./status.js";
import { arrived } from "./selection.js";

const page = () => document.querySelector('[data-page="gallery"]');

const watch = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => load(entry.target)),
  { rootMargin: "1800px" },
);

async function load(link) {
  watch.unobserve(link);
  try {
    const response = await fetch(link.dataset.tiles, { headers: { Accept: "text/html" } });
    if (!response.ok || response.redirected) throw new Error(response.statusText); // redirected to the login page
    const next = document.createRange().createContextualFragment(await response.text());
    link.replaceWith(next);
    arrived();
    follow();
  } catch {
    showStatus("The next images could not be loaded. Use the link below: it tries again, or asks you to log in.");
  }
}

function follow() {
  const link = document.querySelector(".more[data-tiles]");
  if (link) watch.observe(link);
}

const columns = (tiles) => {
  const first = tiles[0].offsetTop;
  const second = tiles.findIndex((tile) => tile.offsetTop > first);
  return second < 1 ? tiles.length : second;
};

document.addEventListener("keydown", (event) => {
  if (!page() || typing(event)) return;
  if (event.key === "/") {
    event.preventDefault();
    page().querySelector('input[type="search"]').select();
    return;
  }
  const step = { ArrowRight: () => 1, ArrowLeft: () => -1, ArrowDown: columns, ArrowUp: (tiles) => -columns(tiles) }[event.key];
  if (!step) return;
  const at = document.activeElement.closest(".cell")?.querySelector(".tile");
  const chunk = at ? at.closest(".chunk") : page().querySelector(".chunk");
  const tiles = [...page().querySelectorAll(".tile")];
  if (!tiles.length || (!at && !["ArrowRight", "ArrowDown"].includes(event.key))) return;
  event.preventDefault();
  // Without a focused image: the first one in sight.
  const index = at ? tiles.indexOf(at) + step([...chunk.children]) : tiles.findIndex((tile) => tile.getBoundingClientRect().top >= 0);
  tiles[Math.max(0, Math.min(tiles.length - 1, index))].focus();
});

if (page()) follow();
