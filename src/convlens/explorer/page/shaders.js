// The steps of forward.js as WebGPU computes them: of each its shader, and what that is told.
//
// A description is {shader, weights, told, across}: weights are arrays that lie on the card beside
// the values that the step reads, told goes into the fields of `Step`, and across is the number of
// workgroups in each direction.

import { joined } from "./forward.js";
import { packed, ROWS } from "./kernel.js";

const PIXELS = 4; // of a thread of a convolution, each with ROWS outputs: both fill a vec4
const [ACROSS, DOWN] = [16, 4]; // threads of its workgroup: over pixels, over outputs
const GROUP = 64; // threads of any other workgroup

// Pairs are (down, across).
const FIELDS = ["given", "made", "kernel", "stride", "padding", "dilation", "maps", "rest"];
const ONE = { kernel: [1, 1], stride: [1, 1], padding: [0, 0], dilation: [1, 1] };

/** What each step of the graph is; step: as forward.js has prepared it. given: the shapes of what
 *  it reads. made: the shape of what comes of it. */
export const DESCRIPTIONS = {
  convolution: (step, [[channels, ...given]], [, ...made]) => {
    const { groups, bias, rows } = step;
    const blocks = groups.length * Math.ceil(rows / ROWS);
    const maps = [channels / groups.length, rows];
    return {
      shader: CONVOLUTION,
      weights: [joined(groups), Float32Array.from(bias)],
      told: { ...step, given, made, maps, rest: [blocks, 0] },
      across: [Math.ceil(size(made) / (ACROSS * PIXELS)), Math.ceil(blocks / DOWN)],
    };
  },
  // of maps of one pixel
  linear: ({ folded, bias, rows, inner }) => {
    const step = { ...ONE, groups: [packed(folded, rows, inner)], bias, rows };
    return DESCRIPTIONS.convolution(step, [[inner, 1, 1]], [rows, 1, 1]);
  },
  relu: (_, __, made) => byValue("max(a[i], 0.0)", made),
  sigmoid: (_, __, made) => byValue("1.0 / (1.0 + exp(-a[i]))", made),
  norm: ({ scale, shift }, _, made) =>
    byValue("a[i] * b[j] + c[j]", made, [scale.data, shift.data], made[0]),
  add: (_, given, made) => byValue("a[i] + b[j]", made, [], smaller(given)),
  multiply: (_, given, made) => byValue("a[i] * b[j]", made, [], smaller(given)),
  max: (step, given, made) => pooled(step, given, made, true),
  mean: (step, given, made) => pooled(step, given, made, false),
  // a window as large as the map; torch may call what comes of it a feature
  "global mean": (_, [given]) =>
    pooled({ ...ONE, kernel: given.slice(1) }, [given], [given[0], 1, 1], false),
};

/** `Step` as it lies in memory. */
export function written(told) {
  return Int32Array.from(FIELDS.flatMap((field) => told[field] ?? [1, 1]));
}

/** others: how many numbers b and c have, each of which holds for as many of a. */
function byValue(expression, made, weights = [], others = size(made)) {
  const count = size(made);
  const names = ["a", "b", "c"].filter((name) => expression.includes(`${name}[`));
  const body = `
    let j = i / told.rest.y;
    out[i] = ${expression};`;
  return single(valued(names, body), count, { rest: [count, count / others] }, weights);
}

function pooled(step, [[, ...given]], made, isMax) {
  const shader = valued(
    ["a"],
    `
    let place = vec2i(i / told.made.y % told.made.x, i % told.made.y);
    let first = place * told.stride - told.padding;
    let end = min(first + told.kernel, told.given + told.padding);
    let low = max(first, vec2i(0));
    let high = min(end, told.given);
    let map = i / (told.made.x * told.made.y);
    var found = ${isMax ? "-3.4028234e38" : "0.0"};
    for (var row = low.x; row < high.x; row++) {
      for (var column = low.y; column < high.y; column++) {
        let value = a[(map * told.given.x + row) * told.given.y + column];
        found = ${isMax ? "max(found, value)" : "found + value"};
      }
    }
    let sides = select(high - low, end - first, told.rest.y == 1);
    out[i] = ${isMax ? "found" : "found / f32(sides.x * sides.y)"};`,
  );
  const rest = [size(made), step.padded ? 1 : 0];
  return single(shader, size(made), { ...step, given, made: made.slice(1), rest });
}

