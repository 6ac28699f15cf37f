// What charts show: quantities, what checkpoints are placed by, and colours.
"use strict";

const RelstabKinds = (() => {
  const { isKnown, node, number, short, percent, whole } = RelstabWords;
  const COLOURS = 8;

  const KINDS = [
    {
      id: "error",
      title: "Error",
      tell: percent,
      lines: [
        { name: "predicted error", column: "predicted_error", low: "predicted_low", high: "predicted_high", isLine: true },
        { name: "known error", column: "val_error", sign: "cross" },
        { name: "error on the probe images", column: "probe_error", sign: "ring" },
      ],
      key: "— predicted   × known by the training   ○ on the labelled probe images   ★ best of its run   ● a rule said stop",
      says: "The share of images that the network gets wrong.",
    },
    {
      id: "invariance",
      title: "Effective invariance (EI)",
      tell: number,
      lines: [{ name: "EI", column: "invariance", low: "invariance_low", high: "invariance_high", isLine: true }],
      key: "",
      says: "1: the network keeps its answer on deformed images, and is sure of it. 0: it changes every answer.",
    },
    {
      id: "r_f",
      title: "Relative stability (R_f)",
      tell: number,
      isLog: true,
      lines: [{ name: "R_f", column: "r_f", low: "r_f_low", high: "r_f_high", isLine: true }],
      key: "",
      says: "How much the output moves when an image is deformed, over how much it moves under noise of the same size.",
    },
    {
      id: "d_f",
      title: "D_f and G_f",
      tell: number,
      isLog: true,
      lines: [
        { name: "D_f", column: "d_f", isLine: true },
        { name: "G_f", column: "g_f", isLine: true, dash: [2, 3] },
      ],
      key: "— D_f   ··· G_f",
      says: "How much the output moves under deformation (D_f) and under noise (G_f). Their ratio is R_f.",
    },
  ];

  const [MINUTE, HOUR, DAY] = [60, 3600, 86400];
  const TIMES = [1, 2, 5, 10, 15, 30].flatMap((count) => [count, count * MINUTE]).concat([1, 2, 3, 6, 12].map((count) => count * HOUR), [1, 2, 5, 10, 20, 50, 100, 200, 500].map((count) => count * DAY)).sort((a, b) => a - b);

  /** A place on an axis of time: seconds, or the two units that tell it, such as 2:30 min. */
  function clock(seconds) {
    if (seconds < MINUTE) return seconds === 0 ? "0" : `${short(seconds)} s`;
    const [unit, size, part] = seconds < HOUR ? ["min", MINUTE, 1] : seconds < DAY ? ["h", HOUR, MINUTE] : ["d", DAY, HOUR];
    const [head, rest] = [Math.floor(seconds / size), Math.round((seconds % size) / part)];
    if (!rest) return `${head} ${unit}`;
    return unit === "d" ? `${head} d ${rest} h` : `${head}:${String(rest).padStart(2, "0")} ${unit}`;
  }

  /** What checkpoints are placed by; `of` gives a run's places, `sizes` are round steps from the least on. */
  const AXES = {
    step: { title: "step", of: (run) => run.step, tell: whole, sizes: [1] },
    epoch: { title: "epoch", of: (run) => run.epoch, tell: short },
    time: {
      title: "time since the run's first checkpoint",
      of: (run) => {
        const begin = Math.min(...run.time);
        return run.time.map((time) => time - begin);
      },
      tell: clock,
      sizes: TIMES,
    },
    // Of a long run not all are.
    checkpoint: { title: "checkpoint, of those drawn", of: (run) => run.step.map((_, index) => index + 1), tell: whole, sizes: [1] },
  };

  /** Round places between two ends, so many at most; on a logarithmic axis that spans more than a factor of 4: 1, 2, 5. `sizes` are
   * steps that the axis knows as round, from the least on. */
  function ticks(low, high, isLog, most, sizes = []) {
    if (!(high > low) || most < 1) return [];
    if (isLog && high / low > 4) {
      const every = [[1, 2, 5], [1, 3], [1]].map((digits) => powers(low, high, digits));
      const fitting = every.find((found) => found.length <= most) ?? every.at(-1);
      const stride = Math.ceil(fitting.length / most);
      return fitting.filter((_, index) => index % stride === 0);
    }
    const rough = (high - low) / most;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = sizes.find((size) => size >= rough) ?? [1, 2, 5, 10].map((digit) => digit * power).find((size) => size >= rough);
    const first = Math.ceil(low / step - 1e-9);
    const count = Math.floor(high / step + 1e-9) - first;
    // Without the dust of adding up.
    return Array.from({ length: count + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
  }

  function powers(low, high, digits) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
      found.push(...digits.map((digit) => Number((digit * 10 ** power).toPrecision(3))));
    }
    return found.filter((value) => value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9));
  }

  /** Steps where most runs have them and these take as many to an epoch; else epochs, where most have those. Before there are runs, steps. */
  function natural(series) {
    if (!series.length) return "step";
    const having = (column) => series.filter((run) => run[column].every(isKnown));
    const has = (column) => 2 * having(column).length > series.length;
    const paces = having("epoch").map((run) => run.step.at(-1) / run.epoch.at(-1)).filter((pace) => pace > 0 && isKnown(pace));
    const isOnePace = Math.max(...paces) <= 1.01 * Math.min(...paces);
    if (has("epoch") && paces.length > 1 && !isOnePace) return "epoch";
    if (has("step")) return "step";
    return has("epoch") ? "epoch" : "checkpoint";
  }

  function tokens(element) {
    const style = getComputedStyle(element);
    const of = (name) => style.getPropertyValue(`--${name}`).trim();
    const names = Array.from({ length: COLOURS }, (_, index) => `run-${index + 1}`);
    // What light-dark() comes to is known of a property that is used, not of a variable.
    const probe = element.appendChild(node("span", [], { hidden: "" }));
    const colour = (name) => {
      probe.style.color = `var(--${name})`;
      return getComputedStyle(probe).color;
    };
    const found = {
      font: of("font"),
      ...Object.fromEntries(["ink", "quiet", "line", "paper", "stop"].map((name) => [name, colour(name)])),
      runs: names.map(colour),
    };
    probe.remove();
    return found;
  }

  /** The token of the colour of the run at a place in the list of all runs. */
  const colour = (index) => `var(--run-${1 + (index % COLOURS)})`;

  return { KINDS, AXES, COLOURS, natural, ticks, tokens, colour };
})();
