// A layer of single numbers: a bar each, upwards for what is above zero.

import { h } from "./dom.js";
import { heading } from "./heading.js";
import { brief } from "./numbers.js";

const HEIGHT = 72;
const NAMED = 3; // strongest features that are named without pointing

export class Strip {
  /** names: the features' names where they are classes, else null. */
  constructor(layer, names) {
    this.names = names;
    this.canvas = h("canvas", { class: "strip", role: "img" });
    this.readout = h("p", { class: "readout" });
    this.element = h("li", { class: "layer" }, heading(layer), this.canvas, this.readout);
    this.canvas.addEventListener("pointermove", (event) => {
      const area = this.canvas.getBoundingClientRect();
      const share = (event.clientX - area.left) / area.width;
      const feature = Math.min(Math.floor(share * this.values.length), this.values.length - 1);
      this.readout.textContent = this.#words(Math.max(feature, 0));
    });
    this.canvas.addEventListener("pointerleave", () => this.#rest());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.arrange());
  }

  paint({ mean }) {
    this.values = mean;
    this.#rest();
    this.arrange();
  }

  arrange() {
    const width = this.canvas.clientWidth;
    if (!this.values || !width) return;
    const { canvas, values } = this;
    const scale = devicePixelRatio;
    canvas.width = width * scale;
    canvas.height = HEIGHT * scale;
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(canvas);
    const high = Math.max(...values, 0);
    const low = Math.min(...values, 0);
    const unit = (HEIGHT - 2) / (high - low || 1);
    const zero = 1 + high * unit;
    const step = width / values.length;
    values.forEach((value, i) => {
      context.fillStyle = style.getPropertyValue(value >= 0 ? "--accent" : "--wrong");
      const bar = Math.max(step - (step > 3 ? 1 : 0), 0.5);
      context.fillRect(i * step, Math.min(zero, zero - value * unit), bar, Math.abs(value) * unit);
    });
    context.fillStyle = style.getPropertyValue("--muted");
    context.fillRect(0, zero, width, 1);
  }

  #rest() {
    const strongest = this.values.map((_, i) => i).sort((a, b) => this.values[b] - this.values[a]);
    const words = `Strongest: ${strongest
      .slice(0, NAMED)
      .map((i) => this.#words(i))
      .join(", ")}`;
    this.readout.textContent = words;
    this.canvas.setAttribute("aria-label", words);
  }

  #words(feature) {
    return `${this.names?.[feature] ?? `feature ${feature}`} ${brief(this.values[feature])}`;
  }
}
