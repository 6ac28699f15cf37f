// Names, numbers and nodes as pages write them. Text from outside is set as text, never as markup.
"use strict";

const RelstabWords = (() => {
  const isKnown = (value) => value !== null && value !== undefined && Number.isFinite(value);

  /** Text from outside: what would hide or reorder letters is spelled out. */
  const visible = (text) =>
    String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => `\\u${c.codePointAt(0).toString(16).padStart(4, "0")}`);

  function node(tag, content = [], attributes = {}) {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined) made.setAttribute(key, value);
    }
    made.append(...[content].flat().filter((each) => each !== null && each !== undefined));
    return made;
  }

  const outside = (text) => node("bdi", visible(text));

  const isPlain = (value) => value === 0 || (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e5);

  /** Three digits, without an exponent where a plain number is short. */
  function number(value) {
    if (!isKnown(value)) return "–";
    if (!isPlain(value)) return value.toExponential(2);
    return value === 0 || Math.abs(value) >= 1000 ? String(Math.round(value)) : value.toPrecision(3);
  }

  /** The same without noughts at its end. */
  const short = (value) => (isPlain(value) ? String(Number(value.toPrecision(3))) : String(Number(value.toPrecision(2)).toExponential()));

  const percent = (value) => (isKnown(value) ? `${(100 * value).toFixed(1)} %` : "–");
  const whole = (value) => (isKnown(value) ? value.toLocaleString("en-GB").replaceAll(",", "\u202f") : "–");

  /** A value's interval, in the value's own unit. */
  function interval(low, high, tell = number) {
    if (!isKnown(low) || !isKnown(high)) return null;
    return `${tell(low).replace(" %", "")} to ${tell(high)}`;
  }

  const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

  /** A length of time in its largest unit. */
  function duration(seconds) {
    if (!isKnown(seconds)) return "–";
    const [unit, size] = UNITS.find(([, size]) => seconds >= 2 * size) ?? UNITS.at(-1);
    const value = seconds / size;
    return `${value < 10 && unit === "s" ? Number(value.toPrecision(2)) : Math.round(value)}\u00a0${unit}`;
  }

  const ago = (seconds) => (isKnown(seconds) ? `${duration(Math.max(0, Date.now() / 1000 - seconds))} ago` : "–");

  /** A checkpoint's place in its training, or its file. */
  const place = ({ step, epoch, file }) => {
    const parts = [];
    if (isKnown(step)) parts.push(`step ${whole(step)}`);
    if (isKnown(epoch)) parts.push(`epoch ${short(epoch)}`);
    return parts.join(", ") || visible(file ?? "");
  };

  /** A table that scrolls in its own box; the first cell of a row names it. */
  function table(caption, heads, rows, label = caption) {
    const cells = (row) => row.map((cell, index) => node(index ? "td" : "th", cell, index ? { class: "number" } : { scope: "row" }));
    const head = node("tr", heads.map((text, index) => node("th", text, { scope: "col", class: index ? "number" : null })));
    return node("div", node("table", [
      node("caption", caption),
      node("thead", head),
      node("tbody", rows.map((row) => node("tr", cells(row)))),
    ]), { class: "scroll", role: "region", tabindex: "0", "aria-label": label });
  }

  return { isKnown, visible, node, outside, table, number, short, percent, whole, interval, duration, ago, place };
})();
