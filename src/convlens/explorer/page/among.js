// The list that a reader came to an image from, so that the next one is the next of that list.

import { evaluationOf, mistakes } from "./evaluation.js";

export const AMONG = /^(mistakes|confusion-\d+(-\d+)?)$/;

/** What an image of the list is called. */
export function nameOf(among) {
  return among === "mistakes" ? "Mistake" : "Image of the cell";
}

/** The names of the images of a list, in its order; of all that can be chosen without one. */
export async function imagesAmong(site, among) {
  const all = site.images.map(({ id }) => id);
  if (!among) return all;
  const evaluation = await evaluationOf(0, {});
  const there = new Set(all);
  return rowsOf(among, evaluation)
    .map((row) => `v${row}`)
    .filter((id) => there.has(id));
}

function rowsOf(among, evaluation) {
  if (among === "mistakes") return mistakes(evaluation);
  const [truth, predicted] = among.split("-").slice(1).map(Number);
  const { labels, predicted: answers } = evaluation;
  return [...labels.keys()].filter(
    (row) => labels[row] === truth && (predicted === undefined || answers[row] === predicted),
  );
}
