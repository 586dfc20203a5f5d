// The images that a run gets wrong, the surest mistakes first.

import { during, Latest } from "./answers.js";
import { h, page } from "./dom.js";
import { evaluationOf, judged, mistakes } from "./evaluation.js";
import { percent } from "./numbers.js";
import { eachRunOnData } from "./runs.js";
import { saver } from "./saver.js";
import { gallery } from "./thumbnails.js";

const STEP = 60;

export class Mistakes {
  title = "Mistakes";

  constructor(site) {
    this.latest = new Latest();
    const signal = this.latest.next();
    this.element = page(
      "Worst mistakes",
      "Validation images that the network gets wrong, the surest first.",
      site.runs.length > 1 && site.data && this.#disagreements(site, signal),
      eachRunOnData(site, (run, r, slot) =>
        during(slot, signal, async (news) => {
          const evaluation = await evaluationOf(r, { signal, news });
          if (!signal.aborted) slot.replaceChildren(...list(site, run, evaluation));
        }),
      ),
    );
  }

  update() {}

  /** Images that the first two runs answer differently, those that both are sure of first. */
  #disagreements(site, signal) {
    const slot = h("div", { class: "slot" });
    const names = site.runs.slice(0, 2).map(({ name }) => name);
    during(slot, signal, async (news) => {
      const seen = await Promise.all([0, 1].map((r) => evaluationOf(r, { signal, news })));
      if (signal.aborted) return;
      const said = (r, row) => site.runs[r].classes[seen[r].predicted[row]];
      const sure = (row) => seen[0].probability[row] * seen[1].probability[row];
      const rows = [...seen[0].labels.keys()]
        .filter((row) => said(0, row) !== said(1, row))
        .sort((a, b) => sure(b) - sure(a));
      const entry = (row) => ({
        row,
        words: [0, 1].map((r) => [
          h("b", {}, said(r, row)),
          ` ${percent(seen[r].probability[row])}`,
          h("br"),
        ]),
      });
      const shown = gallery(site, rows.slice(0, STEP).map(entry));
      const pathOf = pathsOf(site);
      slot.replaceChildren(
        h(
          "p",
          { class: "facts" },
          `${rows.length} of ${seen[0].labels.length} are answered apart.`,
        ),
        saver({
          of: "the disagreements",
          name: () => [...names, "disagree"],
          picture: () => shown,
          rows: () => [
            ["image", "class", ...names.flatMap((name) => [name, `probability of ${name}`])],
            ...rows.map((row) => [
              pathOf(row),
              site.runs[0].classes[seen[0].labels[row]],
              ...[0, 1].flatMap((r) => [said(r, row), seen[r].probability[row]]),
            ]),
          ],
        }),
        shown,
      );
    });
    return h("section", {}, h("h2", {}, `Where ${names.join(" and ")} disagree`), slot);
  }

  leave() {
    this.latest.stop();
  }
}

function list(site, run, evaluation) {
  const rows = mistakes(evaluation);
  const entry = (row) => ({ row, words: sentence(run, evaluation, row) });
  const among = run === site.runs[0] ? "mistakes" : undefined;
  const shown = gallery(site, rows.slice(0, STEP).map(entry), among);
  const more = h(
    "button",
    {
      type: "button",
      class: "quiet",
      onclick: () => {
        const next = rows.slice(shown.children.length, shown.children.length + STEP);
        shown.append(...gallery(site, next.map(entry), among).children);
        more.hidden = shown.children.length === rows.length;
      },
    },
    "Show more",
  );
  more.hidden = rows.length <= STEP;
  const words = `${rows.length} of ${judged(evaluation)} are wrong.`;
  const keep = saver({
    of: "the list",
    name: () => [run.name, "mistakes"],
    picture: () => shown,
    rows: () => listed(site, run, evaluation, rows),
  });
  return [h("p", { class: "facts" }, words), keep, shown, more];
}

/** What tells an image's path by its row. */
function pathsOf(site) {
  const paths = new Map(site.images.map(({ id, path }) => [id, path]));
  return (row) => paths.get(`v${row}`) ?? `v${row}`;
}

/** Images and what a run says of them, as a table to be saved. */
export function listed(site, run, { labels, predicted, probability }, rows) {
  const pathOf = pathsOf(site);
  return [
    ["image", "class", "predicted", "probability"],
    ...rows.map((row) => [
      pathOf(row),
      run.classes[labels[row]],
      run.classes[predicted[row]],
      probability[row],
    ]),
  ];
}

/** "bonsai, 92.1 %" over "is a butterfly", as elements. */
export function sentence(run, { labels, predicted, probability }, row) {
  const right = labels[row] === predicted[row];
  const verdict = right
    ? h("span", { class: "right" }, "right")
    : h("span", { class: "wrong" }, "is ", h("bdi", {}, run.classes[labels[row]]));
  const answer = h("b", {}, run.classes[predicted[row]]);
  return [answer, ` ${percent(probability[row])}`, h("br"), verdict];
}
