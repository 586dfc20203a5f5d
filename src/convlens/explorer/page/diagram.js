// The whole network at a glance: a block a layer, high as its map, wide as its channels, with the
// ways of the data between them, shortcuts above.

import { h, svg } from "./dom.js";
import { hasMaps } from "./field.js";
import { rounded } from "./numbers.js";
import { saver } from "./saver.js";

const COLUMN = 96; // pixels
const ARCS = 52; // pixels above the blocks
const BLOCK = 56;

/** open(l) is called for a layer that is chosen; -1 is the image, beyond the last the softmax. */
export function diagram(run, open) {
  const layers = [
    { name: "image", kind: "normalized", shape: [run.channels, run.size, run.size] },
    ...run.layers,
    run.softmax,
  ];
  const side = Math.max(...layers.map(({ shape }) => shape[1] ?? 1));
  const blocks = layers.map((layer, i) =>
    h(
      "li",
      {},
      block(layer, side, () => open(i - 1)),
    ),
  );
  const list = h("ol", { class: "overview", "aria-label": "The network at a glance" }, blocks);
  const inner = h("div", { class: "diagram-inner" }, ways(layers), list);
  inner.style.width = `${COLUMN * layers.length}px`;
  const region = h(
    "div",
    {
      class: "diagram",
      tabindex: 0,
      role: "region",
      "aria-label": `Diagram of the network ${run.name}`,
    },
    inner,
  );
  const keep = saver({
    of: "the diagram",
    name: () => [run.name, "diagram"],
    picture: () => inner,
    isDrawn: true,
  });
  return h("div", { class: "diagram-frame" }, keep, region);
}

function block(layer, side, onclick) {
  const [channels, height = 1] = layer.shape;
  const shape = h("span", { class: "block" });
  shape.style.height = `${8 + 40 * Math.sqrt(height / side)}px`;
  shape.style.width = `${6 + 4 * Math.log2(channels)}px`;
  const sides = layer.shape.join("×");
  return h(
    "button",
    {
      type: "button",
      title: `Go to ${layer.name}, ${layer.kind}, ${sides}`,
      class:
        layer.shape.length === 3 && (layer.name === "image" || hasMaps(layer)) ? "maps" : "numbers",
      onclick,
    },
    h("span", { class: "room" }, shape),
    h("b", {}, layer.name),
    h("span", {}, layer.kind),
    h("span", {}, sides),
  );
}

/** Lines from each layer to those that read it; what is not its neighbor is reached by an arc. */
function ways(layers) {
  const middle = ARCS + BLOCK / 2;
  const center = (i) => (i + 0.5) * COLUMN;
  const parts = [];
  layers.forEach((layer, to) => {
    const { shortcut } = layer;
    const reads = layer.reads ?? (to ? [to - 2] : []); // the softmax reads the last layer
    const own = new Set([...reads, ...(shortcut?.reads ?? [])]);
    for (const from of [...own].map((l) => l + 1)) {
      const isShortcut = shortcut?.reads.includes(from - 1);
      if (from === to - 1) {
        parts.push(svg("path", { class: "way", d: `M${center(from)} ${middle}H${center(to)}` }));
        if (!isShortcut) continue;
      }
      const height = Math.min(12 + 8 * (to - from), ARCS - 14);
      const [x, y] = [(center(from) + center(to)) / 2, ARCS - height];
      const d = `M${center(from)} ${middle}V${ARCS}Q${center(from)} ${y} ${center(from) + 24} ${y}H${center(to) - 24}Q${center(to)} ${y} ${center(to)} ${ARCS}V${middle}`;
      parts.push(svg("path", { class: "way arc", d }));
      const words = isShortcut ? caption(shortcut) : "";
      if (words) parts.push(svg("text", { x, y: y - 5, "text-anchor": "middle" }, words));
    }
  });
  return svg(
    "svg",
    { class: "ways", width: COLUMN * layers.length, height: ARCS + BLOCK, "aria-hidden": "true" },
    parts,
  );
}

function caption({ kind, parameters }) {
  return kind ? `+ ${kind}, ${rounded(parameters)}` : "+ shortcut";
}
