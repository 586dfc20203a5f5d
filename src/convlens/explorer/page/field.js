// From a unit of a map to the pixels it sees, by the layer's geometry in site.json.

/** Whether a layer gives maps; else its units see the whole image, and it gives single numbers. */
export function hasMaps({ field }) {
  return field !== null;
}

/** [top, left, bottom, right] in pixels of the size×size image, cut to it. */
export function fieldBox({ field, stride, start }, row, column, size) {
  const first = [start[0] + row * stride[0], start[1] + column * stride[1]];
  const last = [first[0] + field[0], first[1] + field[1]];
  const cut = (value) => Math.min(Math.max(value, 0), size);
  return [...first.map(cut), ...last.map(cut)];
}

/** Where a map lies on the image, pixels: each unit in the middle of what it sees. */
export function mapPlace({ shape, field, stride, start }) {
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
