// Words of the trade that explain themselves when they are pointed at, focused or tapped.

import { h } from "./dom.js";

const TERMS = {
  map: "What one filter answers at every place of the image: bright where it finds its pattern.",
  sees: "The patch of the image that one number of a map is computed from: its receptive field.",
  respond: "Maps with at least one number above 0 for this image. The others found nothing.",
  dead: "No training image makes this map answer; it adds nothing to any decision.",
  parameter: "A number that training has set: a weight of a filter, or a bias.",
  "multiply-add": "A product that is added to a sum: what the layer costs for one image.",
  ReLU: "What is below 0 becomes 0, the rest stays as it is.",
  conv: "A filter slides over the maps before; at every place, numbers times weights, summed.",
  pool: "A window's numbers become one, their largest or their average: a smaller map.",
  linear: "Every number before times a weight of its own, summed: each sees the whole image.",
  shortcut: "What came before the block is added to what the block computed.",
  logit: "The score of a class, before the softmax makes probabilities of the scores.",
  softmax: "Makes probabilities of the scores: each positive, together 100 %.",
  temperature:
    "Scores are divided by it before the softmax, so that 80 % sure means right 8 times of 10.",
  deconvolution: "Leads one answer back through the layers to the pixels that caused it.",
  attribution: "Which pixels speak for a class, by four methods that need not agree.",
  neighbor: "A training image that the network describes by nearly the same numbers as this one.",
};

const tip = h("div", { class: "tip", role: "tooltip", id: "tip", hidden: true });

/** `shown` as a word that explains itself as `word`; quiet: not on the way of the Tab key. */
export function term(word, shown = word, { quiet = false } = {}) {
  const attributes = { class: "term", "data-term": word };
  return h("span", quiet ? attributes : { ...attributes, role: "button", tabindex: 0 }, shown);
}

function show(element) {
  tip.textContent = TERMS[element.dataset.term];
  tip.hidden = false;
  const at = element.getBoundingClientRect();
  const own = tip.getBoundingClientRect();
  const left = Math.min(Math.max(8, at.left), innerWidth - own.width - 8);
  const below = at.bottom + 6 + own.height < innerHeight;
  tip.style.left = `${left}px`;
  tip.style.top = `${below ? at.bottom + 6 : at.top - own.height - 6}px`;
  element.setAttribute("aria-describedby", "tip");
}

function hide() {
  tip.hidden = true;
  document.querySelector("[aria-describedby=tip]")?.removeAttribute("aria-describedby");
}

/** Has the document's terms explain themselves. */
export function explainTerms() {
  document.body.append(tip);
  const of = (event) => event.target.closest?.(".term");
  for (const kind of ["pointerover", "focusin", "click"]) {
    document.addEventListener(kind, (event) => {
      const element = of(event);
      if (element) show(element);
      else if (event.target !== tip) hide();
    });
  }
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, { passive: true, capture: true });
  document.addEventListener(
    "keydown",
    (event) => {
      if (event.key !== "Escape" || tip.hidden) return;
      hide();
      event.stopPropagation();
    },
    { capture: true },
  );
}
