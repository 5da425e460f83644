// The status line, and the check whether a key press is typed text.
const SHOWN_MS = 6000;
let fading;

export const showStatus = (text) => {
  const line = document.getElementById("said");
  line.textContent = text;
  clearTimeout(fading);
  fading = setTimeout(() => (line.textContent = ""), SHOWN_MS);
};

export const typing = (event) =>
  event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not(.pick), textarea, select, dialog");
