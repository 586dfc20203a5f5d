// Small pictures of validation images, cut by the style sheet from one sprite of them all.

import { format } from "./address.js";
import { h } from "./dom.js";

export const SPRITE = "images/validation.png";
export const TILE = 32; // pixels of a thumbnail on the sprite
const COLUMNS = 32;

/** Where image number `row` lies on the sprite, pixels. */
export function onSprite(row) {
  return { left: (row % COLUMNS) * TILE, top: Math.floor(row / COLUMNS) * TILE };
}

/** An element that shows validation image `row`, `side` CSS pixels wide. */
export function thumbnail(row, side) {
  const element = h("span", { class: "thumbnail", "aria-hidden": "true", "data-row": row });
  const scale = side / TILE;
  const { left, top } = onSprite(row);
  element.style.width = element.style.height = `${side}px`;
  element.style.backgroundSize = `${COLUMNS * side}px auto`;
  element.style.backgroundPosition = `${-left * scale}px ${-top * scale}px`;
  return element;
}

/** A list of validation images with a line of words each; links where they can be opened. among:
 *  what list it is, for the way from one image to the next. */
export function gallery(site, entries, among) {
  const open = new Set(site.images.map(({ id }) => id));
  return h(
    "ul",
    { class: "gallery" },
    entries.map(({ row, words }) => {
      const id = `v${row}`;
      const parts = [thumbnail(row, 96), h("span", { class: "words" }, words)];
      if (open.has(id)) return h("li", {}, h("a", { href: format({ image: id, among }) }, parts));
      const cue = h("span", { class: "words" }, "not in this copy");
      return h("li", {}, h("span", { class: "absent" }, parts, cue));
    }),
  );
}
