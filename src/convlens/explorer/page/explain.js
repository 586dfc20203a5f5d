// The sum behind a unit, in the browser: the same terms as look/arrays/sums.py tells, from the steps
// of graph.py and the numbers of a pass.
//
// A way back from a unit ends at the numbers of the stages before it and at the image; what lies
// between is computed anew, in double precision.

import { shapesOf } from "./forward.js";
import { short } from "./pass.js";

const DIGITS = 7; // what float32 knows
const SHOWN = 9; // input maps of a convolution that are told, as sums.py
const FEATURES = 10; // of a linear layer's inputs, those that add most
const RIVALS = 10; // classes that are told beside one
const FUNCTIONS = { relu: ["ReLU", (x) => Math.max(x, 0)], sigmoid: ["sigmoid", sigmoid] };

/** graph: {size, mean, steps} of graph.py; tensor(number): {data, shape}; names: of the stages;
 *  image: the normalized one, and stages: values of a pass, each {data}. unit: [map, row, column],
 *  or [feature]. */
export function explain({ graph, tensor, names, image, stages }, stage, unit) {
  const way = new Way(graph, tensor, names, [image, ...stages]);
  const step = graph.steps.findIndex((each) => each.stage === stage);
  return shortened(way.term(step + 1, unit, true));
}

/** How logits become the probability of a class, as units.py tells it. */
export function explainSoftmax(logits, temperature, share, chosen) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp((logit - largest) / temperature));
  const order = [...logits.keys()].sort((a, b) => logits[b] - logits[a] || a - b);
  return shortened({
    kind: "softmax",
    class: chosen,
    logit: logits[chosen],
    largest,
    temperature,
    power: powers[chosen],
    total: powers.reduce((sum, power) => sum + power, 0),
    value: share,
    inputs: order.slice(0, RIVALS).map((c) => ({ class: c, logit: logits[c], power: powers[c] })),
  });
}

class Way {
  constructor(graph, tensor, names, [image, ...stages]) {
    Object.assign(this, { steps: graph.steps, tensor, names, image, stages });
    this.shapes = shapesOf(graph);
    this.between = new Map(); // terms of what is no stage's, by value and place
  }

  /** The number at `index` of a value, 0 the image, i + 1 what step i gives. */
  number(value, index) {
    const known = this.#known(value);
    if (known) return known.data[flat(index, this.shapes[value])];
    const key = `${value}:${index}`;
    if (!this.between.has(key)) this.between.set(key, this.term(value, index).value);
    return this.between.get(key);
  }

  #known(value) {
    return value ? this.stages[this.steps[value - 1].stage] : this.image;
  }

  term(value, index, isFirst = false) {
    const step = this.steps[value - 1];
    if (!isFirst && this.#known(value)) {
      const stage = value ? this.names[step.stage] : "";
      return { kind: "value", value: this.number(value, index), stage, unit: index };
    }
    const source = this.#moved(step, index);
    if (source) return this.term(...source);
    const told = TOLD[step.op](this, step, index);
    return isFirst ? { ...told, value: this.number(value, index) } : told;
  }

  /** Where a step that computes nothing has its number from; else null. */
  #moved({ op, inputs, shape }, index) {
    if (op === "reshape") {
      const [input] = inputs;
      return [input, unflat(flat(index, shape), this.shapes[input])];
    }
    if (op !== "join") return null;
    let [channel, ...place] = index;
    for (const input of inputs) {
      const [count] = this.shapes[input];
      if (channel < count) return [input, [channel, ...place]];
      channel -= count;
    }
    return null;
  }

  /** The known stage whose number this is, and its unit; nothing where it is none's. */
  origin(value, index) {
    if (this.#known(value)) {
      const stage = value ? this.names[this.steps[value - 1].stage] : "";
      return { stage, unit: index };
    }
    const source = this.#moved(this.steps[value - 1], index);
    return source ? this.origin(...source) : {};
  }

  /** As `origin`, of a channel. */
  mapOf(value, channel) {
    const { stage, unit } = this.origin(value, [channel, 0, 0]);
    return stage === undefined ? {} : { stage, map: unit[0] };
  }

  /** Of a channel the numbers from row and column `at` on, `apart` from one another. */
  window(value, channel, at, kernel, apart, beyond) {
    const [, ...sides] = this.shapes[value];
    return range(kernel[0], (i) =>
      range(kernel[1], (j) => {
        const place = [at[0] + i * apart[0], at[1] + j * apart[1]];
        const isInside = place.every((p, k) => p >= 0 && p < sides[k]);
        return isInside ? this.number(value, [channel, ...place]) : beyond;
      }),
    );
  }
}

