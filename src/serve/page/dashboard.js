// The live dashboard: the overview, the charts of chosen runs, and a drawer with one run or one checkpoint, which the address names.
"use strict";

(() => {
  const { visible, outside, node } = RelstabWords;
  const { within } = RelstabRuns;
  const element = (id) => document.getElementById(id);
  // Charts are drawn so often at most, milliseconds.
  const FRAME = 100;
  const TICK = 10_000;

  const runs = RelstabRuns.make({ changed: soon, say });
  const table = RelstabTable.make({ choose: runs.choose, link: RelstabRuns.link });
  const charts = RelstabCharts.make(element("charts"), {
    open: (series, checkpoint) => (location.hash = `run=${series.id}&checkpoint=${checkpoint}`),
  });

  let isFirst = true;

  function say(text) {
    if (element("connection").textContent !== text) element("connection").textContent = text;
    if (text !== "live" || !isFirst) return;
    isFirst = false;
    route();
  }

  // ---- what is drawn -----------------------------------------------------------------------------------------------

  let drawn = 0;
  let isDue = false;

  function soon() {
    if (isDue) return;
    isDue = true;
    const wait = Math.max(0, drawn + FRAME - performance.now());
    setTimeout(() => requestAnimationFrame(draw), wait);
    // A page that is not seen has no frames.
    if (document.hidden) setTimeout(draw, wait);
  }

  function draw() {
    if (!isDue) return;
    isDue = false;
    drawn = performance.now();
    table.show(runs.state.runs, runs.state.folders, runs.state.shown);
    document.body.classList.remove("loading");
    charts.show(series());
    drawn = performance.now();
  }

  /** The shown runs as charts want them: named, coloured by their place, with their best and their stop. */
  function series() {
    const all = runs.state.runs;
    return all.flatMap((run, place) => {
      const found = runs.state.shown?.has(run.run) ? runs.state.series.get(run.run) : null;
      if (!found?.step.length) return [];
      const at = (mark) => (mark ? found.file.indexOf(within(run.run, mark.path)) : -1);
      const stop = run.rules?.find((rule) => rule.stop)?.stop.at;
      const marks = [{ index: at(run.best), sign: "best" }, { index: at(stop), sign: "stop" }].filter(({ index }) => index >= 0);
      return [{ ...found, name: run.name, place, marks }];
    });
  }

  // ---- the drawer --------------------------------------------------------------------------------------------------

  const drawer = element("drawer");
  let asked = 0;

  async function route() {
    const words = new URLSearchParams(location.hash.slice(1));
    const run = runs.state.runs.find(({ id }) => String(id) === words.get("run"));
    if (!run) {
      if (drawer.open) drawer.close();
      return;
    }
    asked += 1;
    const mine = asked;
    const more = { mayRetry: runs.state.mayRetry, again: async () => (await runs.refresh(), await route()) };
    const id = words.get("checkpoint");
    const asking = id ? RelstabDrawer.checkpoint(run, Number(id), more) : RelstabRun.page(run, more);
    const found = await asking.catch((error) => ({ title: run.name, content: [node("p", visible(error.message))] }));
    if (mine !== asked) return;
    element("drawer-title").replaceChildren(outside(found.title));
    element("drawer-content").replaceChildren(...found.content);
    const beside = id ? neighbours(run, Number(id)) : [null, null];
    ["earlier", "later"].forEach((name, index) => {
      element(name).hidden = !id;
      element(name).disabled = beside[index] === null;
      element(name).onclick = () => (location.hash = `run=${run.id}&checkpoint=${beside[index]}`);
    });
    if (!drawer.open) drawer.showModal();
    element("drawer-body").scrollTop = 0;
  }

  /** The checkpoints before and after one, as far as the charts know them. */
  function neighbours(run, id) {
    const all = runs.state.series.get(run.run)?.checkpoint.filter((each) => each !== null) ?? [];
    const at = all.indexOf(id);
    return at < 0 ? [null, null] : [all[at - 1] ?? null, all[at + 1] ?? null];
  }

  element("close").addEventListener("click", () => drawer.close());
  drawer.addEventListener("click", (event) => event.target === drawer && drawer.close());
  drawer.addEventListener("close", () => {
    if (location.hash) history.pushState(null, "", location.pathname);
  });
  addEventListener("hashchange", route);
  addEventListener("popstate", route);

  // ---- the theme ---------------------------------------------------------------------------------------------------

  const THEMES = ["system", "light", "dark"];

  function setTheme(theme) {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    localStorage.setItem("theme", theme);
    element("theme").textContent = `Theme: ${theme}`;
    charts.repaint();
  }

  element("theme").addEventListener("click", () => {
    const theme = localStorage.getItem("theme") ?? "system";
    setTheme(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", charts.repaint);
  setTheme(localStorage.getItem("theme") ?? "system");

  // ---- what goes on ------------------------------------------------------------------------------------------------

  setInterval(() => document.hidden || soon(), TICK);
  runs.listen();
})();
