// What stands over a layer: its name and the row of the layer table.

import { h } from "./dom.js";
import { counted, rounded } from "./numbers.js";

export function heading(layer, ...rest) {
  const [channels, height, width] = layer.shape;
  const facts = [
    height > 1 ? `${counted(channels, "map")} of ${height}×${width}` : counted(channels, "number"),
    layer.field ? `sees ${layer.field[0]}×${layer.field[1]} pixels` : "sees the whole image",
    layer.parameters ? counted(layer.parameters, "parameter") : null,
    layer.multiply_adds ? `${rounded(layer.multiply_adds)} multiply-adds` : null,
  ];
  return h(
    "div",
    { class: "heading" },
    h("h3", { tabindex: -1 }, layer.name, h("span", { class: "kind" }, layer.kind)),
    h("p", { class: "facts" }, facts.filter(Boolean).join(" · "), rest.length ? " · " : "", rest),
  );
}
