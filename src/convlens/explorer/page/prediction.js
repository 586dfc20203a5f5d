// What the network says of an image: its classes as bars.

import { format } from "./address.js";
import { ask, during } from "./answers.js";
import { h, range } from "./dom.js";
import { percent } from "./numbers.js";
import { saver } from "./saver.js";

const SHOWN = 5;

export class Prediction {
  /** shown: how many classes until more are asked for. */
  constructor(run, index, shown = SHOWN) {
    Object.assign(this, { run, index, first: shown });
    this.all = false;
    this.verdict = h("p", { class: "verdict" });
    this.bars = h("ol", { class: "bars" });
    this.more = h("button", {
      type: "button",
      class: "quiet more",
      onclick: () => {
        this.all = !this.all;
        this.#draw();
      },
    });
    this.more.textContent = `Show all ${run.classes.length} classes`;
    this.#makeRoom();
    const drawn = h("div", {}, this.verdict, this.bars);
    const keep = saver({
      of: "the prediction",
      name: () => [run.name, "prediction", this.image],
      picture: () => drawn,
      rows: () => this.#rows(),
    });
    this.element = h(
      "section",
      { class: "prediction", "aria-label": `Prediction of ${run.name}` },
      drawn,
      h("div", { class: "prediction-foot" }, this.more, keep),
    );
  }

  /** Shows and returns the answer for `image`; a class leads to what speaks for it. */
  async show(image, signal) {
    await during(this.element, signal, async (news) => {
      const answer = await ask(`api/${this.index}/${image}/prediction.json`, { signal, news });
      if (signal.aborted) return;
      Object.assign(this, answer, { image });
      this.#draw();
    });
    return this;
  }

  /** How many classes are shown until more are asked for. */
  tellFirst(count) {
    if (count === this.first) return;
    this.first = count;
    this.#makeRoom();
    if (this.probabilities) this.#draw();
  }

  /** Shows other probabilities at once, of a picture that is being changed. */
  tell(probabilities) {
    Object.assign(this, { probabilities, label: null });
    this.#draw();
  }

  /** The most probable class. */
  get best() {
    return Math.max(this.probabilities.indexOf(Math.max(...this.probabilities)), 0);
  }

  /** For what comes, so that nothing below moves. */
  #makeRoom() {
    const count = this.run.classes.length;
    this.bars.style.minHeight = `${37 * Math.min(this.first, count) - 5}px`;
    this.more.hidden = count <= this.first;
  }

  /** All classes, the most probable first. */
  #rows() {
    const shares = this.probabilities ?? [];
    const isTrue = (c) => (this.label == null ? "" : Number(c === this.label));
    return [
      ["class", "probability", "true class"],
      ...ranked(shares).map((c) => [this.run.classes[c], shares[c], isTrue(c)]),
    ];
  }

  #draw() {
    const { probabilities, label, run } = this;
    const order = ranked(probabilities);
    const rank = order.indexOf(label);
    const right = order[0] === label;
    this.verdict.replaceChildren(
      ...(label === null
        ? [h("b", {}, run.classes[order[0]]), ", it says"]
        : [mark(right), right ? " Right: " : " Wrong: it is ", h("b", {}, run.classes[label])]),
    );
    const shown = this.all ? order : order.slice(0, this.first);
    if (rank >= shown.length) shown.push(label);
    this.bars.replaceChildren(...shown.map((c) => this.#bar(c, order.indexOf(c))));
    this.more.hidden = order.length <= this.first;
    this.more.textContent = this.all
      ? `Show the first ${this.first}`
      : `Show all ${order.length} classes`;
    this.more.setAttribute("aria-expanded", this.all);
  }

  #bar(target, rank) {
    const share = this.probabilities[target];
    const bar = h("span", { class: "bar" });
    bar.style.width = `${100 * share}%`;
    const isTrue = target === this.label;
    return h(
      "li",
      { class: isTrue ? "true" : "" },
      h(
        "a",
        {
          href: format({ image: this.image, tab: "attribution", target: this.targetOf(target) }),
          title: `Number ${rank + 1}. See what speaks for ${this.run.classes[target]}`,
        },
        h(
          "span",
          { class: "name" },
          this.run.classes[target],
          isTrue && h("span", { class: "tag" }, "true class"),
        ),
        h("span", { class: "share" }, percent(share)),
        h("span", { class: "track" }, bar),
      ),
    );
  }

  /** This run's class in the numbers of addresses, which are the first run's. */
  targetOf(target) {
    return this.numbering ? this.numbering.indexOf(this.run.classes[target]) : target;
  }
}

function mark(right) {
  const attributes = { class: right ? "mark right" : "mark wrong", "aria-hidden": "true" };
  return h("span", attributes, right ? "✓" : "✕");
}

/** The classes, the most probable first. */
function ranked(probabilities) {
  return range(probabilities.length).sort((a, b) => probabilities[b] - probabilities[a]);
}
