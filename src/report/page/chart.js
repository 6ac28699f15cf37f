// One chart: uPlot gives canvas, scales, axes and a selection by mouse; lines, bands and marks are painted here, each run with
// places of its own. Zoom by mouse, touch and keyboard.
"use strict";

const RelstabChart = (() => {
  const { isKnown } = RelstabWords;
  const { ticks } = RelstabKinds;
  // More points of a line than this have no dots of their own.
  const MOST_DOTS = 60;
  // How far apart signs are then, in pixels.
  const APART = 14;
  // How near, in pixels, a point must be to be meant.
  const NEAR = 48;
  const MARGIN = 0.06;

  /** Where to look from: the least and the largest of the lines that are seen, and of their bands what is near them. */
  function fit(runs, [left, right], isLog) {
    let [low, high] = [Infinity, -Infinity];
    let [lowest, highest] = [Infinity, -Infinity];
    const see = (run, isFirst) => {
      for (const line of run.lines) {
        for (let at = 0; at < run.x.length; at += 1) {
          const value = line.y[at];
          const isOut = !isKnown(value) || (isLog && value <= 0) || !(run.x[at] >= left && run.x[at] <= right);
          // Before training all is chance: it would flatten what follows.
          if (isOut || (run.step[at] === 0) !== isFirst) continue;
          low = Math.min(low, value);
          high = Math.max(high, value);
          if (isKnown(line.low?.[at]) && (!isLog || line.low[at] > 0)) lowest = Math.min(lowest, line.low[at]);
          if (isKnown(line.high?.[at])) highest = Math.max(highest, line.high[at]);
        }
      }
    };
    runs.forEach((run) => see(run, false));
    if (low > high) runs.forEach((run) => see(run, true));
    if (low > high) return isLog ? [0.1, 1] : [0, 1];
    if (isLog) {
      const room = Math.max(high / low, 1.2);
      [low, high] = [Math.max(Math.min(low, lowest), low / room), Math.min(Math.max(high, highest), high * room)];
      const more = (high / low) ** MARGIN * 1.02;
      return [low / more, high * more];
    }
    const room = Math.max(high - low, Math.abs(high) * 0.1, 1e-9);
    [low, high] = [Math.max(Math.min(low, lowest), low - room), Math.min(Math.max(high, highest), high + room)];
    const more = (high - low) * MARGIN;
    return [low >= 0 && low < 0.4 * high ? 0 : low - more, high + more];
  }

  /** The indices of a run's places from one to another, with a neighbour on each side. */
  function seen(x, left, right) {
    let [first, last] = [0, x.length - 1];
    while (first < last && !(x[first + 1] >= left)) first += 1;
    while (last > first && !(x[last - 1] <= right)) last -= 1;
    return [first, last];
  }

  function painter(u, isLogX, isLogY) {
    const { left, top, width, height } = u.bbox;
    const place = (key, isLog, start, length) => {
      const turn = isLog ? Math.log : (value) => value;
      const [low, high] = [turn(u.scales[key].min), turn(u.scales[key].max)];
      return (value) => start + (length * (turn(value) - low)) / (high - low);
    };
    return { x: place("x", isLogX, left, width), y: place("y", isLogY, top + height, -height), left, top, right: left + width, bottom: top + height };
  }

  function paintBand(ctx, at, run, line, [first, last], scale) {
    ctx.beginPath();
    let from = null;
    for (let index = first; index <= last + 1; index += 1) {
      const isIn = index <= last && !run.isOld?.[index] && isKnown(line.y[index]) && isKnown(line.low[index]) && isKnown(line.high[index]);
      if (isIn && from === null) from = index;
      if (isIn || from === null) continue;
      // Not across a place where the line breaks; a point alone has a bar.
      const half = index - from === 1 ? 2 * scale : 0;
      const corner = (k, side, end) => ctx.lineTo(at.x(run.x[k]) + side * half, at.y(Math.max(end[k], 1e-12)));
      ctx.moveTo(at.x(run.x[from]) - half, at.y(line.high[from]));
      for (let k = from; k < index; k += 1) corner(k, 1, line.high);
      for (let k = index - 1; k >= from; k -= 1) corner(k, 1, line.low);
      corner(from, -1, line.low);
      ctx.closePath();
      from = null;
    }
    ctx.globalAlpha = 0.16;
    ctx.fillStyle = run.colour;
    ctx.fill();
    ctx.globalAlpha = 1;
  }

  function paintLine(ctx, at, run, line, [first, last], scale, crowd) {
    ctx.beginPath();
    let isDrawing = false;
    for (let index = first; index <= last; index += 1) {
      if (run.isOld?.[index]) continue;
      if (!isKnown(line.y[index]) || !isKnown(run.x[index])) {
        isDrawing = false;
        continue;
      }
      const [x, y] = [at.x(run.x[index]), at.y(line.y[index])];
      if (isDrawing) ctx.lineTo(x, y);
      else ctx.moveTo(x, y);
      isDrawing = true;
    }
    ctx.setLineDash((line.dash ?? run.dash ?? []).map((length) => length * scale));
    // A line of one pixel is drawn four times as fast.
    ctx.lineWidth = Math.max(1, 1.75 / Math.sqrt(crowd)) * scale;
    ctx.strokeStyle = run.colour;
    ctx.stroke();
    ctx.setLineDash([]);
  }

  const SIGNS = {
    dot: (ctx, x, y, size) => ctx.arc(x, y, size * 0.55, 0, 7),
    ring: (ctx, x, y, size) => ctx.arc(x, y, size * 0.8, 0, 7),
    cross: (ctx, x, y, size) => {
      ctx.moveTo(x - size, y - size);
      ctx.lineTo(x + size, y + size);
      ctx.moveTo(x - size, y + size);
      ctx.lineTo(x + size, y - size);
    },
    best: (ctx, x, y, size) => star(ctx, x, y, size * 2.2, 5, 0.45),
    stop: (ctx, x, y, size) => star(ctx, x, y, size * 1.7, 4, 1),
  };

  function star(ctx, x, y, size, points, inner) {
    for (let k = 0; k < 2 * points; k += 1) {
      const angle = (Math.PI * k) / points - Math.PI / 2 + (inner === 1 ? Math.PI / 8 : 0);
      const reach = k % 2 ? size * inner : size;
      ctx.lineTo(x + reach * Math.cos(angle), y + reach * Math.sin(angle));
    }
    ctx.closePath();
  }

  function paintSigns(ctx, at, run, line, [first, last], scale, crowd) {
    const isCrowded = (last - first) * crowd >= MOST_DOTS;
    const usual = line.sign ?? (isCrowded ? null : "dot");
    if (!usual && !run.isOld) return;
    ctx.lineWidth = 1.5 * scale;
    ctx.strokeStyle = ctx.fillStyle = run.colour;
    let before = -Infinity;
    for (let index = first; index <= last; index += 1) {
      const isOld = run.isOld?.[index] ?? false;
      const sign = usual ?? (isOld ? "dot" : null);
      if (!sign || !isKnown(line.y[index])) continue;
      // Signs that touch would be a bar that hides the lines.
      const x = at.x(run.x[index]);
      if (isCrowded && index < last && x - before < APART * crowd * scale) continue;
      before = x;
      ctx.globalAlpha = isOld ? 0.45 : 1;
      ctx.beginPath();
      SIGNS[sign](ctx, x, at.y(line.y[index]), 3.5 * scale);
      if (sign === "dot") ctx.fill();
      else ctx.stroke();
    }
    ctx.globalAlpha = 1;
  }

  /** Where trainings began again: a dashed line from top to bottom, with its word where that has room. */
  function paintStarts(ctx, at, runs, tokens, scale) {
    const taken = [];
    for (const run of runs) {
      for (const { x: where, word } of run.starts ?? []) {
        const x = at.x(where);
        if (!(x >= at.left && x <= at.right)) continue;
        ctx.beginPath();
        ctx.moveTo(x, at.top);
        ctx.lineTo(x, at.bottom);
        ctx.setLineDash([4 * scale, 4 * scale]);
        ctx.lineWidth = scale;
        ctx.strokeStyle = run.colour;
        ctx.stroke();
        ctx.setLineDash([]);
        if (taken.some((other) => Math.abs(other - x) < 70 * scale)) continue;
        taken.push(x);
        ctx.font = `${12 * scale}px ${tokens.font}`;
        ctx.textBaseline = "top";
        ctx.textAlign = x > at.right - 70 * scale ? "right" : "left";
        ctx.lineWidth = 3 * scale;
        ctx.strokeStyle = tokens.paper;
        const left = x + (ctx.textAlign === "left" ? 4 : -4) * scale;
        ctx.strokeText(word, left, at.top + 3 * scale);
        ctx.fillStyle = tokens.ink;
        ctx.fillText(word, left, at.top + 3 * scale);
      }
    }
  }

  /** The best and the stop: filled signs with an edge of the paper's colour, and the word beside them where it has room. */
  function paintMarks(ctx, at, runs, tokens, scale) {
    ctx.lineJoin = "round";
    ctx.lineWidth = 3 * scale;
    ctx.strokeStyle = tokens.paper;
    ctx.font = `600 ${12 * scale}px ${tokens.font}`;
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    const placed = [];
    for (const run of runs) {
      for (const { index, sign } of run.marks) {
        const line = run.lines.find((each) => isKnown(each.y[index]));
        if (!line) continue;
        const [x, y] = [at.x(run.x[index]), at.y(line.y[index])];
        if (!(x >= at.left && x <= at.right && y >= at.top && y <= at.bottom)) continue;
        placed.push({ sign, x, y });
        ctx.beginPath();
        SIGNS[sign](ctx, x, y, 3.5 * scale);
        ctx.stroke();
        ctx.fillStyle = sign === "stop" ? tokens.stop : run.colour;
        ctx.fill();
        if (sign !== "stop") continue;
        ctx.lineWidth = 2 * scale;
        ctx.strokeStyle = run.colour;
        ctx.stroke();
        ctx.lineWidth = 3 * scale;
        ctx.strokeStyle = tokens.paper;
      }
    }
    const taken = placed.map(({ x, y }) => [x, y]);
    for (const { sign, x, y } of placed) {
      const isFree = (middle) =>
        middle > 8 * scale && middle < at.bottom - 8 * scale &&
        !taken.some(([left, top]) => Math.abs(left - x) < 30 * scale && Math.abs(top - middle) < 14 * scale);
      const middle = [y - 15 * scale, y + 16 * scale].find(isFree);
      if (middle === undefined) continue;
      taken.push([x, middle]);
      const inside = Math.max(at.left + 16 * scale, Math.min(at.right - 16 * scale, x));
      ctx.strokeText(sign, inside, middle);
      ctx.fillStyle = tokens.ink;
      ctx.fillText(sign, inside, middle);
    }
  }

  function paint(u, chart) {
    const { ctx } = u;
    const scale = devicePixelRatio;
    const at = painter(u, chart.isLogX, chart.isLogY);
    ctx.save();
    ctx.beginPath();
    ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    ctx.clip();
    ctx.lineJoin = "round";
    const parts = chart.runs.map((run) => seen(run.x, u.scales.x.min, u.scales.x.max));
    const each = (paintOne) => chart.runs.forEach((run, k) => run.lines.forEach((line) => paintOne(run, line, parts[k])));
    if (chart.crowd === 1) each((run, line, part) => line.low && paintBand(ctx, at, run, line, part, scale));
    each((run, line, part) => line.isLine && paintLine(ctx, at, run, line, part, scale, chart.crowd));
    each((run, line, part) => paintSigns(ctx, at, run, line, part, scale, chart.crowd));
    paintStarts(ctx, at, chart.runs, chart.tokens, scale);
    ctx.restore();
    // Not cut off where they stand at the edge.
    ctx.save();
    paintMarks(ctx, at, chart.runs, chart.tokens, scale);
    ctx.restore();
  }

  /** The point that is meant at a place of the plot, in its own pixels: the nearest one of all lines. */
  function nearest(u, chart, left, top) {
    let best = null;
    let least = NEAR;
    for (const run of chart.runs) {
      for (const line of run.lines) {
        for (let index = 0; index < run.x.length; index += 1) {
          if (!isKnown(line.y[index]) || !isKnown(run.x[index])) continue;
          const dx = u.valToPos(run.x[index], "x") - left;
          if (Math.abs(dx) >= least) continue;
          const away = Math.hypot(dx, (u.valToPos(line.y[index], "y") - top) / 2);
          if (away < least) [best, least] = [{ run, index }, away];
        }
      }
    }
    return best;
  }

  function options(chart, size) {
    const { tokens } = chart;
    const axis = (more) => ({
      stroke: tokens.quiet,
      grid: { stroke: tokens.line, width: 1 },
      ticks: { stroke: tokens.line, width: 1, size: 4 },
      font: `12px ${tokens.font}`,
      gap: 4,
      filter: (_, all) => all,
      ...more,
    });
    const named = { label: chart.titleX, labelFont: `12px ${tokens.font}`, labelSize: 18, labelGap: 0 };
    const split = (isLog, room, sizes) => (u, index, low, high) =>
      ticks(low, high, isLog, Math.max(2, Math.floor((index ? u.height - 50 : u.width - 60) / room)), sizes);
    return {
      ...size,
      padding: [8, 28, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false }, bind: { dblclick: () => null } },
      scales: {
        x: { time: false, distr: chart.isLogX ? 3 : 1, range: () => chart.view },
        y: { distr: chart.isLogY ? 3 : 1, range: () => fit(chart.runs, chart.view, chart.isLogY) },
      },
      axes: [
        axis({ splits: split(chart.isLogX, 72, chart.sizesX), values: (_, places) => places.map(chart.tellX), size: 30, ...named }),
        axis({ splits: split(chart.isLogY, 36), values: (_, places) => places.map(chart.tellY), size: 56 }),
      ],
      series: [{}, { paths: () => null, points: { show: false } }],
      hooks: {
        draw: [(u) => paint(u, chart)],
        setSelect: [
          (u) => {
            const { left, width } = u.select;
            if (width < 4) return;
            const ends = [u.posToVal(left, "x"), u.posToVal(left + width, "x")];
            u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
            chart.zoom(ends);
          },
        ],
      },
    };
  }

  /** Two fingers zoom, one moves what is zoomed; fingers that go up and down scroll the page. */
  function touch(u, chart) {
    const fingers = new Map();
    let last = null;
    const middle = () => [...fingers.values()].reduce((sum, x) => sum + x, 0) / fingers.size;
    const spread = () => Math.max(...fingers.values()) - Math.min(...fingers.values());
    const note = () => (last = { middle: middle(), spread: spread() });
    u.over.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse") return;
      fingers.set(event.pointerId, event.offsetX);
      note();
    });
    u.over.addEventListener("pointermove", (event) => {
      if (!fingers.has(event.pointerId)) return;
      fingers.set(event.pointerId, event.offsetX);
      const factor = fingers.size > 1 ? Math.min(2, Math.max(0.5, last.spread / Math.max(1, spread()))) : 1;
      const from = last.middle;
      note();
      const [left, right] = [-1, 1].map((side) => {
        const edge = side < 0 ? 0 : u.over.clientWidth;
        return u.posToVal(from + (edge - last.middle) * factor, "x");
      });
      if (factor !== 1 || chart.isZoomed()) chart.zoom([left, right]);
    });
    for (const end of ["pointerup", "pointercancel", "pointerleave"]) {
      u.over.addEventListener(end, (event) => {
        fingers.delete(event.pointerId);
        if (fingers.size) note();
      });
    }
  }

  /** Draws a chart into `element`; `chart` says what, and is asked again whenever `update` is called. */
  function make(element, chart) {
    const height = () => element.clientHeight;
    const u = new uPlot(options(chart, { width: element.clientWidth, height: height() }), [[0, 1], [0, 1]], element);
    touch(u, chart);
    const at = (event) => nearest(u, chart, event.offsetX, event.offsetY);
    u.over.addEventListener("pointermove", (event) => event.buttons || chart.point(at(event)));
    u.over.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && chart.point(null));
    u.over.addEventListener("dblclick", () => chart.zoom(null));
    let pressed = null;
    u.over.addEventListener("pointerdown", (event) => (pressed = [event.clientX, event.clientY]));
    u.over.addEventListener("click", (event) => {
      const hasMoved = pressed && Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) > 4;
      const found = at(event);
      if (hasMoved || !found) return;
      // A finger cannot hover: its first tap shows, its second opens.
      if (event.pointerType === "mouse" || chart.isPointed(found)) chart.open(found);
      else chart.point(found);
    });
    const resize = new ResizeObserver(() => {
      if (element.clientWidth !== u.width && element.clientWidth > 0) u.setSize({ width: element.clientWidth, height: height() });
    });
    resize.observe(element);
    return {
      u,
      update: () => u.setData(u.data),
      /** Where a point stands, in pixels of the plot; null where it has none or is out of sight. */
      place(run, index) {
        const line = run.lines.find((each) => isKnown(each.y[index]));
        if (!line || !isKnown(run.x[index])) return null;
        const [left, top] = [u.valToPos(run.x[index], "x"), u.valToPos(line.y[index], "y")];
        const isIn = left >= 0 && left <= u.over.clientWidth && top >= 0 && top <= u.over.clientHeight;
        return isIn ? { left, top } : null;
      },
      destroy() {
        resize.disconnect();
        u.destroy();
      },
    };
  }

  return { make };
})();
