// What is known of the runs: asked of the daemon, kept up with its events, asked again where an event does not say all.
"use strict";

const RelstabRuns = (() => {
  const { isKnown } = RelstabWords;
  // Runs that are shown at first; more at once are hard to tell apart.
  const SHOWN_AT_FIRST = 8;
  // Points of all shown runs together, of one at most and at least.
  const [POINTS, MOST_POINTS, FEWEST_POINTS] = [12_000, 500, 32];
  const PAUSE = 1000;
  const RECONNECT = 3000;
  const AWAY = "the daemon does not answer; trying again";

  async function ask(path, options = {}) {
    const response = await fetch(path, { headers: { accept: "application/json" }, ...options });
    if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error ?? `${path}: ${response.status}`);
    return response.json();
  }

  /** The shortest ends of the runs' paths that tell them apart. */
  function name(runs) {
    const taken = new Map();
    const ends = (run, parts) => run.run.split("/").slice(-parts).join("/");
    let [open, parts] = [runs, 1];
    while (open.length) {
      taken.clear();
      for (const run of open) taken.set(ends(run, parts), (taken.get(ends(run, parts)) ?? 0) + 1);
      open.forEach((run) => (run.name = ends(run, parts)));
      open = open.filter((run) => taken.get(run.name) > 1 && run.name !== run.run);
      parts += 1;
    }
  }

  const within = (run, path) => (path.startsWith(`${run}/`) ? path.slice(run.length + 1) : path);

  /** The address of a run or of one of its checkpoints. One that begins with a hash would pass for a place on the page. */
  const link = (run, checkpoint = null) => `./#run=${run.id}${checkpoint === null ? "" : `&checkpoint=${checkpoint}`}`;

  /** A checkpoint of an event as an overview tells of one. */
  function glance(run, record, time) {
    return {
      checkpoint: null,
      file: within(run, record.model.path),
      step: record.metadata.step ?? null,
      epoch: record.metadata.epoch ?? null,
      written: Date.parse(time) / 1000,
      val_error: record.metadata.val_error ?? null,
      findings: (record.findings ?? []).filter(({ severity }) => severity !== "note"),
      r_f: record.r_f,
      d_f: record.d_f,
      g_f: record.g_f,
      invariance: record.scores?.invariance?.deformed ?? null,
      prediction: record.prediction,
      probe_error: record.probe_error,
      seconds: record.timing.total_s,
      passes: record.timing.passes,
    };
  }

  /** Puts a checkpoint into a run's columns: in place of the same file, else by its step. */
  function insert(series, found) {
    const value = (estimate, end) => estimate?.[end] ?? null;
    const entry = {
      checkpoint: null,
      file: found.file,
      time: found.written,
      step: found.step,
      attempt: series.attempts.at(-1)?.attempt ?? 1,
      epoch: found.epoch,
      r_f: value(found.r_f, "value"),
      r_f_low: value(found.r_f, "low"),
      r_f_high: value(found.r_f, "high"),
      d_f: value(found.d_f, "value"),
      g_f: value(found.g_f, "value"),
      predicted_error: value(found.prediction, "error"),
      predicted_low: value(found.prediction, "low"),
      predicted_high: value(found.prediction, "high"),
      val_error: found.val_error,
      probe_error: found.probe_error,
      invariance: value(found.invariance, "value"),
      invariance_low: value(found.invariance, "low"),
      invariance_high: value(found.invariance, "high"),
    };
    const same = series.file.indexOf(found.file);
    const later = series.step.findIndex((step) => isKnown(step) && isKnown(found.step) && step > found.step);
    const at = same >= 0 ? same : later >= 0 ? later : series.step.length;
    for (const [column, its] of Object.entries(entry)) series[column].splice(at, same >= 0 ? 1 : 0, its);
  }

  /** `changed` is told whenever something is new, `say` whether the daemon answers. */
  function make({ changed, say }) {
    const state = { runs: [], folders: [], mayRetry: false, series: new Map(), shown: null, due: new Set(), timer: null };
    const find = (path) => state.runs.find((run) => run.run === path);
    const shown = () => state.runs.filter((run) => state.shown?.has(run.run));

    async function load() {
      [...state.series.keys()].forEach((run) => state.due.add(run));
      await refresh();
    }

    /** Asks how all runs stand, and for the columns of those that are shown and not known, or not as they are now. */
    async function refresh() {
      const due = new Set(state.due);
      state.due.clear();
      const found = await ask("/api/overview");
      name(found.runs);
      Object.assign(state, { runs: found.runs, folders: found.folders, mayRetry: found.may_retry });
      if (state.shown === null && state.runs.length > 0) {
        const latest = [...state.runs].sort((a, b) => (b.latest?.written ?? 0) - (a.latest?.written ?? 0));
        state.shown = new Set(latest.slice(0, SHOWN_AT_FIRST).map((run) => run.run));
      }
      changed();
      await fetchSeries(due);
    }

    async function fetchSeries(due = new Set()) {
      const wanted = shown().filter(({ run }) => due.has(run) || !state.series.has(run));
      const points = Math.max(FEWEST_POINTS, Math.min(MOST_POINTS, Math.floor(POINTS / Math.max(1, shown().length))));
      const series = await Promise.all(wanted.map((run) => ask(`/api/runs/${run.id}/series?points=${points}`)));
      series.forEach((each) => state.series.set(each.run, each));
      if (series.length) changed();
    }

    function choose(paths, isShown) {
      state.shown ??= new Set();
      paths.forEach((path) => (isShown ? state.shown.add(path) : state.shown.delete(path)));
      changed();
      attempt(() => fetchSeries());
    }

    /** Asks, and asks for everything again if there is no answer. */
    async function attempt(question) {
      try {
        await question();
        say("live");
      } catch (error) {
        console.warn(error.message);
        say(AWAY);
        setTimeout(attempt, RECONNECT, load);
      }
    }

    /** At most one question a second, however many events there are. */
    function soon() {
      state.timer ??= setTimeout(async () => {
        await attempt(refresh);
        state.timer = null;
        if (state.due.size) soon();
      }, PAUSE);
    }

    function hear(event) {
      state.due.add(event.run);
      const run = find(event.run);
      if (run && event.type === "measured") {
        const found = glance(event.run, event.measurement, event.time);
        // Whether it is a fit is known once the run is asked for again: as the one before.
        found.is_fit = run.latest?.is_fit ?? false;
        if (!(run.latest?.step > found.step)) run.latest = found;
        if (state.series.has(event.run)) insert(state.series.get(event.run), found);
        changed();
      }
      soon();
    }

    function listen() {
      const events = new EventSource("/events");
      // Also after the daemon was away: what it did meanwhile is asked for, not replayed. The page's first answer was asked for with its
      // scripts, before any event could be heard: so it is asked again.
      events.addEventListener("open", () => attempt(load).then(soon));
      events.addEventListener("message", ({ data }) => hear(JSON.parse(data)));
      events.addEventListener("error", () => {
        say(AWAY);
        if (events.readyState === EventSource.CLOSED) setTimeout(listen, RECONNECT);
      });
    }

    return { state, choose, listen, refresh };
  }

  /** What is known of the error of a run's latest checkpoint: what training knows, else what the labelled probe images say. */
  const known = (run) => run.latest?.val_error ?? run.latest?.probe_error ?? null;
  const predicted = (run) => run.latest?.prediction?.error ?? null;

  /** The run that is best now: by the known error where every run has one, else by the predicted one. */
  function leader(runs) {
    const measured = runs.filter((run) => run.latest);
    const by = measured.every((run) => isKnown(known(run))) ? known : predicted;
    const able = measured.filter((run) => isKnown(by(run)));
    if (able.length < 2) return null;
    const first = able.reduce((best, run) => (by(run) < by(best) ? run : best));
    return { run: first, value: by(first), isKnown: by === known };
  }

  return { make, ask, within, link, known, predicted, leader };
})();
