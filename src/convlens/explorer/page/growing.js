// How a network grows: its first filters and what its layers make of one image, an epoch at a time.

import { ask, during, Latest } from "./answers.js";
import { h, note } from "./dom.js";
import { readable } from "./names.js";
import { counted, percent } from "./numbers.js";
import { saver } from "./saver.js";

const KEPT = 200; // epochs of a run that can be gone back to, from when the page was opened

export class Growing {
  constructor() {
    this.latest = new Latest();
    this.seen = []; // what the server said of each epoch
    this.title = h("h2");
    this.slider = h("input", {
      type: "range",
      id: "epoch",
      min: 0,
      oninput: () => this.#paint(this.seen[Number(this.slider.value)]),
    });
    this.which = h("output", { for: "epoch" });
    this.slot = h("div", { class: "slot" });
    this.element = h(
      "section",
      { class: "grown", hidden: true },
      this.title,
      h("p", { class: "controls" }, h("label", { for: "epoch" }, "Epoch"), this.slider, this.which),
      this.slot,
    );
  }

  /** Shows a run as it is now; none hides it. */
  show(run) {
    this.element.hidden = !run || run.epoch === 0;
    if (this.element.hidden) {
      this.latest.stop();
      return;
    }
    if (run.id !== this.run?.id) this.seen = [];
    this.run = run;
    this.title.textContent = `What ${run.name} sees`;
    const signal = this.latest.next();
    during(this.slot, signal, async (news) => {
      const now = await ask(`api/${run.id}/growth.json`, { signal, news });
      if (signal.aborted) return;
      const atEnd = Number(this.slider.value) >= this.seen.length - 1;
      if (this.seen.at(-1)?.epoch !== now.epoch) this.seen.push(now);
      this.seen.splice(0, this.seen.length - KEPT);
      this.slider.max = this.seen.length - 1;
      this.slider.parentElement.hidden = this.seen.length < 2;
      if (!atEnd && this.shown) return; // the reader looks at an earlier epoch
      this.slider.value = this.seen.length - 1;
      this.#paint(now);
    });
  }

  #paint(now) {
    this.shown = now;
    this.which.textContent = ` ${now.epoch}`;
    const { image, classes, filters, layers } = now;
    const said = classes.map(({ name, share }) => `${readable(name)} ${percent(share)}`).join(", ");
    const shown = h(
      "div",
      { class: "grown-epoch" },
      h(
        "div",
        { class: "grown-top" },
        h("img", {
          class: "of-image",
          src: image.picture,
          alt: `The image ${readable(image.name)}`,
        }),
        h(
          "div",
          {},
          h("p", {}, `After epoch ${now.epoch}: `, h("b", {}, said)),
          note(readable(image.name), image.class ? `, class ${readable(image.class)}` : ""),
          h("h3", {}, "Filters of the first layer"),
          h("img", { class: "filters", src: filters, alt: "Filters of the first layer" }),
        ),
      ),
      h("h3", {}, "Maps of this image, white where they respond"),
      h(
        "div",
        { class: "grown-layers" },
        layers.map(({ name, maps, of, picture }) =>
          h(
            "figure",
            {},
            h("img", { src: picture, alt: `The first ${counted(maps, "map")} of ${name}` }),
            h("figcaption", {}, `${name}, maps 0 to ${maps - 1} of ${of}`),
          ),
        ),
      ),
    );
    const keep = saver({
      of: `epoch ${now.epoch}`,
      name: () => [this.run.name, "epoch", now.epoch],
      picture: () => shown,
    });
    this.slot.replaceChildren(shown, keep);
  }
}
