// What follows from a run's answers to all validation images.

import { ask, keep } from "./answers.js";
import { range } from "./dom.js";

/** A run's answers, a row an image in the order of the validation set; null for a label that the
 *  run does not know. */
export function evaluationOf(run, options) {
  const isFinal = ({ train }) => train !== null; // the training images are read last
  return keep(ask, `api/${run}/evaluation.json`, options, isFinal);
}

/** How many images have a class that the run knows; of others nothing is right or wrong. */
export function judged({ labels }) {
  return labels.filter((truth) => truth !== null).length;
}

/** Image counts by [true class][predicted class]. */
export function confusion({ labels, predicted }, classes) {
  const counts = range(classes).map(() => new Array(classes).fill(0));
  labels.forEach((truth, row) => {
    if (truth !== null) counts[truth][predicted[row]] += 1;
  });
  return counts;
}

/** A record a class: how many images it has, how many are right, what it is most taken for. */
export function perClass(counts) {
  return counts.map((row, truth) => {
    const images = row.reduce((sum, count) => sum + count, 0);
    const others = row.map((count, c) => (c === truth ? 0 : count));
    const most = Math.max(...others);
    return {
      truth,
      images,
      right: row[truth],
      accuracy: images ? row[truth] / images : null,
      takenFor: most ? others.indexOf(most) : null,
      times: most,
    };
  });
}

/** Rows of the images that are answered wrong, the surest of them first. */
export function mistakes({ labels, predicted, probability }) {
  return range(labels.length)
    .filter((row) => labels[row] !== null && labels[row] !== predicted[row])
    .sort((a, b) => probability[b] - probability[a]);
}
