// What all runs answer to one image: their predictions, and their networks with every map.

import { Network } from "./network.js";
import { Prediction } from "./prediction.js";

export class Answered {
  /** classes: how many a prediction shows; on.open({run, layer, map}, how) and
   *  on.field(run, layer, unit): what the reader points at; leaders: the same networks for another
   *  image, whose order of the maps is taken over. */
  constructor(site, classes, on, leaders = []) {
    this.site = site;
    this.predictions = site.runs.map((run, r) => new Prediction(run, r, classes));
    for (const prediction of this.predictions.slice(1)) prediction.numbering = site.runs[0].classes;
    this.networks = site.runs.map((run, r) => {
      const points = {
        open: (layer, map, how) => on.open({ run: r, layer, map }, how),
        field: (layer, unit) => on.field(run, layer, unit),
      };
      return new Network(run, r, points, leaders[r]);
    });
  }

  /** Asks for everything; the predictions, once they are there. */
  show(image, signal) {
    const predicted = Promise.all(this.predictions.map((each) => each.show(image, signal)));
    for (const network of this.networks) {
      network.show(image, signal);
      if (this.site.data) network.markDead(signal).catch(() => {}); // a mark less
    }
    return predicted;
  }

  /** Marks a run's map; none without arguments. */
  select(run, layer, map) {
    for (const [r, network] of this.networks.entries()) {
      if (r === run) network.select(layer, map);
      else network.select();
    }
  }
}
