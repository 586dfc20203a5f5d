// A map, large and over the image: pointing at a unit shows what it reads, and its sum follows.

import { showPicture } from "./answers.js";
import { button, h } from "./dom.js";
import { fieldBox, mapPlace, placeBox, unitUnder } from "./field.js";
import { brief } from "./numbers.js";

const SMOOTH = 64; // units a side from which a map is scaled smoothly
const PACE = 500; // milliseconds that the sliding window stays at a unit
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** on.field(unit | null) and on.unit(unit) tell what is pointed at, on.pin(unit) what was chosen. */
export class LargeMap {
  constructor(on) {
    this.on = on;
    const unpainted = { role: "img", "aria-label": "The map" };
    this.map = h("canvas", { class: "large", tabindex: 0, ...unpainted });
    this.unit = h("span", { class: "frame unit", hidden: true });
    this.readout = h("p", { class: "readout" });
    this.heat = h("canvas", { class: "heat" });
    this.frame = h("span", { class: "frame", hidden: true });
    this.photograph = h("img", { alt: "The image as the network sees it" });
    this.opacity = h("input", {
      type: "range",
      min: 0,
      max: 100,
      value: 65,
      id: "opacity",
      oninput: () => {
        this.heat.style.opacity = this.opacity.value / 100;
      },
    });
    this.heat.style.opacity = 0.65;
    this.slide = button("Slide the window over the map", "▶ Slide", () => this.#play(!this.timer));
    this.element = h(
      "div",
      { class: "pair" },
      h(
        "figure",
        {},
        h("div", { class: "stack" }, this.map, this.unit),
        h("figcaption", {}, "The map", this.slide),
      ),
      h(
        "figure",
        {},
        h("div", { class: "stack" }, this.photograph, this.heat, this.frame),
        h("figcaption", {}, h("label", { for: "opacity" }, "Over the image"), this.opacity),
      ),
    );
    this.#listen();
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    this.still.addEventListener("change", () => this.#mayMove());
    this.#mayMove();
  }

  /** Whose map comes next; the former one stays until `paint`. pinned: [row, column], if chosen. */
  begin(run, r, layer, image, pinned) {
    Object.assign(this, { run, layer, pinned, values: null });
    this.#play(false);
    showPicture(this.photograph, `images/${r}/${image}.png`);
    this.#pointAt(null);
  }

  /** values: of its units in raster order, exact ones or as far as the picture tells them. */
  paint(sheet, map, values, exact) {
    Object.assign(this, { values, exact, white: sheet.scale });
    sheet.draw(map, this.map);
    this.map.classList.toggle("coarse", sheet.width < SMOOTH);
    this.map.setAttribute(
      "aria-label",
      `Map ${map} of ${this.layer.name}, ${sheet.height}×${sheet.width} units, white where it `
        + "responds; arrow keys point at a unit",
    );
    this.#paintHeat(sheet);
    if (!this.pinned) {
      const strongest = values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
      this.pinned = [Math.floor(strongest / sheet.width), strongest % sheet.width];
    }
    this.#pointAt(this.pinned);
  }

  /** Its units as a table. */
  rows() {
    const width = this.layer.shape[2];
    const place = (i) => [Math.floor(i / width), i % width];
    return [
      ["row", "column", "value"],
      ...Array.from(this.values ?? [], (v, i) => [...place(i), v]),
    ];
  }

  pin(unit) {
    if (!unit || String(unit) === String(this.pinned)) return;
    this.pinned = unit;
    this.#pointAt(unit);
  }

  stop() {
    this.#play(false);
    this.on.field(null);
  }

  /** The map in color on its place over the image; clear where it is silent. */
  #paintHeat(sheet) {
    const { size } = this.run;
    const strongest = Math.max(...this.values) || 1;
    const small = new OffscreenCanvas(sheet.width, sheet.height);
    const context = small.getContext("2d");
    const picture = context.createImageData(sheet.width, sheet.height);
    this.values.forEach((value, i) => {
      const share = Math.max(value / strongest, 0);
      picture.data.set([255, 60 + 170 * share, 0, 255 * Math.sqrt(share)], 4 * i);
    });
    context.putImageData(picture, 0, 0);
    const scale = 4; // canvas pixels an image pixel, for a smooth edge
    this.heat.width = this.heat.height = size * scale;
    const place = mapPlace(this.layer, size);
    this.heat
      .getContext("2d")
      .drawImage(
        small,
        place.left * scale,
        place.top * scale,
        place.width * scale,
        place.height * scale,
      );
  }

  #listen() {
    const under = (event) => unitUnder(event, this.map, this.layer.shape.slice(1));
    this.map.addEventListener("pointermove", (event) => {
      if (!this.timer) this.#pointAt(under(event));
    });
    this.map.addEventListener("pointerleave", () => this.timer || this.#pointAt(this.pinned));
    this.map.addEventListener("click", (event) => {
      this.#play(false);
      this.#choose(under(event));
    });
    this.map.addEventListener("keydown", (event) => {
      const from = this.pointed ?? this.pinned;
      if (!(event.key in STEPS) || !from) return;
      event.preventDefault();
      event.stopPropagation();
      this.#play(false);
      const sides = this.layer.shape.slice(1);
      const to = from.map((at, i) => at + STEPS[event.key][i]);
      this.#choose(to.map((at, i) => Math.min(Math.max(at, 0), sides[i] - 1)));
    });
  }

  #choose(unit) {
    this.pinned = unit;
    this.#pointAt(unit);
    this.on.pin(unit);
  }

  /** Moves on from unit to unit, row by row, until it is stopped. */
  #play(on) {
    clearInterval(this.timer);
    this.timer = on && setInterval(() => this.#next(), PACE);
    this.slide.textContent = on ? "■ Stop" : "▶ Slide";
    this.slide.title = on ? "Stop the window" : "Slide the window over the map";
    this.slide.setAttribute("aria-label", this.slide.title);
    if (on) this.#next();
  }

  #next() {
    if (!this.pinned || !this.element.checkVisibility()) return this.#play(false);
    const [, height, width] = this.layer.shape;
    const at = (this.pinned[0] * width + this.pinned[1] + 1) % (height * width);
    this.pinned = [Math.floor(at / width), at % width];
    this.#pointAt(this.pinned);
  }

  #mayMove() {
    this.slide.hidden = this.still.matches;
    if (this.still.matches) this.#play(false);
  }

  /** Shows which pixels unit [row, column] sees; null points at nothing. */
  #pointAt(unit) {
    this.pointed = unit;
    this.on.field(unit);
    this.unit.hidden = this.frame.hidden = !unit;
    if (!unit) {
      this.readout.textContent = "Point at the map to see which pixels a unit reads.";
      return;
    }
    const [row, column] = unit;
    const [, height, width] = this.layer.shape;
    const box = fieldBox(this.layer, row, column, this.run.size);
    placeBox(this.frame, box, this.run.size);
    this.unit.style.top = `${(100 * row) / height}%`;
    this.unit.style.left = `${(100 * column) / width}%`;
    this.unit.style.height = `${100 / height}%`;
    this.unit.style.width = `${100 / width}%`;
    const [top, left, bottom, right] = box;
    this.readout.textContent =
      `Unit ${row}, ${column}${this.#value(row * width + column)} reads `
      + `rows ${top}–${bottom - 1}, columns ${left}–${right - 1}.`;
    this.on.unit(unit);
  }

  #value(i) {
    if (!this.values) return "";
    const value = this.values[i];
    const least = !this.exact && value >= this.white ? "at least " : "";
    return ` is ${least}${brief(value)} and`;
  }
}
