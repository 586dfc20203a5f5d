// What a convolution or a pooling reads, as arrays of numbers: windows, kernels, their products.

import { picture } from "./answers.js";
import { h } from "./dom.js";
import { grid } from "./grid.js";
import { counted } from "./numbers.js";
import { line, number, plus } from "./written.js";

const SHOWN = 3; // input maps of a convolution, until more are asked for

export class Windows {
  constructor(teller) {
    this.teller = teller;
  }

  convolution({ layer, inputs, sums, bias, at, step, value }) {
    const [height, width] = [inputs[0].kernel.length, inputs[0].kernel[0].length];
    const few = this.teller.owner.all || inputs.length <= SHOWN ? inputs : inputs.slice(0, SHOWN);
    const largest = (of) => Math.max(...inputs.flatMap((each) => each[of].flat().map(Math.abs)));
    const scales = { window: largest("window"), kernel: largest("kernel") };
    const shown = few.map((input) => this.#input(input, { at, step, scales }));
    const rest = value - (bias ?? 0) - few.reduce((sum, { sum: own }) => sum + own, 0);
    const others = sums.length - few.length;
    const more =
      inputs.length > SHOWN
      && h(
        "button",
        { type: "button", class: "quiet more", onclick: () => this.teller.owner.more() },
        this.teller.owner.all ? `Show the first ${SHOWN}` : `Show ${inputs.length}`,
      );
    const maps = counted(sums.length, "map");
    return [
      line(
        h("b", {}, "Convolution"),
        ` ${layer}: a window of ${height}×${width} numbers in each of ${maps}, times the kernel. `,
        others ? `Those that add most stand first.` : "",
      ),
      ...shown,
      ...(more ? [more] : []),
      line(
        few.flatMap(({ sum }, i) => (i ? plus(sum) : [number(sum)])),
        others ? [...plus(rest), ` (${counted(others, "other map")})`] : "",
        bias === null ? "" : [...plus(bias), " (bias)"],
        " = ",
        number(value),
      ),
    ];
  }

  #input({ channel, stage, map, window, kernel, sum }, { at, step, scales }) {
    const products = window.map((row, i) => row.map((value, j) => value * kernel[i][j]));
    const largest = Math.max(...products.flat().map(Math.abs));
    const name = stage === undefined ? `channel ${channel}` : this.teller.map(stage, map);
    const box = stage === undefined ? null : { at, step, kernel };
    return h(
      "figure",
      { class: "products" },
      h(
        "figcaption",
        {},
        box && this.#thumbnail(stage, map, box),
        h("span", {}, name),
        h("span", { class: "sign" }, "Σ ", number(sum)),
      ),
      grid(window, { largest: scales.window, label: "The window's numbers" }),
      h("span", { class: "sign" }, "×"),
      grid(kernel, { largest: scales.kernel, label: "The kernel's weights" }),
      h("span", { class: "sign" }, "="),
      grid(products, { largest, label: "Their products" }),
    );
  }

  maximum(term) {
    const places = term.window.flatMap((row, i) => row.map((v, j) => [v ?? -Infinity, i, j]));
    const [, ...marked] = places.reduce((best, each) => (each[0] > best[0] ? each : best));
    return this.#pooled(term, marked, [h("b", {}, "Maximum"), " of the window = "]);
  }

  average(term) {
    const sum = term.window.flat().reduce((all, each) => all + (each ?? 0), 0);
    const words = [h("b", {}, "Average"), ": ", number(sum), ` / ${term.count} = `];
    return this.#pooled(term, null, words);
  }

  #pooled({ window, at, stage, map, value }, marked, words) {
    const largest = Math.max(...window.flat().map((each) => Math.abs(each ?? 0)));
    const box = { at, step: [1, 1], kernel: window };
    return [
      h(
        "figure",
        { class: "products" },
        h(
          "figcaption",
          {},
          this.#thumbnail(stage, map, box),
          h("span", {}, this.teller.map(stage, map)),
        ),
        grid(window, { largest, label: "The window's numbers", marked }),
      ),
      line(words, number(value)),
    ];
  }

  /** The map that is read, with a frame where the window lies. */
  #thumbnail(stage, map, { at, step, kernel }) {
    const words = "The map that is read, its window framed";
    const canvas = h("canvas", { class: "coarse", role: "img", "aria-label": words });
    const frame = h("span", { class: "frame" });
    const place = ([height, width]) => {
      const sides = [kernel.length, kernel[0].length].map((n, i) => (n - 1) * step[i] + 1);
      frame.style.top = `${(100 * at[0]) / height}%`;
      frame.style.left = `${(100 * at[1]) / width}%`;
      frame.style.height = `${(100 * sides[0]) / height}%`;
      frame.style.width = `${(100 * sides[1]) / width}%`;
    };
    const { question, run } = this.teller;
    if (stage === "") {
      place([run.size, run.size]);
      picture(`images/${question.r}/${question.image}.png`)
        .then((bitmap) => {
          canvas.width = canvas.height = run.size;
          canvas.getContext("2d").drawImage(bitmap, 0, 0);
        })
        .catch(() => {}); // a picture less
    } else {
      const l = this.teller.index(stage);
      place(run.layers[l].shape.slice(1));
      this.teller.owner
        .sheet(question, l)
        .then((sheet) => sheet.draw(map, canvas))
        .catch(() => {});
    }
    return h("span", { class: "stack" }, canvas, frame);
  }
}
