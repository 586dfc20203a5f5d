// Which pixels speak for a class: the methods side by side, for any class.

import { go } from "./address.js";
import { ask, during, Latest, photograph, picture } from "./answers.js";
import { drawn, h, note } from "./dom.js";
import { unitUnder } from "./field.js";
import { brief, percent } from "./numbers.js";
import { saver } from "./saver.js";

const OWN = "own"; // in the place of a class: for each run what it predicts
const OVERLAYS = ["grad-cam", "occlusion"]; // heat that is laid over the image

export class Attribution {
  constructor(site) {
    this.site = site;
    this.latest = new Latest();
    this.chooser = h("select", {
      id: "target",
      onchange: () => {
        const target = this.chooser.value === OWN ? undefined : Number(this.chooser.value);
        go({ image: this.image, tab: "attribution", target });
      },
    });
    this.opacity = h("input", {
      type: "range",
      id: "heat",
      min: 0,
      max: 100,
      value: 70,
      oninput: () => this.#fade(),
    });
    this.runs = h("div", { class: "runs" });
    this.controls = h(
      "div",
      { class: "controls" },
      h("label", { for: "target" }, "What speaks for "),
      this.chooser,
      h("label", { for: "heat" }, "Heat"),
      this.opacity,
    );
    this.element = h(
      "section",
      { class: "attribution", "aria-label": "Attribution" },
      this.controls,
      this.runs,
    );
  }

  /** target: a class of the first run; undefined for what each run predicts. */
  async show(image, target, predictions) {
    const key = `${image},${target}`;
    if (key === this.key) return;
    if (!predictions.every((prediction) => prediction.image === image)) return; // it says why not
    this.key = key;
    this.image = image;
    const signal = this.latest.next();
    if (!this.#offer(target, predictions)) {
      this.runs.replaceChildren(
        note("This copy of the page does not have it; convlens explore shows it."),
      );
      return;
    }
    const classes = this.site.runs[0].classes;
    const columns = predictions.map((prediction) => {
      const { run, best } = prediction;
      const own = target === undefined ? best : run.classes.indexOf(classes[target]);
      return { prediction, own };
    });
    this.runs.replaceChildren(
      ...columns.map(({ prediction, own }) => this.#column(prediction, own, signal)),
    );
  }

  leave() {
    this.latest.stop();
    this.key = null;
  }

  /** Whether there is a class to be asked for; a copy has prepared nothing of some images. */
  #offer(target, [first]) {
    const made = this.site.targets === "any" ? null : (this.site.targets[this.image] ?? []);
    const order = first.probabilities
      .map((_, i) => i)
      .filter((c) => !made || made.includes(c))
      .sort((a, b) => first.probabilities[b] - first.probabilities[a]);
    this.controls.hidden = !order.length;
    const each = this.site.runs.length > 1;
    const chosen = target ?? (each ? undefined : first.best);
    this.chooser.replaceChildren(
      ...(each
        ? [h("option", { value: OWN, selected: target === undefined }, "what each run predicts")]
        : []),
      ...order.map((c) =>
        h(
          "option",
          { value: c, selected: c === chosen },
          `${first.run.classes[c]} (${percent(first.probabilities[c])})`,
        ),
      ),
    );
    return order.length > 0;
  }

  #column({ run, index, probabilities }, target, signal) {
    const head = h("h3", { class: "run-name" }, run.name);
    if (target < 0) {
      return h("section", {}, head, h("p", { class: "note" }, "This run does not know the class."));
    }
    const methods = this.site.methods.filter(({ id }) => run.methods.includes(id));
    const figures = methods.map((method) => {
      const slot = h("div", { class: "slot" });
      const facts = note();
      const keep = saver({
        of: method.name,
        name: () => [run.name, method.id, run.classes[target], this.image],
        picture: () => slot,
      });
      keep.style.visibility = "hidden"; // until there is a picture
      const path = `api/${index}/${this.image}/${method.id}-${target}`;
      this.#load({ slot, facts, keep }, run, method, path, signal);
      return h(
        "figure",
        { class: "card" },
        slot,
        h("figcaption", {}, h("b", {}, method.name), h("p", {}, method.about), facts),
        keep,
      );
    });
    const words = `${run.classes[target]}, ${percent(probabilities[target])}`;
    return h(
      "section",
      { "aria-label": `${run.name}: what speaks for ${words}` },
      head,
      h(
        "p",
        { class: "facts" },
        "What speaks for ",
        h("bdi", {}, run.classes[target]),
        `, ${percent(probabilities[target])}`,
      ),
      h("div", { class: "cards" }, figures),
    );
  }

  /** What takes seconds shows a coarse picture first. */
  #load(card, run, method, path, signal) {
    during(card.slot, signal, async (news) => {
      if (method.id === "occlusion" && !this.site.static) {
        const first = path.replace("/occlusion-", "/occlusion-first-");
        await this.#paint(card, run, method, first, { signal, news });
        card.facts.textContent += "; a first look, the whole follows";
      }
      await this.#paint(card, run, method, path, { signal, news });
    });
  }

  async #paint({ slot, facts, keep }, run, { id, name }, path, { signal, news }) {
    const [bitmap, scale] = await Promise.all([
      picture(`${path}.png`, { signal, news }),
      ask(`${path}.json`, { signal, news }),
    ]);
    if (signal.aborted) return;
    const canvas = drawn(bitmap, {
      class: OVERLAYS.includes(id) ? "heat" : "",
      "aria-label": `${name} for this image`,
    });
    keep.style.visibility = "";
    slot.replaceChildren(
      h(
        "div",
        { class: "stack" },
        OVERLAYS.includes(id) && photograph(`images/${run.id}/${this.image}.png`, { alt: "" }),
        canvas,
      ),
    );
    const words =
      `${brief(scale.low)} to ${brief(scale.high)} ${scale.unit}`
      + (scale.layer ? `, at ${scale.layer}` : "")
      + (scale.whole === undefined ? "" : `, from ${percent(scale.whole)}`);
    facts.textContent = words;
    if (scale.probability) readOff(canvas, facts, words, scale, run.classes);
    this.#fade();
  }

  #fade() {
    for (const heat of this.runs.querySelectorAll(".heat")) {
      heat.style.opacity = this.opacity.value / 100;
    }
  }
}

/** Pointing at an occlusion map tells what the network says with that square hidden. */
function readOff(canvas, facts, rest, { probability, predicted }, classes) {
  canvas.addEventListener("pointermove", (event) => {
    const [row, column] = unitUnder(event, canvas, [probability.length, probability[0].length]);
    facts.textContent =
      `This hidden: ${percent(probability[row][column])}, most probable `
      + classes[predicted[row][column]];
  });
  canvas.addEventListener("pointerleave", () => {
    facts.textContent = rest;
  });
}
