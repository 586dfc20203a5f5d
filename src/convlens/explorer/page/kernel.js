// The one product that a network's time goes into, as WebAssembly of four lanes where there is any.
//
//   out (O, P) = weights (O, K) · columns (K, P),  all float32
//
// O is a multiple of ROWS and P of COLUMNS; the weights lie as `packed` leaves them. The module is
// written out below, instruction by instruction, and is some 300 bytes: a build step or a binary in
// the repository would be more to read than it is.

export const ROWS = 4; // outputs at once
export const COLUMNS = 8; // pixels at once
const PAGE = 65536; // bytes of WebAssembly's memory

/** (O, K) as the product reads it: the rows in groups of ROWS, zeros below the last, k by k. */
export function packed(weights, rows, inner) {
  const result = new Float32Array(Math.ceil(rows / ROWS) * ROWS * inner);
  for (let row = 0; row < rows; row += 1) {
    const start = (row - (row % ROWS)) * inner + (row % ROWS);
    for (let k = 0; k < inner; k += 1) result[start + k * ROWS] = weights[row * inner + k];
  }
  return result;
}

/** Something that multiplies: `lanes` says how; `reserve`, then fill, then `multiply`. */
export function multiplier() {
  return lanes() ?? new Plain();
}

/** The same in JavaScript: six times as slow, for browsers without it and to compare with. */
export class Plain {
  lanes = false;

  /** Arrays for the weights, the columns and the result, whose former content is gone. */
  reserve(weights, columns, out) {
    if (!(this.weights?.length >= weights)) this.weights = new Float32Array(weights);
    if (!(this.columns?.length >= columns)) this.columns = new Float32Array(columns);
    if (!(this.out?.length >= out)) this.out = new Float32Array(out);
    return this;
  }

  multiply(rows, inner, pixels) {
    const { weights, columns, out } = this;
    for (let o = 0; o < rows; o += ROWS) {
      for (let p = 0; p < pixels; p += 2) {
        let [a, b, c, d] = [0, 0, 0, 0];
        let [e, f, g, h] = [0, 0, 0, 0];
        let w = o * inner;
        for (let k = p; k < inner * pixels; k += pixels, w += ROWS) {
          const [x, y] = [columns[k], columns[k + 1]];
          a += weights[w] * x;
          b += weights[w] * y;
          c += weights[w + 1] * x;
          d += weights[w + 1] * y;
          e += weights[w + 2] * x;
          f += weights[w + 2] * y;
          g += weights[w + 3] * x;
          h += weights[w + 3] * y;
        }
        const at = o * pixels + p;
        out[at] = a;
        out[at + 1] = b;
        out[at + pixels] = c;
        out[at + pixels + 1] = d;
        out[at + 2 * pixels] = e;
        out[at + 2 * pixels + 1] = f;
        out[at + 3 * pixels] = g;
        out[at + 3 * pixels + 1] = h;
      }
    }
  }
}

class Lanes {
  lanes = true;

  constructor(module) {
    this.memory = new WebAssembly.Memory({ initial: 1 });
    this.product = new WebAssembly.Instance(module, { m: { m: this.memory } }).exports.p;
  }

  reserve(weights, columns, out) {
    const bytes = 4 * (weights + columns + out);
    const missing = Math.ceil((bytes - this.memory.buffer.byteLength) / PAGE);
    if (missing > 0) this.memory.grow(missing);
    const { buffer } = this.memory; // another one once it has grown
    this.weights = new Float32Array(buffer, 0, weights);
    this.columns = new Float32Array(buffer, 4 * weights, columns);
    this.out = new Float32Array(buffer, 4 * (weights + columns), out);
    return this;
  }

  multiply(rows, inner, pixels) {
    const { weights, columns, out } = this;
    const starts = [weights, columns, out].map(({ byteOffset }) => byteOffset);
    this.product(...starts, rows, inner, 4 * pixels);
  }
}

function lanes() {
  try {
    return new Lanes(new WebAssembly.Module(assembled()));
  } catch {
    return null; // no WebAssembly, no lanes, or a page that may not have it
  }
}

