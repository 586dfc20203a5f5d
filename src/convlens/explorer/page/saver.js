// The one control by which a picture or a table of the page is saved, beside what it saves.
//
// A picture is taken as it stands, without the buttons in it: grounds and borders, each canvas and
// photograph at its place, then lines, blocks and words over them. Where no photograph and no canvas
// is there, it can be had as SVG too.

import { keep, picture as pictureAt } from "./answers.js";
import { button, h, svg } from "./dom.js";
import { save, table } from "./save.js";
import { onSprite, SPRITE, TILE } from "./thumbnails.js";

const SCALE = 2; // pixels of a file a CSS pixel
const MOST = 16_384; // pixels a side, as browsers draw
const CONTROLS = ".quiet, .saver, input";
const DRAWN = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity"];
const WRITTEN = ["fill", "font-family", "font-size", "font-weight"];

/**
 * Small buttons, one a kind of file. of: what is saved, in words. name(): the parts of the file's
 * name. picture(): the element to save as PNG; isDrawn: as SVG too. rows(): what to save as CSV,
 * its heads first.
 */
export function saver({ of, name, picture, isDrawn = false, rows }) {
  const kinds = [
    picture && ["PNG", async () => png(picture())],
    isDrawn && ["SVG", () => withoutControls(picture(), () => drawn(picture()))],
    rows && ["CSV", () => table(rows())],
  ].filter(Boolean);
  return h(
    "span",
    { class: "saver" },
    kinds.map(([kind, make]) =>
      button(`Save ${of} as ${kind}`, kind, async () =>
        save(await make(), fileName(name().join("-"), kind.toLowerCase())),
      ),
    ),
  );
}

/** Words as a file's name on any system. */
function fileName(words, ending) {
  const plain = words.replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^[-.]+|-+$/g, "");
  return `${plain.slice(0, 100) || "convlens"}.${ending}`;
}

function drawn(element) {
  return new Blob([text(drawing(element))], { type: "image/svg+xml" });
}

async function png(element) {
  for (const each of element.querySelectorAll("img")) {
    each.loading = "eager"; // what the reader has not come to yet is saved all the same
    await each.decode().catch(() => {});
  }
  const sprite = element.querySelector(".thumbnail") && (await keep(pictureAt, SPRITE));
  const { canvas, scale, over } = withoutControls(element, () => painted(element, sprite));
  const context = canvas.getContext("2d");
  const address = URL.createObjectURL(new Blob([text(over)], { type: "image/svg+xml" }));
  const lines = new Image();
  lines.src = address;
  await lines.decode();
  context.drawImage(lines, 0, 0, canvas.width / scale, canvas.height / scale);
  URL.revokeObjectURL(address);
  return canvas.convertToBlob();
}

/** What take() gives while an element has no buttons and fields in it; the reader never sees it so. */
function withoutControls(element, take) {
  const controls = [...element.querySelectorAll(CONTROLS)];
  for (const each of controls) each.style.setProperty("display", "none", "important");
  try {
    return take();
  } finally {
    for (const each of controls) each.style.removeProperty("display");
  }
}

/** Grounds, borders and photographs on a canvas, and what comes over them as SVG. */
function painted(element, sprite) {
  const area = element.getBoundingClientRect();
  const scale = Math.min(SCALE, MOST / Math.max(area.width, area.height));
  const sides = [area.width, area.height].map((side) => Math.ceil(scale * side));
  const canvas = new OffscreenCanvas(...sides);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.fillStyle = ground();
  context.fillRect(0, 0, area.width, area.height);
  for (const each of grounds(element)) {
    context.globalAlpha = each.opacity;
    if (each.fill) {
      context.fillStyle = each.fill;
      context.beginPath();
      context.roundRect(each.x, each.y, each.width, each.height, each.radius);
      context.fill();
    }
    for (const { x, y, width, height, fill } of each.edges) {
      context.fillStyle = fill;
      context.fillRect(x, y, width, height);
    }
  }
  for (const each of seen(element, "canvas, img, .thumbnail")) {
    const { left, top, width, height } = each.getBoundingClientRect();
    const style = getComputedStyle(each);
    context.globalAlpha = Number(style.opacity);
    context.imageSmoothingEnabled = style.imageRendering !== "pixelated";
    const place = [left - area.left, top - area.top, width, height];
    if (each.matches(".thumbnail")) {
      const from = onSprite(Number(each.dataset.row));
      context.drawImage(sprite, from.left, from.top, TILE, TILE, ...place);
    } else context.drawImage(each, ...place);
  }
  context.globalAlpha = 1;
  return { canvas, scale, over: drawing(element, { isOver: true }) };
}

function ground() {
  return getComputedStyle(document.body).backgroundColor;
}

const CLEAR = /^rgba\(.*, 0\)$|^transparent$/;
const HATCHED = "rgb(128 128 128 / 0.35)"; // in the place of stripes

