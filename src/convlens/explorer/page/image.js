// The view of one image: what the network says of it, and all that leads there.

import { format, go, parse } from "./address.js";
import { imagesAmong, nameOf } from "./among.js";
import { Answered } from "./answered.js";
import { Latest, showPicture } from "./answers.js";
import { Attribution } from "./attribution.js";
import { announce, button, h, note, path } from "./dom.js";
import { fieldBox, placeBox } from "./field.js";
import { Invariance } from "./invariance.js";
import { Neighbors } from "./neighbors.js";
import { Panel } from "./panel.js";
import { FEW, Pinned, titled } from "./pinned.js";
import { Touch } from "./touch.js";

const TABS = {
  network: "Network",
  attribution: "Attribution",
  neighbors: "Neighbors",
  invariance: "Invariance",
};

export class ImageView {
  constructor(site, { choose, nameOf, names }) {
    this.site = site;
    this.nameOf = nameOf;
    this.latest = new Latest();
    this.photograph = h("img", { width: site.runs[0].size, height: site.runs[0].size });
    this.frame = h("span", { class: "frame", hidden: true });
    this.name = h("h1", { tabindex: -1 });
    this.steps = h(
      "div",
      { class: "steps" },
      button("Image before (p)", "‹", () => this.step(-1)),
      h("button", { type: "button", class: "primary", onclick: choose }, "Choose"),
      button("Next image (n)", "›", () => this.step(1)),
    );
    this.pin = h(
      "button",
      {
        type: "button",
        class: "quiet",
        title: "Keep this image beside the ones that you choose next",
        onclick: () => this.#go({ ...this.address, beside: this.image }),
      },
      "Pin it",
    );
    this.classes = site.runs.length > 1 ? FEW : 5; // that a prediction shows
    this.missing = h("p", { class: "missing", hidden: true }, "This picture is not here any more.");
    this.photograph.addEventListener("error", () => this.#hasPicture(false));
    this.photograph.addEventListener("load", () => this.#hasPicture(true));
    this.place = h("p", { class: "note", hidden: true });
    const points = {
      open: (place, how) => this.#open(place, how),
      field: (run, layer, unit) => this.#point(run, layer, unit),
    };
    this.answered = new Answered(site, this.classes, points);
    this.predictions = this.answered.predictions;
    this.networks = this.answered.networks;
    this.pinned = new Pinned(site, this.networks, nameOf, {
      ...points,
      swap: () =>
        this.#go({ ...this.address, image: this.address.beside, beside: this.address.image }),
      unpin: () => this.#go({ ...this.address, beside: undefined }),
    });
    this.titles = site.runs.map(({ name }) => h("h2", { class: "run-name" }, name));
    this.panel = new Panel(site, {
      close: () => this.#closePanel(),
      step: (by) => this.#stepMap(by),
      field: (layer, unit) => this.#point(site.runs[this.address.run], layer, unit),
      pin: ([row, column]) => {
        const { run, layer, map } = this.address;
        this.#go({ run, layer, map, row, column }, { replace: true });
      },
    });
    this.touch = new Touch(site, {
      views: site.runs.map((_, r) => ({
        prediction: this.predictions[r],
        network: this.networks[r],
      })),
      show: (element) => this.#showInstead(element),
      named: (id, words) => names.set(id, words),
      nameOf,
    });
    this.attribution = new Attribution(site);
    this.neighbors = new Neighbors(site);
    this.invariance = new Invariance(site);
    this.tabs = Object.keys(TABS)
      .filter((tab) => !site.static || tab !== "invariance") // which a copy does not have
      .map((tab) => h("a", { "data-tab": tab }, TABS[tab]));
    this.panes = {
      network: h(
        "div",
        { class: "pane" },
        this.#legend(),
        h(
          "div",
          { class: "runs" },
          this.networks.map((network, r) => [
            h("div", { class: "run" }, this.titles[r], network.element),
            this.pinned.columns[r],
          ]),
        ),
      ),
      attribution: h("div", { class: "pane" }, this.attribution.element),
      neighbors: h("div", { class: "pane" }, this.neighbors.element),
      invariance: h("div", { class: "pane" }, this.invariance.element),
    };
    this.parts = [
      h(
        "div",
        { class: "side" },
        h(
          "figure",
          {
            class: "input",
            tabindex: 0,
            "aria-label": "The image; arrow keys step through the images",
          },
          h("div", { class: "stack" }, this.photograph, this.frame),
          this.missing,
        ),
        h(
          "div",
          { class: "what" },
          this.name,
          this.steps,
          this.place,
          h("div", { class: "steps said" }, this.touch.opener, this.pin),
          this.touch.slot,
        ),
        h(
          "div",
          { class: "predictions" },
          this.predictions.map((prediction, r) =>
            h("div", {}, h("h2", { class: "run-name" }, site.runs[r].name), prediction.element),
          ),
        ),
        this.touch.panel,
        this.pinned.card,
      ),
      h(
        "div",
        { class: "inside" },
        h("nav", { class: "tabs", "aria-label": "Looks" }, this.tabs),
        Object.values(this.panes),
      ),
      this.panel.element,
    ];
    this.element = h(
      "div",
      { class: "image-view" },
      h(
        "p",
        { class: "opening" },
        "Drop, paste or choose an image to look at it. ",
        h("button", { type: "button", class: "primary", onclick: choose }, "Choose"),
      ),
    );
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.element.addEventListener("click", (event) => this.#follow(event));
  }

  get title() {
    return this.image && this.nameOf(this.image);
  }

  async update(address) {
    const image = address.image ?? this.site.examples[0] ?? this.site.images[0]?.id;
    if (image === undefined) return; // there is no data set, and nothing was uploaded yet
    this.address = { ...address, image };
    this.#tab(address.tab ?? "network");
    if (this.image === undefined) this.element.replaceChildren(...this.parts);
    if (image !== this.image) this.#load(image);
    this.#tellPlace();
    this.#showPinned();
    this.#showMap();
    if (address.tab === "attribution") {
      await this.predicted;
      if (this.image === image) this.attribution.show(image, this.address.target, this.predictions);
    } else if (address.tab === "neighbors") this.neighbors.show(image);
    else if (address.tab === "invariance") {
      await this.predicted;
      if (this.image === image) this.invariance.show(image, this.predictions);
    }
  }

  leave() {
    this.latest.stop();
    for (const part of [this.panel, this.attribution, this.neighbors, this.invariance, this.pinned])
      part.latest.stop();
  }

  /** The image so many steps further in the list that the reader came from. */
  async step(by) {
    const { image, among } = this.address ?? {};
    const images = await imagesAmong(this.site, among).catch(() => []);
    if (this.address?.image !== image) return; // gone elsewhere meanwhile
    const here = images.indexOf(image);
    const next = images[(Math.max(here, by > 0 ? -1 : 0) + by + images.length) % images.length];
    if (next) go({ ...this.address, image: next, target: undefined });
  }

  #hasPicture(there) {
    this.photograph.parentElement.hidden = !there;
    this.missing.hidden = there;
  }

  /** Puts an element in the place of the photograph; null brings it back. */
  #showInstead(element) {
    this.photograph.parentElement.querySelector(".touched")?.remove();
    this.photograph.hidden = element !== null;
    if (element) this.photograph.after(element);
  }

  /** Says which one of a list this is. */
  async #tellPlace() {
    const { image, among } = this.address;
    this.place.hidden = !among;
    if (!among) return;
    const images = await imagesAmong(this.site, among).catch(() => []);
    if (this.address.image !== image || !images.includes(image)) return;
    this.place.textContent = `${nameOf(among)} ${images.indexOf(image) + 1} of ${images.length}`;
  }

