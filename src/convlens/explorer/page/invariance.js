// How the answer changes as the image moves, grows and turns.

import { ask, during, photograph } from "./answers.js";
import { chart } from "./chart.js";
import { h } from "./dom.js";
import { Look } from "./look.js";
import { brief, percent } from "./numbers.js";
import { eachRun } from "./runs.js";

// By change: its name, what is said of a step, and how a photograph is drawn so.
const CHANGES = {
  translation: {
    heading: "Moved",
    said: (pixels) => `${Math.abs(pixels)} pixels ${pixels < 0 ? "up" : "down"}`,
    drawn: (pixels, size) => `translateY(${(100 * pixels) / size}%)`,
  },
  scale: {
    heading: "Scaled",
    said: (times) => `${times} times its size`,
    drawn: (times) => `scale(${times})`,
  },
  rotation: {
    heading: "Turned",
    said: (degrees) => `Turned by ${degrees}°`,
    drawn: (degrees) => `rotate(${-degrees}deg)`,
  },
};

export class Invariance extends Look {
  constructor(site) {
    super(
      site,
      "Invariance",
      "The image is moved, scaled and turned step by step. How probable the class stays, and how ",
      "far the output of an early and of a late layer moves away, as a share of its length: the ",
      "flatter a curve, the less the network minds. Zeiler and Fergus 2014, figure 5.",
    );
  }

  /** Of what each run predicts for `image`. */
  show(image, predictions) {
    if (image === this.key) return;
    if (!predictions.every((prediction) => prediction.image === image)) return; // it says why not
    this.key = image;
    const signal = this.latest.next();
    this.runs.replaceChildren(
      eachRun(this.site, (run, r, slot) =>
        during(slot, signal, async (news) => {
          const target = predictions[r].best;
          const found = await ask(`api/${r}/${image}/invariance-${target}.json`, { signal, news });
          if (signal.aborted) return;
          slot.replaceChildren(
            ...Object.entries(found).map(([change, seen]) =>
              this.#changed(run, image, target, change, seen),
            ),
          );
        }),
      ),
    );
  }

  #changed(run, image, target, change, { unit, values, unchanged, probability, distances }) {
    const { heading, said, drawn } = CHANGES[change];
    const picture = photograph(`images/${run.id}/${image}.png`, { alt: "" });
    const chose = (at) => {
      picture.style.transform = drawn(at === null ? unchanged : values[at], run.size);
    };
    const across = {
      name: unit,
      ticks: () => true,
      idle: "Point at the curves, or use the arrow keys, to read a step.",
      said,
    };
    const title = (what) => `${what} of ${run.name}, ${heading.toLowerCase()}`;
    return h(
      "section",
      { class: "change" },
      h("div", { class: "stack" }, picture),
      h(
        "div",
        { class: "charts" },
        chart({
          title: title(`Probability of ${run.classes[target]}`),
          heading: `${heading}: probability`,
          x: values,
          curves: [{ name: run.classes[target], values: probability }],
          write: percent,
          whole: (value) => percent(value, 0),
          most: 1,
          across,
          chose,
        }),
        chart({
          title: title("Distance"),
          heading: `${heading}: distance`,
          x: values,
          curves: Object.entries(distances).map(([name, each]) => ({ name, values: each })),
          write: brief,
          whole: String,
          across,
          chose,
        }),
      ),
    );
  }
}
