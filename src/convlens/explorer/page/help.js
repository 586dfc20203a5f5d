// The keys, on a page of their own.

import { button, h, note } from "./dom.js";

const KEYS = [
  ["?", "this help"],
  ["c", "choose an image"],
  ["n, p", "next image, image before"],
  ["1 … 7", "the views: image, training, confusion, classes, mistakes, embedding, images"],
  ["Tab", "on to the next layer, list or button"],
  [
    "← → ↑ ↓",
    "between maps, and over a layer's edge to the next layer; in a matrix, from cell "
      + "to cell; on the large map, from unit to unit; on the image, from image to image",
  ],
  ["Home, End", "the first and last map of a layer"],
  ["Enter", "open the map, cell or image; once more on a map: into its panel"],
  ["+ − 0", "enlarge, make smaller, show all: matrix and embedding"],
  ["← →, Escape", "in the box of the tour: step before, next step; leave it"],
  ["Escape", "close the map or this help"],
];

/** tour(): begins it. */
export function helpDialog(tour) {
  const dialog = h(
    "dialog",
    { class: "help", "aria-label": "Keys" },
    h(
      "div",
      { class: "panel-top" },
      h("h2", {}, "Keys"),
      button("Close", "✕", () => dialog.close()),
    ),
    h(
      "dl",
      {},
      KEYS.map(([key, words]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, words))),
    ),
    h(
      "p",
      { class: "steps" },
      h(
        "button",
        {
          type: "button",
          class: "quiet",
          onclick: () => {
            dialog.close();
            tour();
          },
        },
        "Take the tour of this network",
      ),
    ),
    note("Every view has its own address: back, forward, reload and a copied link lead to it."),
  );
  return dialog;
}
