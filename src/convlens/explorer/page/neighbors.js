// Why did it say so: the training images that are most like this one to the network.

import { format } from "./address.js";
import { ask, during, photograph } from "./answers.js";
import { h } from "./dom.js";
import { Look } from "./look.js";
import { decimal } from "./numbers.js";
import { eachRunOnFeatures } from "./runs.js";
import { saver } from "./saver.js";

export class Neighbors extends Look {
  constructor(site) {
    super(
      site,
      "Neighbors",
      "The training images whose features, before the classifier, point most in the direction ",
      "of this image's.",
    );
  }

  show(image) {
    if (image === this.key) return;
    this.key = image;
    const signal = this.latest.next();
    this.runs.replaceChildren(
      eachRunOnFeatures(this.site, (run, r, slot) =>
        during(slot, signal, async (news) => {
          const found = await ask(`api/${r}/${image}/neighbors.json`, { signal, news });
          if (signal.aborted) return;
          const list = this.#list(run, r, found);
          const keep = saver({
            of: "the neighbors",
            name: () => [run.name, "neighbors", image],
            picture: () => list,
            rows: () => [
              ["image", "class", "similarity"],
              ...found.map((near) => [near.image, run.classes[near.label], near.similarity]),
            ],
          });
          slot.replaceChildren(list, keep);
        }),
      ),
    );
  }

  leave() {
    this.latest.stop();
    this.key = null;
  }

  #list(run, r, found) {
    return h(
      "ol",
      { class: "cards small" },
      found.map(({ image, label, similarity }) => {
        const name = run.classes[label] ?? "unknown class";
        const parts = [
          photograph(`images/${r}/${image}.png`, {
            alt: `Training image of ${name}`,
            loading: "lazy",
          }),
          h(
            "span",
            { class: "words" },
            h("b", {}, name),
            `similarity ${Number.isFinite(similarity) ? decimal(similarity, 3) : "–"}`,
          ),
        ];
        return h(
          "li",
          { class: "card" },
          this.site.static ? h("span", {}, parts) : h("a", { href: format({ image }) }, parts),
        );
      }),
    );
  }
}
