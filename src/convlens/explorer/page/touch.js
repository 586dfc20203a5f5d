// Touching the image: what the network says of it follows while it is moved, painted or hidden.

import { go } from "./address.js";
import { during, picture, touched } from "./answers.js";
import { button, h, note } from "./dom.js";
import { Newest } from "./newest.js";
import { Retouched, UNTOUCHED } from "./retouch.js";

const REST = 300; // milliseconds without a change, after which the whole page follows
const MOST = 40; // steps that can be undone
const SLIDERS = [
  ["right", "Shift →", -0.5, 0.5, 0.01],
  ["down", "Shift ↓", -0.5, 0.5, 0.01],
  ["turn", "Turn °", -180, 180, 1],
  ["zoom", "Zoom", 0.5, 3, 0.02],
  ["brightness", "Brightness", 0.2, 2, 0.02],
];
const TOOLS = { paint: "Paint", gray: "Gray out", erase: "Erase paint", hide: "Hide a square" };

export class Touch {
  /** views: by run {prediction, network}; show(element | null): puts the picture to be touched in
   *  the place of the photograph; named(id, words): what a changed picture is called. */
  constructor(site, { views, show, named, nameOf }) {
    Object.assign(this, { site, views, show, named, nameOf });
    this.mine = new Set(); // names of the pictures that were made here
    this.canvas = h("canvas", { class: "touched", role: "img", "aria-label": "The changed image" });
    this.asking = site.runs.map((_, r) => new Newest((work, signal) => this.#ask(r, work, signal)));
    this.sliders = SLIDERS.map(([name, words, min, max, step]) => {
      const input = h("input", { type: "range", id: `touch-${name}`, min, max, step });
      input.addEventListener("input", () => this.#set(name, Number(input.value)));
      input.addEventListener("change", () => {
        this.moving = null;
      });
      return h("div", {}, h("label", { for: input.id }, words), input);
    });
    this.tool = "paint";
    this.tools = Object.entries(TOOLS).map(([name, words]) =>
      h(
        "label",
        {},
        h("input", {
          type: "radio",
          name: "tool",
          value: name,
          checked: name === this.tool,
          onchange: () => {
            this.tool = name;
          },
        }),
        words,
      ),
    );
    this.color = h("input", { type: "color", id: "touch-color", value: "#d62020" });
    this.width = h("input", { type: "range", id: "touch-width", min: 1, max: 24, value: 6 });
    this.back = button("Undo (Ctrl+Z)", "Undo", () => this.undo());
    this.slot = h("div", { class: "slot" });
    this.panel = h(
      "div",
      { class: "touch", hidden: true },
      this.sliders,
      h("fieldset", {}, h("legend", {}, "On the image, the pointer"), this.tools),
      h("div", {}, h("label", { for: "touch-color" }, "Color"), this.color),
      h("div", {}, h("label", { for: "touch-width" }, "Width"), this.width),
      h(
        "div",
        { class: "steps" },
        this.back,
        button("Back to the image as it was", "Reset", () => this.reset()),
        button("Save the changed picture as PNG", "Save", () => this.save()),
      ),
      note("Bars and maps follow at once; the rest once you pause."),
    );
    this.opener = h(
      "button",
      { type: "button", class: "quiet", "aria-expanded": "false", onclick: () => this.toggle() },
      "Touch it",
    );
    this.opener.hidden = !site.upload; // a copy whose network the page cannot run
    this.#listen();
  }

  /** Called whenever another image is shown; pictures made here go on being touched. */
  leadTo(image) {
    if (this.mine.has(image) || (image === this.image && !this.mine.size)) return;
    this.#close(); // also where the reader goes back to the image as it was
    this.image = image;
  }

  async toggle() {
    if (!this.panel.hidden) {
      const changed = this.mine.size > 0;
      this.#close();
      if (changed) go({ image: this.image });
      return;
    }
    const { image } = this;
    await during(this.slot, new AbortController().signal, async () => {
      const source = await picture(`images/0/${image}-loaded.png`);
      if (this.image !== image) return;
      this.retouched = new Retouched(source, this.site.runs[0].size);
      this.past = [];
      this.#tellSettings();
      this.#draw();
      this.show(this.canvas);
    });
    this.panel.hidden = !this.retouched;
    this.opener.setAttribute("aria-expanded", String(!this.panel.hidden));
  }

  undo() {
    if (!this.past?.length) return;
    this.retouched.state = this.past.pop();
    this.#tellSettings();
    this.#changed();
  }

  reset() {
    this.#remember();
    this.retouched.set(UNTOUCHED);
    const { paint, side } = this.retouched;
    paint.clearRect(0, 0, side, side);
    this.#tellSettings();
    this.#changed();
  }

  save() {
    this.canvas.toBlob((blob) => {
      const address = URL.createObjectURL(blob);
      h("a", { href: address, download: "changed.png" }).click();
      setTimeout(() => URL.revokeObjectURL(address), 1000);
    });
  }

  #close() {
    this.panel.hidden = true;
    this.opener.setAttribute("aria-expanded", "false");
    this.retouched = null;
    this.mine.clear();
    clearTimeout(this.resting);
    for (const each of this.asking) each.stop();
    this.show(null);
  }

  #listen() {
    const at = (event) => {
      const area = this.canvas.getBoundingClientRect();
      const { size } = this.retouched;
      const share = [
        (event.clientX - area.left) / area.width,
        (event.clientY - area.top) / area.height,
      ];
      return share.map((each) => each * size);
    };
    const stroke = (from, to) => {
      const color = { paint: this.color.value, gray: "rgb(128 128 128)", erase: null }[this.tool];
      const scale = this.retouched.size / 64; // widths are those of an image of 64 pixels
      this.retouched.stroke(from, to, { color, width: this.width.value * scale });
      this.#changed();
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      if (this.tool === "hide") return;
      event.preventDefault();
      this.canvas.setPointerCapture(event.pointerId);
      this.#remember();
      this.last = at(event);
      stroke(this.last, this.last);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (this.tool === "hide") {
        this.retouched.hidden = at(event);
        this.#changed({ rests: false });
      } else if (this.last) {
        const to = at(event);
        stroke(this.last, to);
        this.last = to;
      }
    });
    for (const end of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(end, () => {
        this.last = null;
      });
    }
    this.canvas.addEventListener("pointerleave", () => {
      if (!this.retouched?.hidden) return;
      this.retouched.hidden = null;
      this.#changed({ rests: this.mine.size > 0 || this.past.length > 0 });
    });
    for (const element of [this.canvas, this.panel]) {
      element.addEventListener("keydown", (event) => {
        if (event.key !== "z" || !(event.ctrlKey || event.metaKey)) return;
        event.preventDefault();
        this.undo();
      });
    }
  }

