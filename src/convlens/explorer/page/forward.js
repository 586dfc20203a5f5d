// A network in the browser: the steps that graph.py wrote, one after the other, on float32 arrays.
//
// A value is {data, shape}: (C, h, w) for maps, (F,) for features. Value 0 is the image, value i + 1
// what step i gives. A batch norm behind a convolution or a linear layer becomes part of it.

import { COLUMNS, multiplier, packed, ROWS } from "./kernel.js";

const BLOCK = 256; // pixels of a product, about: what it reads then stays in the cache
const LUMA = [0.299, 0.587, 0.114]; // as normalize.py

export class Forward {
  /** graph: {size, mean, std, steps}, of graph.py. tensor(number): a weight, {data, shape}. */
  constructor({ size, mean, std, steps }, tensor, product = multiplier()) {
    Object.assign(this, { size, mean, std, product });
    this.steps = folded(steps.map((step) => withTensors(step, tensor)));
    this.last = new Map(); // the last step that reads a value
    for (const [i, { inputs }] of this.steps.entries()) {
      for (const input of inputs) this.last.set(input, i);
    }
  }

  /** image: bytes, `channels` a pixel, of which the first three are R, G, B. What the network says,
   *  and the value of each stage by its number. */
  run(image, channels = 4) {
    const values = [this.normalized(image, channels)];
    const stages = [];
    for (const [i, step] of this.steps.entries()) {
      const inputs = step.inputs.map((input) => values[input]);
      values.push(OPERATIONS[step.op](step, inputs, this.product));
      if (step.stage !== undefined) stages[step.stage] = values[i + 1];
      for (const input of step.inputs) if (this.last.get(input) === i) values[input] = null;
    }
    return { logits: values.at(-1).data, stages };
  }

  normalized(image, channels) {
    const { size, mean, std } = this;
    const area = size * size;
    const data = new Float32Array(mean.length * area);
    for (const [color, average] of mean.entries()) {
      const scale = Math.fround(1 / (255 * std[color]));
      const shift = Math.fround(-average / std[color]);
      for (let pixel = 0; pixel < area; pixel += 1) {
        const at = pixel * channels;
        const value =
          mean.length === 1
            ? LUMA[0] * image[at] + LUMA[1] * image[at + 1] + LUMA[2] * image[at + 2]
            : image[at + color];
        data[color * area + pixel] = value * scale + shift;
      }
    }
    return { data, shape: [mean.length, size, size] };
  }
}

/** The shapes of a graph's values: of the image, and of what each step gives. */
export function shapesOf({ size, mean, steps }) {
  return [[mean.length, size, size], ...steps.map(({ shape }) => shape)];
}

/** Arrays of numbers behind one another. */
export function joined(arrays) {
  const result = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const array of arrays) {
    result.set(array, at);
    at += array.length;
  }
  return result;
}

function withTensors(step, tensor) {
  const found = ["weight", "bias", "scale", "shift"]
    .filter((name) => step[name] !== undefined && step[name] !== null)
    .map((name) => [name, tensor(step[name])]);
  return { ...step, ...Object.fromEntries(found) };
}

/** The steps with each batch norm in the layer before it, where nobody else reads that layer. */
function folded(steps) {
  const readers = new Map();
  for (const { inputs } of steps) {
    for (const input of inputs) readers.set(input, (readers.get(input) ?? 0) + 1);
  }
  return steps.map((step, i) => {
    const next = steps.find(({ op, inputs }) => op === "norm" && inputs[0] === i + 1);
    if (["convolution", "linear"].includes(step.op)) {
      const alone = next && step.stage === undefined && readers.get(i + 1) === 1;
      return prepared(step, alone ? next : null);
    }
    const before = steps[step.inputs[0] - 1];
    const taken =
      step.op === "norm"
      && ["convolution", "linear"].includes(before?.op)
      && before.stage === undefined
      && readers.get(step.inputs[0]) === 1;
    return taken ? { ...step, op: "same" } : step;
  });
}

