// A network where it is fastest: on the graphics card where there is one that gives the same numbers
// in less time, else as forward.js computes it.
//
// The first pass is always forward.js's, and what it gives is what the card is judged by. The card
// is loaded and tried meanwhile, so that nobody waits for it.

import { card, OnCard } from "./gpu.js";

const TOLERANCE = 1e-3; // of the largest number that is compared
const TRIALS = 3; // of which the best counts: the first ones wait for shaders, and for the page

// `?gpu=off` in the page's address: no card. `?gpu=any`: any that gives the same numbers, even if the
// processor only imitates one, or it takes longer.
const wish = new URLSearchParams(globalThis.location?.search).get("gpu");
let device; // for all networks, once one of them has asked

export class Fastest {
  constructor(forward) {
    this.forward = forward;
  }

  /** As `run` of forward.js, but later. */
  async run(image, channels) {
    if (this.card) {
      try {
        return await this.card.run(image, channels);
      } catch {
        this.card = null; // it is gone, or has no room: the processor does it from now on
      }
    }
    const began = performance.now();
    const pass = this.forward.run(image, channels);
    this.trial ??= this.#try(image, channels, pass, performance.now() - began);
    return pass;
  }

  /** Has the card compute from now on, where it deserves it. pass: forward.js's, and how long it
   *  took. */
  async #try(image, channels, pass, milliseconds) {
    if (wish === "off") return;
    try {
      device ??= card(wish === "any");
      const found = await OnCard.load(await device, this.forward);
      let best = Number.POSITIVE_INFINITY;
      for (let trial = 0; trial < TRIALS; trial += 1) {
        const began = performance.now();
        const other = await found.run(image, channels);
        best = Math.min(best, performance.now() - began);
        if (!alike(other, pass)) return;
      }
      if (best < milliseconds || wish === "any") this.card = found;
    } catch {
      // no card, or one that cannot do this network
    }
  }
}

function alike(one, other) {
  const arrays = ({ logits, stages }) => [logits, ...stages.map(({ data }) => data)];
  const expected = arrays(other);
  return arrays(one).every((data, i) => {
    const largest = expected[i].reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    return data.every((value, k) => Math.abs(value - expected[i][k]) <= TOLERANCE * largest);
  });
}