/** The module: p(weights, columns, out, O, K, bytes of a row of pixels). */
function assembled() {
  const [I32, V128] = [0x7f, 0x7b];
  const [weights, columns, out, o, inner, row, p, k, w, c] = Array(10).keys(); // six are given
  const [x, y, s, first] = [10, 11, 12, 13]; // then the sums: ROWS × 2
  const get = (local) => [0x20, local];
  const set = (local) => [0x21, local];
  const number = (value) => [0x41, ...signed(value)];
  const add = 0x6a;
  const [multiply, subtract, less, greater] = [0x6c, 0x6b, 0x49, 0x4a];
  const advance = (local, ...by) => [...get(local), ...by, add, ...set(local)];
  const loop = (...body) => [0x03, 0x40, ...body.flat(), 0x0b];
  const again = (...condition) => [...condition.flat(), 0x0d, 0];
  const load = (local, at) => [...get(local), 0xfd, 0x00, 2, at];
  const splat = (local, at) => [...get(local), 0xfd, 0x09, 2, at];
  const zero = [0xfd, 0x0c, ...Array(16).fill(0)];
  const [plus, times] = [
    [0xfd, 0xe4, 0x01],
    [0xfd, 0xe6, 0x01],
  ];
  const four = [0, 1, 2, 3];
  const accumulate = (sum, value) => [
    ...get(sum),
    ...get(s),
    ...get(value),
    ...times,
    ...plus,
    ...set(sum),
  ];
  const sums = four.flatMap((i) => [
    ...splat(w, 4 * i),
    ...set(s),
    ...accumulate(first + 2 * i, x),
    ...accumulate(first + 2 * i + 1, y),
  ]);
  const store = (local, at) => [...get(c), ...get(local), 0xfd, 0x0b, 2, at];
  const body = [
    ...loop(
      [...number(0), ...set(p)],
      loop(
        four.flatMap((i) => [...zero, ...set(first + 2 * i), ...zero, ...set(first + 2 * i + 1)]),
        [...get(columns), ...get(p), add, ...set(c)],
        [...get(weights), ...set(w), ...get(inner), ...set(k)],
        loop(
          [...load(c, 0), ...set(x), ...load(c, 16), ...set(y)],
          sums,
          advance(w, ...number(16)),
          advance(c, ...get(row)),
          again([...get(k), ...number(1), subtract, ...set(k), ...get(k)]),
        ),
        [...get(out), ...get(p), add, ...set(c)],
        four.flatMap((i) => [
          ...store(first + 2 * i, 0),
          ...store(first + 2 * i + 1, 16),
          ...advance(c, ...get(row)),
        ]),
        advance(p, ...number(32)),
        again([...get(p), ...get(row), less]),
      ),
      advance(weights, ...get(inner), ...number(16), multiply),
      advance(out, ...get(row), ...number(4), multiply),
      again([...get(o), ...number(4), subtract, ...set(o), ...get(o), ...number(0), greater]),
    ),
    0x0b,
  ];
  const locals = [2, 4, I32, 11, V128]; // p k w c, then x y s and the sums
  const code = [...locals, ...body];
  const section = (id, ...bytes) => [id, ...unsigned(bytes.length), ...bytes];
  return new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, 1, 0x60, 6, ...Array(6).fill(I32), 0), // a type: six numbers, nothing back
    ...section(2, 1, 1, 0x6d, 1, 0x6d, 2, 0, 1), // memory "m" of "m"
    ...section(3, 1, 0),
    ...section(7, 1, 1, 0x70, 0, 0), // function "p"
    ...section(10, 1, ...unsigned(code.length), ...code),
  ]);
}

function unsigned(value) {
  return value < 128 ? [value] : [(value & 127) | 128, ...unsigned(value >>> 7)];
}

/** A number from 0 to 63 and no other is its own byte in signed LEB128. */
function signed(value) {
  if (value < 0 || value > 63) throw new RangeError("the assembler writes small numbers only");
  return [value];
}