const TOLD = {
  convolution(way, step, [chosen, ...place]) {
    const { inputs, kernel, stride, padding, dilation, groups, layer } = step;
    const { data, shape } = way.tensor(step.weight);
    const [rows, channels] = shape;
    const area = kernel[0] * kernel[1];
    const at = place.map((p, i) => p * stride[i] - padding[i]);
    const begin = Math.floor(chosen / (rows / groups)) * channels;
    const all = range(channels, (c) => {
      const start = (chosen * channels + c) * area;
      const weights = range(kernel[0], (i) =>
        Array.from(data.subarray(start + i * kernel[1], start + (i + 1) * kernel[1])),
      );
      const window = way.window(inputs[0], begin + c, at, kernel, dilation, 0);
      const sum = total(window.flatMap((line, i) => line.map((x, j) => x * weights[i][j])));
      return { channel: begin + c, window, kernel: weights, sum };
    });
    const sums = all.map(({ sum }) => sum);
    const bias = biasOf(way, step, chosen);
    return {
      kind: "convolution",
      value: total(sums) + (bias ?? 0),
      layer,
      bias,
      sums,
      inputs: (channels > SHOWN ? strongest(all, ({ sum }) => sum).slice(0, SHOWN) : all).map(
        (each) => ({
          ...each,
          ...way.mapOf(inputs[0], each.channel),
        }),
      ),
      at,
      step: dilation,
    };
  },

  linear(way, step, [chosen]) {
    const [input] = step.inputs;
    const { data, shape } = way.tensor(step.weight);
    const count = shape[1];
    const all = range(count, (feature) => {
      const value = way.number(input, [feature]);
      const weight = data[chosen * count + feature];
      return { feature, value, weight, product: value * weight };
    });
    const shown = strongest(all, ({ product }) => product).slice(0, FEATURES);
    const sum = total(all.map(({ product }) => product));
    const bias = biasOf(way, step, chosen);
    return {
      kind: "linear",
      value: sum + (bias ?? 0),
      layer: step.layer,
      bias,
      inputs: shown.map((each) => ({ ...each, ...way.origin(input, [each.feature]) })),
      others: count - shown.length,
      rest: sum - total(shown.map(({ product }) => product)),
    };
  },

  max: (way, step, index) => pooled(way, step, index, "maximum"),
  mean: (way, step, index) => pooled(way, step, index, "average"),

  "global mean": (way, { inputs: [input] }, [map]) => {
    const [, ...kernel] = way.shapes[input];
    const window = way.window(input, map, [0, 0], kernel, [1, 1], null);
    const count = kernel[0] * kernel[1];
    const value = total(window.flat()) / count;
    return { kind: "average", value, window, at: [0, 0], ...way.mapOf(input, map), count };
  },

  norm(way, { layer, about, inputs }, index) {
    const [mean, variance, weight, bias] = ["mean", "variance", "weight", "bias"].map(
      (name) => way.tensor(about[name]).data[index[0]],
    );
    const part = way.term(inputs[0], index);
    const value = ((part.value - mean) / Math.sqrt(variance + about.eps)) * weight + bias;
    return {
      kind: "norm",
      value,
      layer,
      eps: about.eps,
      mean,
      variance,
      weight,
      bias,
      parts: [part],
    };
  },

  relu: ofOne,
  sigmoid: ofOne,
  add: (way, step, index) => ofTwo(way, step, index, "sum", (a, b) => a + b),
  multiply: (way, step, index) => ofTwo(way, step, index, "product", (a, b) => a * b),
};

function pooled(way, { inputs, kernel, stride, padding, padded }, [map, ...place], kind) {
  const [input] = inputs;
  const [, ...sides] = way.shapes[input];
  const at = place.map((p, i) => p * stride[i] - padding[i]);
  const window = way.window(input, map, at, kernel, [1, 1], null);
  const there = window.flat().filter((each) => each !== null);
  const told = { window, at, ...way.mapOf(input, map) };
  if (kind === "maximum") return { kind, value: Math.max(...there), ...told };
  // What a window overhangs the padding by never counts.
  const spans = at.map((a, i) => Math.min(a + kernel[i], sides[i] + padding[i]) - a);
  const count = padded ? spans[0] * spans[1] : there.length;
  return { kind, value: total(there) / count, ...told, count };
}

function ofOne(way, { op, inputs }, index) {
  const [name, change] = FUNCTIONS[op];
  const part = way.term(inputs[0], index);
  return { kind: "function", value: change(part.value), name, parts: [part] };
}

/** Of a side of 1 the one number counts for all places. */
function ofTwo(way, { inputs }, index, kind, join) {
  const parts = inputs.map((input) =>
    way.term(
      input,
      way.shapes[input].map((side, i) => (side > 1 ? index[i] : 0)),
    ),
  );
  return { kind, value: parts.map(({ value }) => value).reduce(join), parts };
}

function biasOf(way, { bias }, chosen) {
  return bias === null || bias === undefined ? null : way.tensor(bias).data[chosen];
}

/** The largest first, whatever their sign. */
function strongest(all, of) {
  return [...all].sort((a, b) => Math.abs(of(b)) - Math.abs(of(a)));
}

function flat(index, shape) {
  return shape.reduce((at, side, i) => at * side + (index[i] ?? 0), 0);
}

function unflat(at, shape) {
  const index = [];
  for (const side of [...shape].reverse()) {
    index.unshift(at % side);
    at = Math.floor(at / side);
  }
  return index;
}

function range(count, make) {
  return Array.from({ length: count }, (_, i) => make(i));
}

function total(numbers) {
  return numbers.reduce((sum, each) => sum + each, 0);
}

function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}

/** All numbers with as many digits as they have. */
function shortened(content) {
  if (typeof content === "number") return short(content, DIGITS);
  if (Array.isArray(content)) return content.map(shortened);
  if (content === null || typeof content !== "object") return content;
  return Object.fromEntries(Object.entries(content).map(([name, each]) => [name, shortened(each)]));
}
