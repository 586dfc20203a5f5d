// All validation images: filtered, sorted, selected, and saved as a table or as files.

import { format } from "./address.js";
import { ask, during, keep, Latest } from "./answers.js";
import { h, page, range } from "./dom.js";
import { evaluationOf } from "./evaluation.js";
import { counted, percent } from "./numbers.js";
import { eachRunOnData } from "./runs.js";
import { save, table, zipped } from "./save.js";
import { saver } from "./saver.js";
import { thumbnail } from "./thumbnails.js";

const STEP = 120; // images shown at once
const SORTS = {
  "sure first": (a, b) => b.probability - a.probability,
  "unsure first": (a, b) => a.probability - b.probability,
  "least probable class first": (a, b) => a.ofLabel - b.ofLabel,
  "by class": (a, b) => a.label.localeCompare(b.label) || b.probability - a.probability,
  "by prediction": (a, b) =>
    a.predicted.localeCompare(b.predicted) || b.probability - a.probability,
};
const APART = "runs that disagree first"; // those that all are sure of before the others
const COLUMNS = [
  "path",
  "class",
  "predicted",
  "probability",
  "of_class",
  "suggested",
  "near_duplicate",
];

export class Images {
  title = "Images";

  constructor(site) {
    this.latest = new Latest();
    const signal = this.latest.next();
    this.element = page(
      "Images of the validation set",
      "Filter, sort and tick them; what is ticked can be saved as a table or as files.",
      eachRunOnData(site, (_, r, slot) =>
        during(slot, signal, async (news) => {
          const [marks, ...evaluations] = await Promise.all([
            keep(ask, `api/${r}/marks.json`, { signal, news }),
            ...site.runs.map((_, each) => evaluationOf(each, { signal, news })),
          ]);
          if (!signal.aborted)
            slot.replaceChildren(...new List(site, r, evaluations, marks).elements);
        }),
      ),
    );
  }

  update() {}

  leave() {
    this.latest.stop();
  }
}

/** One run's answers to all images, and which of them are shown and ticked. */
class List {
  constructor(site, r, evaluations, marks) {
    this.site = site;
    this.run = site.runs[r];
    this.index = r;
    this.open = new Set(site.images.map(({ id }) => id));
    this.records = records(site, r, evaluations, marks);
    this.ticked = new Set();
    this.shown = STEP;
    this.fields = this.#fields(marks);
    this.count = h("p", { class: "facts", role: "status" });
    this.gallery = h("ul", { class: "gallery" });
    this.more = h(
      "button",
      {
        type: "button",
        class: "quiet",
        onclick: () => {
          this.shown += STEP;
          this.#draw();
        },
      },
      "Show more",
    );
    this.state = h("div", { class: "slot upload-status" });
    const keep = saver({
      of: "the list",
      name: () => [this.run.name, "images"],
      picture: () => this.gallery,
      rows: () => this.#rows(this.found),
    });
    this.elements = [
      h("div", { class: "controls filters" }, Object.values(this.fields).map(labelled)),
      this.#actions(),
      this.state,
      this.count,
      keep,
      this.gallery,
      this.more,
    ];
    this.#filter();
  }

