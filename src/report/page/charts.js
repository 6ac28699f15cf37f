// The charts of runs, on the live dashboard and in reports: traces and a layout for Plotly from columns over checkpoints.
"use strict";

const RelstabCharts = (() => {
  // Told apart by colour-blind readers, 3:1 against the light and the dark page.
  const COLOURS = ["#2f6fd0", "#d0641a", "#12906a", "#c23b82", "#7b5bd6", "#987516", "#1a8ea6", "#c0433a"];
  // With more runs than this, intervals would hide each other.
  const MOST_BANDS = 8;

  // The three panels, as shares of the height.
  const TOPS = [1, 0.645, 0.29];
  const PANEL = 0.29;

  /** The colour of the run at a place in the list of all runs. */
  const colour = (index) => COLOURS[index % COLOURS.length];

  /** Text from outside: what would hide or reorder letters is spelled out, and Plotly's tags are none. */
  const visible = (text) =>
    text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => `\\u${c.codePointAt(0).toString(16).padStart(4, "0")}`);
  const escaped = (text) =>
    visible(text).replace(/[&<>"']/g, (c) => `&#${c.codePointAt(0)};`);

  const isKnown = (value) => value !== null && value !== undefined;

  /** What all runs can be drawn against. */
  function axis(series) {
    const has = (column) => series.length > 0 && series.every((run) => run[column].every(isKnown));
    if (has("step")) return { title: "step", of: (run) => run.step };
    if (has("epoch")) return { title: "epoch", of: (run) => run.epoch };
    return { title: "checkpoint", of: (run) => run.r_f.map((_, index) => index + 1) };
  }

  function band(x, low, high, common) {
    const known = x.map((_, index) => index).filter((index) => isKnown(low[index]) && isKnown(high[index]));
    const back = [...known].reverse();
    return {
      ...common,
      x: [...known, ...back].map((index) => x[index]),
      y: [...known.map((index) => high[index]), ...back.map((index) => low[index])],
      mode: "lines",
      line: { width: 0 },
      fill: "toself",
      fillcolor: `${common.line.color}33`,
      hoverinfo: "skip",
    };
  }

  /** One run's traces; `index` is its place among all runs. */
  function traces(run, x, index, withBands) {
    const color = colour(index);
    const name = escaped(run.name ?? run.run);
    const common = { type: "scatter", name, legendgroup: run.run, showlegend: false, line: { color } };
    const few = x.length <= 60 ? "lines+markers" : "lines";
    const trace = (yaxis, y, label, unit, look) => ({
      ...common,
      yaxis,
      x,
      y,
      mode: few,
      marker: { color, size: 5 },
      hovertemplate: `${label} %{y:${unit}} at %{x}<extra>${name}</extra>`,
      ...look,
    });
    const line = (dash) => ({ line: { color, width: 2, dash } });
    const all = [
      { ...trace("y", run.r_f, "R_f", ".3~g", line("solid")), showlegend: true },
      trace("y2", run.predicted_error, "predicted error", ".2%", line("solid")),
      trace("y2", run.val_error, "known error", ".2%", { mode: "markers", marker: { color, size: 8, symbol: "x-thin-open" } }),
      trace("y2", run.probe_error, "probe error", ".2%", { mode: "markers", marker: { color, size: 7, symbol: "circle-open" } }),
      trace("y3", run.d_f, "D_f", ".3~g", line("solid")),
      trace("y3", run.g_f, "G_f", ".3~g", line("dot")),
    ];
    if (withBands) {
      all.unshift(
        { ...band(x, run.r_f_low, run.r_f_high, common), yaxis: "y" },
        { ...band(x, run.predicted_low, run.predicted_high, common), yaxis: "y2" },
      );
    }
    return all.filter((each) => each.y.some(isKnown));
  }

  function layout(title, style) {
    const grid = style.borderTopColor;
    const y = (domain, more) => ({
      domain,
      gridcolor: grid,
      linecolor: grid,
      zeroline: false,
      automargin: true,
      ...more,
    });
    const log = { type: "log", tickformat: "~g", nticks: 5 };
    const heading = (text, top) => ({
      text: `<b>${text}</b>`,
      x: 0,
      xref: "paper",
      y: top,
      yref: "paper",
      yanchor: "bottom",
      showarrow: false,
    });
    return {
      uirevision: title,
      height: 900,
      margin: { l: 52, r: 12, t: 28, b: 48 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: style.color, family: style.fontFamily, size: 13 },
      hovermode: "closest",
      hoverlabel: { namelength: -1 },
      legend: { orientation: "h", y: -0.07, yanchor: "top", x: 0, groupclick: "togglegroup" },
      annotations: [
        heading("R_f", TOPS[0]),
        heading("Error: — predicted, × known, ○ on the probe set", TOPS[1]),
        heading("— D_f, ··· G_f", TOPS[2]),
      ],
      xaxis: { title: { text: title }, anchor: "y3", gridcolor: grid, linecolor: grid, zeroline: false, automargin: true },
      yaxis: y([TOPS[0] - PANEL, TOPS[0]], log),
      yaxis2: y([TOPS[1] - PANEL, TOPS[1]], { tickformat: ".0%", rangemode: "tozero" }),
      yaxis3: y([TOPS[2] - PANEL, TOPS[2]], log),
    };
  }

  const CONFIG = {
    responsive: true,
    displaylogo: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: { format: "svg", filename: "relstab" },
  };

  /**
   * Draws runs into an element, whose style gives text and grid their colours, again and again: zoom and hidden runs stay.
   * `places` are the runs' places in the list of all runs, which give them their colours.
   */
  function draw(element, series, places = series.map((_, index) => index)) {
    const { title, of } = axis(series);
    const withBands = series.length <= MOST_BANDS;
    const data = series.flatMap((run, index) => traces(run, of(run), places[index], withBands));
    return Plotly.react(element, data, layout(title, getComputedStyle(element)), CONFIG);
  }

  return { draw, colour, visible };
})();
