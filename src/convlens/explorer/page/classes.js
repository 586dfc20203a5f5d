// How well each class is known, as a table that can be sorted.

import { format } from "./address.js";
import { during, Latest } from "./answers.js";
import { h, page } from "./dom.js";
import { confusion, evaluationOf, judged, perClass } from "./evaluation.js";
import { counted, percent } from "./numbers.js";
import { eachRunOnData } from "./runs.js";
import { saver } from "./saver.js";

const UNKNOWN = -1; // sorts before all shares

export class Classes {
  title = "Classes";

  constructor(site) {
    this.latest = new Latest();
    const signal = this.latest.next();
    this.element = page(
      "Accuracy of each class",
      "Accuracy: how many of a class's images are known as such (recall). Precision: how many of "
        + "the images taken for it are of it. F1: their harmonic mean. AUC: how often its "
        + "probability is higher for one of its images than for another. Point at a figure for "
        + "its 95\u00a0% interval.",
      eachRunOnData(site, (run, r, slot) =>
        during(slot, signal, async (news) => {
          const evaluation = await evaluationOf(r, { signal, news });
          if (!signal.aborted) slot.replaceChildren(...table(site, run, evaluation));
        }),
      ),
    );
  }

  update() {}

  leave() {
    this.latest.stop();
  }
}

function table(site, run, evaluation) {
  const { measures, per_class: figures } = evaluation;
  const records = perClass(confusion(evaluation, run.classes.length));
  const figure = (name, truth) => figures?.[name]?.[truth] ?? null;
  const share = (title, name) => ({
    name: title,
    key: ({ truth }) => figure(name, truth) ?? UNKNOWN,
    number: true,
    figure: name,
  });
  const columns = [
    { name: "Class", key: ({ truth }) => run.classes[truth].toLowerCase() },
    { name: "Images", key: ({ images }) => images, number: true },
    { name: "Accuracy", key: ({ accuracy }) => accuracy ?? UNKNOWN, number: true },
    share("Precision", "precision"),
    share("F1", "f1"),
    share("AUC", "roc_auc"),
    { name: "Most taken for", key: ({ takenFor }) => run.classes[takenFor]?.toLowerCase() ?? "~" },
  ];
  const body = h("tbody");
  const heads = columns.map((column) =>
    h(
      "th",
      { scope: "col", class: column.number ? "number" : "" },
      h("button", { type: "button", onclick: () => sort(column) }, column.name),
    ),
  );

  function sort(column, ascending) {
    const head = heads[columns.indexOf(column)];
    ascending ??= head.getAttribute("aria-sort") !== "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const sign = ascending ? 1 : -1;
    const by = ([a], [b]) => sign * (Number(a > b) - Number(a < b));
    const keyed = records.map((record) => [column.key(record), record]).sort(by);
    body.replaceChildren(...keyed.map(([, record]) => row(record)));
  }

  const link = (c, ...cell) => {
    const [truth, predicted] = cell.map((each) => site.runs[0].classes.indexOf(run.classes[each]));
    return h("a", { href: format({ view: "confusion", truth, predicted }) }, run.classes[c]);
  };
  function row({ truth, images, accuracy, takenFor, times }) {
    const bar = h("span", { class: "bar" });
    bar.style.width = `${100 * (accuracy ?? 0)}%`;
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, link(truth, truth)),
      h("td", { class: "number" }, images),
      h(
        "td",
        { class: "number", title: within(figure("recall_interval", truth)) },
        percent(accuracy, 0),
        h("span", { class: "track" }, bar),
      ),
      columns
        .filter((column) => column.figure)
        .map((column) =>
          h(
            "td",
            { class: "number", title: within(figure(`${column.figure}_interval`, truth)) },
            percent(figure(column.figure, truth), 0),
          ),
        ),
      h("td", {}, takenFor === null ? "–" : [link(takenFor, truth, takenFor), ` ${times}×`]),
    );
  }

  sort(columns[2], true);
  const known = records.filter(({ images }) => images);
  const mean = known.reduce((sum, { accuracy }) => sum + accuracy, 0) / known.length;
  const right = records.reduce((sum, record) => sum + record.right, 0);
  const images = judged(evaluation);
  const others = evaluation.labels.length - images;
  return [
    h(
      "p",
      { class: "facts" },
      `${percent(right / images)} of ${counted(images, "image")}, `,
      `${percent(mean)} in the mean of the classes (balanced accuracy)`,
      evaluation.train === null ? "" : `; ${percent(evaluation.train)} of the training images`,
      others ? `; ${counted(others, "image")} of classes that it does not know` : "",
    ),
    elsewhere(run),
    recorded(run, right, images),
    measures ? overall(measures) : "",
    run.summary ? tested(run.summary) : "",
    saver({
      of: "the table",
      name: () => [run.name, "classes"],
      rows: () => [
        ["class", "images", "accuracy", "precision", "f1", "auc", "most taken for", "times"],
        ...records.map(({ truth, images, accuracy, takenFor, times }) => [
          run.classes[truth],
          images,
          accuracy,
          ...["precision", "f1", "roc_auc"].map((name) => figure(name, truth)),
          run.classes[takenFor],
          takenFor === null ? null : times,
        ]),
      ],
    }),
    h("p", { class: "note narrow" }, "Precision, F1 and AUC of each class stand in wider windows."),
    h(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": `Table of ${run.name}` },
      h("table", { class: "of-classes" }, h("thead", {}, h("tr", {}, heads)), body),
    ),
  ];
}

