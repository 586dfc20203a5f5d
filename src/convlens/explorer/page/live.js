// The page of runs: a line a run, the curves of some over one another, and how one network grows.
//
// The server says by an event that something has changed; closing the page changes nothing there.

import { ask, during, Latest } from "./answers.js";
import { chart } from "./chart.js";
import { h, note } from "./dom.js";
import { Growing } from "./growing.js";
import { readable } from "./names.js";
import { brief, counted, duration, percent } from "./numbers.js";
import { sortable } from "./sortable.js";

const DRAWN = 6; // runs over one another, at most: as many colors as can be told apart
const WORDS = {
  training: "trains",
  finished: "finished",
  stopped: "stopped",
  diverged: "diverged",
  damaged: "damaged",
  gone: "gone",
};

class Page {
  constructor(main) {
    this.main = main;
    this.runs = [];
    this.histories = new Map(); // by id: {stamp, history}
    this.latest = new Latest();
    this.growing = new Growing();
    this.lead = h("p", { class: "lead" });
    this.table = sortable({
      label: "Runs",
      columns: this.#columns(),
      sortedBy: "Run",
    });
    this.charts = h("div", { class: "slot" });
    this.element = h(
      "section",
      { class: "page live" },
      h("div", {}, h("h1", { tabindex: -1 }, "Runs"), this.lead),
      this.table.element,
      this.charts,
      this.growing.element,
    );
  }

  /** What the server tells of all runs; isLast: it answers to nothing more. */
  update(runs, isLast = false) {
    const before = new Map(this.runs.map(({ id, stamp }) => [id, stamp]));
    this.runs = runs.map((run) => ({ ...run, name: readable(run.name) }));
    if (runs.length) this.chosen ??= new Set(this.#first());
    if (!this.element.isConnected) this.main.replaceChildren(this.element);
    this.main.removeAttribute("aria-busy");
    const training = runs.filter(({ state }) => state === "training").length;
    this.lead.textContent = runs.length
      ? `${counted(runs.length, "run")}, ${training} in training. Ticked runs are drawn over one `
        + "another below; an epoch appears here once it is over."
      : "There is no run yet; this page will show the first that begins.";
    this.table.show(this.runs);
    const changed = this.runs.filter(({ id, stamp }) => before.get(id) !== stamp);
    if (!isLast && changed.some(({ id }) => this.chosen.has(id))) this.#draw();
  }

  /** The runs that train, else those that were worked on last. */
  #first() {
    const training = this.runs.filter(({ state }) => state === "training");
    const shown = training.length ? training : this.runs;
    return shown.slice(0, DRAWN).map(({ id }) => id);
  }