function prepared(step, norm) {
  const rows = step.weight.shape[0];
  const inner = step.weight.data.length / rows;
  const weight = step.weight.data.slice();
  const bias = step.bias ? Float64Array.from(step.bias.data) : new Float64Array(rows);
  if (norm) {
    for (let row = 0; row < rows; row += 1) {
      const scale = norm.scale.data[row];
      for (let k = row * inner; k < (row + 1) * inner; k += 1) weight[k] *= scale;
      bias[row] = bias[row] * scale + norm.shift.data[row];
    }
  }
  if (step.op === "linear") return { ...step, folded: weight, bias, rows, inner };
  const each = rows / step.groups;
  const groups = Array.from({ length: step.groups }, (_, group) =>
    packed(weight.subarray(group * each * inner, (group + 1) * each * inner), each, inner),
  );
  return { ...step, groups, bias, rows: each, inner };
}

const OPERATIONS = {
  convolution,
  linear,
  same: (_, [input]) => input,
  reshape: ({ shape }, [{ data }]) => ({ data, shape }),
  join: (_, inputs) => {
    const data = joined(inputs.map((input) => input.data));
    const channels = inputs.reduce((sum, { shape }) => sum + shape[0], 0);
    return { data, shape: [channels, ...inputs[0].shape.slice(1)] };
  },
  relu: (_, [{ data, shape }]) => {
    const result = new Float32Array(data.length);
    for (let i = 0; i < data.length; i += 1) if (data[i] > 0) result[i] = data[i];
    return { data: result, shape };
  },
  sigmoid: (_, [input]) => each(input, (value) => 1 / (1 + Math.exp(-value))),
  norm: ({ scale, shift }, [input]) =>
    channelwise(input, (value, channel) => value * scale.data[channel] + shift.data[channel]),
  add: (_, [one, other]) => paired(one, other, (a, b) => a + b),
  multiply: (_, [one, other]) => paired(one, other, (a, b) => a * b),
  max: (step, [input]) => pooled(step, input, true),
  mean: (step, [input]) => pooled(step, input, false),
  "global mean": (_, [input]) => {
    const [channels, height, width] = input.shape;
    const data = new Float32Array(channels);
    for (let channel = 0; channel < channels; channel += 1) {
      let sum = 0;
      const end = (channel + 1) * height * width;
      for (let i = channel * height * width; i < end; i += 1) sum += input.data[i];
      data[channel] = sum / (height * width);
    }
    return { data, shape: [channels, 1, 1] };
  },
};

/** By the product of kernel.js, for a few rows of pixels at a time (im2col). */
function convolution(
  { kernel, stride, padding, dilation, groups, bias, rows, inner },
  [x],
  product,
) {
  const source = padded(x, padding);
  const [channels, high, wide] = source.shape;
  const [height, width] = [high, wide].map(
    (side, i) => Math.floor((side - dilation[i] * (kernel[i] - 1) - 1) / stride[i]) + 1,
  );
  const area = height * width;
  const data = new Float32Array(groups.length * rows * area);
  const lines = Math.max(1, Math.floor(BLOCK / width));
  const most = Math.ceil((lines * width) / COLUMNS) * COLUMNS;
  const all = Math.ceil(rows / ROWS) * ROWS;
  product.reserve(all * inner, inner * most, all * most);
  const each = channels / groups.length;
  for (const [group, weights] of groups.entries()) {
    product.weights.set(weights);
    for (let top = 0; top < height; top += lines) {
      const shown = Math.min(lines, height - top);
      const pixels = Math.ceil((shown * width) / COLUMNS) * COLUMNS;
      const { columns } = product;
      let at = 0;
      for (let c = group * each; c < (group + 1) * each; c += 1) {
        for (let ky = 0; ky < kernel[0]; ky += 1) {
          for (let kx = 0; kx < kernel[1]; kx += 1, at += pixels) {
            for (let line = 0; line < shown; line += 1) {
              const row = (top + line) * stride[0] + ky * dilation[0];
              const from = (c * high + row) * wide + kx * dilation[1];
              const to = at + line * width;
              for (let i = 0; i < width; i += 1)
                columns[to + i] = source.data[from + i * stride[1]];
            }
          }
        }
      }
      product.multiply(all, inner, pixels);
      for (let o = 0; o < rows; o += 1) {
        const channel = group * rows + o;
        const to = channel * area + top * width;
        const offset = bias[channel];
        for (let i = 0; i < shown * width; i += 1)
          data[to + i] = product.out[o * pixels + i] + offset;
      }
    }
  }
  return { data, shape: [groups.length * rows, height, width] };
}

