// The charts of runs over their trainings, on the live dashboard and in reports: one view of all, with a table beside each chart.
"use strict";

const RelstabCharts = (() => {
  const { isKnown, node, outside, short, percent, interval, place, visible } = RelstabWords;
  const { KINDS, AXES, COLOURS, natural, tokens, colour } = RelstabKinds;
  // More runs than this have thinner lines, fewer signs and no intervals: they would hide each other.
  const FEW_RUNS = 8;
  const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];
  const MOST_ROWS = 200;
  // With runs of lengths so far apart the axis is logarithmic.
  const UNLIKE = 10;
  // After how long a chart that is out of sight is drawn, milliseconds.
  const LATER = 300;

  function check(label, isOn, change) {
    const box = node("input", [], { type: "checkbox" });
    box.checked = isOn;
    box.addEventListener("change", () => change(box.checked));
    return node("label", [box, label], { class: "check" });
  }

  /** Charts in an element. `open` is told of a checkpoint that is chosen; without it none can be. */
  function make(element, { open = null } = {}) {
    // Whether places are on a logarithmic axis is null while nobody chose.
    const state = { series: [], axis: "auto", chosenLogX: null, isLogX: false, view: null, pointed: null, isOld: true };
    const heard = node("p", [], { class: "hidden", role: "status" });
    const reset = node("button", "Show all", { type: "button", class: "reset" });
    reset.addEventListener("click", () => zoom(null));
    const choice = node(
      "select",
      [["auto", "automatic"], ["step", "step"], ["epoch", "epoch"], ["time", "time"], ["checkpoint", "checkpoint"]].map(
        ([value, text]) => node("option", text, { value }),
      ),
    );
    choice.addEventListener("change", () => {
      state.axis = choice.value;
      again();
    });
    const logX = check("logarithmic", false, (isOn) => {
      state.chosenLogX = isOn;
      again();
    });
    const legend = node("ul", [], { class: "legend", "aria-label": "Runs in the charts" });
    const tools = node("div", [node("label", ["Along ", choice]), logX, reset], { class: "tools" });
    const grid = node("div", [], { class: "charts" });
    element.replaceChildren(tools, legend, grid, heard);
    const parts = KINDS.map(part);
    // A chart that is out of sight is drawn a little later, so that those in sight are quick.
    const sight = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) parts.find(({ plot }) => plot === target).isSeen = isIntersecting;
    });
    parts.forEach(({ plot }) => sight.observe(plot));

    function redraw(each) {
      if (each.isSeen) {
        each.chart.update();
        return;
      }
      each.later ??= setTimeout(() => {
        each.later = null;
        each.chart.update();
      }, LATER);
    }

    function part(kind) {
      const plot = node("div", [], { class: "plot", role: "application", tabindex: "0", "aria-describedby": `keys-${kind.id}` });
      const tip = node("div", [], { class: "tip", hidden: "" });
      const ring = node("div", [], { class: "ring", hidden: "" });
      const rows = node("div");
      const table = node("details", [node("summary", `${kind.title} as a table`), rows], { class: "data" });
      const made = { kind, plot, tip, ring, rows, table, isLog: kind.isLog ?? false, chart: null };
      table.addEventListener("toggle", () => tabulate(made));
      const log = check("logarithmic", made.isLog, (isOn) => {
        made.isLog = isOn;
        again();
      });
      const keys = "Arrow keys go from checkpoint to checkpoint and from run to run, Enter opens one, plus and minus zoom, 0 shows all.";
      const head = node("div", [node("h3", kind.title, { id: `chart-${kind.id}` }), log], { class: "head" });
      const hint = node("p", keys, { class: "hidden", id: `keys-${kind.id}` });
      const says = node("p", [kind.says, kind.key ? node("span", kind.key, { class: "key" }) : null], { class: "note" });
      grid.append(node("figure", [head, says, plot, hint, table], { class: `chart ${kind.id}`, "aria-labelledby": `chart-${kind.id}` }));
      plot.addEventListener("keydown", (event) => press(event, made));
      plot.addEventListener("blur", () => point(null, made));
      return made;
    }

    // ---- what is drawn ---------------------------------------------------------------------------------------------

    function runs({ kind }, axis, colours) {
      return state.series.map((run, index) => {
        const place = run.place ?? index;
        const x = axis.of(run).map((value) => (state.isLogX && !(value > 0) ? null : value));
        const lines = kind.lines.map(({ column, low, high, ...look }) => ({
          ...look,
          y: run[column],
          low: low && run[low],
          high: low && run[high],
        }));
        const marks = kind.id === "error" || kind.id === "r_f" ? (run.marks ?? []) : [];
        const dash = DASHES[Math.floor(place / COLOURS) % DASHES.length];
        const starts = (run.attempts ?? []).map((each) => ({ x: startOf(run, x, axis, each), word: `attempt ${each.attempt}` }));
        return {
          series: run,
          x,
          step: run.step,
          lines,
          marks,
          dash,
          colour: colours[place % COLOURS],
          starts: starts.filter((start) => isKnown(start.x)),
          isOld: old(run),
        };
      });
    }

    /** Where an attempt began: at its own step, or at the first of its checkpoints. */
    function startOf(run, x, axis, { attempt, step }) {
      if (axis === AXES.step) return state.isLogX && step <= 0 ? null : step;
      return x[run.attempt.indexOf(attempt)] ?? null;
    }

    /** Which checkpoints a later attempt trained again; null where none. */
    function old(run) {
      if (!run.attempts?.length) return null;
      return run.step.map((step, index) => run.attempts.some((later) => later.attempt > run.attempt[index] && step >= later.step));
    }

    function extent(all) {
      let [low, high] = [Infinity, -Infinity];
      for (const { x } of all) {
        for (const value of x) {
          if (!isKnown(value)) continue;
          low = Math.min(low, value);
          high = Math.max(high, value);
        }
      }
      if (low > high) return state.isLogX ? [1, 10] : [0, 1];
      if (state.isLogX) return [low / 1.05, Math.max(high, low * 1.1) * 1.05];
      const room = Math.max((high - low) * 0.02, high === low ? 0.5 : 0);
      return [low - room, high + room];
    }

    /** Whether one run is so much longer than another that this would be a smudge. */
    function areUnlike(axis) {
      const ends = state.series.map((run) => axis.of(run).findLast(isKnown)).filter((end) => end > 0);
      return ends.length > 1 && Math.max(...ends) > UNLIKE * Math.min(...ends);
    }

    /** Brings what is drawn up to the series. */
    function update() {
      const axis = AXES[state.axis === "auto" ? natural(state.series) : state.axis];
      const isLogX = state.chosenLogX ?? areUnlike(axis);
      if (element.dataset.axis !== axis.title || isLogX !== state.isLogX) [state.isOld, state.view] = [true, null];
      state.isLogX = logX.querySelector("input").checked = isLogX;
      if (state.isOld) state.tokens = tokens(element);
      for (const each of parts) {
        const drawn = each.drawn ?? (each.drawn = {});
        drawn.runs = runs(each, axis, state.tokens.runs);
        state.whole = extent(drawn.runs);
        Object.assign(drawn, {
          view: state.view ?? state.whole,
          tokens: state.tokens,
          isLogX: state.isLogX,
          isLogY: each.isLog,
          crowd: Math.max(1, state.series.length / FEW_RUNS),
          tellX: axis.tell,
          sizesX: axis.sizes,
          titleX: axis.title,
          tellY: each.kind.tell === percent ? (value) => `${Number((100 * value).toPrecision(4))} %` : short,
          zoom,
          isZoomed: () => state.view !== null,
          point: (found) => point(found, each),
          isPointed: (found) => isPointed(found),
          open: (found) => choose(found),
        });
        if (state.isOld) {
          each.chart?.destroy();
          each.chart = RelstabChart.make(each.plot, drawn);
          each.plot.append(each.tip);
          each.chart.u.over.append(each.ring);
        } else {
          redraw(each);
        }
        const names = state.series.map((run) => run.name).join(", ");
        each.plot.setAttribute("aria-label", `${each.kind.title} over ${axis.title}: ${names || "no run"}`);
        if (each.table.open) tabulate(each);
      }
      state.isOld = false;
      Object.assign(element.dataset, { axis: axis.title, points: state.series.reduce((sum, run) => sum + run.r_f.length, 0) });
      settle();
    }

    /** Brings what stands beside the charts up to the view. */
    function settle() {
      element.dataset.view = (state.view ?? state.whole).join(" ");
      reset.style.visibility = state.view === null ? "hidden" : "visible";
      if (state.pointed) point(find(state.pointed), state.pointed.part);
    }

    /** The same with axes of another kind. */
    function again() {
      state.isOld = true;
      state.view = null;
      update();
    }

    function zoom(ends) {
      if (ends) {
        const [low, high] = state.whole;
        const view = [Math.max(low, ends[0]), Math.min(high, ends[1])];
        const isAll = view[0] <= low && view[1] >= high;
        if (!(view[1] - view[0] > (high - low) * 1e-6)) return;
        state.view = isAll ? null : view;
      } else {
        state.view = null;
      }
      for (const each of parts) {
        each.drawn.view = state.view ?? state.whole;
        redraw(each);
      }
      settle();
    }

    // ---- what is pointed at ----------------------------------------------------------------------------------------

    const find = ({ run, checkpoint, part }) => {
      const found = part.drawn.runs.find((each) => each.series.run === run);
      const index = found?.series.file.indexOf(checkpoint) ?? -1;
      return index < 0 ? null : { run: found, index };
    };
    const isPointed = ({ run, index }) =>
      state.pointed?.run === run.series.run && state.pointed.checkpoint === run.series.file[index];

    function point(found, made, isTold = false) {
      state.pointed = found && { run: found.run.series.run, checkpoint: found.run.series.file[found.index], part: made };
      for (const each of parts) {
        const other = found && each.drawn.runs.find((run) => run.series === found.run.series);
        const spot = other && each.chart.place(other, found.index);
        each.ring.hidden = !spot;
        if (spot) Object.assign(each.ring.style, { left: `${spot.left}px`, top: `${spot.top}px`, borderColor: other.colour });
        each.tip.hidden = !(spot && each === made);
        if (!each.tip.hidden) show(each, found, spot);
      }
      if (isTold && found) heard.textContent = words(found).map(([name, value]) => `${name} ${value}`).join(", ");
    }

    /** Everything that is known of a checkpoint, in words. */
    function words({ run: { series }, index }) {
      const told = [["", `${series.name}: ${place({ step: series.step[index], epoch: series.epoch[index], file: series.file[index] })}`]];
      for (const kind of KINDS) {
        for (const { name, column, low, high } of kind.lines) {
          if (!isKnown(series[column][index])) continue;
          const between = low && interval(series[low][index], series[high][index], kind.tell);
          told.push([name, kind.tell(series[column][index]) + (between ? ` (${between})` : "")]);
        }
      }
      if (series.attempts?.length) told.push(["attempt", String(series.attempt[index])]);
      told.push(["file", visible(series.file[index])]);
      return told;
    }

    function show({ tip, plot }, found, spot) {
      const [[, title], ...facts] = words(found);
      const list = node("dl", facts.flatMap(([name, value]) => [node("dt", name), node("dd", node("bdi", value))]));
      tip.replaceChildren(node("strong", outside(title)), list);
      const left = spot.left + 56 + 14;
      const isRight = left + tip.offsetWidth > plot.clientWidth;
      const over = Math.max(0, Math.min(plot.clientWidth - tip.offsetWidth, isRight ? left - 28 - tip.offsetWidth : left));
      Object.assign(tip.style, { left: `${over}px`, top: `${Math.max(0, Math.min(plot.clientHeight - tip.offsetHeight, spot.top - 20))}px` });
    }

    function choose({ run: { series }, index }) {
      if (open && series.checkpoint[index] !== null) open(series, series.checkpoint[index]);
    }

    function press(event, made) {
      const { runs } = made.drawn;
      const is = (run, index) => run.lines.some((line) => isKnown(line.y[index])) && isKnown(run.x[index]);
      const step = (from, by) => {
        for (let index = from.index + by; index >= 0 && index < from.run.x.length; index += by) {
          if (is(from.run, index)) return { run: from.run, index };
        }
        return from;
      };
      const first = (run) => run && step({ run, index: run.x.length }, -1);
      const now = (state.pointed && find({ ...state.pointed, part: made })) ?? null;
      const go = (found) => point(found ?? null, made, true);
      const turn = (by) => {
        const at = now ? runs.indexOf(now.run) + by : 0;
        const run = runs[(at + runs.length) % runs.length];
        go(first(run));
      };
      const scale = (factor) => {
        const [low, high] = made.drawn.view;
        const middle = now ? now.run.x[now.index] : (low + high) / 2;
        zoom([middle - (middle - low) * factor, middle + (high - middle) * factor]);
      };
      const keys = {
        ArrowRight: () => go(now ? step(now, 1) : first(runs[0])),
        ArrowLeft: () => go(now ? step(now, -1) : first(runs[0])),
        Home: () => now && go(step({ run: now.run, index: -1 }, 1)),
        End: () => now && go(first(now.run)),
        ArrowDown: () => turn(1),
        ArrowUp: () => turn(-1),
        Enter: () => now && choose(now),
        Escape: () => go(null),
        "+": () => scale(0.5),
        "=": () => scale(0.5),
        "-": () => scale(2),
        0: () => zoom(null),
      };
      if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key] || !runs.length) return;
      event.preventDefault();
      keys[event.key]();
    }

    // ---- the same in numbers ---------------------------------------------------------------------------------------

    function tabulate({ kind, rows, table }) {
      if (!table.open) return;
      const names = kind.lines.flatMap(({ name, low }) => (low ? [name, `${name}, interval`] : [name]));
      const all = state.series.flatMap((series) => series.step.map((_, index) => ({ series, index })));
      const stride = Math.max(1, Math.ceil(all.length / MOST_ROWS));
      const shown = all.filter((_, index) => index % stride === 0 || index === all.length - 1);
      const hasAttempts = state.series.some((series) => series.attempts?.length);
      const body = shown.map(({ series, index }) => [
        outside(series.name),
        ...(hasAttempts ? [String(series.attempt[index])] : []),
        isKnown(series.step[index]) ? String(series.step[index]) : "–",
        isKnown(series.epoch[index]) ? short(series.epoch[index]) : "–",
        ...kind.lines.flatMap(({ column, low, high }) => {
          const value = kind.tell(series[column][index]);
          return low ? [value, interval(series[low][index], series[high][index], kind.tell) ?? "–"] : [value];
        }),
      ]);
      const told = stride > 1 ? `One in ${stride} of ${all.length} checkpoints` : `${all.length} checkpoints`;
      rows.replaceChildren(RelstabWords.table(told, ["run", ...(hasAttempts ? ["attempt"] : []), "step", "epoch", ...names], body, `${kind.title} as a table`));
    }

    function name() {
      const items = state.series.map((run, index) => {
        const swatch = node("span", [], { class: "swatch", "aria-hidden": "true" });
        const style = ["solid", "dashed", "dotted", "double"][Math.floor((run.place ?? index) / COLOURS) % DASHES.length];
        swatch.style.borderTop = `0.25rem ${style} ${colour(run.place ?? index)}`;
        return node("li", [swatch, outside(run.name)], { title: visible(run.run) });
      });
      legend.replaceChildren(...items);
    }

    return {
      /** Draws these series; zoom stays. */
      show(series) {
        const isOther = series.length !== state.series.length || series.some((run, index) => run.run !== state.series[index].run || run.name !== state.series[index].name);
        state.series = series;
        if (isOther) name();
        update();
      },
      /** The theme may be another. */
      repaint() {
        state.isOld = true;
        update();
      },
    };
  }

  return { make };
})();
