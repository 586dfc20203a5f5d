// What stands over a layer: its name, the row of the layer table, and what is added to it.

import { h } from "./dom.js";
import { counted, rounded } from "./numbers.js";
import { term } from "./terms.js";

const KINDS = { conv: "conv", pool: "pool", linear: "linear", softmax: "softmax" };

/** first: whether its words are on the way of the Tab key, once is enough. */
export function heading(layer, { rest = [], first = false, sources = [] } = {}) {
  const [channels, height, width] = layer.shape;
  const word = (name, shown = name) => term(name, shown, { quiet: !first });
  const { parameters, multiply_adds: adds } = layer;
  const facts = [
    height * width > 1
      ? [
          `${channels.toLocaleString("en")} `,
          word("map", channels > 1 ? "maps" : "map"),
          ` of ${height}×${width}`,
        ]
      : [counted(channels, "number")],
    layer.field
      ? [word("sees"), ` ${layer.field[0]}×${layer.field[1]} pixels`]
      : [word("sees"), " the whole image"],
    parameters && [`${parameters.toLocaleString("en")} `, word("parameter", "parameters")],
    adds && [`${rounded(adds)} `, word("multiply-add", "multiply-adds")],
    layer.shortcut && shortcut(layer.shortcut, sources, word),
    ...rest,
  ];
  const joined = facts.filter(Boolean).flatMap((fact, i) => [i ? " · " : "", fact]);
  return h(
    "div",
    { class: "heading" },
    h("h3", { tabindex: -1 }, layer.name, h("span", { class: "kind" }, kind(layer.kind, word))),
    h("p", { class: "facts" }, joined.flat(2)),
  );
}

function kind(words, word) {
  const known = Object.keys(KINDS).find((each) => words.includes(each));
  const [before, after] = known ? words.split(known) : [words, ""];
  const relu = after?.endsWith("ReLU");
  return [
    before,
    known ? word(KINDS[known], known) : "",
    relu ? after.slice(0, -4) : after,
    relu ? word("ReLU") : "",
  ];
}

function shortcut({ kind: projection, parameters }, sources, word) {
  return [
    word("shortcut"),
    ` from ${sources.join(" and ")}`,
    projection ? ` through ${projection}, ${parameters.toLocaleString("en")} parameters more` : "",
  ];
}
