// What views of whole runs share: a column a run.

import { h, note } from "./dom.js";

/** The columns; show(run, r, slot) fills one. */
export function eachRun(site, show) {
  return h(
    "div",
    { class: "runs" },
    site.runs.map((run, r) => {
      const slot = h("div", { class: "slot" });
      show(run, r, slot);
      return h(
        "section",
        { "aria-label": run.name },
        h("h2", { class: "run-name" }, run.name),
        slot,
      );
    }),
  );
}

/** Like `eachRun`, for what needs the data set. */
export function eachRunOnData(site, show) {
  if (site.data) return eachRun(site, show);
  return note("This needs the data set: start convlens explore with --data DIR.");
}

/** Like `eachRunOnData`, for what needs the features before a classifier. */
export function eachRunOnFeatures(site, show) {
  return eachRunOnData(site, (run, r, slot) => {
    if (run.features) show(run, r, slot);
    else slot.append(note("This network has no linear layer whose features could be compared."));
  });
}
