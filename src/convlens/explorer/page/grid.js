// Small arrays of numbers, a cell a number, in the colors of filters.

import { h } from "./dom.js";
import { signed } from "./filter.js";
import { decimal, exact } from "./numbers.js";

const PALER = 0.85; // so that black digits stand out from the darkest
const WRITTEN = 64; // cells, up to which each has its number written in it

/** rows: numbers or null; largest: what the full color stands for; marked: [row, column]. */
export function grid(rows, { largest, label, marked }) {
  const flat = rows.flat();
  const written = flat.length <= WRITTEN;
  const width = rows[0].length;
  const cells = flat.map((value, i) => {
    const place = [Math.floor(i / width), i % width];
    const cell = h(
      "span",
      { title: value === null ? "beyond the border" : exact(value) },
      written && value !== null ? short(value) : "",
    );
    if (value === null) cell.className = "beyond";
    else cell.style.background = `rgb(${signed((PALER * value) / (largest || 1)).map(Math.round)})`;
    if (marked && place.every((n, k) => n === marked[k])) cell.classList.add("marked");
    return cell;
  });
  const attributes = { class: written ? "grid" : "grid fine", role: "img", "aria-label": label };
  const element = h("span", attributes, cells);
  element.style.gridTemplateColumns = `repeat(${width}, auto)`;
  return element;
}

/** As many digits as a cell has room for. */
function short(value) {
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return decimal(value, digits);
}
