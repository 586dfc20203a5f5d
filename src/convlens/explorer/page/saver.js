// The one control by which a picture or a table of the page is saved, beside what it saves.
//
// A picture is taken as it stands: each canvas and photograph at its place, then lines, blocks and
// words over them. Where nothing but lines, blocks and words is there, it can be had as SVG too.

import { button, h, svg } from "./dom.js";
import { save, table } from "./save.js";

const SCALE = 2; // pixels of a file a CSS pixel
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
    isDrawn && ["SVG", () => new Blob([text(drawing(picture()))], { type: "image/svg+xml" })],
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

async function png(element) {
  const area = element.getBoundingClientRect();
  const canvas = new OffscreenCanvas(...[area.width, area.height].map((a) => Math.ceil(SCALE * a)));
  const context = canvas.getContext("2d");
  context.scale(SCALE, SCALE);
  context.fillStyle = getComputedStyle(document.body).backgroundColor;
  context.fillRect(0, 0, area.width, area.height);
  for (const each of seen(element, "canvas, img")) {
    const { left, top, width, height } = each.getBoundingClientRect();
    const style = getComputedStyle(each);
    context.globalAlpha = Number(style.opacity);
    context.imageSmoothingEnabled = style.imageRendering !== "pixelated";
    context.drawImage(each, left - area.left, top - area.top, width, height);
  }
  context.globalAlpha = 1;
  const address = URL.createObjectURL(
    new Blob([text(drawing(element))], { type: "image/svg+xml" }),
  );
  const over = new Image();
  over.src = address;
  await over.decode();
  context.drawImage(over, 0, 0, area.width, area.height);
  URL.revokeObjectURL(address);
  return canvas.convertToBlob();
}

/** Lines, blocks and words of an element as an SVG of its own, which needs no style sheet. */
function drawing(element) {
  const { left, top, width, height } = element.getBoundingClientRect();
  const place = (each) => {
    const area = each.getBoundingClientRect();
    return { x: area.left - left, y: area.top - top, width: area.width, height: area.height };
  };
  const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
  if (!seen(element, "canvas, img").length) {
    const fill = getComputedStyle(document.body).backgroundColor;
    root.append(svg("rect", { width, height, fill }));
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
  for (const key of seen(element, ".key")) root.append(stroke(key, place(key)));
  root.append(...words(element, place));
  return root;
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
