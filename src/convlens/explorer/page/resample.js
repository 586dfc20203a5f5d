// From a picture of any shape to the square that a network is given, as decode.py makes it:
// Pillow's bicubic filter, whose support grows with the scale, so that a smaller picture is a mean.

const SHARPNESS = -0.5; // of the cubic
const SUPPORT = 2; // pixels of it on either side
const GRAY = 128; // of what is padded

/** image: {data: RGBA bytes, width, height}. fit: "squash", "crop" or "pad". RGBA bytes. */
export function square(image, size, fit) {
  const { width, height } = image;
  if (width === size && height === size) return image.data;
  if (fit === "crop") {
    const side = Math.min(width, height);
    return resized(cut(image, half(width - side), half(height - side), side), size, size).data;
  }
  if (fit === "pad" && width !== height) {
    const longer = Math.max(width, height);
    const inner = [width, height].map((side) => Math.max(1, evenly((size * side) / longer)));
    const small = resized(image, ...inner);
    const data = new Uint8ClampedArray(4 * size * size).fill(GRAY);
    for (let i = 3; i < data.length; i += 4) data[i] = 255;
    const [left, top] = inner.map((side) => half(size - side));
    for (let row = 0; row < inner[1]; row += 1) {
      const from = 4 * row * inner[0];
      data.set(small.data.subarray(from, from + 4 * inner[0]), 4 * ((top + row) * size + left));
    }
    return data;
  }
  return resized(image, size, size).data;
}

/** The middle square of a square: RGBA bytes of `side` pixels, of which `size` are left. */
export function middle(data, side, size) {
  if (side === size) return data;
  const start = half(side - size);
  return cut({ data, width: side, height: side }, start, start, size).data;
}

function half(value) {
  return Math.floor(value / 2);
}

/** Python rounds halves to the even number. */
function evenly(value) {
  return value % 1 === 0.5 ? 2 * Math.round(value / 2) : Math.round(value);
}

function cut({ data, width }, left, top, side) {
  const result = new Uint8ClampedArray(4 * side * side);
  for (let row = 0; row < side; row += 1) {
    const from = 4 * ((top + row) * width + left);
    result.set(data.subarray(from, from + 4 * side), 4 * row * side);
  }
  return { data: result, width: side, height: side };
}

/** Rows first, then columns; whole numbers in between, as in Pillow. */
function resized({ data, width, height }, wide, high) {
  const across = new Uint8ClampedArray(4 * wide * height);
  blend(data, across, weights(width, wide), {
    count: height,
    from: [4, 4 * width],
    to: [4, 4 * wide],
  });
  const result = new Uint8ClampedArray(4 * wide * high);
  const row = 4 * wide;
  blend(across, result, weights(height, high), { count: wide, from: [row, 4], to: [row, 4] });
  return { data: result, width: wide, height: high };
}

/** Each output is a weighed sum of inputs along a line; `count` lines lie side by side. */
function blend(data, result, along, { count, from, to }) {
  for (let line = 0; line < count; line += 1) {
    for (const [place, { first, shares }] of along.entries()) {
      for (let color = 0; color < 4; color += 1) {
        let sum = 0;
        let at = line * from[1] + first * from[0] + color;
        for (let i = 0; i < shares.length; i += 1, at += from[0]) sum += shares[i] * data[at];
        result[line * to[1] + place * to[0] + color] = Math.floor(sum + 0.5);
      }
    }
  }
}

/** For each of `size` outputs the first input that it reads, and what each of them counts. */
function weights(length, size) {
  const scale = length / size;
  const stretch = Math.max(scale, 1);
  return Array.from({ length: size }, (_, place) => {
    const center = (place + 0.5) * scale;
    const first = Math.max(Math.floor(center - SUPPORT * stretch + 0.5), 0);
    const end = Math.min(Math.floor(center + SUPPORT * stretch + 0.5), length);
    const shares = Array.from({ length: end - first }, (_, i) =>
      cubic((first + i - center + 0.5) / stretch),
    );
    const sum = shares.reduce((total, share) => total + share, 0);
    return { first, shares: shares.map((share) => share / sum) };
  });
}

function cubic(value) {
  const x = Math.abs(value);
  if (x < 1) return ((SHARPNESS + 2) * x - (SHARPNESS + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * SHARPNESS;
  return 0;
}
