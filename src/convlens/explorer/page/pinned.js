// An image that stays beside the one that is looked at: what the networks say of it, and its maps.

import { Latest, showPicture } from "./answers.js";
import { button, h, note, path } from "./dom.js";
import { fieldBox, placeBox } from "./field.js";
import { Network } from "./network.js";
import { Prediction } from "./prediction.js";

export const FEW = 3; // classes that a prediction shows beside another one

export class Pinned {
  /** networks: those of the image that is looked at, whose order of the maps is taken over;
   *  on.open(run, layer, map, how) and on.field(run, layer, unit): what the reader points at;
   *  on.swap(), on.unpin(): the image in the other one's place, and none any more. */
  constructor(site, networks, nameOf, on) {
    Object.assign(this, { site, leaders: networks, nameOf, on });
    this.latest = new Latest();
    this.photograph = h("img", { width: site.runs[0].size, height: site.runs[0].size });
    this.frame = h("span", { class: "frame", hidden: true });
    this.name = h("b");
    this.alone = note("Choose another image, and both are shown side by side.");
    this.networks = []; // until there is something to show
    this.predictions = [];
    this.titles = site.runs.map(() => h("h2", { class: "run-name" }));
    this.columns = this.titles.map((title) => h("div", { class: "run", hidden: true }, title));
    this.both = h("div");
    this.swap = button("Each in the other's place", "Swap", on.swap);
    this.card = h(
      "section",
      { class: "pinned", "aria-label": "The pinned image", hidden: true },
      h("div", { class: "stack" }, this.photograph, this.frame),
      h(
        "div",
        {},
        h("p", { class: "facts" }, "Pinned: ", this.name),
        h("div", { class: "steps said" }, this.swap, button("Pin it no longer", "Unpin", on.unpin)),
        this.alone,
      ),
      this.both,
    );
  }

  /** Shows `image` beside `other`, the one that is looked at; nothing where it is undefined. */
  show(image, other) {
    const apart = image !== undefined && image !== other;
    this.card.hidden = image === undefined;
    this.alone.hidden = apart;
    this.swap.hidden = this.both.hidden = !apart;
    for (const column of this.columns) column.hidden = !apart;
    if (!apart) this.image = undefined;
    if (image === undefined) this.latest.stop();
    if (image === undefined || image === this.image) return;
    const name = this.nameOf(image);
    this.name.replaceChildren(...path(name));
    showPicture(this.photograph, `images/0/${image}.png`);
    this.photograph.alt = `The pinned image ${name}`;
    if (!apart) return;
    this.image = image;
    if (!this.networks.length) this.#build();
    const signal = this.latest.next();
    for (const [r, network] of this.networks.entries()) {
      this.titles[r].textContent = titled(this.site, r, name);
      const of = `${this.site.runs[r].name} for ${name}`; // as of each image there is one
      network.element.setAttribute("aria-label", `Layers of ${of}`);
      this.predictions[r].element.setAttribute("aria-label", `Prediction of ${of}`);
      this.predictions[r].show(image, signal);
      network.show(image, signal);
      if (this.site.data) network.markDead(signal).catch(() => {}); // a mark less
    }
  }

  #build() {
    for (const [r, run] of this.site.runs.entries()) {
      const points = {
        open: (layer, map, how) => this.on.open(r, layer, map, how),
        field: (layer, unit) => this.on.field(run, layer, unit),
      };
      const network = new Network(run, r, points, this.leaders[r]);
      const prediction = new Prediction(run, r, FEW);
      if (r) prediction.numbering = this.site.runs[0].classes;
      const title = this.site.runs.length > 1 && h("h3", {}, run.name);
      this.networks.push(network);
      this.predictions.push(prediction);
      this.columns[r].append(network.element);
      this.both.append(h("div", {}, title, prediction.element));
    }
  }

  /** Marks a map, the same as in the image that is looked at; none without arguments. */
  select(run, layer, map) {
    for (const [r, network] of this.networks.entries()) {
      if (r === run) network.select(layer, map);
      else network.select();
    }
  }

  /** Frames what a unit sees. */
  point(run, layer, unit) {
    const there = unit && run.layers[layer] && this.image !== undefined;
    this.networks[run.id]?.trace(layer, there ? unit : null);
    this.frame.hidden = !there;
    if (there) placeBox(this.frame, fieldBox(run.layers[layer], ...unit, run.size), run.size);
  }
}

/** What stands over a network: whose image it answers to, and its name where there are several. */
export function titled(site, r, name) {
  return site.runs.length > 1 ? `${site.runs[r].name}: ${name}` : name;
}
