// Where the network puts the validation images: near each other what looks alike to it.

import { go } from "./address.js";
import { ask, during, keep, Latest, picture } from "./answers.js";
import { h, page } from "./dom.js";
import { evaluationOf } from "./evaluation.js";
import { sentence } from "./mistakes.js";
import { percent } from "./numbers.js";
import { Plane } from "./plane.js";
import { eachRunOnFeatures } from "./runs.js";
import { saver } from "./saver.js";
import { onSprite, SPRITE, TILE, thumbnail } from "./thumbnails.js";

const EDGE = 0.03; // of the square, free around the outermost points

export class Embedding {
  title = "Embedding";

  constructor(site) {
    this.site = site;
    this.latest = new Latest();
    this.maps = [];
    const signal = this.latest.next();
    const { classes } = site.runs[0];
    this.chooser = h("select", {
      id: "shown",
      onchange: () => {
        for (const map of this.maps) map.only(this.chooser.value);
      },
    });
    this.chooser.append(
      h("option", { value: "" }, "all classes"),
      ...classes.map((name) => h("option", { value: name }, name)),
    );
    this.element = page(
      "Embedding of the validation set",
      [
        "Images that excite the features before the classifier alike lie together. ",
        "A frame in blue: answered right; in orange: wrong. ",
        "Keys: + and − enlarge, arrows move, Enter opens the image in the middle.",
      ],
      h("p", { class: "controls" }, h("label", { for: "shown" }, "Show "), this.chooser),
      eachRunOnFeatures(site, (run, r, slot) =>
        during(slot, signal, async (news) => {
          const [embedding, evaluation, sprite] = await Promise.all([
            keep(ask, `api/${r}/embedding.json`, { signal, news }),
            evaluationOf(r, { signal, news }),
            keep(picture, SPRITE, { signal, news }),
          ]);
          if (signal.aborted) return;
          const map = new Scatter(site, run, embedding, evaluation, sprite);
          this.maps.push(map);
          slot.classList.add("beside");
          slot.replaceChildren(...map.elements);
        }),
      ),
    );
  }

  update() {}

  leave() {
    this.latest.stop();
  }
}

class Scatter {
  constructor(site, run, { points, share }, evaluation, sprite) {
    Object.assign(this, { site, run, evaluation, sprite });
    this.places = inSquare(points);
    this.preview = h("div", { class: "preview" });
    this.share = share;
    this.plane = new Plane({
      label:
        `Embedding of ${points.length} validation images by ${run.name}; `
        + "plus and minus enlarge, arrows move, Enter opens the image in the middle",
      draw: (context) => this.#draw(context),
      hover: (x, y) => this.#point(x === undefined ? null : this.#nearest(x, y)),
      pick: (x, y) => this.#open(this.#nearest(x, y)),
      key: (event) => event.key === "Enter" && this.#open(this.#middle()),
    });
    for (const event of ["focus", "blur"]) {
      this.plane.canvas.addEventListener(event, () => this.plane.redraw());
    }
    this.plane.foot.append(
      saver({
        of: "the embedding",
        name: () => [run.name, "embedding"],
        picture: () => this.plane.canvas,
        rows: () => {
          const { labels, predicted } = evaluation;
          const named = (row) => [run.classes[labels[row]], run.classes[predicted[row]]];
          const heads = ["image", "class", "predicted", "x", "y"];
          return [heads, ...points.map((point, row) => [`v${row}`, ...named(row), ...point])];
        },
      }),
    );
    this.elements = [this.plane.element, this.preview];
    this.pointed = null;
  }

  only(name) {
    this.shown = name ? this.run.classes.indexOf(name) : null;
    this.plane.redraw();
  }

  #isShown(row) {
    return this.shown == null || this.evaluation.labels[row] === this.shown;
  }

  #draw(context) {
    const { plane, places, sprite, evaluation } = this;
    const { clientWidth: width, clientHeight: height } = plane.canvas;
    const side = this.#thumbSide();
    const colors = { right: plane.color("--accent"), wrong: plane.color("--wrong") };
    const focused = document.activeElement === plane.canvas ? this.#middle() : null;
    const above = this.pointed ?? focused;
    context.imageSmoothingQuality = "high";
    const stamp = (row, size) => {
      const [left, top] = plane.toScreen(...places[row]).map((value) => value - size / 2);
      if (left > width || top > height || left < -size || top < -size) return;
      const from = onSprite(row);
      const right = evaluation.labels[row] === evaluation.predicted[row];
      context.fillStyle = right ? colors.right : colors.wrong;
      context.fillRect(left - 1, top - 1, size + 2, size + 2);
      context.drawImage(sprite, from.left, from.top, TILE, TILE, left, top, size, size);
    };
    context.globalAlpha = 0.12;
    for (const row of places.keys()) if (!this.#isShown(row)) stamp(row, side);
    context.globalAlpha = 1;
    for (const row of places.keys()) if (this.#isShown(row)) stamp(row, side);
    if (above != null) stamp(above, Math.max(side * 1.6, 56));
    this.#describe(above);
  }

  #thumbSide() {
    const { span, zoom } = this.plane;
    return Math.min(Math.max(span / 42, 9) * Math.sqrt(zoom), 56);
  }

  #middle() {
    return this.#nearest(...this.plane.center);
  }

  #nearest(x, y) {
    let best = null;
    let least = Infinity;
    this.places.forEach((place, row) => {
      const distance = Math.hypot(place[0] - x, place[1] - y);
      if (distance < least && this.#isShown(row)) [best, least] = [row, distance];
    });
    return best;
  }

  #point(row) {
    this.pointed = row;
    this.plane.canvas.classList.toggle("pointing", row !== null);
    this.plane.redraw();
  }

  #describe(row) {
    if (row === this.described) return;
    this.described = row;
    if (row === null) {
      this.plane.readout.textContent =
        this.share === null
          ? "Places by t-SNE: what is near is alike; how far apart groups lie means nothing."
          : "The two directions in which the features vary most, "
            + `${percent(this.share, 0)} of their variance.`;
      return;
    }
    this.plane.readout.replaceChildren(...this.#words(row));
    const words = h("p", { class: "words" }, sentence(this.run, this.evaluation, row));
    this.preview.replaceChildren(thumbnail(row, 160), words);
  }

  #words(row) {
    const { labels, predicted, probability } = this.evaluation;
    const { classes } = this.run;
    const right = labels[row] === predicted[row];
    const verdict = right ? ["right"] : ["taken for ", h("bdi", {}, classes[predicted[row]])];
    return [h("bdi", {}, classes[labels[row]]), ": ", ...verdict, `, ${percent(probability[row])}`];
  }

  #open(row) {
    const image = `v${row}`;
    if (this.site.images.some(({ id }) => id === image)) go({ image });
    return true;
  }
}

/** The points moved and scaled by one factor into the unit square, y upwards. */
function inSquare(points) {
  const sides = [0, 1].map((i) => points.map((point) => point[i]));
  const low = sides.map((values) => Math.min(...values));
  const high = sides.map((values) => Math.max(...values));
  const span = Math.max(high[0] - low[0], high[1] - low[1]) || 1;
  const scaled = (value, i) => 0.5 + ((value - (low[i] + high[i]) / 2) / span) * (1 - 2 * EDGE);
  return points.map(([x, y]) => [scaled(x, 0), 1 - scaled(y, 1)]);
}
