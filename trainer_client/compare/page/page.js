"use strict";
// Uses the tiles on the page: a sheet is a CSS class, a tile is a class and two numbers. Fetches nothing.
(() => {
  const groups = JSON.parse(document.getElementById("data").textContent);
  const AXES = { run: "captions", epoch: "epoch", prompt: "prompt", seed: "seed" };
  document.documentElement.classList.add("js");

  const make = (tag, props = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(props)) {
      if (name in node && name !== "list") node[name] = value;
      else node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  };
  const values = (group, axis) => ({ run: group.runs, epoch: group.epochs, prompt: group.prompts, seed: group.seeds })[axis];
  const quoted = (text) => (text ? `“${text}”` : "no words at all");
  const word = (group, axis, index) => {
    const value = values(group, axis)[index];
    if (axis === "prompt") return quoted(value.text);
    if (axis === "epoch") return value === 0 ? "base" : `epoch ${value}`;
    return axis === "seed" ? `seed ${value}` : value;
  };
  const place = (group, at) => {
    const sheet = group.sheets[at.run][group.epochs[at.epoch]];
    const y = group.rows[at.run][at.prompt], x = group.columns[at.run][at.seed];
    return sheet === undefined || x < 0 || y < 0 ? null : { sheet, x, y };
  };
  const describe = (group, at) => ["run", "epoch", "prompt", "seed"].map((axis) => word(group, axis, at[axis])).join(", ");
  const paint = (node, found) => {
    node.className = found ? `tile ${found.sheet}` : "tile none";
    if (found) node.style.cssText = `--x:${found.x};--y:${found.y}`;
    return node;
  };
  const realPlace = (group, prompt) => {
    const index = group.prompts[prompt].real;
    return index === null || group.references === null ? null : { sheet: group.references, x: index, y: 0 };
  };
  const realTile = (group, prompt) => {
    const found = realPlace(group, prompt);
    return found && paint(make("span", { role: "img", "aria-label": "the real image" }), found);
  };
  // Run markers are copied from the page, so the script needs no colours.
  const runName = (section, group, run) => {
    const heading = section.querySelectorAll("table.strips tbody th")[run] || section.querySelectorAll(".legend > span")[run];
    return heading ? [...heading.cloneNode(true).childNodes] : [group.runs[run]];
  };
  const select = (label, options, chosen, onChange) => {
    const box = make("select", { "aria-label": label });
    options.forEach(([value, text]) => box.append(make("option", { value, textContent: text })));
    box.value = chosen;
    box.addEventListener("change", () => onChange(box.value));
    return make("label", {}, label, box);
  };

  function explorer(section, group) {
    const form = section.querySelector("[data-controls]"), holder = section.querySelector("[data-grid]");
    if (!form) return;
    const shown = section.querySelector("[data-shown]");
    const at = { run: 0, epoch: Math.max(0, group.epochs.indexOf(group.shown)), prompt: group.telling, seed: 0 };
    const axes = { rows: "prompt", columns: "run" };
    form.addEventListener("submit", (event) => event.preventDefault());

    const choose = (which, axis) => {
      const other = which === "rows" ? "columns" : "rows";
      if (axes[other] === axis) axes[other] = axes[which];
      axes[which] = axis;
      controls(which);
      draw();
    };
    const controls = (focused) => {
      const names = Object.entries(AXES);
      form.replaceChildren(
        select("Rows", names, axes.rows, (axis) => choose("rows", axis)),
        select("Columns", names, axes.columns, (axis) => choose("columns", axis)),
        make("button", { type: "button", className: "plainbutton", textContent: "Swap", onclick: () => choose("rows", axes.columns) }),
      );
      for (const [axis, name] of names) {
        if (axis === axes.rows || axis === axes.columns) continue;
        const options = values(group, axis).map((_, index) => [index, word(group, axis, index)]);
        form.append(select(name[0].toUpperCase() + name.slice(1), options, at[axis], (index) => { at[axis] = Number(index); draw(); }));
      }
      if (focused) form.querySelectorAll("select")[focused === "rows" ? 0 : 1].focus();
    };
    const head = (axis, index) => {
      if (axis === "run") return runName(section, group, index);
      if (axis !== "prompt") return [axis === "epoch" && group.epochs[index] === 0 ? "base" : String(values(group, axis)[index])];
      const prompt = group.prompts[index];
      return [make("span", { className: "asked", textContent: quoted(prompt.text) }), make("span", { className: "why", textContent: prompt.role })];
    };
    const draw = () => {
      const { rows, columns } = axes;
      const truth = rows === "prompt" && group.references !== null && group.prompts.some((prompt) => prompt.real !== null);
      const count = values(group, columns).length + (truth ? 1 : 0);
      const table = make("table", { className: `grid${rows === "prompt" || columns === "prompt" ? " sampler" : ""}` });
      table.style.setProperty("--n", count);
      if (rows !== "prompt") table.style.setProperty("--head", "104px");
      const top = make("tr", {}, make("th", { className: "corner" }, make("span", { className: "vh", textContent: AXES[rows] })));
      if (truth) top.append(make("th", { scope: "col", textContent: "real" }));
      values(group, columns).forEach((_, index) => top.append(make("th", { scope: "col" }, ...head(columns, index))));
      const body = make("tbody");
      values(group, rows).forEach((_, row) => {
        const line = make("tr", {}, make("th", { scope: "row" }, ...head(rows, row)));
        if (truth) line.append(make("td", {}, realTile(group, row)));
        values(group, columns).forEach((_, column) => {
          const cell = { ...at, [rows]: row, [columns]: column };
          line.append(make("td", {}, button(group, cell)));
        });
        body.append(line);
      });
      table.append(make("thead", {}, top), body);
      holder.replaceChildren(table);
      roving(table);
      const fixed = Object.keys(AXES).filter((axis) => axis !== rows && axis !== columns);
      const heading = fixed.map((axis) => word(group, axis, at[axis])).join(", ");
      shown.replaceChildren(`${AXES[rows][0].toUpperCase() + AXES[rows].slice(1)} down, ${AXES[columns]} across; ${heading}.`);
      if (fixed.includes("prompt") && realPlace(group, at.prompt)) {
        const real = realTile(group, at.prompt);
        real.style.width = "84px";
        shown.append(make("span", { className: "why", textContent: ` ${group.prompts[at.prompt].role}; the real image:` }), real);
      }
    };
    controls();
    draw();
  }

  const button = (group, at) => {
    const found = place(group, at);
    const node = paint(make("button", { type: "button" }), found);
    node.setAttribute("aria-label", `${describe(group, at)}${found ? "" : ", not drawn"}`);
    if (!found) { node.disabled = true; return node; }
    node.addEventListener("click", () => enlarge(group, at));
    loupe(node);
    return node;
  };

  // The still strips (captions by epoch) become tiles that enlarge, like the others.
  function strips(section, group) {
    section.querySelectorAll("table.strips").forEach((table) => {
      [...table.tBodies[0].rows].forEach((row, run) => [...row.cells].slice(1).forEach((cell, epoch) => {
        cell.replaceChildren(button(group, { run, epoch, prompt: Number(table.dataset.prompt), seed: 0 }));
      }));
      roving(table);
    });
  }

  // One tab stop a grid; arrow keys go from tile to tile.
  function roving(table) {
    const rows = [...table.tBodies[0].rows].map((row) => [...row.querySelectorAll("button.tile")]);
    rows.flat().filter((tile) => !tile.disabled).forEach((tile, index) => { tile.tabIndex = index ? -1 : 0; });
    table.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      const row = rows.findIndex((line) => line.includes(event.target));
      if (!step || row < 0) return;
      event.preventDefault();
      let [y, x] = [row, rows[row].indexOf(event.target)], next;
      do { y += step[0]; x += step[1]; next = rows[y]?.[x]; } while (next?.disabled);
      if (!next) return;
      event.target.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
  }

  const lens = document.getElementById("loupe");
  function loupe(node) {
    if (!matchMedia("(hover: hover)").matches) return;
    node.addEventListener("pointerenter", () => {
      const copy = make("span");
      copy.className = node.className;
      copy.style.cssText = node.style.cssText;
      lens.replaceChildren(copy, make("p", { textContent: node.getAttribute("aria-label") }));
      lens.classList.add("on");
      const box = node.getBoundingClientRect(), own = lens.getBoundingClientRect();
      const left = box.right + 12 + own.width < innerWidth ? box.right + 12 : box.left - own.width - 12;
      lens.style.left = `${Math.max(8, left)}px`;
      lens.style.top = `${Math.min(Math.max(8, box.top - 60), innerHeight - own.height - 8)}px`;
    });
    node.addEventListener("pointerleave", () => lens.classList.remove("on"));
  }

  const dialog = document.getElementById("enlarged");
  let turn = () => {};
  function enlarge(group, start) {
    const at = { ...start };
    lens.classList.remove("on");
    const picture = (cls, found, text) => make("figure", { className: cls }, paint(make("span", { role: "img", "aria-label": text }), found), make("figcaption", { textContent: text }));
    turn = (axis, by) => {
      const next = at[axis] + by;
      if (next < 0 || next >= values(group, axis).length) return;
      at[axis] = next;
      draw();
    };
    const step = (text, axis, by) => make("button", { type: "button", className: "plainbutton", textContent: text, onclick: () => turn(axis, by), disabled: !(at[axis] + by in values(group, axis)) });
    const draw = () => {
      const name = document.activeElement?.textContent;
      const base = group.epochs.indexOf(0), real = realPlace(group, at.prompt), prompt = group.prompts[at.prompt];
      const trio = make("div", { className: "trio" }, picture("", place(group, at), `${word(group, "run", at.run)}, ${word(group, "epoch", at.epoch)}, ${word(group, "seed", at.seed)}`));
      const side = make("div", {});
      if (base >= 0 && at.epoch !== base) side.append(picture("side", place(group, { ...at, epoch: base }), "the base, same seed"));
      if (real) side.append(picture("side", real, "the real image"));
      trio.append(side);
      dialog.replaceChildren(
        make("p", { className: "asked", textContent: quoted(prompt.text) }), make("p", { className: "why", textContent: prompt.role }), trio,
        make("div", { className: "film-controls" },
          step("Earlier epoch", "epoch", -1), step("Later epoch", "epoch", 1), step("Previous captions", "run", -1), step("Next captions", "run", 1),
          make("button", { type: "button", className: "plainbutton", textContent: "Close", onclick: () => dialog.close() })));
      const again = [...dialog.querySelectorAll("button:enabled")].find((node) => node.textContent === name);
      (again || dialog.querySelector("button:last-child")).focus();
    };
    dialog.showModal();
    draw();
  }
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: ["epoch", -1], ArrowRight: ["epoch", 1], ArrowUp: ["run", -1], ArrowDown: ["run", 1] }[event.key];
    if (step) { event.preventDefault(); turn(...step); }
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  function film(section, group) {
    const holder = section.querySelector("[data-film]");
    if (!holder) return;
    const at = { prompt: group.telling, seed: 0, epoch: Math.max(0, group.epochs.indexOf(group.shown)) };
    let played = false;
    let timer = null;
    const stage = make("div", { className: "film-stage" }), now = make("output", { className: "epoch-now" });
    const slider = make("input", { type: "range", min: 0, max: group.epochs.length - 1, step: 1, "aria-label": "Epoch" });
    const play = make("button", { type: "button", className: "plainbutton", textContent: "Play" });
    const tiles = group.runs.map(() => make("button", { type: "button" }));
    const real = make("figure", {});
    stage.append(real, ...tiles.map((tile, run) => make("figure", {}, tile, make("figcaption", {}, ...runName(section, group, run)))));
    const show = () => {
      tiles.forEach((tile, run) => {
        const found = place(group, { ...at, run });
        paint(tile, found);
        tile.disabled = !found;
        tile.setAttribute("aria-label", describe(group, { ...at, run }));
      });
      const truth = realTile(group, at.prompt);
      real.hidden = !truth;
      real.replaceChildren(...(truth ? [truth, make("figcaption", { textContent: "the real image" })] : []));
      slider.value = at.epoch;
      now.textContent = word(group, "epoch", at.epoch);
      slider.setAttribute("aria-valuetext", now.textContent);
    };
    const stop = () => { clearInterval(timer); timer = null; play.textContent = "Play"; };
    const advance = () => { at.epoch += 1; show(); if (at.epoch >= group.epochs.length - 1) stop(); };
    play.addEventListener("click", () => {
      if (timer) return stop();
      if (!played || at.epoch >= group.epochs.length - 1) { at.epoch = 0; show(); }
      played = true;
      play.textContent = "Pause";
      timer = setInterval(advance, 650);
    });
    slider.addEventListener("input", () => { stop(); played = true; at.epoch = Number(slider.value); show(); });
    tiles.forEach((tile, run) => tile.addEventListener("click", () => { stop(); enlarge(group, { ...at, run }); }));
    const pick = (axis, label) => select(label, values(group, axis).map((_, index) => [index, word(group, axis, index)]), at[axis], (index) => { at[axis] = Number(index); show(); });
    holder.append(
      make("div", { className: "film-controls" }, pick("prompt", "Prompt"), pick("seed", "Seed")), stage,
      make("div", { className: "film-controls" }, play, slider, now));
    show();
  }

  // Groups as tabs; on paper and without script all of them are shown.
  function tabs() {
    const bar = document.querySelector(".tabs");
    if (!bar) return;
    const links = [...bar.querySelectorAll("a")];
    bar.setAttribute("role", "tablist");
    const open = (id, focus) => links.forEach((link) => {
      const chosen = link.dataset.tab === id, panel = document.getElementById(link.dataset.tab);
      link.setAttribute("aria-selected", chosen);
      link.tabIndex = chosen ? 0 : -1;
      panel.hidden = !chosen;
      if (chosen && focus) link.focus();
    });
    links.forEach((link, index) => {
      link.setAttribute("role", "tab");
      link.setAttribute("aria-controls", link.dataset.tab);
      document.getElementById(link.dataset.tab).setAttribute("role", "tabpanel");
      link.addEventListener("click", (event) => { event.preventDefault(); open(link.dataset.tab); });
      link.addEventListener("keydown", (event) => {
        const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (by) { event.preventDefault(); open(links[(index + by + links.length) % links.length].dataset.tab, true); }
        else if (event.key === " ") { event.preventDefault(); open(link.dataset.tab, true); }
      });
    });
    const asked = location.hash.slice(1).split("-")[0];
    open(links.some((link) => link.dataset.tab === asked) ? asked : links[0].dataset.tab);
  }

  document.querySelectorAll(".group").forEach((section) => {
    const group = groups[Number(section.dataset.group)];
    strips(section, group);
    explorer(section, group);
    film(section, group);
  });
  tabs();
  const opened = [];
  addEventListener("beforeprint", () => document.querySelectorAll("details:not([open])").forEach((node) => { if (!node.querySelector("table")) { node.open = true; opened.push(node); } }));
  addEventListener("afterprint", () => opened.splice(0).forEach((node) => { node.open = false; }));
})();
