// Where each step of the tour leads, what is framed there, and the words that fill its sentences.

import { ask, keep } from "./answers.js";
import { confusion, evaluationOf, mistakes, perClass } from "./evaluation.js";
import { hasMaps } from "./field.js";
import { counted, percent } from "./numbers.js";

const SURE = 0.9;
const find = (selector) => document.querySelector(selector);
const all = (...elements) => elements.filter((each) => each?.checkVisibility());
const times = (shape) => shape.slice(-2).join("×");
const SUM = { sum: "the sum" };

/**
 * The stops that a page has, by name. place(image): the address, a promise; null without an image
 * where one is needed. targets(): the elements that are framed, the first of them led to.
 * facts(address): words by name, a promise.
 */
export async function stopsOf(site) {
  const [run] = site.runs;
  const { layers, classes } = run;
  const first = layers.findIndex((layer) => hasMaps(layer) && layer.filters);
  const bent = layers.findIndex((layer) => hasMaps(layer) && layer.kind.endsWith("ReLU"));
  const pools = (layer) => /(max|average) pool/.test(layer.kind);
  const pool = Math.max(
    layers.findIndex((layer) => hasMaps(layer) && pools(layer)),
    layers.every((layer) => !hasMaps(layer) || !pools(layer)) ? layers.findIndex(pools) : -1,
  );
  const deep = layers.findLastIndex(hasMaps);
  const last = layers.length - 1;
  const runs = Boolean(site.upload); // and shows sums: else a copy that cannot
  const sums = runs ? SUM : {};
  const { columns, rows } = await keep(ask, "api/0/history.json").catch(() => ({ rows: [] }));

  const chosen = (address) => layers[address.layer] ?? layers[0];
  const large = () => find(".panel .stack > canvas.large")?.closest("figure");
  const over = () => find(".panel .stack > .heat")?.closest("figure");
  const sum = () => find(".panel .sum");
  const strips = () => all(...document.querySelectorAll(".network .layers > li")).slice(-2);

  const stops = {
    filter: first >= 0 && {
      place: (image) => strongest(image, first),
      targets: () => all(find(".panel .kernels")?.closest("section")),
      async facts(address) {
        const layer = chosen(address);
        const filter = await keep(ask, `api/0/filter-${address.layer}-${address.map}.json`);
        const reads = layer.reads.includes(-1)
          ? "each color channel of the picture"
          : "each map that it reads";
        const kernel = filter.kernel.join("×");
        return { layer: layer.name, kernel, reads: filter.inputs.length > 1 ? reads : "its input" };
      },
    },
    map: first >= 0 && {
      place: (image) => strongest(image, first),
      targets: () => all(large(), over()),
      async facts(address) {
        const { name, shape } = chosen(address);
        return { layer: name, map: times(shape), count: shape[0] };
      },
    },
    sum: first >= 0
      && runs && {
        place: (image) => strongest(image, first),
        targets: () => all(find(".panel .sum .products"), sum()).slice(0, 1),
        facts: async () => SUM,
      },
    relu: bent >= 0 && {
      place: (image) => strongest(image, bent, { silent: true }),
      targets: () => all(bend() ?? (runs ? null : large())),
      async facts({ image, layer, map }) {
        const statistics = await ask(`api/0/${image}/layers.json`);
        return { ...sums, silent: percent(1 - statistics[layer].active[map], 0) };
      },
    },
    pool: pool >= 0 && {
      place: (image) => strongest(image, pool),
      targets: () =>
        all(...(runs ? [find(".panel .sum .products"), large()] : [large() ?? strip(pool)])),
      async facts(address) {
        const layer = chosen(address);
        const [source, ...others] = layer.reads.map((l) => layers[l]);
        const known = source && !others.length;
        return {
          ...sums,
          layer: layer.name,
          pooled: layer.kind.includes("max pool") ? "its largest" : "its average",
          before: known ? times(source.shape) : undefined,
          after: times(layer.shape),
        };
      },
    },
    depth: deep > 0 && {
      place: (image) => strongest(image, deep),
      targets: () => (site.data ? all(find(".panel .patches"), over()) : all(over(), large())),
      async facts(address) {
        const layer = chosen(address);
        const earliest = layers.find(hasMaps);
        return {
          first: earliest.name,
          little: seen(earliest),
          layer: layer.name,
          much: seen(layer),
          patches: site.data ? "patches" : undefined,
        };
      },
    },
    head: {
      async place(image) {
        if (image === undefined) return null;
        if (!runs) return { image };
        const said = await ask(`api/0/${image}/prediction.json`).catch(() => null);
        const map = said ? said.probabilities.indexOf(Math.max(...said.probabilities)) : 0;
        return { image, layer: last, map: Math.max(map, 0) };
      },
      targets: () => (runs ? all(sum()) : strips()),
      async facts({ map }) {
        const layer = layers[last];
        const before = layers[layer.reads[0]]?.shape.reduce((product, side) => product * side, 1);
        const linear = layer.kind.startsWith("linear") && layer.reads.length === 1;
        return {
          ...sums,
          layer: layer.name,
          classes: classes.length,
          features: linear && before ? before.toLocaleString("en") : undefined,
          Framed: linear && runs ? "Framed" : undefined,
          class: classes[map],
        };
      },
    },
    errs: site.data && {
      place: async () => ({ view: "confusion" }),
      targets: () => all(find(".plane")),
      async facts() {
        const evaluation = await evaluationOf(0);
        const wrong = mistakes(evaluation).length;
        const worst = perClass(confusion(evaluation, classes.length)).reduce((one, other) =>
          other.times > one.times ? other : one,
        );
        const images = evaluation.labels.filter((label) => label !== null).length;
        if (!wrong) return { images, wrong: undefined };
        const [truth, taken] = [worst.truth, worst.takenFor].map((c) => classes[c]);
        return { images, wrong, truth, taken, times: worst.times };
      },
    },
    sure: site.data && {
      place: async () => ({ view: "images" }),
      targets: () => all(find(".filters")),
      async facts() {
        const { labels, predicted, probability } = await evaluationOf(0);
        const known = [...labels.keys()].filter((row) => labels[row] !== null);
        const right = (rows) => rows.filter((row) => labels[row] === predicted[row]).length;
        const sure = known.filter((row) => probability[row] >= SURE);
        const mean = known.reduce((total, row) => total + probability[row], 0) / known.length;
        return {
          mean: known.length ? percent(mean) : undefined,
          accuracy: known.length ? percent(right(known) / known.length) : undefined,
          sure: sure.length ? counted(sure.length, "picture") : undefined,
          kept: sure.length ? percent(right(sure) / sure.length) : undefined,
        };
      },
    },
    curves: rows.length > 0 && {
      place: async () => ({ view: "training" }),
      targets: () => all(find(".charts > *")),
      async facts() {
        const named = { holdout_loss: "hold-out", validation_loss: "validation" };
        const other = Object.keys(named).find((column) => columns.includes(column));
        return { other: named[other] };
      },
    },
    touch: site.upload && {
      place: async (image) => (image === undefined ? null : { image }),
      targets: () =>
        all(find(".touched")?.closest("figure"), find(".touch"), find(".prediction .bars")),
      begin() {
        const opener = find(".what [aria-expanded=false]");
        if (!opener || !find(".input img")?.naturalWidth) return false;
        opener.click();
        find(".touch [value=hide]").click();
        return true;
      },
      end() {
        find(".touch [value=paint]")?.click();
        find(".what [aria-expanded=true]")?.click();
      },
      facts: async () => ({}),
    },
    own: site.upload && {
      place: async (image) => (image === undefined ? {} : { image }),
      targets: () => all(find(".image-view .primary")),
      facts: async () => ({ size: `${run.size}×${run.size}`, classes: classes.length }),
    },
  };
  return new Map(Object.entries(stops).filter(([, stop]) => stop));

  /** The map that answers most to an image; silent: at a place where it says 0, if there is one. */
  async function strongest(image, l, { silent = false } = {}) {
    if (image === undefined) return null;
    const statistics = await ask(`api/0/${image}/layers.json`).catch(() => null);
    const map = statistics?.[l].order[0] ?? 0;
    const place = { image, layer: l, map };
    if (!silent || !runs) return place;
    const values = await ask(`api/0/${image}/map-${l}-${map}.json`).catch(() => []);
    const at = values.flat().indexOf(0);
    if (at < 0) return place;
    const width = values[0].length;
    return { ...place, row: Math.floor(at / width), column: at % width };
  }

  function seen({ field }) {
    if (!field || field.every((side) => side >= run.size)) return "all of it";
    return `${field.join("×")} pixels`;
  }

  function strip(l) {
    return document.querySelectorAll(".network .layers > li")[l];
  }

  /** The line of the sum that applies the ReLU. */
  function bend() {
    const lines = [...document.querySelectorAll(".panel .sum .line")];
    return lines.findLast((line) => line.firstChild?.textContent === "ReLU");
  }
}
