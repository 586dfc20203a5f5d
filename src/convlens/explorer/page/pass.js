// What is shown of a pass over one image: the same numbers and pictures as answers.py gives.

const PERCENTILE = 99.5; // as pictures.py
const DIGITS = 4;

/** A number as short as `pictures.short` has it; null for what JSON has no word for. */
export function short(value, digits = DIGITS) {
  return Number.isFinite(value) ? Number(value.toPrecision(digits)) : null;
}

/** The softmax of logits over a temperature. */
export function probabilities(logits, temperature) {
  const most = Math.max(...logits);
  const shares = Array.from(logits, (logit) => Math.exp((logit - most) / temperature));
  const sum = shares.reduce((total, share) => total + share, 0);
  return shares.map((share) => share / sum);
}

/** Of a stage's maps, {data, shape}; the strongest has the largest maximum. */
export function statistics({ data, shape }) {
  const count = shape[0];
  const area = data.length / count;
  const [mean, max, active] = [[], [], []];
  for (let map = 0; map < count; map += 1) {
    let [sum, most, positive] = [0, -Infinity, 0];
    for (let i = map * area; i < (map + 1) * area; i += 1) {
      sum += data[i];
      if (data[i] > most) most = data[i];
      if (data[i] > 0) positive += 1;
    }
    mean.push(short(sum / area));
    max.push(most);
    active.push(short(positive / area));
  }
  const order = max.map((_, map) => map).sort((a, b) => max[b] - max[a] || a - b);
  return {
    columns: Math.ceil(Math.sqrt(count)),
    scale: short(scaleOf(data)),
    mean,
    max: max.map((value) => short(value)),
    active,
    order,
  };
}

/** What is drawn white: a high percentile, else the maximum, else 1. */
export function scaleOf(data) {
  const finite = data.every(Number.isFinite) ? data : data.filter(Number.isFinite);
  if (!finite.length) return 1;
  const place = ((finite.length - 1) * PERCENTILE) / 100;
  const low = Math.floor(place);
  const top = largest(finite, finite.length - low);
  const percentile = top[0] + ((top[1] ?? top[0]) - top[0]) * (place - low);
  return [percentile, top.at(-1)].find((value) => value > 0) ?? 1;
}

/** The `count` largest values, in order. Sorting all would take longer than the network does: they
 *  are counted by the upper half of their bits, which are in the order of positive numbers. */
function largest(data, count) {
  const bits = new Int32Array(data.buffer, data.byteOffset, data.length);
  const counts = new Uint32Array(2 ** 15);
  let positive = 0;
  for (let i = 0; i < bits.length; i += 1) {
    if (bits[i] <= 0) continue;
    counts[bits[i] >>> 16] += 1;
    positive += 1;
  }
  if (positive < count)
    return data
      .slice()
      .sort()
      .subarray(data.length - count);
  let bucket = counts.length;
  for (let left = count; left > 0; left -= counts[bucket]) bucket -= 1;
  const least = bucket << 16;
  return data
    .filter((_, i) => bits[i] >= least)
    .sort()
    .slice(-count);
}

/** All maps of a stage in one gray picture: {pixels: RGBA, width, height}. */
export function sprite({ data, shape: [count, high = 1, wide = 1] }, scale) {
  const columns = Math.ceil(Math.sqrt(count));
  const [width, height] = [columns * wide, Math.ceil(count / columns) * high];
  const pixels = new Uint8ClampedArray(4 * width * height);
  for (let i = 3; i < pixels.length; i += 4) pixels[i] = 255;
  for (let map = 0; map < count; map += 1) {
    const [left, top] = [(map % columns) * wide, Math.floor(map / columns) * high];
    for (let row = 0; row < high; row += 1) {
      for (let column = 0; column < wide; column += 1) {
        const value = data[(map * high + row) * wide + column];
        const to = 4 * ((top + row) * width + left + column);
        pixels.fill(Math.floor(Math.min(Math.max((value * 255) / scale, 0), 255)), to, to + 3);
      }
    }
  }
  return { pixels, width, height };
}

const INPUTS = 9; // maps whose filters are shown of one that reads hundreds, as network.py

/** The weights that make a map of a convolution, strongest inputs first; of the colors in order. */
export function filters({ data, shape: [rows, inputs, high, wide] }, groups, map) {
  const area = high * wide;
  const first = Math.floor(map / (rows / groups)) * inputs;
  const kernels = Array.from({ length: inputs }, (_, i) => {
    const start = (map * inputs + i) * area;
    return data.subarray(start, start + area);
  });
  const norm = (kernel) => kernel.reduce((sum, weight) => sum + weight * weight, 0);
  const norms = kernels.map(norm);
  let order = kernels.map((_, i) => i);
  if (inputs !== 3) order = order.sort((a, b) => norms[b] - norms[a] || a - b).slice(0, INPUTS);
  return order.map((i) => ({
    map: first + i,
    weights: Array.from({ length: high }, (_, y) =>
      Array.from(kernels[i].subarray(y * wide, (y + 1) * wide), (weight) => short(weight)),
    ),
  }));
}
