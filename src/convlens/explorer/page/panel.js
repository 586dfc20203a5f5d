// One map or one feature, closely: large, its sum, its filter, its strongest patches, what led to it.

import { ask, during, Latest, picture } from "./answers.js";
import { announce, button, drawn, h, note } from "./dom.js";
import { hasMaps } from "./field.js";
import { filterPicture } from "./filter.js";
import { LargeMap } from "./large.js";
import { brief, percent } from "./numbers.js";
import { patchPictures } from "./patches.js";
import { saver } from "./saver.js";
import { Sheet } from "./sheet.js";
import { Studies } from "./studies.js";
import { noSum, Sum } from "./sum.js";

/** on.close(), on.step(±1), on.field(layer, unit | null), on.pin([row, column]). */
export class Panel {
  constructor(site, on) {
    this.site = site;
    this.latest = new Latest();
    this.title = h("h2", { tabindex: -1 });
    this.facts = h("p", { class: "facts" });
    this.large = new LargeMap({
      field: (unit) => on.field(this.index, unit),
      unit: (unit) => this.#tellSum([this.chosen, ...unit]),
      pin: on.pin,
    });
    this.sum = new Sum(site);
    this.deconvolution = h("div", { class: "slot" });
    this.filter = h("div", { class: "slot" });
    this.patches = h("div", { class: "slot" });
    const keep = (of, picture, rows) => {
      const layer = () => (this.run.layers[this.index] ?? this.run.softmax).name;
      const name = () => [this.run.name, layer(), this.chosen, of, this.image];
      return saver({ of: `the ${of}`, name, picture, rows });
    };
    const part = (title, slot, of) =>
      h(
        "section",
        {},
        h("h3", {}, title),
        slot,
        keep(of, () => slot.firstElementChild),
      );
    this.filterPart = part("Filter", this.filter, "filter");
    this.deconvolutionPart = part("Deconvolution", this.deconvolution, "deconvolution");
    this.ledBy = h("div", { class: "pair" }, this.deconvolutionPart, this.filterPart);
    this.patchesPart = part("Top-activating training patches", this.patches, "patches");
    this.studies = new Studies(site, keep);
    const [alone, over] = this.large.element.querySelectorAll("figcaption");
    const pictureOf = (caption) => () => caption.previousElementSibling;
    alone.append(keep("map", pictureOf(alone), () => this.large.rows()));
    over.append(keep("heat", pictureOf(over)));
    this.element = h(
      "aside",
      { class: "panel", "aria-label": "One map", hidden: true },
      h(
        "div",
        { class: "panel-top" },
        this.title,
        button("Map before (←)", "‹", () => on.step(-1)),
        button("Next map (→)", "›", () => on.step(1)),
        button("Close (Escape)", "✕", () => on.close()),
      ),
      this.facts,
      this.large.element,
      this.large.readout,
      this.sum.element,
      this.ledBy,
      this.patchesPart,
      this.studies.element,
    );
    if (!site.upload) this.sum.element.replaceChildren(h("h3", {}, "The sum"), noSum());
  }

  hide() {
    this.latest.stop();
    this.sum.stop();
    if (this.key) this.large.stop();
    this.key = null;
    this.element.hidden = true;
  }

  /** Shows map (or feature) `map` of layer `l` of run `r` for `image`; unit: [row, column], the
   *  strongest by default. Beyond the last layer are the classes' probabilities. */
  async show(image, r, l, map, unit) {
    const key = [image, r, l, map].join();
    if (key === this.key) {
      this.large.pin(unit);
      return;
    }
    const opened = !this.key;
    this.key = key;
    const signal = this.latest.next();
    const run = this.site.runs[r];
    const layer = run.layers[l] ?? run.softmax;
    this.studies.show({ run, r, image, l, map, signal });
    Object.assign(this, { run, r, image, index: l, chosen: map });
    this.sum.stop();
    this.element.hidden = false;
    this.#entitle(run, layer, map);
    if (opened) this.element.scrollTop = 0;

    const isMap = hasMaps(layer);
    for (const part of [this.large.element, this.large.readout]) part.hidden = !isMap;
    this.ledBy.hidden = !isMap;
    this.patchesPart.hidden = !isMap || !this.site.data;
    this.filterPart.hidden = !layer.filters;
    if (isMap) {
      this.large.begin(run, r, layer, image, unit);
      await this.#fill(layer, signal);
    } else {
      this.large.stop();
      this.#tellSum(layer.shape.map((_, i) => (i ? 0 : map)));
      await this.#tellValue(layer, signal);
    }
  }

