// Samples: one slider sets the epoch of all runs; selects show one prompt or one seed.
const stage = document.querySelector("[data-epochs]");
if (stage) {
  const slider = stage.querySelector('input[type="range"]');
  const output = stage.querySelector("output");
  const epochs = JSON.parse(stage.dataset.epochs);
  const heads = [...stage.querySelectorAll("[data-run]")];
  const words = (epoch) => (epoch === 0 ? "before training" : `epoch ${epoch}`);

  /** Return the last epoch with a value, up to this epoch; null if there is none. */
  const upTo = (values, epoch) => {
    const at = Object.keys(values).map(Number).filter((one) => one <= epoch);
    return at.length ? Math.max(...at) : null;
  };

  function showRun(head, epoch) {
    const grids = JSON.parse(head.dataset.grids);
    const losses = JSON.parse(head.dataset.losses);
    const at = upTo(grids, epoch);
    for (const image of stage.querySelectorAll(`[data-of="${head.dataset.run}"]`)) {
      image.parentElement.classList.toggle("off", at === null);
      if (at !== null && image.getAttribute("href") !== grids[at]) image.setAttribute("href", grids[at]);
    }
    const loss = at !== null && losses[at] ? `loss ${losses[at]}` : "";
    const when = at === null ? "no samples yet" : at === epoch ? "" : `as of ${words(at)}`;
    head.querySelector("[data-at]").textContent = [when, loss].filter(Boolean).join(", ");
  }

  function show() {
    const epoch = epochs[slider.value];
    output.textContent = words(epoch);
    slider.setAttribute("aria-valuetext", output.textContent);
    heads.forEach((head) => showRun(head, epoch));
  }

  /** Hide the rows of other prompts, or the columns of other seeds. */
  function pick(choice) {
    const what = choice.dataset.pick;
    for (const one of stage.querySelectorAll(`[data-${what}]`)) one.hidden = choice.value !== "" && one.dataset[what] !== choice.value;
    if (what === "seed") heads.forEach((head) => (head.colSpan = choice.value === "" ? choice.options.length - 1 : 1));
  }

  slider.addEventListener("input", show);
  stage.querySelectorAll("[data-pick]").forEach((choice) => {
    choice.addEventListener("change", () => pick(choice));
    pick(choice); // on going back, browsers restore the choice
  });
  show();
  addEventListener("load", () => {
    for (const head of heads) for (const address of Object.values(JSON.parse(head.dataset.grids))) new Image().src = address;
  });
}