  #load(image) {
    this.image = image;
    this.touch.leadTo(image);
    const signal = this.latest.next();
    const name = this.nameOf(image);
    showPicture(this.photograph, `images/0/${image}.png`);
    this.photograph.alt = `The image ${name}`;
    this.name.replaceChildren(...path(name));
    this.predicted = this.answered.show(image, signal);
    this.predicted.then(([first]) => {
      if (first.image === image) announce(`${name}: ${first.run.classes[first.best]}`);
    });
  }

  #showPinned() {
    const { image, beside } = this.address;
    const apart = beside !== undefined && beside !== image;
    this.element.classList.toggle("paired", apart);
    this.pin.hidden = beside !== undefined;
    for (const prediction of this.predictions) prediction.tellFirst(apart ? FEW : this.classes);
    for (const [r, title] of this.titles.entries())
      title.textContent = apart ? titled(this.site, r, this.nameOf(image)) : this.site.runs[r].name;
    this.pinned.show(beside, image);
  }

  /** A link to an image of this view keeps the one that is pinned. */
  #follow(event) {
    const link = event.target.closest("a[href^='#/image/']");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(parse(link.hash));
  }

  /** Leads to another look at the same image. */
  #go(place, how) {
    go({ image: this.image, among: this.address.among, ...place }, how);
  }

  #tab(tab) {
    const { image, among } = this.address;
    for (const link of this.tabs) {
      link.href = format({ image, among, tab: link.dataset.tab });
      if (link.dataset.tab === tab) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    for (const [name, pane] of Object.entries(this.panes)) pane.hidden = name !== tab;
  }

  #showMap() {
    const { run, layer, map, row, column, image } = this.address;
    const of = this.site.runs[run];
    const shown = of?.layers[layer] ?? (layer === of?.layers.length ? of?.softmax : undefined);
    const there = shown !== undefined && map < shown.shape[0];
    const [, height = 1, width = 1] = shown?.shape ?? [];
    this.element.classList.toggle("with-panel", there);
    for (const each of [this.answered, this.pinned]) {
      if (there) each.select(run, layer, map);
      else each.select();
    }
    const unit = row < height && column < width ? [row, column] : undefined;
    if (there) this.panel.show(image, run, layer, map, unit);
    else this.panel.hide();
    const opened = there && [run, layer, map].join();
    const isNew = opened && opened !== this.opened;
    this.opened = opened;
    if (isNew && matchMedia("(max-width: 1199px)").matches) {
      this.element.querySelector(".tile.chosen")?.scrollIntoView(); // else below the panel
    }
  }

  /** Opens a map's panel; once it is open, leads into it. */
  #open(place, how) {
    const isOpen = Object.entries(place).every(([name, value]) => this.address[name] === value);
    if (isOpen) this.panel.title.focus();
    else this.#go(place, how);
  }

  #closePanel() {
    const { run, layer, map } = this.address;
    this.#go({});
    this.networks[run].focus(layer, map);
  }

  #stepMap(by) {
    const next = this.networks[this.address.run].neighbor(this.address, by);
    if (next) this.#go({ run: this.address.run, ...next }, { replace: true });
  }

  #point(run, layer, unit) {
    this.networks[run.id].trace(layer, run.layers[layer] ? unit : null);
    this.pinned.point(run, layer, unit);
    this.frame.hidden = !unit || !run.layers[layer];
    if (!this.frame.hidden)
      placeBox(this.frame, fieldBox(run.layers[layer], ...unit, run.size), run.size);
  }

  #key(event) {
    const sideways = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape" && !this.panel.element.hidden) this.#closePanel();
    else if (!sideways || event.target.matches("input, select")) return;
    else if (event.target.closest(".input")) this.step(sideways);
    else if (event.target.closest(".panel")) this.#stepMap(sideways);
    else return;
    event.preventDefault();
  }

  #legend() {
    const choice = (value) =>
      h(
        "label",
        {},
        h("input", {
          type: "radio",
          name: "order",
          value,
          checked: value === "strength",
          onchange: () => {
            for (const network of this.networks) network.sortBy(value);
          },
        }),
        value,
      );
    return h(
      "div",
      { class: "controls" },
      h("fieldset", {}, h("legend", {}, "Maps in order of"), choice("strength"), choice("channel")),
      note(
        "Each tile is a map: click it for the sum behind its numbers. White is strong, on one scale a ",
        "layer; struck out: no training image excites it. Dotted words explain themselves.",
      ),
    );
  }
}
