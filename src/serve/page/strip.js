// The probe images whose answers move most: each as it is, deformed and with noise, cut from one picture.
"use strict";

const RelstabStrip = (() => {
  const { node, outside, visible, percent } = RelstabWords;
  const COLUMNS = ["as it is", "deformed", "with noise"];
  // Smaller pictures than this are enlarged pixel by pixel, CSS pixels.
  const SMALL = 64;

  const none = (text) => node("p", text, { class: "note" });

  function picture(source, shown, row, index, column) {
    const { image, answers } = row;
    const told = answers?.[column];
    const says = told ? `: class ${told.class}, ${percent(told.confidence)}` : "";
    const img = node("img", [], { src: source, alt: visible(`${image}, ${COLUMNS[column]}${says}`), class: shown.width < SMALL ? "small" : null });
    Object.assign(img.style, {
      width: `${100 * COLUMNS.length}%`,
      height: `${100 * shown.rows.length}%`,
      left: `${-100 * column}%`,
      top: `${-100 * index}%`,
    });
    const cell = node("div", img, { class: "cell" });
    cell.style.aspectRatio = `${shown.width} / ${shown.height}`;
    if (!told) return node("div", cell);
    const isOther = told.class !== answers[0].class;
    const caption = [node("span", isOther ? `→ ${told.class}` : String(told.class), { class: isOther ? "other" : null }), node("span", percent(told.confidence))];
    // The picture's own text says the same.
    return node("div", [cell, node("p", caption, { "aria-hidden": "true" })]);
  }

  /** The strip of a checkpoint, or why there is none. */
  function make(run, id, shown, hasToken) {
    const title = node("h3", "Images whose answers move most");
    if (!hasToken) return [title, none("Images are shown only where readers show a token: start the daemon with --http-token.")];
    if (!shown) return [title, none("None are kept of this checkpoint. A run keeps those of its best and of its latest 20 checkpoints; earlier versions kept none.")];
    const source = `/api/runs/${run.id}/checkpoints/${id}/strip/picture`;
    const items = shown.rows.map((row, index) => {
      const name = row.label === null ? row.image : `${row.image}, label ${row.label}`;
      const triple = COLUMNS.map((_, column) => picture(source, shown, row, index, column));
      return node("li", [node("p", outside(name), { class: "name" }), node("div", triple, { class: "triple" })]);
    });
    const classes = shown.rows[0].answers ? " Below are the class, with an arrow where it changed, and how sure the network is." : "";
    return [
      title,
      node("p", `Each is shown as it is, deformed, and with noise of the same size, in the draw that moves it most.${classes}`, { class: "note" }),
      node("ul", items, { class: "strip" }),
    ];
  }

  return { make };
})();
