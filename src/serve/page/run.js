// One run: what its rules and alerts say, what predicted it, what failed or was skipped, what happened last.
"use strict";

const RelstabRun = (() => {
  const { node, outside, number, percent, isKnown, whole, place, table } = RelstabWords;
  const { ask, within, link } = RelstabRuns;
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
      node("li", node("a", outside(reason(run, entry)), { href: link(run, entry.id) })));
  }

  const moment = (time) => node("time", new Date(time).toLocaleString(), { datetime: time });

  /** How it is known that a training began again. */
  const known = ({ declared }) => (declared ? "the training said so" : "noticed: a file of an earlier step was written again");

  /** The trainings that began again in the run's directory. */
  function attempts({ attempts: all }) {
    if (!all.length) return [];
    const items = all.map((each) => node("li", [`Attempt ${each.attempt} from step ${whole(each.step)}, `, moment(each.time), ` (${known(each)}).`]));
    const says = "The training began again. Rules judge the latest attempt, with what came before the step that it began at. Charts show fainter what was trained again.";
    return [node("h3", "Attempts"), node("p", says, { class: "note" }), node("ul", items, { id: "attempts" })];
  }

  function alert({ alert: name, text, raised, since }) {
    const state = since ? [chip("stop", "holds"), " since ", moment(since)] : [chip("unwatched", "over"), ", raised ", moment(raised)];
    return node("li", [node("p", [node("strong", outside(name)), " ", ...state]), node("p", outside(text))]);
  }

  const span = (first, last) => (!isKnown(first) ? "–" : first === last ? whole(first) : `${whole(first)} to ${whole(last)}`);

  /** The laws that predicted the run's checkpoints as they were measured. */
  function laws({ laws: all, laws_in_all: count }) {
    if (!all.length) return [node("h3", "Laws"), node("p", "No law has predicted an error of this run.", { class: "note" })];
    const listed = all.slice(0, LISTED);
    const rows = listed.map(({ law, first_step: first, last_step: last, records }) => [
      outside(`${law.name}, version ${law.version}`),
      span(first, last),
      whole(records),
      law.terms.join(", "),
      number(law.a),
      number(law.b),
      isKnown(law.sd_log) ? number(law.sd_log) : "–",
    ]);
    const says = [
      "By these each checkpoint's error was predicted when it was measured. A known error makes a new version, which predicts anew what charts show.",
      "Here a is the error where the law's terms are 1, b the exponent of the first term, and spread that of the log error.",
    ].join(" ");
    const heads = ["law", "steps", "checkpoints", "goes by", "a", "b", "spread"];
    return [
      node("h3", `Laws${count > listed.length ? ` (${listed.length} of ${whole(count)})` : ""}`),
      node("p", says, { class: "note" }),
      table("Laws over training, the latest first", heads, rows),
    ];
  }

  const EVENTS = { checkpoint_seen: "seen", measured: "measured", skipped: "skipped", failed: "failed", annotated: "error told", stop: "should stop", resumed: "goes on: the stop was overruled", alert: "alert" };

  function event(run, it) {
    const { type, time, path, reason: why, step, val_error: error, alert: name, text } = it;
    const when = moment(time);
    if (type === "attempt") return node("li", [when, ` attempt ${it.attempt} begins at step ${whole(step)}: ${known(it)}`]);
    const what = name ?? (path ? within(run.run, path) : isKnown(step) ? place({ step }) : "");
    const more = [why, text, isKnown(error) ? percent(error) : null].filter(Boolean).join(" ");
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
    const address = `/api/runs/${run.id}`;
    const asked = [part("failed"), part("skipped"), ask(`${address}/events?limit=${LISTED}`), ask(`${address}/past`)];
    const [failed, skipped, events, past] = await Promise.all(asked);
    const [state, word, why] = standing(run);
    const counts = ["measured", "pending", "skipped", "failed"].filter((name) => run[name]).map((name) => `${whole(run[name])} ${name === "pending" ? "waiting" : name}`);
    const waiting = (run.waiting ?? []).map(({ path, reason: because }) => node("li", [outside(within(run.run, path)), ": ", outside(because)]));
    const of = (entries, count) => (count > entries.length ? ` (${entries.length} of ${count})` : "");
    const content = [
      facts([
        ["state", node("div", [chip(state, word), why ? node("p", outside(why)) : null])],
        ["directory", node("code", outside(run.run))],
        ["checkpoints", counts.join(", ")],
        ["attempt", past.attempts.length ? String(past.attempts.at(-1).attempt) : null],
        ["best", run.best ? place({ ...run.best, file: within(run.run, run.best.path) }) : null],
      ]),
      ...buttons(run, more),
      node("h3", "Stop rules"),
      run.rules?.length ? node("ul", run.rules.map((each) => rule(run, each)), { class: "rules", id: "rules" }) : node("p", "The run has none.", { class: "note" }),
      node("h3", "Alerts"),
      past.alerts.length ? node("ul", past.alerts.map(alert), { class: "rules", id: "alerts" }) : node("p", "None was raised.", { class: "note" }),
      ...attempts(past),
      ...laws(past),
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