  #fields(marks) {
    const oninput = () => this.#filter();
    const text = (name, words) => {
      const list = h(
        "datalist",
        { id: `${name}-${this.index}-names` },
        this.run.classes.map((value) => h("option", { value })),
      );
      const field = h("input", {
        type: "text",
        id: `${name}-${this.index}`,
        list: list.id,
        placeholder: "any",
        autocomplete: "off",
        oninput,
      });
      return { field, words, list };
    };
    const choice = (name, words, options) => ({
      words,
      field: h(
        "select",
        { id: `${name}-${this.index}`, onchange: oninput },
        options.map((value) => h("option", { value }, value)),
      ),
    });
    const share = (name, words, value) => ({
      words,
      field: h("input", {
        type: "number",
        id: `${name}-${this.index}`,
        min: 0,
        max: 100,
        value,
        oninput,
      }),
    });
    const marked = ["any", `suspected label (${marks.suspected.length})`];
    if (marks.near) marked.push(`near-duplicate in train (${marks.near.length})`);
    const several = this.site.runs.length > 1;
    const apart = this.records.filter(MARKED.answered);
    if (several) marked.push(`answered apart (${apart.length})`);
    return {
      label: text("label", "Class"),
      predicted: text("predicted", "Predicted"),
      verdict: choice("verdict", "Answer", ["any", "right", "wrong"]),
      mark: choice("mark", "Marked", marked),
      least: share("least", "Sure from, %", 0),
      most: share("most", "to, %", 100),
      sort: choice("sort", "Order", several ? [...Object.keys(SORTS), APART] : Object.keys(SORTS)),
    };
  }

  #actions() {
    const button = (words, onclick) =>
      h("button", { type: "button", class: "quiet", onclick }, words);
    this.saving = h(
      "span",
      { class: "controls" },
      button("Save as CSV", () => this.#saveTable()),
      button("Save the images", () => this.#saveFiles()),
    );
    return h(
      "div",
      { class: "controls" },
      button("Tick all of these", () => this.#tick(this.found, true)),
      button("Untick all", () => this.#tick(this.records, false)),
      this.saving,
    );
  }

  #filter() {
    const value = (name) => this.fields[name].field.value.trim();
    const words = (name) => value(name).toLowerCase();
    const least = Number(value("least")) / 100;
    const most = value("most") === "" ? 1 : Number(value("most")) / 100;
    const fits = (name, given) => !words(name) || given.toLowerCase().includes(words(name));
    const mark = value("mark").split(" ")[0];
    this.found = this.records.filter(
      (record) =>
        fits("label", record.label)
        && fits("predicted", record.predicted)
        && (value("verdict") === "any" || record.right === (value("verdict") === "right"))
        && (mark === "any" || MARKED[mark](record))
        && record.probability >= least
        && record.probability <= most,
    );
    this.found.sort(SORTS[value("sort")] ?? ((a, b) => b.apart - a.apart));
    this.shown = STEP;
    this.#draw();
  }

  #tick(records, ticked) {
    for (const record of records) {
      if (ticked) this.ticked.add(record);
      else this.ticked.delete(record);
    }
    this.#draw();
  }

  #draw() {
    this.gallery.replaceChildren(...this.found.slice(0, this.shown).map((r) => this.#item(r)));
    this.more.hidden = this.found.length <= this.shown;
    this.#count();
  }

  #count() {
    const { found, records, ticked } = this;
    this.count.textContent = `${found.length} of ${counted(records.length, "image")}, ${ticked.size} ticked`;
    this.saving.hidden = !ticked.size;
  }

  #item(record) {
    const { row, label, predicted, probability, right, suggested } = record;
    const id = `v${row}`;
    const picture = thumbnail(row, 96);
    const box = h("input", {
      type: "checkbox",
      "aria-label": `Tick ${record.path}`,
      checked: this.ticked.has(record),
      onchange: () => {
        if (box.checked) this.ticked.add(record);
        else this.ticked.delete(record);
        this.#count();
      },
    });
    return h(
      "li",
      {},
      this.open.has(id)
        ? h("a", { href: format({ image: id }), "aria-label": record.path }, picture)
        : h("span", { class: "absent" }, picture),
      h(
        "span",
        { class: "words" },
        box,
        h("b", {}, predicted),
        ` ${percent(probability)}`,
        h("br"),
        right
          ? h("span", { class: "right" }, "right")
          : h("span", { class: "wrong" }, "is ", h("bdi", {}, label)),
        suggested && [h("br"), "label suspected"],
        record.others
          .filter(({ differs }) => differs)
          .map((other) => [
            h("br"),
            `${other.name}: `,
            h("b", {}, other.predicted),
            ` ${percent(other.probability)}`,
          ]),
      ),
    );
  }

  #chosen() {
    return this.records.filter((record) => this.ticked.has(record));
  }

  #saveTable() {
    save(table(this.#rows(this.#chosen())), "images.csv");
  }

  #rows(records) {
    const others = this.records[0]?.others.map(({ name }) => `predicted_by_${name}`) ?? [];
    const rows = records.map((record) => [
      record.path,
      record.label,
      record.predicted,
      record.probability,
      record.ofLabel,
      record.suggested ?? "",
      record.near === null ? "" : Number(record.near),
      ...record.others.map((other) => other.predicted),
    ]);
    return [[...COLUMNS, ...others], ...rows];
  }

  /** A folder a class, as the network is given the images, in one archive. */
  #saveFiles() {
    const { signal } = new AbortController();
    const chosen = this.#chosen();
    during(this.state, signal, async (news) => {
      save(
        await zipped(
          chosen.map(({ row, path, label }) => ({
            name: `${label.replace(/[/\\]/g, "_").replace(/^\.+$/, "_")}/${path.split("/").at(-1)}.png`,
            path: `images/${this.index}/v${row}.png`,
          })),
          (done) => news({ wait: "Packing the images", done, total: chosen.length }),
        ),
        "images.zip",
      );
    });
  }
}

const MARKED = {
  suspected: ({ suggested }) => suggested !== null,
  "near-duplicate": ({ near }) => near,
  answered: ({ apart }) => apart >= 0,
};

function records(site, r, evaluations, marks) {
  const run = site.runs[r];
  const { labels, predicted, probability, of_label: ofLabel } = evaluations[r];
  const others = site.runs.filter((_, each) => each !== r);
  const saidBy = ({ id, name, classes }, row) => {
    const said = classes[evaluations[id].predicted[row]];
    const differs = said !== run.classes[predicted[row]];
    return { name, predicted: said, probability: evaluations[id].probability[row], differs };
  };
  /** How sure the two were that differ and are surest; below 0 where all agree. */
  const apart = (row, said) =>
    Math.max(...said.map((other) => (other.differs ? other.probability * probability[row] : -1)));
  const paths = new Map(site.images.map(({ id, path }) => [id, path]));
  const suggested = new Map(marks.suspected.map((each) => [each.row, run.classes[each.suggested]]));
  const near = marks.near && new Set(marks.near);
  return range(labels.length)
    .filter((row) => labels[row] !== null)
    .map((row) => [row, others.map((other) => saidBy(other, row))])
    .map(([row, said]) => ({
      row,
      others: said,
      apart: apart(row, said),
      path: paths.get(`v${row}`) ?? `image ${row}`,
      label: run.classes[labels[row]],
      predicted: run.classes[predicted[row]],
      right: labels[row] === predicted[row],
      probability: probability[row],
      ofLabel: ofLabel[row],
      suggested: suggested.get(row) ?? null,
      near: near?.has(row) ?? null,
    }));
}

function labelled({ field, words, list }) {
  return h("label", { for: field.id }, words, field, list);
}