/** What lies behind the words of an element: fills and solid borders, in CSS pixels. */
function grounds(element) {
  const area = element.getBoundingClientRect();
  return seen(element, "*:not(svg, svg *, canvas, img, .block, .thumbnail, .frame)").flatMap(
    (each) => {
      const style = getComputedStyle(each);
      const { left, top, width, height } = each.getBoundingClientRect();
      const at = { x: left - area.left, y: top - area.top, width, height };
      const fill = style.backgroundImage.includes("gradient")
        ? HATCHED
        : !CLEAR.test(style.backgroundColor) && style.backgroundColor;
      const edges = bordered(style, at);
      const opacity = Number(style.opacity);
      const radius = Math.min(parseFloat(style.borderTopLeftRadius) || 0, width / 2, height / 2);
      return fill || edges.length ? [{ ...at, fill, edges, opacity, radius }] : [];
    },
  );
}

/** The four sides of a solid border, as rectangles. */
function bordered(style, { x, y, width, height }) {
  const side = (name) =>
    style[`border${name}Style`] === "solid" ? parseFloat(style[`border${name}Width`]) : 0;
  const color = (name) => style[`border${name}Color`];
  const [top, right, bottom, left] = ["Top", "Right", "Bottom", "Left"].map(side);
  return [
    { x, y, width, height: top, fill: color("Top") },
    { x: x + width - right, y, width: right, height, fill: color("Right") },
    { x, y: y + height - bottom, width, height: bottom, fill: color("Bottom") },
    { x, y, width: left, height, fill: color("Left") },
  ].filter((edge) => edge.width && edge.height && !CLEAR.test(edge.fill));
}

/** Lines, blocks and words of an element as an SVG of its own, which needs no style sheet; isOver:
 *  what is behind them is drawn already. */
function drawing(element, { isOver = false } = {}) {
  const { left, top, width, height } = element.getBoundingClientRect();
  const place = (each) => {
    const area = each.getBoundingClientRect();
    return { x: area.left - left, y: area.top - top, width: area.width, height: area.height };
  };
  const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
  if (!isOver) {
    root.append(svg("rect", { width, height, fill: ground() }));
    for (const { fill, edges, opacity, radius: rx, ...at } of grounds(element)) {
      if (fill) root.append(svg("rect", { ...at, rx, fill, opacity }));
      root.append(...edges.map((edge) => svg("rect", edge)));
    }
  }
  for (const each of seen(element, "svg")) {
    const copy = each.cloneNode(true);
    const inner = copy.querySelectorAll("*");
    each.querySelectorAll("*").forEach((from, i) => {
      take(from, inner[i], DRAWN.concat(WRITTEN));
    });
    for (const name of ["class", "role", "tabindex", "aria-label", "aria-hidden"]) {
      copy.removeAttribute(name);
    }
    for (const [name, value] of Object.entries(place(each))) copy.setAttribute(name, value);
    root.append(copy);
  }
  for (const block of seen(element, ".block")) {
    const style = getComputedStyle(block);
    const colors = { fill: style.backgroundColor, stroke: style.borderTopColor };
    root.append(svg("rect", { ...place(block), rx: 2, ...colors }));
  }
  for (const each of seen(element, ".products .frame, .marked"))
    root.append(mark(each, place(each)));
  for (const key of seen(element, ".key")) root.append(stroke(key, place(key)));
  root.append(...words(element, place));
  return root;
}

/** What is marked in a sum: where its window lies, and which of its numbers is the largest. */
function mark(element, { x, y, width, height }) {
  const style = getComputedStyle(element);
  const isCell = element.matches(".marked");
  const color = isCell ? style.outlineColor : style.borderTopColor;
  const line = parseFloat(isCell ? style.outlineWidth : style.borderTopWidth);
  const inside = { x: x + line / 2, y: y + line / 2, width: width - line, height: height - line };
  for (const side of ["width", "height"]) inside[side] = Math.max(inside[side], 0);
  return svg("rect", { ...inside, fill: "none", stroke: color, "stroke-width": line });
}

/** The line before a curve's name. */
function stroke(key, { x, y, height }) {
  const { borderTopColor, borderTopStyle, width } = getComputedStyle(key, "::before");
  const dashes = borderTopStyle === "dashed" ? { "stroke-dasharray": "6 3" } : {};
  const line = { x1: x, x2: x + parseFloat(width), y1: y + height / 2, y2: y + height / 2 };
  return svg("line", { ...line, stroke: borderTopColor, "stroke-width": 2, ...dashes });
}

/** Each word where it stands, so that lines break as they do on the page. */
function words(element, place) {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const parent = node.parentElement;
    if (parent.closest("svg, .saver, .quiet") || !parent.checkVisibility()) continue;
    const style = getComputedStyle(parent);
    for (const { 0: word, index } of node.data.matchAll(/\S+/g)) {
      const span = document.createRange();
      span.setStart(node, index);
      span.setEnd(node, index + word.length);
      const { x, y, width, height } = place(span);
      if (!width) continue;
      const attributes = { x, y: y + 0.78 * height, textLength: width, fill: style.color };
      for (const name of WRITTEN.slice(1)) attributes[name] = style.getPropertyValue(name);
      found.push(svg("text", attributes, word));
    }
  }
  return found;
}

function take(from, to, names) {
  const style = getComputedStyle(from);
  to.removeAttribute("class");
  for (const name of names) to.setAttribute(name, style.getPropertyValue(name));
}

function seen(element, selector) {
  const all = [...element.querySelectorAll(selector)].filter(
    (each) => each.checkVisibility() && each.getBoundingClientRect().width > 0,
  );
  return element.matches(selector) ? [element, ...all] : all;
}

function text(element) {
  return new XMLSerializer().serializeToString(element);
}
