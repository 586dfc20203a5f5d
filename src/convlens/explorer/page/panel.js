// One map, closely: large, over the image, its filter, its top-activating patches, its deconvolution.

import { ask, during, Latest, picture, showPicture } from "./answers.js";
import { announce, button, h, note } from "./dom.js";
import { fieldBox, mapPlace, placeBox, unitUnder } from "./field.js";
import { filterPicture } from "./filter.js";
import { brief, percent } from "./numbers.js";
import { patchPictures } from "./patches.js";
import { Sheet } from "./sheet.js";

const LARGE = 64; // units a side from which a map is scaled smoothly

/** on.close(), on.step(±1), on.field(layer, unit | null). */
export class Panel {
  constructor(site, on) {
    this.site = site;
    this.on = on;
    this.latest = new Latest();
    this.title = h("h2", { tabindex: -1 });
    this.facts = h("p", { class: "facts" });

    this.map = h("canvas", { class: "large", tabindex: 0, role: "img" });
    this.unit = h("span", { class: "frame unit", hidden: true });
    this.readout = h("p", { class: "readout" });
    this.heat = h("canvas", { class: "heat" });
    this.frame = h("span", { class: "frame", hidden: true });
    this.photograph = h("img", { alt: "The image as the network sees it" });
    this.stack = h("div", { class: "stack" }, this.photograph, this.heat, this.frame);
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
    this.deconvolution = h("div", { class: "slot" });
    this.filter = h("div", { class: "slot" });
    this.patches = h("div", { class: "slot" });
    this.filterPart = h("section", {}, h("h3", {}, "Filter"), this.filter);
    this.deconvolutionPart = h("section", {}, h("h3", {}, "Deconvolution"), this.deconvolution);
    this.patchesPart = h(
      "section",
      {},
      h("h3", {}, "Top-activating training patches"),
      this.patches,
    );
    this.pictures = h(
      "div",
      { class: "pair" },
      h(
        "figure",
        {},
        h("div", { class: "stack" }, this.map, this.unit),
        h("figcaption", {}, "The map"),
      ),
      h(
        "figure",
        {},
        this.stack,
        h("figcaption", {}, h("label", { for: "opacity" }, "Over the image"), this.opacity),
      ),
    );
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
      this.pictures,
      this.readout,
      h("div", { class: "pair" }, this.deconvolutionPart, this.filterPart),
      this.patchesPart,
    );
    this.#point();
  }

  hide() {
    this.latest.stop();
    this.key = null;
    this.element.hidden = true;
  }

  /** Shows map `map` of layer `l` of run `r` for `image`. */
  async show(image, r, l, map) {
    const key = [image, r, l, map].join();
    if (key === this.key) return;
    const opened = !this.key;
    this.key = key;
    const signal = this.latest.next();
    const run = this.site.runs[r];
    const layer = run.layers[l];
    Object.assign(this, { run, layer, index: l });
    this.element.hidden = false;
    const whose = this.site.runs.length > 1 ? `${run.name}: ` : "";
    this.title.textContent = `${whose}${layer.name}, map ${map}`;
    announce(this.title.textContent);
    showPicture(this.photograph, `images/${r}/${image}.png`);
    this.#pointAt(null);
    if (opened) this.element.scrollTop = 0;

    const base = `api/${r}/${image}`;
    this.patchesPart.hidden = !this.site.data;
    this.filterPart.hidden = !layer.filters;
    await Promise.all([
      during(this.pictures, signal, async (news) => {
        const [statistics, bitmap] = await Promise.all([
          ask(`${base}/layers.json`, { signal, news }),
          picture(`${base}/layer-${l}.png`, { signal, news }),
        ]);
        if (!signal.aborted) this.#paint(statistics[l], bitmap, map);
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
          const shown = await filterPicture(r, l, map, signal, news);
          if (!signal.aborted) this.filter.replaceChildren(...shown);
        }),
      this.patchesPart.hidden
        || during(this.patches, signal, async (news) => {
          const shown = await patchPictures(this.site, r, l, map, signal, news);
          if (!signal.aborted) this.patches.replaceChildren(...shown);
        }),
    ]);
  }

  #paint(statistics, bitmap, map) {
    const sheet = new Sheet(bitmap, statistics, this.layer.shape);
    sheet.draw(map, this.map);
    this.map.classList.toggle("coarse", sheet.width < LARGE);
    this.values = sheet.values(map);
    const rank = statistics.order.indexOf(map) + 1;
    this.facts.textContent = [
      `rank ${rank} of ${statistics.order.length} for this image`,
      `mean ${brief(statistics.mean[map])}`,
      `strongest ${brief(statistics.max[map])}`,
      `${percent(statistics.active[map], 0)} of its units active`,
      `white is ${brief(statistics.scale)}`,
    ].join(" · ");
    this.map.setAttribute(
      "aria-label",
      `Map ${map} of ${this.layer.name}, ${sheet.height}×${sheet.width} units, white where it `
        + "responds; arrow keys point at a unit",
    );
    this.#paintHeat(sheet);
    this.#pointAt(null);
  }

  /** The map in color on its place over the image; clear where it is silent. */
  #paintHeat(sheet) {
    const { size } = this.run;
    const strongest = Math.max(...this.values) || 1;
    const small = new OffscreenCanvas(sheet.width, sheet.height);
    const context = small.getContext("2d");
    const picture = context.createImageData(sheet.width, sheet.height);
    this.values.forEach((value, i) => {
      const share = value / strongest;
      picture.data.set([255, 60 + 170 * share, 0, 255 * Math.sqrt(share)], 4 * i);
    });
    context.putImageData(picture, 0, 0);
    const scale = 4; // canvas pixels an image pixel, for a smooth edge
    this.heat.width = this.heat.height = size * scale;
    const place = mapPlace(this.layer);
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

  #point() {
    this.map.addEventListener("pointermove", (event) =>
      this.#pointAt(unitUnder(event, this.map, this.layer.shape.slice(1))),
    );
    this.map.addEventListener("pointerleave", () => this.#pointAt(null));
    this.map.addEventListener("blur", () => this.#pointAt(null));
    this.map.addEventListener("keydown", (event) => {
      const steps = {
        ArrowUp: [-1, 0],
        ArrowDown: [1, 0],
        ArrowLeft: [0, -1],
        ArrowRight: [0, 1],
      };
      if (!(event.key in steps)) return;
      event.preventDefault();
      event.stopPropagation();
      const sides = this.layer.shape.slice(1);
      const from = this.pointed ?? sides.map((side) => Math.floor(side / 2));
      this.#pointAt(
        sides.map((side, i) => Math.min(Math.max(from[i] + steps[event.key][i], 0), side - 1)),
      );
    });
  }

  /** Shows which pixels unit [row, column] sees; null points at nothing. */
  #pointAt(unit) {
    this.pointed = unit;
    this.on.field(this.index, unit);
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
    const value = this.values ? ` is ${brief(this.values[row * width + column])} and` : "";
    const [top, left, bottom, right] = box;
    this.readout.textContent =
      `Unit ${row}, ${column}${value} reads `
      + `rows ${top}–${bottom - 1}, columns ${left}–${right - 1}.`;
  }
}

function projection(bitmap, layer, map) {
  if (!bitmap) return note("Nothing: the map is silent.");
  const canvas = h("canvas", {
    class: "large",
    role: "img",
    width: bitmap.width,
    height: bitmap.height,
    "aria-label": `What in the image excites the strongest unit of ${layer.name}, map ${map}`,
  });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return h("figure", {}, canvas, h("figcaption", {}, "What excites its strongest unit"));
}
