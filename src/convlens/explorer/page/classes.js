// How well each class is known, as a table that can be sorted.

import { format } from "./address.js";
import { during, Latest } from "./answers.js";
import { h } from "./dom.js";
import { confusion, evaluationOf, perClass } from "./evaluation.js";
import { percent } from "./numbers.js";
import { eachRunOnData } from "./runs.js";

export class Classes {
  title = "Classes";

  constructor(site) {
    this.latest = new Latest();
    const signal = this.latest.next();
    this.element = h(
      "section",
      { class: "page" },
      h("h1", { tabindex: -1 }, "Accuracy of each class"),
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
  const records = perClass(confusion(evaluation, run.classes.length));
  const columns = [
    { name: "Class", key: ({ truth }) => run.classes[truth].toLowerCase() },
    { name: "Images", key: ({ images }) => images, number: true },
    { name: "Accuracy", key: ({ accuracy }) => accuracy ?? -1, number: true },
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
      h("td", { class: "number" }, percent(accuracy, 0), h("span", { class: "track" }, bar)),
      h("td", {}, takenFor === null ? "–" : [link(takenFor, truth, takenFor), ` ${times}×`]),
    );
  }

  sort(columns[2], true);
  const known = records.filter(({ images }) => images);
  const mean = known.reduce((sum, { accuracy }) => sum + accuracy, 0) / known.length;
  const right = records.reduce((sum, record) => sum + record.right, 0);
  return [
    h(
      "p",
      { class: "facts" },
      `${percent(right / evaluation.labels.length)} of ${evaluation.labels.length} images, `,
      `${percent(mean)} in the mean of the classes`,
      evaluation.train === null ? "" : `; ${percent(evaluation.train)} of the training images`,
    ),
    h(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": `Table of ${run.name}` },
      h("table", {}, h("thead", {}, h("tr", {}, heads)), body),
    ),
  ];
}