  /** One way of a slider is one step back. */
  #set(name, value) {
    if (this.moving !== name) this.#remember();
    this.moving = name;
    this.retouched.set({ [name]: value });
    this.#changed();
  }

  #tellSettings() {
    for (const [i, [name]] of SLIDERS.entries()) {
      this.sliders[i].querySelector("input").value = this.retouched.settings[name];
    }
    this.back.disabled = !this.past.length;
  }

  #remember() {
    this.past.push(this.retouched.state);
    if (this.past.length > MOST) this.past.shift();
    this.back.disabled = false;
  }

  /** Draws and asks, once a frame; rests: whether the page is to follow after a pause. */
  #changed({ rests = true } = {}) {
    this.rests = rests;
    clearTimeout(this.resting);
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      if (!this.retouched) return;
      this.#draw();
      for (const each of this.asking) each.ask({});
      if (this.rests) this.resting = setTimeout(() => this.#rest(), REST);
    });
  }

  #draw() {
    this.retouched.draw(this.canvas);
  }

  /** What run r says of the picture as it is now: its bars, and the maps that are in sight. */
  async #ask(r, _, signal) {
    if (!this.retouched) return;
    const { network, prediction } = this.views[r];
    const layers = network.inSight();
    const answer = await touched(r, this.retouched.bytes(), { layers, signal }).catch(() => null);
    if (!answer || signal.aborted) return; // the next change asks again
    prediction.tell(answer.probabilities);
    network.follow(answer);
  }

  /** Makes an image of the picture, to which the whole page is led. */
  async #rest() {
    await during(this.slot, new AbortController().signal, async (news) => {
      const now = this.retouched;
      const { id } = await touched(0, now.bytes(), { layers: [], keep: true, news });
      if (this.retouched !== now) return;
      this.mine.add(id);
      this.named(id, `${this.nameOf(this.image)}, changed`);
      go({ image: id }, { replace: this.mine.size > 1 });
    });
  }
}
