// Which class is taken for which: a matrix that leads to the images in each cell.

import { format, go } from "./address.js";
import { during, Latest } from "./answers.js";
import { button, h, note, page, range } from "./dom.js";
import { confusion, evaluationOf } from "./evaluation.js";
import { listed, sentence } from "./mistakes.js";
import { counted } from "./numbers.js";
import { Plane } from "./plane.js";
import { eachRunOnData } from "./runs.js";
import { saver } from "./saver.js";
import { gallery } from "./thumbnails.js";

const PAIRS = 12; // most frequent confusions listed
const LEGIBLE = 11; // pixels of a cell from which every class is named

export class Confusion {
  title = "Confusion";

  constructor(site) {
    this.site = site;
    this.latest = new Latest();
    this.signal = this.latest.next();
    this.matrices = [];
    this.images = h("div", { class: "cell", hidden: true });
    this.element = page(
      "Confusion matrix",
      "A row a true class, a column a prediction; the stronger the color, the larger the share of the "
        + "row. "
        + "Keys: arrows choose a cell, Enter shows its images, + and − enlarge.",
      this.images,
      eachRunOnData(site, (run, r, slot) =>
        during(slot, this.signal, async (news) => {
          const evaluation = await evaluationOf(r, { signal: this.signal, news });
          if (this.signal.aborted) return;
          const matrix = new Matrix(site, run, evaluation);
          this.matrices[r] = matrix;
          slot.classList.add("beside");
          slot.replaceChildren(...matrix.elements);
          if (this.address) this.#showCell();
        }),
      ),
    );
  }

  update(address) {
    this.address = address;
    this.#showCell();
  }

  leave() {
    this.latest.stop();
  }

  #showCell() {
    const { truth, predicted } = this.address;
    const names = this.site.runs[0].classes;
    const taken = names[predicted];
    const matrices = this.matrices.filter(Boolean); // those that are here
    for (const matrix of matrices) matrix.mark(names[truth], taken);
    this.images.hidden = names[truth] === undefined;
    if (this.images.hidden || !matrices.length) return;
    const lists = matrices.map(({ run, evaluation }) => {
      const [row, column] = [truth, predicted].map((c) => run.classes.indexOf(names[c]));
      const rows = range(evaluation.labels.length).filter(
        (i) => evaluation.labels[i] === row && (!taken || evaluation.predicted[i] === column),
      );
      const head = h("h3", { class: "run-name" }, run.name);
      if (!rows.length) return h("section", {}, head, note("No image."));
      const shown = gallery(
        this.site,
        rows.map((i) => ({ row: i, words: sentence(run, evaluation, i) })),
        run === this.site.runs[0]
          ? ["confusion", row, ...(taken ? [column] : [])].join("-")
          : undefined,
      );
      const keep = saver({
        of: "these images",
        name: () => [run.name, names[truth], ...(taken ? ["taken for", taken] : [])],
        picture: () => shown,
        rows: () => listed(this.site, run, evaluation, rows),
      });
      return h("section", {}, head, keep, shown);
    });
    let words = takenFor(names[truth], taken);
    if (taken === undefined) words = ["All images of ", h("bdi", {}, names[truth])];
    else if (truth === predicted) words = [h("bdi", {}, taken), ", known as such"];
    this.images.replaceChildren(
      h(
        "div",
        { class: "panel-top" },
        h("h2", {}, words),
        button("Close the images", "✕", () => go({ view: "confusion" })),
      ),
      h("div", { class: "runs" }, lists),
    );
    this.images.scrollIntoView({ block: "nearest" });
  }
}

class Matrix {
  constructor(site, run, evaluation) {
    Object.assign(this, { site, run, evaluation });
    this.counts = confusion(evaluation, run.classes.length);
    this.totals = this.counts.map((row) => row.reduce((sum, count) => sum + count, 0));
    this.plane = new Plane({
      label:
        `Confusion matrix of ${run.name}, ${counted(run.classes.length, "class", "classes")}; `
        + "arrows choose a cell, Enter shows its images",
      margin: (width) => Math.min(Math.max(width * 0.14, 56), 100),
      draw: (context) => this.#draw(context),
      hover: (x, y) => this.#point(this.#cellAt(x, y)),
      pick: (x, y) => this.#open(this.#cellAt(x, y)),
      key: (event) => this.#key(event),
    });
    this.plane.readout.textContent = "Point at a cell, or step through them by arrow keys.";
    this.plane.foot.append(
      saver({
        of: "the confusion matrix",
        name: () => [run.name, "confusion"],
        picture: () => this.plane.canvas,
        rows: () => [
          ["true class", ...run.classes],
          ...this.counts.map((row, truth) => [run.classes[truth], ...row]),
        ],
      }),
    );
    this.elements = [this.plane.element, this.#pairs()];
  }

  /** Frames the cell that the address names, a row where it names no prediction. */
  mark(truth, predicted) {
    this.marked = [truth, predicted].map((name) => this.run.classes.indexOf(name));
    this.plane.redraw();
  }

  #cellAt(x, y) {
    const count = this.counts.length;
    const [row, column] = [Math.floor(y * count), Math.floor(x * count)];
    return this.counts[row]?.[column] === undefined ? null : [row, column];
  }

  #point(cell) {
    this.pointed = cell;
    this.plane.canvas.classList.toggle("pointing", cell !== null);
    if (cell) this.plane.readout.replaceChildren(...this.#words(cell));
    this.plane.redraw();
  }