  #choose(id, chosen) {
    if (chosen) this.chosen.add(id);
    else this.chosen.delete(id);
    for (const oldest of [...this.chosen].slice(0, -DRAWN)) this.chosen.delete(oldest);
    this.table.show(this.runs);
    this.#draw();
  }

  #draw() {
    const signal = this.latest.next();
    const shown = this.runs.filter(({ id }) => this.chosen.has(id));
    const [one] = [...shown].sort((a, b) => rank(a) - rank(b));
    this.growing.show(one);
    during(this.charts, signal, async (news) => {
      const histories = await Promise.all(shown.map((run) => this.#history(run, { signal, news })));
      if (!signal.aborted) this.charts.replaceChildren(...curves(shown, histories));
    });
  }

  async #history({ id, stamp }, options) {
    const known = this.histories.get(id);
    if (known?.stamp === stamp) return known.history;
    const history = await ask(`api/${id}/history.json`, options);
    this.histories.set(id, { stamp, history });
    return history;
  }

  #columns() {
    const figure = (name, key, write) => ({
      name,
      key,
      number: true,
      cell: (run) => write(key(run)),
      told: (run) => (key(run) >= 0 && Number.isFinite(key(run)) ? key(run) : null),
    });
    return [
      {
        name: "Run",
        key: ({ name }) => name.toLowerCase(),
        told: ({ name }) => name,
        cell: (run) => [
          h(
            "label",
            {},
            h("input", {
              type: "checkbox",
              checked: this.chosen.has(run.id),
              onchange: (event) => this.#choose(run.id, event.target.checked),
            }),
            run.name,
          ),
        ],
      },
      {
        name: "State",
        key: ({ state }) => WORDS[state],
        told: ({ state }) => WORDS[state],
        cell: ({ state, id, opens, why }) => [
          h("span", { class: `state ${state}` }, WORDS[state]),
          why && h("span", { class: "why" }, why),
          opens && state !== "training"
            ? [" ", h("a", { href: `inside/${id}/` }, "look inside")]
            : "",
        ],
      },
      {
        name: "Recipe",
        key: ({ recipe }) => recipe ?? "",
        told: ({ recipe }) => recipe,
        cell: ({ recipe }) => recipe ?? "–",
      },
      {
        name: "Epoch",
        key: ({ epoch, epochs }) => epoch / (epochs || 1),
        told: ({ epoch }) => epoch,
        number: true,
        cell: ({ epoch, epochs, state, name }) => [
          `${epoch} of ${epochs ?? "–"}`,
          state === "training"
            && h("progress", {
              class: "done",
              value: epoch,
              max: epochs,
              "aria-label": `Epochs of ${name}`,
            }),
        ],
      },
      figure(
        "Accuracy",
        ({ accuracy }) => accuracy ?? -1,
        (value) => (value < 0 ? "–" : percent(value)),
      ),
      figure("Loss", ({ loss }) => loss ?? Infinity, brief),
      figure(
        "Images/s",
        ({ speed }) => speed ?? -1,
        (value) => (value < 0 ? "–" : Math.round(value)),
      ),
      figure("Time", ({ seconds }) => seconds ?? 0, duration),
      figure(
        "Left",
        ({ left }) => left ?? -1,
        (value) => (value < 0 ? "–" : duration(value)),
      ),
      figure(
        "Seed",
        ({ seed }) => seed ?? -1,
        (value) => (value < 0 ? "–" : value),
      ),
    ];
  }
}

/** A run that trains before one that does not. */
function rank({ state }) {
  return state === "training" ? 0 : 1;
}

/** A chart a measure, a curve a run; of a single run both splits. */
function curves(runs, histories) {
  if (!runs.length) return [note("Tick a run to see its curves.")];
  const last = Math.max(0, ...histories.map(({ rows }) => rows.length));
  if (!last) return [note("No epoch is over yet.")];
  const x = Array.from({ length: last }, (_, epoch) => epoch + 1);
  const column = ({ columns, rows }, name) => {
    const at = columns.indexOf(name);
    return x.map((_, epoch) => (at < 0 ? null : (rows[epoch]?.[at] ?? null)));
  };
  const words = { holdout: "hold-out", validation: "validation" };
  const of = (ending, heading, options) => {
    const drawn = runs.flatMap((run, r) => {
      const measured = {
        name: run.name,
        values: column(histories[r], `${run.monitored}_${ending}`),
      };
      if (runs.length > 1) return [measured];
      const train = { name: "train", values: column(histories[r], `train_${ending}`) };
      return [train, { ...measured, name: words[run.monitored] ?? "validation" }];
    });
    return chart({ title: `${heading} of the runs`, heading, x, curves: drawn, ...options });
  };
  const whole = (value) => percent(value, 0);
  return [
    h("h2", {}, "Curves"),
    h(
      "div",
      { class: "charts" },
      of("accuracy", "Accuracy", { write: percent, whole, most: 1 }),
      of("loss", "Loss", { unit: "nats", write: brief, whole: String }),
    ),
  ];
}

const page = new Page(document.querySelector("main"));
const banner = document.querySelector(".banner");
const events = new EventSource("api/events"); // which connects anew by itself
let hasEnded = false; // and has said so
events.addEventListener("runs", ({ data }) => {
  hasEnded = false;
  banner.hidden = true;
  page.update(JSON.parse(data));
});
events.addEventListener("end", ({ data }) => {
  hasEnded = true;
  page.update(JSON.parse(data), true);
});
events.addEventListener("error", () => {
  banner.hidden = false;
  banner.textContent = hasEnded
    ? "This page ended with its run or was stopped: convlens explore shows it again."
    : "The server does not answer: start convlens explore again, and this page will go on by itself.";
});
