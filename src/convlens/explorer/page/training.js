// How a run was trained: its losses and accuracies, epoch by epoch.

import { ask, during, keep, Latest } from "./answers.js";
import { chart } from "./chart.js";
import { h, note, page } from "./dom.js";
import { brief, duration, percent } from "./numbers.js";
import { eachRun } from "./runs.js";
import { saver } from "./saver.js";

// The splits that a run measures: the hold-out, if it has one, and validation otherwise; at its end
// test, if there is one.
const SPLITS = { train: "train", holdout: "hold-out", validation: "validation", test: "test" };

export class Training {
  title = "Training";

  constructor(site) {
    this.latest = new Latest();
    const signal = this.latest.next();
    this.element = page(
      "Training",
      [
        "In the curves, train is measured while training, on augmented images; the figures above ",
        "them, in evaluation mode on all images as they are, at the run's end.",
      ],
      eachRun(site, (run, r, slot) =>
        during(slot, signal, async (news) => {
          const history = await keep(ask, `api/${r}/history.json`, { signal, news });
          if (!signal.aborted) slot.replaceChildren(facts(run), ...charts(run, history));
        }),
      ),
    );
  }

  update() {}

  leave() {
    this.latest.stop();
  }
}

function facts(run) {
  const { summary } = run;
  const rows = [
    ["Network", run.network],
    ["Recipe", run.recipe],
    ["Parameters", run.parameters.toLocaleString("en")],
    ["Input", `${run.size}×${run.size} pixels`],
    ["Classes", String(run.classes.length)],
  ];
  if (summary) {
    for (const [split, name] of Object.entries(SPLITS)) {
      const [loss, accuracy] = [summary[`${split}_loss`], summary[`${split}_accuracy`]];
      if (accuracy !== undefined) rows.push([name, `${percent(accuracy)}, loss ${brief(loss)}`]);
    }
    const mean = summary.holdout_mean_class_accuracy ?? summary.validation_mean_class_accuracy;
    if (mean !== undefined) rows.push(["mean of the classes", percent(mean)]);
    if (Number.isFinite(summary.test_mean_class_accuracy)) {
      rows.push(["mean of the classes, test", percent(summary.test_mean_class_accuracy)]);
    }
    if (summary.best_epoch !== undefined) {
      const epoch = `epoch ${summary.best_epoch} of ${summary.epochs}`;
      rows.push(["Weights", `of ${epoch}, the best on the hold-out`]);
    }
    rows.push(["Time", `${duration(summary.seconds)} on ${summary.device}`]);
  }
  return h(
    "dl",
    { class: "run-facts" },
    rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

/** A chart for what is measured in each split, then all numbers as a table. */
function charts(run, { columns, rows }) {
  if (!rows.length) {
    return [
      note(
        "A weights file keeps no history; name its run folder to see the curves. A damaged one is ",
        "not shown.",
      ),
    ];
  }
  const epochs = rows.map((row) => row[columns.indexOf("epoch")]);
  const of = (ending, heading, options) => {
    const curves = columns
      .filter((name) => name.endsWith(ending) && !name.includes("mean_class"))
      .map((name) => ({
        name: named(name.slice(0, -ending.length)),
        values: rows.map((row) => row[columns.indexOf(name)]),
      }));
    const title = `${heading} of ${run.name}`;
    return curves.length ? chart({ title, heading, x: epochs, curves, ...options }) : null;
  };
  return [
    h(
      "div",
      { class: "charts" },
      of("_loss", "Loss", { unit: "nats", write: brief, whole: String }),
      of("_accuracy", "Accuracy", {
        write: percent,
        whole: (value) => percent(value, 0),
        most: 1,
      }),
    ),
    h(
      "details",
      {},
      h("summary", {}, "All numbers"),
      saver({
        of: "all numbers",
        name: () => [run.name, "history"],
        rows: () => [columns, ...rows],
      }),
      table(run, columns, rows),
    ),
  ];
}

/** A split, or a column that begins with one, in words. */
function named(column) {
  const [split, ...rest] = column.split("_");
  return [SPLITS[split] ?? split, ...rest].join(" ");
}

function table(run, columns, rows) {
  const head = (name) => h("th", { scope: "col", class: "number" }, named(name));
  const cell = (value) => h("td", { class: "number" }, brief(value));
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": `History of ${run.name}` },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, columns.map(head))),
      h(
        "tbody",
        {},
        rows.map((row) => h("tr", {}, row.map(cell))),
      ),
    ),
  );
}
