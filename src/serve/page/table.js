// The overview: a row a run, sorted, filtered, in groups; on a phone each row is a card.
"use strict";

const RelstabTable = (() => {
  const { isKnown, node, outside, visible, number, percent, interval, duration, ago, whole } = RelstabWords;
  const { known, predicted, leader, within } = RelstabRuns;
  const SVG = "http://www.w3.org/2000/svg";

  // Drawn in a square of 16.
  const ICONS = {
    measuring: "M8 2a6 6 0 1 0 6 6h-2a4 4 0 1 1-4-4z",
    waiting: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm-1 2.5h2V8l2.2 1.8-1.2 1.5L7 8.9z",
    stop: "M5.5 2h5L14 5.5v5L10.5 14h-5L2 10.5v-5z",
    failed: "M4 2.6 8 6.600l4-4L13.400 4l-4 4 4 4L12 13.400l-4-4-4 4L2.600 12l4-4-4-4z",
    fine: "M6.300 12.700 2 8.400l1.500-1.500 2.800 2.800 6.200-6.200L14 5z",
    unwatched: "M8 2.500a5.500 5.500 0 1 0 0 11 5.500 5.500 0 0 0 0-11zm0 1.800a3.700 3.700 0 1 1 0 7.400 3.700 3.700 0 0 1 0-7.400z",
    best: "M8 1.500l2 4.300 4.600.500-3.400 3.200.900 4.600L8 11.800l-4.100 2.300.900-4.600L1.400 6.300 6 5.800z",
  };

  function icon(name) {
    const made = document.createElementNS(SVG, "svg");
    made.setAttribute("viewBox", "0 0 16 16");
    made.setAttribute("class", "icon");
    made.setAttribute("aria-hidden", "true");
    made.append(document.createElementNS(SVG, "path"));
    made.firstChild.setAttribute("d", ICONS[name]);
    return made;
  }

  /** The sign of a finding, by its severity. */
  const SIGNS = { wrong: "failed", doubt: "waiting", note: "unwatched" };

  const chip = (state, text) => node("span", [icon(state), text], { class: `chip ${state}` });

  /** A reason without the run's directory, which the row names: only its beginning fits. */
  const brief = (run, reason) => reason.replaceAll(`${run.run}/`, "").replace(/^model /, "");

  const EMPTY = ["waiting", "no checkpoint yet", "It appears here once one is written."];

  /** How a run stands: a sign, a word, and why. */
  function standing(run) {
    const stop = run.rules?.find((rule) => rule.stop)?.stop;
    if (run.unusable) return ["failed", "cannot be measured", brief(run, run.unusable)];
    if (run.stopped) return ["stop", "should stop", stop ? stop.reason + (isKnown(stop.at.step) ? `, at step ${whole(stop.at.step)}` : "") : ""];
    if (run.failure) return ["failed", "failed", brief(run, run.failure)];
    if (!run.watched) return ["unwatched", "not watched", ""];
    if (run.measuring?.length) {
      const [{ path, seconds }] = run.measuring;
      return ["measuring", "measuring", `${within(run.run, path)}, for ${duration(seconds)}`];
    }
    if (run.pending) {
      const first = run.waiting?.[0];
      return ["waiting", `${run.pending} waiting`, first ? `${within(run.run, first.path)}: ${first.reason}` : ""];
    }
    if (!run.measured && !run.skipped) return EMPTY;
    return ["fine", "up to date", ""];
  }

  const ORDER = ["failed", "stop", "measuring", "waiting", "fine", "unwatched"];

  /** How far the prediction is from what is known. */
  function difference(run) {
    const by = predicted(run) - known(run);
    if (!isKnown(known(run)) || !isKnown(predicted(run))) return null;
    const points = Math.abs(100 * by).toFixed(1);
    const fit = run.latest.is_fit ? " (fitted on it)" : "";
    return (points === "0.0" ? "predicted exactly" : `predicted ${points} points too ${by > 0 ? "high" : "low"}`) + fit;
  }

  function spark(run) {
    const values = run.predicted_error ?? [];
    const drawn = values.map((value, index) => [index, value]).filter(([, value]) => isKnown(value));
    // As in the charts: what comes before training would flatten the rest.
    const seen = drawn.length > 3 ? drawn.slice(1) : drawn;
    if (seen.length < 2) return [];
    const [low, high] = [Math.min(...seen.map(([, value]) => value)), Math.max(...seen.map(([, value]) => value))];
    const place = ([index, value]) => {
      const x = 2 + (92 * (index - seen[0][0])) / (seen.at(-1)[0] - seen[0][0]);
      return `${x.toFixed(1)},${(25 - (22 * (value - low)) / (high - low || 1)).toFixed(1)}`;
    };
    const made = document.createElementNS(SVG, "svg");
    const line = made.appendChild(document.createElementNS(SVG, "polyline"));
    line.setAttribute("points", seen.map(place).join(" "));
    made.setAttribute("viewBox", "0 0 96 28");
    made.setAttribute("class", "spark");
    made.setAttribute("role", "img");
    made.setAttribute("aria-label", `predicted error from ${percent(seen[0][1])} to ${percent(seen.at(-1)[1])}`);
    return made;
  }

  const two = (value, below) => [node("span", value, { class: "value" }), below ? node("span", below, { class: "below" }) : null];
  const estimate = (found) => two(number(found?.value), interval(found?.low, found?.high));

  function findings(run) {
    const found = run.latest?.findings ?? [];
    if (!found.length) return run.latest ? [node("span", "none", { class: "below" })] : [];
    return found.map(({ code, severity, text }) =>
      node("span", [icon(SIGNS[severity]), `${severity}: ${visible(code.replaceAll("_", " "))}`], {
        class: `chip ${severity}`,
        title: visible(text),
      }),
    );
  }

  const COLUMNS = [
    {
      name: "State",
      key: (run) => ORDER.indexOf(standing(run)[0]),
      class: "state",
      cell: (run) => {
        const [state, word, why] = standing(run);
        const failed = run.failed && state !== "failed" ? [chip("failed", `${run.failed} failed`)] : [];
        return [chip(state, word), ...failed, why ? node("span", outside(why), { class: "below" }) : null];
      },
    },
    { name: "Trend", key: null, class: "trend", cell: spark },
    {
      name: "Predicted error",
      key: predicted,
      class: "number",
      cell: (run) => two(percent(predicted(run)), interval(run.latest?.prediction?.low, run.latest?.prediction?.high, percent)),
    },
    { name: "Known error", key: known, class: "number known", cell: (run) => two(percent(known(run)), difference(run)) },
    { name: "EI", key: (run) => run.latest?.invariance?.value ?? null, class: "number", cell: (run) => estimate(run.latest?.invariance) },
    { name: "R_f", key: (run) => run.latest?.r_f?.value ?? null, class: "number", cell: (run) => estimate(run.latest?.r_f) },
    { name: "Findings", key: (run) => -(run.latest?.findings.length ?? 0), class: "findings", cell: findings },
    {
      name: "Latest",
      key: (run) => -(run.latest?.written ?? 0),
      class: "number",
      cell: (run) => two(ago(run.latest?.written), isKnown(run.latest?.step) ? `step ${whole(run.latest.step)}` : null),
    },
    {
      name: "Speed",
      key: (run) => -(run.latest?.passes / run.latest?.seconds || 0),
      class: "number",
      cell: ({ latest }) => latest?.seconds > 0 ? two(whole(Math.round(latest.passes / latest.seconds)), `images/s; ${duration(latest.seconds)} a checkpoint`) : ["–"],
    },
  ];

  const parent = (run) => run.run.split("/").slice(0, -1).join("/") || "/";

  /** The table in the page; `choose` shows and hides runs in the charts, `link` gives the address of a run. */
  function make({ choose, link }) {
    const element = (id) => document.getElementById(id);
    const rows = new Map();
    const state = { sort: "", isDown: false, runs: [], folders: [], shown: new Set() };

    function row(run) {
      const box = node("input", [], { type: "checkbox" });
      box.addEventListener("change", () => choose([run.run], box.checked));
      const swatch = node("span", [], { class: "swatch", "aria-hidden": "true" });
      const title = node("a", outside(run.name), { href: link(run), title: visible(run.run) });
      const best = node("span", [], { class: "best" });
      const label = node("label", [box, swatch, node("span", ["show ", outside(run.name)], { class: "hidden" })]);
      const head = node("th", node("div", [label, node("div", [title, best])], { class: "run" }), { scope: "row", role: "rowheader" });
      const cells = COLUMNS.map((column) => node("td", [], { class: column.class, role: "cell", "data-name": column.name }));
      return { tr: node("tr", [head, ...cells], { role: "row" }), box, swatch, title, best, cells, told: cells.map(() => null) };
    }

    function fill(made, run, index, first) {
      made.box.checked = state.shown?.has(run.run) ?? false;
      made.swatch.style.background = RelstabKinds.colour(index);
      if (made.title.textContent !== visible(run.name)) made.title.replaceChildren(outside(run.name));
      const isBest = first?.run === run;
      if (isBest !== made.isBest) made.best.replaceChildren(...(isBest ? [chip("best", "best")] : []));
      made.isBest = isBest;
      COLUMNS.forEach(({ cell }, at) => {
        const holder = node("div", cell(run));
        if (holder.innerHTML === made.told[at]) return;
        made.told[at] = holder.innerHTML;
        made.cells[at].replaceChildren(...holder.childNodes);
      });
    }

    function sorted(runs) {
      const column = COLUMNS.find(({ name }) => name === state.sort);
      if (!column) return state.isDown ? [...runs].reverse() : runs;
      const last = (run) => column.key(run) ?? Infinity;
      return [...runs].sort((a, b) => (state.isDown && isKnown(column.key(b)) && isKnown(column.key(a)) ? last(b) - last(a) : last(a) - last(b)));
    }

    /** A row that is made once. */
    function once(key, made) {
      if (!rows.has(key)) rows.set(key, made());
      return rows.get(key);
    }

    function empty(folder) {
      const [state, words, why] = EMPTY;
      const text = node("td", [chip(state, words), node("span", why, { class: "below" })], {
        colspan: COLUMNS.length,
        role: "cell",
        class: "state",
      });
      const head = node("th", outside(folder.split("/").at(-1)), { scope: "row", role: "rowheader", title: visible(folder) });
      return node("tr", [head, text], { role: "row" });
    }

    const isWanted = ({ run }) => run.toLowerCase().includes(element("filter").value.toLowerCase());

    function show(runs = state.runs, folders = state.folders, shown = state.shown) {
      Object.assign(state, { runs, folders, shown });
      const first = leader(runs);
      const listed = sorted(runs.filter(isWanted));
      const made = listed.map((run) => {
        const its = once(run.run, () => row(run));
        fill(its, run, runs.indexOf(run), first);
        return [run, its.tr];
      });
      const bare = folders.filter((folder) => !runs.some(({ run }) => run === folder || run.startsWith(`${folder}/`)));
      const trs = element("group").checked ? grouped(made) : made.map(([, tr]) => tr);
      place([...trs, ...(element("filter").value ? [] : bare.map((folder) => once(`none yet: ${folder}`, () => empty(folder))))]);
      element("empty").hidden = listed.length + bare.length > 0;
      element("summary").replaceChildren(...summary(runs, bare, first));
    }

    function grouped(made) {
      const groups = Map.groupBy(made, ([run]) => parent(run));
      return [...groups].flatMap(([folder, its]) => [
        once(`group: ${folder}`, () =>
          node("tr", node("th", outside(folder), { colspan: COLUMNS.length + 1, scope: "rowgroup", role: "rowheader" }), { class: "group", role: "row" }),
        ),
        ...its.map(([, tr]) => tr),
      ]);
    }

    /** Rows that stay where they are keep the focus and the pointer. */
    function place(trs) {
      const body = element("runs");
      if (trs.length === body.children.length && trs.every((tr, index) => tr === body.children[index])) return;
      const focused = document.activeElement;
      body.replaceChildren(...trs);
      if (focused && body.contains(focused)) focused.focus({ preventScroll: true });
    }

    function summary(runs, bare, first) {
      const count = (state) => runs.filter((run) => standing(run)[0] === state).length + (state === "waiting" ? bare.length : 0);
      const words = { failed: "failed", stop: "should stop", measuring: "measuring", waiting: "waiting", fine: "up to date", unwatched: "not watched" };
      const chips = ORDER.filter(count).map((state) => chip(state, `${count(state)} ${words[state]}`));
      if (!first) return chips;
      const by = first.isKnown ? "known error" : "predicted error";
      return [...chips, node("span", ["Best now: ", outside(first.run.name), `, ${by} ${percent(first.value)}`], { class: "lead" })];
    }

    function sort(name) {
      [state.isDown, state.sort] = [state.sort === name && !state.isDown, name];
      element("sort").value = name;
      for (const head of document.querySelectorAll("#heads th")) {
        const isIt = head.dataset.sort === name;
        if (isIt) head.setAttribute("aria-sort", state.isDown ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      }
      show();
    }

    const heads = [{ name: "Run", value: "" }, ...COLUMNS.map(({ name, key, class: look }) => ({ name, value: name, key, look }))];
    for (const { name, value, key, look } of heads) {
      const isSortable = key !== null;
      const button = isSortable ? node("button", name, { type: "button" }) : name;
      if (isSortable) button.addEventListener("click", () => sort(value));
      element("heads").append(node("th", button, { scope: "col", role: "columnheader", class: look, "data-sort": isSortable ? value : null }));
      if (isSortable) element("sort").append(node("option", name, { value }));
    }
    element("sort").addEventListener("change", ({ target }) => {
      state.sort = null;
      sort(target.value);
    });
    element("filter").addEventListener("input", () => show());
    element("group").addEventListener("change", () => show());
    const listed = () => state.runs.filter(isWanted).map(({ run }) => run);
    element("all").addEventListener("click", () => choose(listed(), true));
    element("none").addEventListener("click", () => choose(listed(), false));
    return { show };
  }

  return { SIGNS, make, chip, icon, standing };
})();
