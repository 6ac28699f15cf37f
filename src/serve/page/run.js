// One run: what its rules say, what failed or was skipped, what happened last.
"use strict";

const RelstabRun = (() => {
  const { node, outside, number, percent, isKnown, whole, place } = RelstabWords;
  const { ask, within } = RelstabRuns;
  const { chip, standing } = RelstabTable;
  const { facts } = RelstabDrawer;
  const LISTED = 20;

  const ERRORS = ["predicted_error", "probe_error", "val_error"];
  const worth = (monitor, value) => (ERRORS.includes(monitor) ? percent(value) : number(value));

  /** Patience as a row of boxes: used ones are filled. */
  function patience({ wait, patience_left: left }) {
    const all = wait + left;
    if (all > 40) return node("meter", `${wait} of ${all}`, { min: "0", max: String(all), value: String(wait) });
    const boxes = Array.from({ length: all }, (_, index) => node("span", [], { class: index < wait ? "used" : "" }));
    return node("span", boxes, { class: "patience", role: "img", "aria-label": `${wait} of ${all} used` });
  }

  function rule(run, it) {
    const { best, stop } = it;
    const at = (mark) => (isKnown(mark.step) ? `step ${whole(mark.step)}` : within(run.run, mark.path));
    return node("li", [
      node("p", [node("strong", it.monitor.replaceAll("_", " ").replace("r f", "R_f").replace("d f", "D_f").replace("g f", "G_f")), " ", stop ? chip("stop", "should stop") : chip("fine", "go on")]),
      node("p", best ? ["Best ", worth(it.monitor, best.value), " at ", outside(at(best)), "."] : "No best yet."),
      node("p", [patience(it), ` ${it.wait} checkpoints without improvement, patience left ${it.patience_left}.`]),
      stop ? node("p", ["Why: ", outside(stop.reason), " (", outside(at(stop.at)), ")"]) : null,
    ]);
  }

  const list = (items, otherwise) => (items.length ? node("ul", items) : node("p", otherwise, { class: "note" }));

  /** Most reasons name their file. */
  const reason = (run, { path, reason: why }) => {
    const file = within(run.run, path);
    return why.includes(file) ? why : `${file}: ${why}`;
  };

  function unmeasured(run, entries) {
    return entries.map((entry) =>
      node("li", node("a", outside(reason(run, entry)), { href: `#run=${run.id}&checkpoint=${entry.id}` })));
  }

  const EVENTS = { checkpoint_seen: "seen", measured: "measured", skipped: "skipped", failed: "failed", annotated: "error told", stop: "should stop" };

  function event(run, { type, time, path, reason: why, step, val_error: error }) {
    const what = path ? within(run.run, path) : isKnown(step) ? place({ step }) : "";
    const more = [why, isKnown(error) ? percent(error) : null].filter(Boolean).join(" ");
    const when = node("time", new Date(time).toLocaleString(), { datetime: time });
    return node("li", [when, ` ${EVENTS[type] ?? type} `, outside(what), more ? [": ", outside(more)] : null].flat());
  }

  function buttons(run, { mayRetry, again }) {
    if (!mayRetry || !run.failed) return [];
    const said = node("p", [], { class: "note", role: "status" });
    const button = node("button", `Measure the ${run.failed} failed again`, { type: "button" });
    button.addEventListener("click", async () => {
      try {
        await ask(`/api/runs/${run.id}/retry`, { method: "POST" });
        await again();
      } catch (error) {
        said.textContent = error.message;
      }
    });
    return [node("p", [button, said])];
  }

  /** What the drawer holds for a run: its title and the rest. */
  async function page(run, more) {
    const part = (state) => ask(`/api/runs/${run.id}/measurements?state=${state}&limit=${LISTED}`);
    const [failed, skipped, events] = await Promise.all([part("failed"), part("skipped"), ask(`/api/runs/${run.id}/events?limit=${LISTED}`)]);
    const [state, word, why] = standing(run);
    const counts = ["measured", "pending", "skipped", "failed"].filter((name) => run[name]).map((name) => `${whole(run[name])} ${name === "pending" ? "waiting" : name}`);
    const waiting = (run.waiting ?? []).map(({ path, reason: because }) => node("li", [outside(within(run.run, path)), ": ", outside(because)]));
    const of = (entries, count) => (count > entries.length ? ` (${entries.length} of ${count})` : "");
    const content = [
      facts([
        ["state", node("div", [chip(state, word), why ? node("p", outside(why)) : null])],
        ["directory", node("code", outside(run.run))],
        ["checkpoints", counts.join(", ")],
        ["best", run.best ? place({ ...run.best, file: within(run.run, run.best.path) }) : null],
      ]),
      ...buttons(run, more),
      node("h3", "Stop rules"),
      run.rules?.length ? node("ul", run.rules.map((each) => rule(run, each)), { class: "rules", id: "rules" }) : node("p", "The run has none.", { class: "note" }),
      ...(waiting.length ? [node("h3", "Waiting"), node("ul", waiting)] : []),
      node("h3", `Failed${of(failed, run.failed)}`),
      node("div", list(unmeasured(run, failed), "none"), { id: "failures" }),
      node("h3", `Skipped${of(skipped, run.skipped)}`),
      list(unmeasured(run, skipped), "none"),
      node("h3", "Latest events"),
      list(events.map((each) => event(run, each)), "none"),
    ];
    return { title: run.name, content };
  }

  return { page };
})();
