// Numbers, sentences and bars as a sum writes them.

import { h } from "./dom.js";
import { brief, exact } from "./numbers.js";

/** A number in three digits; pointing at it tells all. */
export function number(value) {
  return h("span", { class: "n", title: exact(value) }, brief(value));
}

/** " + 3" or " − 3": a number that is added. */
export function plus(value) {
  return [value < 0 ? " − " : " + ", number(Math.abs(value))];
}

export function line(...words) {
  return h("p", { class: "line" }, words.flat(2));
}

/** A bar of a share, −1..1, to the right or in the color of what speaks against. */
export function bar(share) {
  const inner = h("span", { class: share < 0 ? "bar against" : "bar" });
  inner.style.width = `${100 * Math.abs(share)}%`;
  return h("span", { class: "track" }, inner);
}
