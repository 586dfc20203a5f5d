// What views of whole runs share: a column a run.

import { h } from "./dom.js";

/** The columns; show(run, r, slot) fills one. */
export function eachRun(site, show) {
  return h("div", { class: "runs" }, site.runs.map((run, r) => {
    const slot = h("div", { class: "slot" });
    show(run, r, slot);
    return h("section", { "aria-label": run.name }, h("h2", { class: "run-name" }, run.name), slot);
  }));
}

/** The columns of a view of the data set; in words where there is none. */
export function eachRunOnData(site, show) {
  if (site.data) return eachRun(site, show);
  return h("p", { class: "note" }, "This needs the data set: start convlens explore with --data DIR.");
}