  #words([truth, predicted]) {
    const { classes } = this.run;
    const count = this.counts[truth][predicted];
    const images = `${count} of ${counted(this.totals[truth], "image")}`;
    return truth === predicted
      ? [h("bdi", {}, classes[truth]), `: ${images} right`]
      : [...takenFor(classes[truth], classes[predicted]), `: ${images}`];
  }

  #open(cell) {
    if (cell) {
      const [truth, predicted] = cell.map((c) => this.#number(c));
      go({ view: "confusion", truth, predicted });
    }
    return true;
  }

  #number(c) {
    return this.site.runs[0].classes.indexOf(this.run.classes[c]);
  }

  #key({ key }) {
    if (key === "Enter") return this.#open(this.pointed);
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (!(key in steps)) return false;
    const last = this.counts.length - 1;
    const cell = this.pointed
      ? this.pointed.map((value, i) => Math.min(Math.max(value + steps[key][i], 0), last))
      : [0, 0];
    this.#point(cell);
    this.plane.reveal((cell[1] + 0.5) / this.counts.length, (cell[0] + 0.5) / this.counts.length);
    return true;
  }

  #draw(context) {
    const { plane, counts, totals, run } = this;
    const { clientWidth: width, clientHeight: height } = plane.canvas;
    const { inset } = plane;
    const count = counts.length;
    const cell = plane.side / count;
    const [left, top] = plane.toScreen(0, 0);
    const colors = { right: plane.color("--accent"), wrong: plane.color("--wrong") };
    context.save();
    context.beginPath();
    context.rect(inset, inset, width - inset, height - inset);
    context.clip();
    context.fillStyle = plane.color("--sunken");
    context.fillRect(left, top, plane.side, plane.side);
    const gap = cell > 6 ? 1 : 0;
    const paint = (images, truth, predicted) => {
      if (!images) return;
      const [x, y] = [left + predicted * cell, top + truth * cell];
      context.globalAlpha = 0.2 + 0.8 * Math.sqrt(images / totals[truth]);
      context.fillStyle = truth === predicted ? colors.right : colors.wrong;
      context.fillRect(x, y, Math.max(cell - gap, 1), Math.max(cell - gap, 1));
      if (cell < 22) return;
      context.globalAlpha = 1;
      context.fillStyle = plane.color(images / totals[truth] > 0.25 ? "--on-accent" : "--ink");
      context.font = "12px system-ui, sans-serif";
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.fillText(images, x + cell / 2, y + cell / 2);
    };
    for (const [truth, row] of counts.entries()) {
      for (const [predicted, images] of row.entries()) paint(images, truth, predicted);
    }
    context.globalAlpha = 1;
    context.strokeStyle = plane.color("--ink");
    context.lineWidth = 2;
    for (const [truth, predicted] of [this.marked, this.pointed].filter(Boolean)) {
      if (truth < 0) continue;
      const y = top + truth * cell - 1;
      if (predicted < 0) context.strokeRect(left, y, plane.side, cell + 2);
      else context.strokeRect(left + predicted * cell - 1, y, cell + 2, cell + 2);
    }
    context.restore();
    this.#drawNames(context, { left, top, cell, inset, width, height, classes: run.classes });
  }

  /** As many names as there is room for, and those of the cell pointed at. */
  #drawNames(context, { left, top, cell, inset, width, height, classes }) {
    const { plane } = this;
    const every = Math.ceil(LEGIBLE / cell); // which class is named; else names would overlap
    context.font = `${Math.min(Math.max(cell, LEGIBLE), 13)}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    const name = (c, place, end, isRow, strong) => {
      if (place < inset || place > end) return;
      context.fillStyle = plane.color(strong ? "--ink" : "--muted");
      context.save();
      context.translate(isRow ? inset - 6 : place, isRow ? place : inset - 6);
      if (!isRow) context.rotate(-Math.PI / 2);
      context.textAlign = isRow ? "right" : "left";
      context.fillText(fit(context, classes[c], inset - 10), 0, 0);
      context.restore();
    };
    const [row, column] = this.pointed ?? [];
    classes.forEach((_, c) => {
      const middle = (c + 0.5) * cell;
      // a name pointed at stands free of its neighbors
      const shown = (pointed) => c === pointed || (c % every === 0 && !near(c, pointed));
      if (shown(row)) name(c, top + middle, height, true, c === row);
      if (shown(column)) name(c, left + middle, width, false, c === column);
    });

    function near(c, pointed) {
      return pointed !== undefined && every > 1 && Math.abs(c - pointed) < every;
    }
  }

  #pairs() {
    const { counts, run } = this;
    const cells = counts.flatMap((row, truth) =>
      row.map((images, predicted) => ({ truth, predicted, images })),
    );
    const pairs = cells
      .filter(({ truth, predicted, images }) => truth !== predicted && images)
      .sort((a, b) => b.images - a.images)
      .slice(0, PAIRS);
    const item = ({ truth, predicted, images }) => {
      const [row, column] = [truth, predicted].map((c) => this.#number(c));
      const href = format({ view: "confusion", truth: row, predicted: column });
      const words = takenFor(run.classes[truth], run.classes[predicted]);
      return h("li", {}, h("a", { href }, words), ` ${images}×`);
    };
    return h(
      "section",
      { class: "pairs" },
      h("h3", {}, "Most frequent"),
      h("ol", {}, pairs.map(item)),
    );
  }
}

/** Each name for itself, whichever direction it is written in. */
function takenFor(truth, predicted) {
  return [h("bdi", {}, truth), " taken for ", h("bdi", {}, predicted)];
}

function fit(context, name, room) {
  if (context.measureText(name).width <= room) return name;
  let length = name.length - 1;
  while (length > 1 && context.measureText(`${name.slice(0, length)}…`).width > room) length -= 1;
  return `${name.slice(0, length)}…`;
}
