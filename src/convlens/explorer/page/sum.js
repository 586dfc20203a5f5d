// The sum behind a number: from the window that a unit reads to the value in its map.

import { ask, during, picture } from "./answers.js";
import { h, note } from "./dom.js";
import { Newest } from "./newest.js";
import { saver } from "./saver.js";
import { Sheet } from "./sheet.js";
import { summands } from "./summands.js";
import { Teller } from "./teller.js";

export class Sum {
  constructor(site) {
    this.site = site;
    this.all = false;
    this.sheets = new Map();
    this.newest = new Newest((question, signal) => this.#answer(question, signal));
    this.slot = h("div", { class: "slot" });
    this.element = h("section", { class: "sum", "aria-label": "The sum behind this number" });
    this.element.append(h("h3", {}, "How this number comes about"), this.slot);
  }

  /** r, image: whose; l: the layer, beyond the last one the softmax; unit: [map, row, column],
   *  [feature] or [class]. */
  show(question) {
    this.newest.ask(question);
  }

  stop() {
    this.newest.stop();
  }

  async #answer(question, signal) {
    const { r, image, l, unit } = question;
    const run = this.site.runs[r];
    const base = `api/${r}/${image}`;
    const what = l < run.layers.length ? `unit-${l}-${unit.join("-")}` : `softmax-${unit[0]}`;
    await during(this.slot, signal, async (news) => {
      const told = await ask(`${base}/${what}.json`, { signal, news });
      if (signal.aborted) return;
      this.shown = { question, told, run };
      this.#draw();
    });
  }

  #draw() {
    const { question, told, run } = this.shown;
    const teller = new Teller(run, question, this);
    const { l, unit, image } = question;
    const layer = run.layers[l] ?? run.softmax;
    const sum = h("div", {}, teller.tell(told), teller.end());
    const keep = saver({
      of: "the sum",
      name: () => [run.name, layer.name, ...unit, "sum", image],
      picture: () => sum,
      rows: () => summands(told, run.classes),
    });
    this.slot.replaceChildren(sum, keep);
  }

  more() {
    this.all = !this.all;
    this.#draw();
  }

  /** The maps of a layer for the image of a question; those of the last image are kept. */
  sheet({ r, image }, l) {
    const base = `api/${r}/${image}`;
    if (this.sheetsOf !== image) this.sheets.clear();
    this.sheetsOf = image;
    const key = `${r}/${l}`;
    if (!this.sheets.has(key)) {
      const both = [ask(`${base}/layers.json`), picture(`${base}/layer-${l}.png`)];
      const shape = this.site.runs[r].layers[l].shape;
      this.sheets.set(
        key,
        Promise.all(both).then(([statistics, bitmap]) => new Sheet(bitmap, statistics[l], shape)),
      );
    }
    return this.sheets.get(key);
  }
}

export function noSum() {
  return note(
    "This copy of the page cannot run the network, and shows no sums; convlens explore does.",
  );
}
