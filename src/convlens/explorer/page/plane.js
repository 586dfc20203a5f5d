// A canvas over the unit square that can be moved and enlarged by mouse, fingers and keys.

import { button, h } from "./dom.js";

const MOST = 40; // times enlarged
const STILL = 5; // pixels that a pointer may move between down and up and still have clicked

/**
 * draw(context, plane) draws in CSS pixels; hover(x, y) and pick(x, y) get places of the square,
 * hover() none when the pointer leaves; key(event) may take a key by returning true. `readout` is
 * for what is pointed at, in words.
 */
export class Plane {
  constructor({ label, margin = () => 0, draw, hover, pick, key = () => false }) {
    Object.assign(this, { margin, drawing: draw, hover, pick, key });
    this.zoom = 1;
    this.center = [0.5, 0.5];
    this.pointers = new Map();
    this.readout = h("p", { class: "readout", role: "status" });
    this.canvas = h("canvas", { tabindex: 0, role: "application", "aria-label": label });
    this.foot = h(
      "div",
      { class: "plane-foot" },
      this.readout,
      button("Enlarge (+)", "+", () => this.enlarge(1.5)),
      button("Make smaller (−)", "−", () => this.enlarge(1 / 1.5)),
      button("Show all (0)", "⤢", () => this.reset()),
    );
    this.element = h("div", { class: "plane" }, this.canvas, this.foot);
    this.#listen();
    new ResizeObserver(() => this.redraw()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  /** CSS pixels that the square's side takes. */
  get side() {
    return this.span * this.zoom;
  }

  get span() {
    return Math.min(this.canvas.clientWidth, this.canvas.clientHeight) - this.inset;
  }

  get inset() {
    return this.margin(this.canvas.clientWidth);
  }

  toScreen(x, y) {
    const { inset } = this;
    const middle = [this.canvas.clientWidth + inset, this.canvas.clientHeight + inset];
    return [x, y].map((value, i) => middle[i] / 2 + (value - this.center[i]) * this.side);
  }

  toPlane(left, top) {
    const [x, y] = this.toScreen(0, 0);
    return [(left - x) / this.side, (top - y) / this.side];
  }

  color(name) {
    return getComputedStyle(this.canvas).getPropertyValue(name);
  }

  /** Enlarges around a place on the screen, the middle by default. */
  enlarge(factor, left, top) {
    const { inset } = this;
    left ??= (this.canvas.clientWidth + inset) / 2;
    top ??= (this.canvas.clientHeight + inset) / 2;
    const before = this.toPlane(left, top);
    this.zoom = Math.min(Math.max(this.zoom * factor, 1), MOST);
    const after = this.toPlane(left, top);
    this.center = this.center.map((value, i) => value + before[i] - after[i]);
    this.redraw();
  }

  /** Moves the picture by CSS pixels. */
  move(right, down) {
    this.center = [this.center[0] - right / this.side, this.center[1] - down / this.side];
    this.redraw();
  }

  /** Moves just so far that a place is on the screen. */
  reveal(x, y) {
    const { inset } = this;
    const ends = [this.canvas.clientWidth, this.canvas.clientHeight];
    this.toScreen(x, y).forEach((place, i) => {
      const edge = 24;
      const over = Math.min(place - inset - edge, 0) + Math.max(place - ends[i] + edge, 0);
      this.center[i] += over / this.side;
    });
    this.redraw();
  }

  reset() {
    this.zoom = 1;
    this.center = [0.5, 0.5];
    this.redraw();
  }

  redraw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null;
      this.#draw();
    });
  }

  #draw() {
    const { canvas } = this;
    if (!canvas.clientWidth) return;
    const half = 0.5 / this.zoom; // the square's edge never comes inside
    this.center = this.center.map((value) => Math.min(Math.max(value, half), 1 - half));
    canvas.width = canvas.clientWidth * devicePixelRatio;
    canvas.height = canvas.clientHeight * devicePixelRatio;
    canvas.style.touchAction = this.zoom > 1 ? "none" : "pan-y";
    const context = canvas.getContext("2d");
    context.scale(devicePixelRatio, devicePixelRatio);
    this.drawing(context, this);
  }

  #listen() {
    const { canvas, pointers } = this;
    const place = (event) => {
      const area = canvas.getBoundingClientRect();
      return [event.clientX - area.left, event.clientY - area.top];
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, place(event));
      if (pointers.size === 1) this.traveled = 0;
    });
    canvas.addEventListener("pointermove", (event) => {
      const now = place(event);
      const before = pointers.get(event.pointerId);
      if (!before) {
        this.hover?.(...this.toPlane(...now));
        return;
      }
      const by = now.map((value, i) => value - before[i]);
      if (pointers.size === 2) {
        const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
        const apart = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]) || 1;
        this.enlarge(apart(now) / apart(before), ...other);
        this.traveled = Infinity;
      } else {
        this.traveled += Math.hypot(...by);
        if (this.traveled > STILL) this.move(...by);
      }
      pointers.set(event.pointerId, now);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (!pointers.delete(event.pointerId) || this.traveled > STILL) return;
      this.pick?.(...this.toPlane(...place(event)));
    });
    canvas.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));
    canvas.addEventListener("pointerleave", () => this.hover?.());
    canvas.addEventListener(
      "wheel",
      (event) => {
        // Without Ctrl the page scrolls on, until the reader has chosen this canvas.
        if (!event.ctrlKey && document.activeElement !== canvas) return;
        event.preventDefault();
        this.enlarge(Math.exp(-event.deltaY / (event.ctrlKey ? 100 : 300)), ...place(event));
      },
      { passive: false },
    );
    canvas.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const step = 60;
      const keys = {
        "+": () => this.enlarge(1.5),
        "=": () => this.enlarge(1.5),
        "-": () => this.enlarge(1 / 1.5),
        "−": () => this.enlarge(1 / 1.5),
        0: () => this.reset(),
        ArrowLeft: () => this.move(step, 0),
        ArrowRight: () => this.move(-step, 0),
        ArrowUp: () => this.move(0, step),
        ArrowDown: () => this.move(0, -step),
      };
      if (this.key(event)) event.preventDefault();
      else if (event.key in keys) {
        event.preventDefault();
        keys[event.key]();
      }
    });
  }
}
