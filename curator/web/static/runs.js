// Grids of runs: one slider moves all of them through the epochs, a choice shows one prompt.
const stage = document.querySelector("[data-epochs]");
if (stage) {
  const slider = stage.querySelector('input[type="range"]');
  const told = stage.querySelector("output");
  const epochs = JSON.parse(stage.dataset.epochs);
  const prompt = stage.querySelector("select");
  const show = () => {
    const epoch = epochs[slider.value];
    told.textContent = epoch === 0 ? "before training" : `epoch ${epoch}`;
    slider.setAttribute("aria-valuetext", told.textContent);
    for (const grid of stage.querySelectorAll("[data-grids]")) {
      const made = JSON.parse(grid.dataset.grids);
      const at = Object.keys(made).map(Number).filter((one) => one <= epoch);
      const last = at.length ? Math.max(...at) : null;
      const image = grid.querySelector("img");
      if (last !== null && image.getAttribute("src") !== made[last]) image.src = made[last];
      grid.querySelector("[data-at]").textContent = last === null ? "no pictures yet" : last === epoch ? "" : `as of epoch ${last}`;
      const rows = Number(grid.dataset.rows);
      const row = prompt.value === "" ? null : Number(prompt.value);
      const frame = image.parentElement;
      frame.style.aspectRatio = row === null ? "" : `${image.width} / ${image.height / rows}`;
      image.style.transform = row === null ? "" : `translateY(${(-100 * row) / rows}%)`;
    }
  };
  slider.addEventListener("input", show);
  prompt.addEventListener("change", show);
  show();
  addEventListener("load", () => {
    for (const grid of stage.querySelectorAll("[data-grids]"))
      for (const address of Object.values(JSON.parse(grid.dataset.grids))) new Image().src = address;
  });
}