function linear({ folded: weight, bias, rows, inner }, [{ data }]) {
  const result = new Float32Array(rows);
  for (let row = 0; row < rows; row += 1) {
    let sum = bias[row];
    for (let k = 0, w = row * inner; k < inner; k += 1, w += 1) sum += weight[w] * data[k];
    result[row] = sum;
  }
  return { data: result, shape: [rows] };
}

/** Each window's maximum or mean. What lies outside the map is never a maximum; in a mean it counts
 *  as a pixel of the window where `padded` says so, up to the edge of the padding. */
function pooled({ kernel, stride, padding, ceil, padded: counts }, { data, shape }, isMax) {
  const [channels, high, wide] = shape;
  const [height, width] = [high, wide].map((side, i) => outputs(side, i));
  const result = new Float32Array(channels * height * width);
  let at = 0;
  for (let channel = 0; channel < channels; channel += 1) {
    for (let y = 0; y < height; y += 1) {
      const [top, bottom, tall] = span(y, high, 0);
      for (let x = 0; x < width; x += 1, at += 1) {
        const [left, right, broad] = span(x, wide, 1);
        let found = isMax ? -Infinity : 0;
        for (let row = top; row < bottom; row += 1) {
          for (
            let i = (channel * high + row) * wide + left, end = i + right - left;
            i < end;
            i += 1
          ) {
            if (!isMax) found += data[i];
            else if (data[i] > found) found = data[i];
          }
        }
        const count = counts ? tall * broad : (bottom - top) * (right - left);
        result[at] = isMax ? found : found / count;
      }
    }
  }
  return { data: result, shape: [channels, height, width] };

  function outputs(side, i) {
    const room = side + 2 * padding[i] - kernel[i];
    const count = (ceil ? Math.ceil : Math.floor)(room / stride[i]) + 1;
    // a window that would begin beyond the map and its padding on the left is left out
    return ceil && (count - 1) * stride[i] >= side + padding[i] ? count - 1 : count;
  }

  /** Of a window: first and end pixel within the map, and its length with the padding. */
  function span(place, side, i) {
    const first = place * stride[i] - padding[i];
    const end = Math.min(first + kernel[i], side + padding[i]);
    return [Math.max(first, 0), Math.min(end, side), end - first];
  }
}

function padded({ data, shape }, [down, across]) {
  if (!down && !across) return { data, shape };
  const [channels, height, width] = shape;
  const [high, wide] = [height + 2 * down, width + 2 * across];
  const result = new Float32Array(channels * high * wide);
  for (let channel = 0; channel < channels; channel += 1) {
    for (let row = 0; row < height; row += 1) {
      const from = (channel * height + row) * width;
      const to = (channel * high + row + down) * wide + across;
      result.set(data.subarray(from, from + width), to);
    }
  }
  return { data: result, shape: [channels, high, wide] };
}

function each({ data, shape }, change) {
  const result = new Float32Array(data.length);
  for (let i = 0; i < data.length; i += 1) result[i] = change(data[i]);
  return { data: result, shape };
}

function channelwise({ data, shape }, change) {
  const result = new Float32Array(data.length);
  const area = data.length / shape[0];
  for (let i = 0; i < data.length; i += 1) result[i] = change(data[i], Math.floor(i / area));
  return { data: result, shape };
}

/** Value by value; of (C, 1, 1) and (C, h, w) the small one holds for the whole map. */
function paired(one, other, change) {
  if (one.data.length < other.data.length) return paired(other, one, (a, b) => change(b, a));
  if (one.data.length === other.data.length) {
    const result = new Float32Array(one.data.length);
    for (let i = 0; i < result.length; i += 1) result[i] = change(one.data[i], other.data[i]);
    return { data: result, shape: one.shape };
  }
  return channelwise(one, (value, channel) => change(value, other.data[channel]));
}
