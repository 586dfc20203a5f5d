// A layer of single numbers: a bar each, upwards for what is above zero; a click opens its sum.

import { h, range } from "./dom.js";
import { heading } from "./heading.js";
import { brief } from "./numbers.js";
import { saver } from "./saver.js";

const HEIGHT = 72;
const NAMED = 3; // strongest features that are named without pointing

export class Strip {
  /** names: the features' names where they are classes, else null. open(feature). write: a value
   *  in words. name(): the parts of a saved file's name. */
  constructor(layer, names, { open, write = brief, name }) {
    Object.assign(this, { names, open, write, at: 0 });
    this.order = range(layer.shape[0]);
    this.canvas = h("canvas", { class: "strip", role: "application", tabindex: 0 });
    this.readout = h("p", { class: "readout", role: "status" });
    this.heading = heading(layer);
    const keep = saver({
      of: `the numbers of ${layer.name}`,
      name,
      picture: () => this.canvas,
      rows: () => [
        ["feature", "value"],
        ...(this.values ?? []).map((value, i) => [names?.[i] ?? i, value]),
      ],
    });
    this.heading.firstChild.after(keep);
    this.element = h("li", { class: "layer" }, this.heading, this.canvas, this.readout);
    this.canvas.addEventListener("pointermove", (event) => this.#point(this.#under(event)));
    this.canvas.addEventListener("pointerleave", () => this.#point(null));
    this.canvas.addEventListener("blur", () => this.#point(null));
    this.canvas.addEventListener("click", (event) => open(this.#under(event)));
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.arrange());
  }

  /** values: of the features. */
  paint({ mean: values }) {
    this.values = values;
    this.#rest();
    this.arrange();
  }

  /** Marks the feature that the panel shows; null for none. */
  select(feature) {
    this.chosen = feature;
    if (feature !== null) this.at = feature;
    this.arrange();
  }

  focus() {
    this.canvas.focus();
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
    const mark = (feature, color) => {
      context.fillStyle = style.getPropertyValue(color);
      context.fillRect(feature * step - 1, 0, Math.max(step, 2) + 1, HEIGHT);
    };
    if (this.pointed != null) mark(this.pointed, "--sunken");
    if (this.chosen != null) mark(this.chosen, "--tint");
    values.forEach((value, i) => {
      context.fillStyle = style.getPropertyValue(value >= 0 ? "--accent" : "--wrong");
      const bar = Math.max(step - (step > 3 ? 1 : 0), 0.5);
      context.fillRect(i * step, Math.min(zero, zero - value * unit), bar, Math.abs(value) * unit);
    });
    context.fillStyle = style.getPropertyValue("--muted");
    context.fillRect(0, zero, width, 1);
  }

  #under(event) {
    const area = this.canvas.getBoundingClientRect();
    const share = (event.clientX - area.left) / area.width;
    return Math.min(Math.max(Math.floor(share * this.order.length), 0), this.order.length - 1);
  }

  #key(event) {
    const last = this.order.length - 1;
    const to = {
      ArrowLeft: this.at - 1,
      ArrowRight: this.at + 1,
      Home: 0,
      End: last,
      Enter: this.at,
      " ": this.at,
    }[event.key];
    if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.at = Math.min(Math.max(to, 0), last);
    this.#point(this.at);
    if (event.key === "Enter" || event.key === " ") this.open(this.at);
    else if (this.chosen != null) this.open(this.at, { replace: true });
  }

  #point(feature) {
    if (!this.values || feature === this.pointed) return;
    this.pointed = feature;
    if (feature === null) this.#rest();
    else this.readout.textContent = this.#words(feature);
    this.arrange();
  }

  #rest() {
    const strongest = this.values.map((_, i) => i).sort((a, b) => this.values[b] - this.values[a]);
    const words = `Strongest: ${strongest
      .slice(0, NAMED)
      .map((i) => this.#words(i))
      .join(", ")}`;
    this.readout.textContent = words;
    this.canvas.setAttribute("aria-label", `${words}. Arrow keys point at one, Enter opens it`);
  }

  #words(feature) {
    return `${this.names?.[feature] ?? `feature ${feature}`} ${this.write(this.values[feature])}`;
  }
}
