// One checkpoint, with all that its record says.
"use strict";

const RelstabDrawer = (() => {
  const { isKnown, node, outside, table, number, short, percent, interval, duration, place, whole } = RelstabWords;
  const { ask, within, link } = RelstabRuns;
  const { SIGNS, chip, icon } = RelstabTable;

  const facts = (pairs) =>
    node("dl", pairs.filter(([, value]) => value !== null && value !== undefined && value !== "").flatMap(([name, value]) => [
      node("dt", name),
      node("dd", typeof value === "string" ? outside(value) : value),
    ]));

  const level = (found) => `${Number((100 * found.level).toPrecision(3))} %`;
  const estimate = (name, found) => found && [name, number(found.value), interval(found.low, found.high) ?? "–", level(found)];

  function quantities(entry, m) {
    const { prediction, scores } = m;
    const predicted = prediction && ["predicted error", percent(prediction.error), interval(prediction.low, prediction.high, percent) ?? "–", level(prediction)];
    const rows = [
      predicted,
      isKnown(entry.val_error) && ["known error", percent(entry.val_error), "–", "–"],
      isKnown(m.probe_error) && ["error on the probe images", percent(m.probe_error), "–", "–"],
      estimate("EI", scores?.invariance?.deformed),
      estimate("EI under noise", scores?.invariance?.noisy),
      estimate("R_f", m.r_f),
      estimate("D_f", m.d_f),
      estimate("G_f", m.g_f),
    ];
    return table("Values, with the interval that each holds at its level", ["quantity", "value", "interval", "level"], rows.filter(Boolean));
  }

  function readings({ estimators }) {
    const cell = (found) => (found ? `${number(found.value)} (${interval(found.low, found.high)})` : "–");
    const rows = Object.entries(estimators ?? {}).map(([name, { r_f, d_f, g_f }]) => [name.replaceAll("_", " "), cell(r_f), cell(d_f), cell(g_f)]);
    return rows.length ? [node("h3", "Three readings of “typical”"), table("Three readings", ["typical is", "R_f", "D_f", "G_f"], rows)] : [];
  }

  function scores({ scores: found }) {
    if (!found) return [];
    const { confidence, agreement, classes } = found;
    return [
      node("h3", "Answers"),
      table("Answers on the images as they are, deformed, and with noise", ["images", "as they are", "deformed", "with noise"], [
        ["confidence", ...[confidence.clean, confidence.deformed, confidence.noisy].map(percent)],
        ["same class as before", "–", percent(agreement.deformed), percent(agreement.noisy)],
      ]),
      facts([["classes in use", isKnown(classes) ? number(classes) : null]]),
    ];
  }

  function findings(m) {
    const found = m.findings ?? [];
    if (!found.length) return [];
    const order = { wrong: 0, doubt: 1, note: 2 };
    const items = [...found].sort((a, b) => order[a.severity] - order[b.severity]).map(({ severity, text, help }) =>
      node("li", [
        node("span", [icon(SIGNS[severity]), severity], { class: `chip ${severity}` }),
        node("div", [outside(text), help ? node("p", outside(`What to do: ${help}`), { class: "note" }) : null]),
      ]));
    return [node("h3", "Findings"), node("ul", items, { class: "findings" })];
  }

  function law(entry, { prediction, probe_error: probe, findings }) {
    if (!prediction) return [node("h3", "Law"), node("p", "No law predicted an error; the findings say why.")];
    const { law: its, low, high, error } = prediction;
    const known = entry.val_error ?? probe;
    const isIn = known >= low && known <= high;
    const isFit = (findings ?? []).some(({ code }) => code === "fitted_on_it");
    const hasInterval = isKnown(low) && isKnown(high) && isKnown(known);
    const verdict = isFit
      ? "the law was fitted on this error too: a fit, not a prediction"
      : hasInterval
      ? chip(isIn ? "fine" : "stop", `the known error, ${percent(known)}, lies ${isIn ? "inside" : known < low ? "below" : "above"} the predicted interval`)
      : isKnown(known) ? `predicted ${percent(error)}, known ${percent(known)}` : "no known error to compare with";
    return [
      node("h3", "Law"),
      facts([
        ["verdict", node("div", verdict)],
        ["name", `${its.name}, version ${its.version}`],
        ["goes by", its.terms.join(", ")],
        ["error where its terms are 1", number(its.a)],
        ["exponent of the first", number(its.b)],
        ["spread of log error", isKnown(its.sd_log) ? number(its.sd_log) : "unknown"],
        ["fitted on", its.source],
        ...prediction.warnings.map((text) => ["warning", text]),
      ]),
    ];
  }

  const shown = (value) => (Array.isArray(value) ? value.join(", ") : typeof value === "number" ? short(value) : String(value));
  const plain = (record) => facts(Object.entries(record).filter(([, value]) => value !== null && typeof value !== "object" || Array.isArray(value)).map(([key, value]) => [key.replaceAll("_", " "), shown(value)]));

  function rest(m) {
    const { probe, settings, backend, timing } = m;
    const { bytes, ...its } = m.model;
    return [
      node("h3", "Settings"),
      facts([["displacement", `${number(m.displacement_rms_px)} px rms; ${percent(m.folded_share)} of maps fold`]]),
      plain(settings),
      node("h3", "Images"),
      plain(probe),
      node("h3", "Engine"),
      plain(backend),
      node("h3", "Network"),
      plain({ ...its, size: `${whole(bytes)} bytes` }),
      node("h3", "Timing"),
      facts([
        ["in all", duration(timing.total_s)],
        ["in the network", duration(timing.inference_s)],
        ["deforming and adding noise", duration(timing.perturb_s)],
        ["images through the network", whole(timing.passes)],
        ["batch", whole(timing.batch)],
      ]),
    ];
  }

  /** A training loop's error of the checkpoint, told by hand. */
  function annotation(run, entry, again) {
    const input = node("input", [], { type: "number", min: "0", max: "100", step: "any", required: "", id: "told" });
    const said = node("p", [], { class: "note", role: "status" });
    const form = node("form", [
      node("label", "Known error, percent ", { for: "told" }),
      input,
      node("button", "Keep", { type: "submit" }),
      said,
    ], { class: "tools" });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const body = JSON.stringify({ path: entry.path, val_error: Number(input.value) / 100 });
      const headers = { "content-type": "application/json" };
      try {
        await ask(`/api/runs/${run.id}/annotations`, { method: "POST", headers, body });
        await again();
      } catch (error) {
        said.textContent = error.message;
      }
    });
    return form;
  }

  /** What the drawer holds for a checkpoint of a run: its title and the rest. */
  async function checkpoint(run, id, { mayRetry, again }) {
    const address = `/api/runs/${run.id}/checkpoints/${id}`;
    const [entry, shown] = await Promise.all([ask(address), mayRetry ? ask(`${address}/strip`) : null]);
    const file = within(run.run, entry.path);
    const title = place({ ...entry, file });
    const top = facts([["run", node("a", outside(run.name), { href: link(run) })], ["file", node("code", outside(file))]]);
    const m = entry.measurement;
    if (!m) {
      const state = { failed: ["failed", "failed"], skipped: ["unwatched", "skipped"] }[entry.state] ?? ["waiting", "waiting"];
      return { title, content: [top, node("p", chip(...state)), node("p", outside(entry.reason ?? "waits for its turn"))] };
    }
    const undefinedBecause = m.undefined ? [node("p", outside(`R_f is undefined: ${m.undefined.reason}`))] : [];
    const content = [
      top,
      quantities(entry, m),
      ...undefinedBecause,
      ...findings(m),
      ...RelstabStrip.make(run, id, shown, mayRetry),
      ...(mayRetry ? [annotation(run, entry, again)] : []),
      ...law(entry, m),
      ...scores(m),
      ...readings(m),
      ...rest(m),
    ];
    return { title, content };
  }

  return { checkpoint, facts };
})();