/** An interval in words; nothing where there is none. */
function within(ends) {
  if (!ends || ends.includes(null)) return null;
  return `95 % interval: ${ends.map((end) => percent(end, 0)).join(" to ")}`;
}

/** One line: what there is to say of all classes together, each with its interval. */
function overall(measures) {
  const known = [
    ["top-5", "top5_accuracy"],
    ["macro precision", "macro_precision"],
    ["F1", "macro_f1"],
    ["AUC", "macro_roc_auc"],
  ].filter(([, name]) => Number.isFinite(measures[name]));
  const without = measures.classes_without_images;
  return h(
    "p",
    { class: "facts measures" },
    known.map(([words, name], i) => [
      i ? ", " : "",
      h(
        "span",
        { title: within(measures[`${name}_interval`]) },
        `${words} ${percent(measures[name])}`,
      ),
    ]),
    without ? `; ${counted(without, "class", "classes")} without images in no mean` : "",
  );
}

/** Where a run was on other images, or on these split otherwise, its figures here are not its own. */
function elsewhere({ home }) {
  if (home !== false) return "";
  return h(
    "p",
    { class: "facts" },
    "This run was trained on another data set, or on another part of this one: some of these ",
    "images may be among those that it has learned, and its own record, under Training, is of others.",
  );
}

/** Why the run's record says otherwise of the same images, where it does: one whose two best classes
 *  are all but equal is decided by the rounding of weights and of sums. */
function recorded({ summary, half, home }, right, images) {
  if (home === false) return "";
  const accuracy = summary?.validation_accuracy;
  const apart = right - Math.round(accuracy * images);
  if (!apart || !Number.isFinite(apart) || summary.validation_images !== images) return "";
  const came = `${counted(Math.abs(apart), "image")} ${apart < 0 ? "fewer" : "more"} came out right`;
  return h(
    "p",
    { class: "facts" },
    `The run's record, under Training, says ${percent(accuracy)}, as measured at its end `,
    `(${summary.device}). Here all images were asked again, and ${came}, `,
    half
      ? "for this file keeps the weights in half precision."
      : "for sums are rounded otherwise on another machine.",
  );
}

/** What the run says of the test images, which this page does not look at one by one. */
function tested(summary) {
  if (!Number.isFinite(summary.test_accuracy)) return "";
  return h(
    "p",
    { class: "facts" },
    `On the ${counted(summary.test_images, "test image")}: ${percent(summary.test_accuracy)}, `,
    `${percent(summary.test_mean_class_accuracy)} in the mean of the classes`,
    Number.isFinite(summary.test_macro_f1) ? `, macro F1 ${percent(summary.test_macro_f1)}` : "",
  );
}