  #entitle(run, layer, map) {
    const whose = this.site.runs.length > 1 ? `${run.name}: ` : "";
    const names = layer.shape[0] === run.classes.length && !hasMaps(layer) ? run.classes : null;
    const what = names?.[map] ?? `${hasMaps(layer) ? "map" : "feature"} ${map}`;
    this.title.textContent = `${whose}${layer.name}, ${what}`;
    announce(this.title.textContent);
  }

  async #tellValue(layer, signal) {
    this.facts.textContent = layer.kind;
    if (layer === this.run.softmax) return;
    await during(this.facts, signal, async (news) => {
      const statistics = await ask(`api/${this.r}/${this.image}/layers.json`, { signal, news });
      if (signal.aborted) return;
      const { mean } = statistics[this.index];
      const rank = mean.filter((value) => value > mean[this.chosen]).length + 1;
      const value = brief(mean[this.chosen]);
      this.facts.textContent = `${layer.kind} · ${value} · rank ${rank} of ${mean.length}`;
    });
  }

  async #fill(layer, signal) {
    const { r, index: l, chosen: map, image } = this;
    const base = `api/${r}/${image}`;
    const exact = Boolean(this.site.upload); // else no network is asked, and pictures must do
    await Promise.all([
      during(this.large.element, signal, async (news) => {
        const [statistics, bitmap, rows] = await Promise.all([
          ask(`${base}/layers.json`, { signal, news }),
          picture(`${base}/layer-${l}.png`, { signal, news }),
          exact ? ask(`${base}/map-${l}-${map}.json`, { signal, news }) : null,
        ]);
        if (signal.aborted) return;
        this.#tellFacts(statistics[l], map);
        const sheet = new Sheet(bitmap, statistics[l], layer.shape);
        this.large.paint(sheet, map, rows?.flat() ?? sheet.values(map), exact);
      }),
      during(this.deconvolution, signal, async (news) => {
        const statistics = await ask(`${base}/layers.json`, { signal, news });
        const bitmap =
          statistics[l].max[map] > 0
            ? await picture(`${base}/deconvolution-${l}-${map}.png`, { signal, news })
            : null; // nothing leads back to the pixels
        if (!signal.aborted) this.deconvolution.replaceChildren(projection(bitmap, layer, map));
      }),
      this.filterPart.hidden
        || during(this.filter, signal, async (news) => {
          const shown = await filterPicture(this.site.runs[r], l, map, signal, news);
          if (!signal.aborted) this.filter.replaceChildren(...shown);
        }),
      this.patchesPart.hidden
        || during(this.patches, signal, async (news) => {
          const shown = await patchPictures(this.site, r, l, map, signal, news);
          if (!signal.aborted) this.patches.replaceChildren(...shown);
        }),
    ]);
  }

  #tellFacts(statistics, map) {
    const rank = statistics.order.indexOf(map) + 1;
    this.facts.textContent = [
      `rank ${rank} of ${statistics.order.length} for this image`,
      `mean ${brief(statistics.mean[map])}`,
      `strongest ${brief(statistics.max[map])}`,
      `${percent(statistics.active[map], 0)} of its units active`,
      `white is ${brief(statistics.scale)}`,
    ].join(" · ");
  }

  #tellSum(unit) {
    if (!this.site.upload) return; // no network is asked
    this.sum.show({ r: this.r, image: this.image, l: this.index, unit });
  }
}

function projection(bitmap, layer, map) {
  if (!bitmap) return note("Nothing: the map is silent.");
  const words = `What in the image excites the strongest unit of ${layer.name}, map ${map}`;
  const canvas = drawn(bitmap, { class: "large", "aria-label": words });
  return h("figure", {}, canvas, h("figcaption", {}, "What excites its strongest unit"));
}
