// What runs drew: one slider moves all of them through the epochs, a choice shows one prompt, one seed.
const stage = document.querySelector("[data-epochs]");
if (stage) {
  const slider = stage.querySelector('input[type="range"]');
  const told = stage.querySelector("output");
  const epochs = JSON.parse(stage.dataset.epochs);
  const heads = [...stage.querySelectorAll("[data-run]")];
  const words = (epoch) => (epoch === 0 ? "before training" : `epoch ${epoch}`);

  /** The last of a run's epochs up to this one that something is known of, null where none is. */
  const upTo = (known, epoch) => {
    const at = Object.keys(known).map(Number).filter((one) => one <= epoch);
    return at.length ? Math.max(...at) : null;
  };

  function showRun(head, epoch) {
    const pictures = JSON.parse(head.dataset.pictures);
    const losses = JSON.parse(head.dataset.losses);
    const at = upTo(pictures, epoch);
    for (const image of stage.querySelectorAll(`[data-of="${head.dataset.run}"]`)) {
      image.parentElement.classList.toggle("off", at === null);
      if (at !== null && image.getAttribute("href") !== pictures[at]) image.setAttribute("href", pictures[at]);
    }
    const loss = at !== null && losses[at] ? `loss ${losses[at]}` : "";
    const when = at === null ? "no pictures yet" : at === epoch ? "" : `as of ${words(at)}`;
    head.querySelector("[data-at]").textContent = [when, loss].filter(Boolean).join(", ");
  }

  function show() {
    const epoch = epochs[slider.value];
    told.textContent = words(epoch);
    slider.setAttribute("aria-valuetext", told.textContent);
    heads.forEach((head) => showRun(head, epoch));
  }

  /** Hides the rows of other prompts, or the columns of other seeds. */
  function pick(choice) {
    const what = choice.dataset.pick;
    for (const one of stage.querySelectorAll(`[data-${what}]`)) one.hidden = choice.value !== "" && one.dataset[what] !== choice.value;
    if (what === "seed") heads.forEach((head) => (head.colSpan = choice.value === "" ? choice.options.length - 1 : 1));
  }

  slider.addEventListener("input", show);
  stage.querySelectorAll("[data-pick]").forEach((choice) => {
    choice.addEventListener("change", () => pick(choice));
    pick(choice); // a browser that comes back keeps what was chosen
  });
  show();
  addEventListener("load", () => {
    for (const head of heads) for (const address of Object.values(JSON.parse(head.dataset.pictures))) new Image().src = address;
  });
}
