// The status line, and whether a key press is text that somebody types.
const SHOWN_MS = 6000;
let fading;

export const said = (text) => {
  const line = document.getElementById("said");
  line.textContent = text;
  clearTimeout(fading);
  fading = setTimeout(() => (line.textContent = ""), SHOWN_MS);
};

export const typing = (event) =>
  event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not(.pick), textarea, select, dialog");
