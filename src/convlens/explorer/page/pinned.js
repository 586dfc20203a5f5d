// An image that stays beside the one that is looked at: what the networks say of it, and its maps.

import { Answered } from "./answered.js";
import { Latest, showPicture } from "./answers.js";
import { button, h, note, path } from "./dom.js";
import { fieldBox, placeBox } from "./field.js";

export const FEW = 3; // classes that a prediction shows beside another one

export class Pinned {
  /** networks: those of the image that is looked at, whose order of the maps is taken over;
   *  on.open({run, layer, map}, how) and on.field(run, layer, unit): what the reader points at;
   *  on.swap(), on.unpin(): the image in the other one's place, and none any more. */
  constructor(site, networks, nameOf, on) {
    Object.assign(this, { site, leaders: networks, nameOf, on });
    this.latest = new Latest();
    this.photograph = h("img", { width: site.runs[0].size, height: site.runs[0].size });
    this.frame = h("span", { class: "frame", hidden: true });
    this.name = h("b");
    this.alone = note("Choose another image, and both are shown side by side.");
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
    if (!this.answered) this.#build(); // not before there is something to show
    const { networks, predictions } = this.answered;
    for (const [r, run] of this.site.runs.entries()) {
      this.titles[r].textContent = titled(this.site, r, name);
      const of = `${run.name} for ${name}`; // as of each image there is one
      networks[r].element.setAttribute("aria-label", `Layers of ${of}`);
      predictions[r].element.setAttribute("aria-label", `Prediction of ${of}`);
    }
    this.answered.show(image, this.latest.next());
  }

  #build() {
    this.answered = new Answered(this.site, FEW, this.on, this.leaders);
    const { networks, predictions } = this.answered;
    for (const [r, run] of this.site.runs.entries()) {
      const title = this.site.runs.length > 1 && h("h3", {}, run.name);
      this.columns[r].append(networks[r].element);
      this.both.append(h("div", {}, title, predictions[r].element));
    }
  }

  /** Marks a map, the same as in the image that is looked at; none without arguments. */
  select(...place) {
    this.answered?.select(...place);
  }

  /** Frames what a unit sees. */
  point(run, layer, unit) {
    const there = unit && run.layers[layer] && this.image !== undefined;
    this.answered?.networks[run.id].trace(layer, there ? unit : null);
    this.frame.hidden = !there;
    if (there) placeBox(this.frame, fieldBox(run.layers[layer], ...unit, run.size), run.size);
  }
}

/** What stands over a network: whose image it answers to, and its name where there are several. */
export function titled(site, r, name) {
  return site.runs.length > 1 ? `${site.runs[r].name}: ${name}` : name;
}
