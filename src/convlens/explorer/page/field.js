// From a unit of a map to the pixels it sees, by the layer's geometry in site.json.

/** Whether a layer gives maps; else it gives single numbers, each of which sees the whole image. */
export function hasMaps({ field, shape }) {
  return shape.length === 3 && (field !== null || shape[1] * shape[2] > 1);
}

/** [top, left, bottom, right] in pixels of the size×size image, cut to it; all of it where a unit
 *  may read the whole image. */
export function fieldBox({ field, stride, start }, row, column, size) {
  if (!field) return [0, 0, size, size];
  const first = [start[0] + row * stride[0], start[1] + column * stride[1]];
  const last = [first[0] + field[0], first[1] + field[1]];
  const cut = (value) => Math.min(Math.max(value, 0), size);
  return [...first.map(cut), ...last.map(cut)];
}

/** Of a layer the units [top, left, bottom, right] that a unit of a later layer is computed from:
 *  those whose fields lie within its own. Null where fields say nothing. */
export function unitsBehind(layer, later, [row, column]) {
  if (!layer.field || !later.field) return null;
  const sides = [row, column].map((at, i) => {
    const first = later.start[i] + at * later.stride[i];
    const last = first + later.field[i] - layer.field[i];
    const from = Math.max(Math.ceil((first - layer.start[i]) / layer.stride[i]), 0);
    const to = Math.floor((last - layer.start[i]) / layer.stride[i]);
    return [from, Math.min(to, layer.shape[1 + i] - 1) + 1];
  });
  return [sides[0][0], sides[1][0], sides[0][1], sides[1][1]];
}

/** Where a map lies on the size×size image, pixels: each unit in the middle of what it sees. */
export function mapPlace({ shape, field, stride, start }, size) {
  if (!field) return { top: 0, left: 0, height: size, width: size };
  return {
    top: start[0] + (field[0] - stride[0]) / 2,
    left: start[1] + (field[1] - stride[1]) / 2,
    height: shape[1] * stride[0],
    width: shape[2] * stride[1],
  };
}

/** A frame over a picture that fills its parent; shares of the side, so that any scale will do. */
export function placeBox(frame, box, size) {
  const [top, left, bottom, right] = box.map((value) => `${(100 * value) / size}%`);
  frame.hidden = false;
  frame.style.top = top;
  frame.style.left = left;
  frame.style.height = `calc(${bottom} - ${top})`;
  frame.style.width = `calc(${right} - ${left})`;
}

/** The unit of an h×w map under a pointer over `element`. */
export function unitUnder(event, element, [height, width]) {
  const area = element.getBoundingClientRect();
  const along = (share, count) => Math.min(Math.max(Math.floor(share * count), 0), count - 1);
  return [
    along((event.clientY - area.top) / area.height, height),
    along((event.clientX - area.left) / area.width, width),
  ];
}

/** The layers that a layer is computed from, all the way back. */
export function ancestors(layers, layer) {
  const found = new Set();
  const pending = [layer];
  while (pending.length) {
    for (const l of layers[pending.pop()]?.reads ?? []) {
      if (l < 0 || found.has(l)) continue;
      found.add(l);
      pending.push(l);
    }
  }
  return found;
}