function single(shader, count, told, weights = []) {
  return { shader, weights, told, across: [Math.ceil(count / GROUP)] };
}

/** A thread a value: the i-th. */
function valued(names, body) {
  return `${declared(names)}
  @compute @workgroup_size(${GROUP})
  fn main(@builtin(global_invocation_id) thread: vec3u) {
    let i = i32(thread.x);
    if (i >= told.rest.x) { return; }
    ${body}
  }`;
}

function declared(names) {
  const arrays = names.map((name, i) => {
    const type = name === "weights" ? "vec4f" : "f32";
    return `@group(0) @binding(${i + 2}) var<storage, read> ${name}: array<${type}>;`;
  });
  return `
  struct Step { ${FIELDS.map((field) => `${field}: vec2i`).join(", ")} }
  @group(0) @binding(0) var<uniform> told: Step;
  @group(0) @binding(1) var<storage, read_write> out: array<f32>;
  ${arrays.join("\n  ")}`;
}

// The four outputs of a thread are those that `packed` has laid beside each other. Neighboring
// threads read neighboring pixels, so that a thread's own lie ACROSS pixels apart. All places in
// `sums` are written out: by a variable one, it would be memory instead of registers.
const four = (text) => Array.from({ length: 4 }, (_, i) => text(i));
const CONVOLUTION = `${declared(["a", "weights", "bias"])}
  @compute @workgroup_size(${ACROSS}, ${DOWN})
  fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) thread: vec3u) {
    let pixel = i32(group.x * ${ACROSS * PIXELS} + thread.x) + ${ACROSS} * vec4i(0, 1, 2, 3);
    let block = i32(group.y * ${DOWN} + thread.y);
    let area = told.made.x * told.made.y;
    if (pixel.x >= area || block >= told.rest.x) { return; }
    let blocks = (told.maps.y + ${ROWS - 1}) / ${ROWS}; // of a group of maps
    let first = block / blocks * told.maps.x;
    let top = pixel / told.made.y * told.stride.x - told.padding.x;
    let left = pixel % told.made.y * told.stride.y - told.padding.y;
    var sums: array<vec4f, ${PIXELS}>;
    var w = block * told.maps.x * told.kernel.x * told.kernel.y;
    for (var map = first; map < first + told.maps.x; map++) {
      for (var y = 0; y < told.kernel.x; y++) {
        let row = top + y * told.dilation.x;
        let start = (map * told.given.x + row) * told.given.y;
        for (var x = 0; x < told.kernel.y; x++) {
          let column = left + x * told.dilation.y;
          let inside = (row >= vec4i(0)) & (row < vec4i(told.given.x))
            & (column >= vec4i(0)) & (column < vec4i(told.given.y));
          let at = select(vec4i(0), start + column, inside);
          let read = vec4f(${four((i) => `a[at[${i}]]`)});
          let value = select(vec4f(0), read, inside);
          let weight = weights[w];
          ${four((i) => `sums[${i}] += value[${i}] * weight;`).join(" ")}
          w++;
        }
      }
    }
    let row = block % blocks * ${ROWS};
    let output = block / blocks * told.maps.y + row;
    ${four((o) => four((i) => stored(o, i)).join("\n    ")).join("\n    ")}
  }`;

/** Of a thread's sums the one of its o-th output at its i-th pixel, where there are as many. */
function stored(o, i) {
  return `if (row + ${o} < told.maps.y && pixel[${i}] < area) {
      out[(output + ${o}) * area + pixel[${i}]] = sums[${i}][${o}] + bias[output + ${o}];
    }`;
}

function smaller(shapes) {
  return Math.min(...shapes.map(size));
}

/** How many numbers a value has. */
export function size(shape) {
  return shape.reduce((product, side) => product * side, 1);
}
