// What takes a moment and is made for one map when it is asked for: the image that it would most
// like to see, and how it grew in training.

import { ask, during, picture } from "./answers.js";
import { drawn, h, note } from "./dom.js";
import { hasMaps } from "./field.js";
import { brief, percent } from "./numbers.js";

export class Studies {
  /** keep(of, picture): buttons that save a picture of the map. */
  constructor(site, keep) {
    this.keep = keep;
    this.isStatic = site.static;
    this.liked = study("What it would most like to see");
    this.grown = study("How it grew");
    this.element = h("div", { class: "studies" }, this.liked.element, this.grown.element);
    this.element.hidden = this.isStatic; // takes gradients, and weights that a copy does not have
  }

  /** Offers what there is of a map, or of a class; what another one was asked for is gone. */
  show({ run, r, image, l, map, signal }) {
    if (this.isStatic) return;
    const layer = run.layers[l] ?? run.softmax;
    const key = [r, l, map].join();
    const isNew = key !== this.key;
    Object.assign(this, { run, r, image, l, map, layer, signal, key });
    if (isNew) offer(this.liked.slot, "Make an image", () => this.#like());
    this.grown.element.hidden = !run.snapshots?.length || !hasMaps(layer);
    offer(this.grown.slot, "Show its epochs", () => this.#grow());
  }

  #like() {
    const { slot } = this.liked;
    const { layer, signal } = this;
    during(slot, signal, async (news) => {
      const path = `api/${this.r}/visualization-${this.l}-${this.map}`;
      const bitmap = await picture(`${path}.png`, { signal, news });
      const { value } = await ask(`${path}.json`, { signal, news });
      if (signal.aborted) return;
      const kind = hasMaps(layer) ? "a mean of " : layer === this.run.softmax ? "a logit of " : "";
      const words = "An image made to excite it";
      const canvas = drawn(bitmap, { class: "large", "aria-label": words });
      const figure = h("figure", {}, canvas, h("figcaption", {}, `Gives ${kind}${brief(value)}`));
      slot.replaceChildren(
        figure,
        this.keep("made image", () => figure),
        note("Gradient ascent from noise. Olah et al. 2017."),
      );
    });
  }

  #grow() {
    const { slot } = this.grown;
    const { run, signal } = this;
    during(slot, signal, async (news) => {
      const path = `api/${this.r}/${this.image}/growth-${this.l}-${this.map}`;
      const row = await picture(`${path}.png`, { signal, news });
      const found = await ask(`${path}.json`, { signal, news });
      if (signal.aborted) return;
      const list = h(
        "ol",
        { class: "grown-map" },
        found.epochs.map((epoch, i) => h("li", {}, epochOf(row, found, epoch, i))),
      );
      slot.replaceChildren(
        list,
        this.keep("epochs", () => list),
        note(
          `This map for this image after each epoch, on one scale, on which ${brief(found.scale)} is `,
          `white; its strongest value, and the probability of ${run.classes[found.class]} then.`,
        ),
      );
    });
  }
}

/** The map after an epoch, cut out of a row of all. */
function epochOf(row, { epochs, max, probability }, epoch, i) {
  const width = row.width / epochs.length;
  const { height } = row;
  const words = `The map after epoch ${epoch}`;
  const canvas = h("canvas", { role: "img", width, height, "aria-label": words });
  canvas.getContext("2d").drawImage(row, -i * width, 0);
  return [canvas, h("b", {}, `epoch ${epoch}`), ` ${brief(max[i])}, ${percent(probability[i])}`];
}

function study(title) {
  const slot = h("div", { class: "slot" });
  return { slot, element: h("section", {}, h("h3", {}, title), slot) };
}

/** A button, in whose place comes what it asks for. */
function offer(slot, words, ask) {
  slot.replaceChildren(h("button", { type: "button", class: "quiet", onclick: ask }, words));
}
