// Curves over epochs or over another number, drawn as SVG at the width there is.

import { h, range, svg } from "./dom.js";
import { saver } from "./saver.js";

const HEIGHT = 260;
const MARGIN = { left: 48, right: 16, top: 12, bottom: 36 };

const EPOCHS = {
  name: "epoch",
  ticks: Number.isInteger,
  idle: "Point at the curves, or use the arrow keys, to read an epoch.",
  said: (epoch) => `Epoch ${epoch}`,
};

/**
 * x: numbers that rise. curves: [{name, values}], a value null or none where it was not measured.
 * write(value) for a value, whole(value) for a tick. most: the axis reaches no further. across: what
 * x counts. Arrow keys and the pointer read off a place; chose(i) is called with it, or null.
 */
export function chart({
  title,
  heading,
  x,
  curves,
  unit,
  write,
  whole = write,
  most = Infinity,
  across = EPOCHS,
  chose,
}) {
  const legend = h(
    "p",
    { class: "legend" },
    curves.map(({ name }, i) => h("span", { class: `key curve-${i}` }, name)),
  );
  const readout = h("p", { class: "readout", role: "status" });
  const picture = svg("svg", {
    class: "chart",
    role: "img",
    tabindex: 0,
    "aria-label": words(title, curves, write),
  });
  const drawing = h(
    "div",
    {},
    h("figcaption", {}, h("h3", {}, heading, unit && h("span", { class: "kind" }, unit)), legend),
    picture,
  );
  const keep = saver({
    of: `the curves of ${heading.toLowerCase()}`,
    name: () => [title],
    picture: () => drawing,
    isDrawn: true,
    rows: () => [
      [across.name, ...curves.map(({ name }) => name)],
      ...x.map((epoch, i) => [epoch, ...curves.map(({ values }) => values[i])]),
    ],
  });
  const figure = h("figure", { class: "curves" }, drawing, readout, keep);

  const measured = curves.flatMap(({ values }) => values.filter(Number.isFinite));
  const ticks = axis(0, Math.min(Math.max(...measured, 0), most), 5);
  const top = Math.min(ticks.at(-1), most) || 1; // where all values are 0 they lie on the ground
  const last = Math.max(...x);
  const first = Math.min(...x);
  let width = 0;
  let chosen = null;
  const right = (epoch) =>
    MARGIN.left + ((epoch - first) / (last - first || 1)) * (width - MARGIN.left - MARGIN.right);
  const up = (value) =>
    HEIGHT - MARGIN.bottom - (Math.min(value, top) / top) * (HEIGHT - MARGIN.top - MARGIN.bottom);

  function draw() {
    picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const epochs = axis(first, last, Math.max(2, Math.floor(width / 90))).filter(
      (tick) => across.ticks(tick) && tick >= first && tick <= last,
    );
    const text = (left, y, anchor, what) =>
      svg("text", { x: left, y, "text-anchor": anchor }, what);
    const rule = (name, x1, y1, x2, y2) => svg("line", { class: name, x1, y1, x2, y2 });
    const dot = (i, at, r) =>
      svg("circle", {
        class: `dot curve-${i}`,
        cx: right(x[at]),
        cy: up(curves[i].values[at]),
        r,
      });
    const [end, floor] = [width - MARGIN.right, HEIGHT - MARGIN.bottom];
    picture.replaceChildren(
      ...ticks
        .filter((tick) => tick <= top)
        .flatMap((tick) => [
          rule("grid", MARGIN.left, up(tick), end, up(tick)),
          text(MARGIN.left - 8, up(tick) + 4, "end", whole(tick)),
        ]),
      ...epochs.map((epoch) => text(right(epoch), floor + 16, "middle", String(epoch))),
      text(end, HEIGHT - 4, "end", across.name),
      ...curves.flatMap(({ values }, i) => [
        svg("path", { class: `curve curve-${i}`, d: line(x, values, right, up) }),
        ...lone(values).map((at) => dot(i, at, 3)),
      ]),
    );
    if (chosen === null) {
      readout.textContent = across.idle;
      return;
    }
    const there = range(curves.length).filter((i) => Number.isFinite(curves[i].values[chosen]));
    picture.append(
      rule("cursor", right(x[chosen]), MARGIN.top, right(x[chosen]), floor),
      ...there.map((i) => dot(i, chosen, 4)),
    );
    const told = there.map((i) => `${curves[i].name} ${write(curves[i].values[chosen])}`);
    readout.textContent = `${across.said(x[chosen])}: ${told.join(", ")}`;
  }

  function choose(at) {
    chosen = at === null ? null : Math.min(Math.max(at, 0), x.length - 1);
    draw();
    chose?.(chosen);
  }
  picture.addEventListener("pointermove", (event) => {
    const place = event.clientX - picture.getBoundingClientRect().left;
    const distances = x.map((epoch) => Math.abs(right(epoch) - place));
    choose(distances.indexOf(Math.min(...distances)));
  });
  picture.addEventListener("pointerleave", () => choose(null));
  picture.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (!(event.key in steps)) return;
    event.preventDefault();
    choose((chosen ?? (steps[event.key] > 0 ? -1 : x.length)) + steps[event.key]);
  });
  new ResizeObserver(() => {
    if (!picture.clientWidth || picture.clientWidth === width) return;
    width = picture.clientWidth;
    draw();
  }).observe(picture);
  return figure;
}

function line(x, values, right, up) {
  let pen = "M";
  return values
    .map((value, i) => {
      if (!Number.isFinite(value)) {
        pen = "M";
        return "";
      }
      const step = `${pen}${right(x[i]).toFixed(1)} ${up(value).toFixed(1)}`;
      pen = "L";
      return step;
    })
    .join("");
}

/** Values without a neighbor, which a line would not show. */
function lone(values) {
  const has = (i) => Number.isFinite(values[i]);
  return range(values.length).filter((i) => has(i) && !has(i - 1) && !has(i + 1));
}

/** Round numbers from about `low` to just over `high`. */
function axis(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((f) => f * power).find((s) => s >= rough);
  const start = Math.floor(low / step);
  const ticks = range(Math.ceil(high / step) - start + 1);
  return ticks.map((i) => Number(((start + i) * step).toPrecision(10)));
}

function words(title, curves, write) {
  const ends = curves.map(({ name, values }) => {
    const measured = values.filter(Number.isFinite);
    return `${name} from ${write(measured[0] ?? null)} to ${write(measured.at(-1) ?? null)}`;
  });
  return `${title}: ${ends.join(", ")}`;
}
