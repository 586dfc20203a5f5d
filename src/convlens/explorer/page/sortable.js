// A table whose columns sort it.

import { h } from "./dom.js";
import { saver } from "./saver.js";

/**
 * columns: [{name, key(record), cell(record), told(record), number}]; `cell` gives what stands there,
 * `told` what a file says. show(records)
 * fills it, in the order that was asked for last.
 */
export function sortable({ label, columns, sortedBy }) {
  const body = h("tbody");
  let records = [];
  let order = { column: columns.find(({ name }) => name === sortedBy), ascending: true };
  const heads = columns.map((column) =>
    h(
      "th",
      { scope: "col", class: column.number ? "number" : "" },
      h("button", { type: "button", onclick: () => sort(column) }, column.name),
    ),
  );

  function sort(column) {
    order = { column, ascending: column === order.column ? !order.ascending : !column.number };
    draw();
  }

  function draw() {
    for (const [i, head] of heads.entries()) {
      if (columns[i] !== order.column) head.removeAttribute("aria-sort");
      else head.setAttribute("aria-sort", order.ascending ? "ascending" : "descending");
    }
    const sign = order.ascending ? 1 : -1;
    const keyed = records.map((record) => [order.column.key(record), record]);
    keyed.sort(([a], [b]) => sign * (Number(a > b) - Number(a < b)));
    const focused = body.contains(document.activeElement) && document.activeElement;
    const place = focused && [...body.querySelectorAll("input, a")].indexOf(focused);
    body.replaceChildren(
      ...keyed.map(([, record]) =>
        h(
          "tr",
          {},
          columns.map(({ cell, number }, i) =>
            h(
              i ? "td" : "th",
              { scope: i ? null : "row", class: number ? "number" : null },
              cell(record),
            ),
          ),
        ),
      ),
    );
    if (focused) body.querySelectorAll("input, a")[place]?.focus();
  }

  function rows() {
    return [columns.map(({ name }) => name), ...records.map((r) => columns.map((c) => c.told(r)))];
  }

  return {
    element: h(
      "div",
      {},
      saver({ of: "the table", name: () => [label.toLowerCase()], rows }),
      h(
        "div",
        { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
        h("table", {}, h("thead", {}, h("tr", {}, heads)), body),
      ),
    ),
    show(all) {
      records = all;
      draw();
    },
  };
}
