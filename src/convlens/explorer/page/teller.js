// A sum in words and numbers, step by step.

import { format } from "./address.js";
import { h } from "./dom.js";
import { hasMaps } from "./field.js";
import { COLORS } from "./filter.js";
import { brief, counted, exact, percent } from "./numbers.js";
import { Windows } from "./windows.js";
import { bar, line, number, plus } from "./written.js";

/** Terms as elements, those that are computed first standing first. */
export class Teller {
  constructor(run, question, owner) {
    Object.assign(this, { run, question, owner });
    this.layer = run.layers[question.l];
    this.windows = new Windows(this);
  }

  tell(term) {
    return this[term.kind]?.(term) ?? [line(`${term.kind} = `, number(term.value))];
  }

  end() {
    const { unit } = this.question;
    if (!this.layer) return line("That is the bar of ", h("b", {}, this.run.classes[unit[0]]), ".");
    if (!hasMaps(this.layer)) return line("That is its bar.");
    const [map, row, column] = unit;
    return line(`That is row ${row}, column ${column} of map ${map}.`);
  }

  // Leaves

  value({ stage, unit, value }) {
    return [line("The number of ", this.place(stage, unit), " = ", number(value))];
  }

  constant({ value }) {
    return [line("The constant ", number(value))];
  }

  unknown({ operation, value }) {
    return [line(`${operation}, which this page does not take apart, gives `, number(value))];
  }

  // Of one number, of two

  function({ name, parts, value }) {
    const read = parts[0].value;
    const rule = name === "ReLU" ? ["max(0, ", number(read), ")"] : [name, "(", number(read), ")"];
    return [...this.tell(parts[0]), line(h("b", {}, name), ": ", rule, " = ", number(value))];
  }

  norm({ layer, mean, variance, eps, weight, bias, parts, value }) {
    const spread = Math.sqrt(variance + eps);
    const [read, center, width, factor, shift] = [parts[0].value, mean, spread, weight, bias];
    return [
      ...this.tell(parts[0]),
      line(
        h("b", {}, "Batch norm"),
        ` ${layer}: (`,
        number(read),
        plus(-center),
        ") / ",
        number(width),
        " · ",
        number(factor),
        plus(shift),
        " = ",
        number(value),
      ),
    ];
  }

  sum(term) {
    return this.#joined(term, "+", (part) =>
      this.#isShortcut(part) ? "The shortcut" : "The main path",
    );
  }

  product(term) {
    return this.#joined(term, "×", (_, i) => (i ? "The factor" : "The number"));
  }

  #joined({ parts, value }, sign, name) {
    const blocks = parts.map((part, i) =>
      h("div", { class: "branch" }, h("h4", {}, name(part, i)), this.tell(part)),
    );
    const next = (value) => (sign === "+" ? plus(value) : [" × ", number(value)]);
    const written = parts.map((part, i) => (i ? next(part.value) : number(part.value)));
    return [
      ...blocks,
      line(h("b", {}, sign === "+" ? "Sum" : "Product"), ": ", written, " = ", number(value)),
    ];
  }

  #isShortcut(term) {
    const { shortcut } = this.layer;
    if (!shortcut) return false;
    if (term.kind === "value") return true;
    return term.layer === shortcut.layer || (term.parts ?? []).some((p) => this.#isShortcut(p));
  }

  // Of windows

  convolution(term) {
    return this.windows.convolution(term);
  }

  maximum(term) {
    return this.windows.maximum(term);
  }

  average(term) {
    return this.windows.average(term);
  }

  // Of all numbers of a layer

  linear({ layer, inputs, others, rest, bias, value }) {
    const largest = Math.max(...inputs.map(({ product }) => Math.abs(product))) || 1;
    const row = ({ feature, stage, unit, value: read, weight, product }) =>
      h(
        "tr",
        {},
        h(
          "th",
          { scope: "row" },
          stage === undefined ? `number ${feature}` : this.place(stage, unit),
        ),
        h("td", { class: "number" }, number(read)),
        h("td", { class: "number" }, number(weight)),
        h("td", { class: "number" }, number(product), bar(product / largest)),
      );
    const head = ["Feature", "Value", "× Weight", "= Adds"].map((name, i) =>
      h("th", { scope: "col", class: i ? "number" : "" }, name),
    );
    const table = h(
      "table",
      { class: "adds" },
      h("thead", {}, h("tr", {}, head)),
      h("tbody", {}, inputs.map(row)),
    );
    const first = inputs.reduce((sum, { product }) => sum + product, 0);
    return [
      line(
        h("b", {}, "Linear layer"),
        ` ${layer}: every feature times its weight; the most first.`,
      ),
      table,
      line(
        number(first),
        others ? ` (these ${inputs.length})` : "",
        others ? [...plus(rest), ` (${counted(others, "other feature")})`] : "",
        bias === null ? "" : [...plus(bias), " (bias)"],
        " = ",
        number(value),
      ),
    ];
  }

  softmax({ logit, largest, temperature, power, total, value, inputs }) {
    const own = this.question.unit[0];
    const row = (each) =>
      h(
        "tr",
        { class: each.class === own ? "own" : "" },
        h("th", { scope: "row" }, this.run.classes[each.class]),
        h("td", { class: "number" }, number(each.logit)),
        h("td", { class: "number" }, number(each.power), bar(each.power)),
      );
    const head = ["Class", "Logit", "Power"].map((name, i) =>
      h("th", { scope: "col", class: i ? "number" : "" }, name),
    );
    return [
      line(
        h("b", {}, "Softmax"),
        ": e to the power of (logit − largest logit) / temperature, as a share of the sum over all ",
        `classes. The temperature ${brief(temperature)} `,
        temperature === 1
          ? "leaves the logits as they are."
          : `makes the network ${temperature < 1 ? "surer" : "less sure"} than its logits are.`,
      ),
      h(
        "table",
        { class: "adds" },
        h("thead", {}, h("tr", {}, head)),
        h("tbody", {}, inputs.map(row)),
      ),
      line(
        "exp((",
        number(logit),
        " − ",
        number(largest),
        ") / ",
        number(temperature),
        ") / ",
        number(total),
        " = ",
        number(power),
        " / ",
        number(total),
        " = ",
        h("b", { title: exact(value) }, percent(value)),
      ),
    ];
  }

  // Places

  index(stage) {
    return this.run.layers.findIndex(({ name }) => name === stage);
  }

  map(stage, map) {
    if (stage === "") return this.#color(map) ?? `channel ${map}`;
    return this.#link(`${stage}, map ${map}`, stage, map);
  }

  place(stage, unit) {
    if (stage === "")
      return `the image, ${this.#color(unit[0]) ?? unit[0]}, ${unit.slice(1).join(", ")}`;
    const flat = unit.length === 1 || unit.slice(1).every((n) => n === 0);
    const where = flat ? "" : ` at ${unit[1]}, ${unit[2]}`;
    return this.#link(`${stage} ${unit[0]}${where}`, stage, unit[0], unit);
  }

  #color(channel) {
    return COLORS[this.run.channels]?.[channel];
  }

  #link(words, stage, map, [, row, column] = []) {
    const { image, r } = this.question;
    const place = { image, run: r, layer: this.index(stage), map, row, column };
    return h("a", { href: format(place) }, words);
  }
}
