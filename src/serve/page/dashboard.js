// The live dashboard: asks the daemon how runs stand, draws them, and asks again for what its events say has changed.
"use strict";

(() => {
  const { draw, colour, visible } = RelstabCharts;
  // Runs that are shown at first; more at once are hard to tell apart.
  const SHOWN_AT_FIRST = 8;
  const POINTS = 1000;
  const PAUSE = 1000;
  const RECONNECT = 3000;
  const FAILURES = 20;
  const AWAY = "the daemon does not answer; trying again";

  const element = (id) => document.getElementById(id);
  const state = { runs: [], series: new Map(), shown: null, failures: new Map(), changed: new Set(), timer: null };

  async function ask(path) {
    const response = await fetch(path, { headers: { accept: "application/json" } });
    if (!response.ok) throw new Error(`${path}: ${response.status}`);
    return response.json();
  }

  // ---- what is known -------------------------------------------------------------------------------------------------

  async function load() {
    const [status, series] = await Promise.all([ask("/api/runs"), ask("/api/series")]);
    state.series = new Map(series.map((run) => [run.run, run]));
    state.changed.clear();
    await take(status);
  }

  /** Asks for the runs that events told of. */
  async function update() {
    const changed = [...state.changed];
    state.changed.clear();
    const status = await ask("/api/runs");
    const known = status.runs.filter((run) => changed.includes(run.run));
    const series = await Promise.all(known.map((run) => ask(`/api/runs/${run.id}/series?points=${POINTS}`)));
    series.forEach((run) => state.series.set(run.run, run));
    await take(status);
  }

  async function take({ runs }) {
    state.runs = runs;
    name(state.runs);
    if (state.shown === null && state.runs.length > 0) {
      const latest = [...state.runs].sort((a, b) => b.id - a.id).slice(0, SHOWN_AT_FIRST);
      state.shown = new Set(latest.map((run) => run.run));
    }
    const failed = shown().filter((run) => run.failed > 0);
    const failures = await Promise.all(
      failed.map((run) => ask(`/api/runs/${run.id}/measurements?state=failed&limit=${FAILURES}`)),
    );
    state.failures = new Map(failed.map((run, index) => [run.run, failures[index]]));
    show();
  }

  /** The shortest ends of the runs' paths that tell them apart. */
  function name(runs) {
    const end = (run, parts) => run.run.split("/").slice(-parts).join("/");
    for (const run of runs) {
      let parts = 1;
      while (end(run, parts) !== run.run && runs.some((other) => other !== run && end(other, parts) === end(run, parts))) {
        parts += 1;
      }
      run.name = end(run, parts);
    }
  }

  const shown = () => state.runs.filter((run) => state.shown?.has(run.run));

  // ---- what is seen: text from outside is set as text, never as markup -------------------------------------------------

  function node(tag, content = [], attributes = {}) {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...[content].flat());
    return made;
  }

  const outside = (text) => node("bdi", visible(text));
  const last = (column) => column?.findLast((value) => value !== null) ?? null;
  const number = (value) => (value === null ? "–" : value.toPrecision(3));
  const percent = (value) => (value === null ? "–" : `${(100 * value).toFixed(1)} %`);

  function row(run, index) {
    const series = state.series.get(run.run);
    // Before training, R_f is small by accident.
    const known = (series?.r_f ?? []).filter((value, at) => value !== null && series.step[at] !== 0);
    const box = node("input", [], { type: "checkbox" });
    box.checked = state.shown?.has(run.run) ?? false;
    box.addEventListener("change", () => choose(run.run, box.checked));
    const swatch = node("span", [], { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = colour(index);
    const label = node("label", [box, swatch, outside(run.name)], { title: visible(run.run) });
    const cell = (text) => node("td", text, { class: "number" });
    return node("tr", [
      node("th", label, { scope: "row" }),
      cell(String(last(series?.step) ?? "–")),
      cell(number(series?.r_f.at(-1) ?? null)),
      cell(percent(series?.predicted_error.at(-1) ?? null)),
      cell(percent(last(series?.val_error) ?? last(series?.probe_error))),
      cell(number(known.length ? Math.min(...known) : null)),
      cell(String(run.measured ?? "–")),
      cell(String(run.pending ?? "–")),
      cell(String(run.failed ?? "–")),
      node("td", standing(run)),
    ]);
  }

  function standing(run) {
    if (!run.watched) return "not watched";
    if (run.unusable) return "cannot be measured";
    if (run.stopped) return "should stop";
    if (run.measuring.length) return "measuring";
    return run.pending ? "waiting" : "up to date";
  }

  function choose(run, isShown) {
    if (isShown) state.shown.add(run);
    else state.shown.delete(run);
    attempt(() => take(state));
  }

  function chooseAll(isShown) {
    const rows = state.runs.filter(isListed).map((run) => run.run);
    rows.forEach((run) => (isShown ? state.shown.add(run) : state.shown.delete(run)));
    attempt(() => take(state));
  }

  const isListed = (run) => run.run.toLowerCase().includes(element("filter").value.toLowerCase());

  function findings(run) {
    return (state.series.get(run.run)?.findings ?? []).map((finding) =>
      node("li", [outside(run.name), `: ${finding.severity}: `, outside(finding.text), " ", outside(finding.help)]),
    );
  }

  function rules(run) {
    return (run.rules ?? []).map((rule) => {
      const best = rule.best ? [`best ${number(rule.best.value)} at `, outside(place(rule.best)), ", "] : ["no best yet, "];
      const end = rule.stop ? ["stopped: ", outside(rule.stop.reason)] : [`patience left ${rule.patience_left}`];
      return node("li", [outside(run.name), `: ${rule.monitor}: `, ...best, ...end]);
    });
  }

  const place = (mark) => (mark.step === null || mark.step === undefined ? mark.path : `step ${mark.step}`);

  function now(run) {
    const measuring = run.measuring.map(({ path, seconds }) =>
      node("li", ["measuring ", outside(path), ` for ${seconds.toFixed(0)} s`]),
    );
    const taken = new Set(run.measuring.map(({ path }) => path));
    const named = (run.waiting ?? []).filter(({ path }) => !taken.has(path));
    const waiting = named.map(({ path, reason }) => node("li", [outside(path), ": ", outside(reason)]));
    const more = run.pending - run.measuring.length - named.length;
    if (more > 0) waiting.push(node("li", [outside(run.name), `: ${more} more waiting`]));
    const unusable = run.unusable ? [node("li", [outside(run.name), ": ", outside(run.unusable)])] : [];
    return [...measuring, ...waiting, ...unusable];
  }

  /** Most reasons name their file. */
  const failure = ({ path, reason }) => (reason.includes(path) ? reason : `${path}: ${reason}`);

  function fill(id, items, otherwise) {
    element(id).replaceChildren(...(items.length ? items : [node("li", otherwise)]));
  }

  function list() {
    // A table that is made anew would take the focus from a run's box.
    const focus = document.activeElement?.closest("#runs tr")?.rowIndex;
    const rows = state.runs.map(row).filter((_, index) => isListed(state.runs[index]));
    element("runs").replaceChildren(...rows);
    if (focus) rows[focus - 1]?.querySelector("input").focus();
    element("empty").hidden = state.runs.length > 0;
  }

  function show() {
    list();
    fill("now", state.runs.filter((run) => run.watched).flatMap(now), "nothing waits");
    fill("findings", shown().flatMap(findings), "none");
    fill("rules", shown().flatMap(rules), "no rule");
    const failures = shown().flatMap((run) =>
      (state.failures.get(run.run) ?? []).map((entry) => node("li", outside(failure(entry)))),
    );
    fill("failures", failures, "none");
    chart();
  }

  function chart() {
    const places = state.runs.map((_, index) => index).filter((index) => {
      const { run } = state.runs[index];
      return state.shown?.has(run) && state.series.get(run)?.r_f.length;
    });
    const series = places.map((index) => {
      const { run, name } = state.runs[index];
      return { ...state.series.get(run), name };
    });
    draw(element("charts"), series, places);
  }

  // ---- what changes ----------------------------------------------------------------------------------------------------

  function say(text) {
    if (element("connection").textContent !== text) element("connection").textContent = text;
  }

  /** Asks, and asks for everything again if there is no answer. */
  async function attempt(question) {
    try {
      await question();
      say("live");
    } catch {
      say(AWAY);
      setTimeout(attempt, RECONNECT, load);
    }
  }

  /** At most one question a second, however many events there are. */
  function soon() {
    state.timer ??= setTimeout(async () => {
      await attempt(update);
      state.timer = null;
      if (state.changed.size) soon();
    }, PAUSE);
  }

  function listen() {
    const events = new EventSource("/events");
    // Also after the daemon was away: what it did meanwhile is asked for, not replayed.
    events.addEventListener("open", () => attempt(load));
    events.addEventListener("message", ({ data }) => {
      state.changed.add(JSON.parse(data).run);
      soon();
    });
    events.addEventListener("error", () => {
      say(AWAY);
      if (events.readyState === EventSource.CLOSED) setTimeout(listen, RECONNECT);
    });
  }

  const THEMES = ["system", "light", "dark"];

  function setTheme(theme) {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    localStorage.setItem("theme", theme);
    element("theme").textContent = `Theme: ${theme}`;
    chart();
  }

  element("theme").addEventListener("click", () => {
    const theme = localStorage.getItem("theme") ?? "system";
    setTheme(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", chart);
  element("filter").addEventListener("input", list);
  element("all").addEventListener("click", () => chooseAll(true));
  element("none").addEventListener("click", () => chooseAll(false));
  setTheme(localStorage.getItem("theme") ?? "system");
  listen();
})();
