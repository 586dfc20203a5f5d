// The weights of one map: in color for the first layer, its strongest inputs deeper.

import { ask, keep } from "./answers.js";
import { h, note } from "./dom.js";
import { brief } from "./numbers.js";

// Okabe and Ito's blue and vermilion, told apart by color-blind readers too.
const NEGATIVE = [0, 114, 178];
const NEUTRAL = [247, 247, 247];
const POSITIVE = [213, 94, 0];

// What the channels of an image are called, by their number.
export const COLORS = { 1: ["gray"], 3: ["red", "green", "blue"] };

/** Elements that show the filter of a map. */
export async function filterPicture({ id: run, layers }, layer, map, signal, news) {
  const filter = await keep(ask, `api/${run}/filter-${layer}-${map}.json`, { signal, news });
  const inputs = filter.inputs;
  const largest = Math.max(...inputs.flatMap(({ weights }) => weights.flat().map(Math.abs))) || 1;
  const colors = layers[layer].reads.includes(-1) && COLORS[inputs.length];
  const names = colors || inputs.map((input) => `#${input.map}`);
  const shown = inputs.map(({ weights }, i) =>
    kernel(weights, (w) => signed(w / largest), `${names[i]}: ${words(weights)}`, names[i]),
  );
  if (colors?.length === 3) {
    const [red, green, blue] = inputs.map(({ weights }) => weights);
    const color = red.map((row, y) =>
      row.map((_, x) => [red, green, blue].map((channel) => 127.5 * (1 + channel[y][x] / largest))),
    );
    shown.unshift(kernel(color, (rgb) => rgb, "the three colors together", "in color"));
  }
  return [
    h("div", { class: "kernels" }, shown),
    note(
      `${filter.of}, ${filter.kernel.join("×")}`,
      colors ? "" : ", from its strongest input maps",
      "; ",
      h("span", { class: "positive" }, "orange"),
      ` to +${brief(largest)}, `,
      h("span", { class: "negative" }, "blue"),
      ` to −${brief(largest)}`,
    ),
  ];
}

function kernel(rows, color, label, caption) {
  const canvas = h("canvas", {
    width: rows[0].length,
    height: rows.length,
    role: "img",
    "aria-label": `Weights, ${label}`,
  });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(rows[0].length, rows.length);
  for (const [i, weight] of rows.flat().entries()) {
    picture.data.set([...color(weight), 255], 4 * i);
  }
  context.putImageData(picture, 0, 0);
  return h("figure", { title: label }, canvas, h("figcaption", {}, caption));
}

/** The color of a share of the largest weight, −1..1: [red, green, blue]. */
export function signed(share) {
  const end = share < 0 ? NEGATIVE : POSITIVE;
  return NEUTRAL.map((value, i) => value + (end[i] - value) * Math.abs(share));
}

function words(weights) {
  const flat = weights.flat();
  return `from ${brief(Math.min(...flat))} to ${brief(Math.max(...flat))}`;
}
