// A picture that is moved, brightened, painted on and partly hidden, as pixels.

const GRAY = "rgb(128 128 128)"; // what lies beyond the picture, and what hides a part of it
export const UNTOUCHED = { right: 0, down: 0, turn: 0, zoom: 1, brightness: 1 };

/** source: the picture as it is loaded, of which the network is given the middle `size` pixels. */
export class Retouched {
  constructor(source, size) {
    this.side = source.width;
    this.margin = Math.floor((this.side - size) / 2);
    this.size = size;
    this.source = source;
    this.settings = { ...UNTOUCHED };
    this.moved = this.#canvas();
    this.paint = this.#canvas();
    this.all = this.#canvas();
    this.hidden = null; // middle of the square that hides, in pixels of what the network is given
    this.#move();
  }

  #canvas() {
    const canvas = new OffscreenCanvas(this.side, this.side);
    return canvas.getContext("2d", { willReadFrequently: true });
  }

  set(settings) {
    Object.assign(this.settings, settings);
    this.#move();
  }

  /** What can be undone: the settings and what was painted. */
  get state() {
    const { side } = this;
    return { settings: { ...this.settings }, paint: this.paint.getImageData(0, 0, side, side) };
  }

  set state({ settings, paint }) {
    this.settings = { ...settings };
    this.paint.putImageData(paint, 0, 0);
    this.#move();
  }

  /** A stroke between two places, pixels of what the network is given. color: null erases. */
  stroke(from, to, { color, width }) {
    const context = this.paint;
    context.globalCompositeOperation = color ? "source-over" : "destination-out";
    context.strokeStyle = color ?? "#000";
    context.lineWidth = width;
    context.lineCap = "round";
    context.beginPath();
    context.moveTo(...from.map((at) => at + this.margin));
    context.lineTo(...to.map((at) => at + this.margin + 0.001)); // a dot is a line too
    context.stroke();
  }

  /** The picture, side × side pixels, RGBA. */
  pixels() {
    const { all, side, margin, hidden } = this;
    all.drawImage(this.moved.canvas, 0, 0);
    all.drawImage(this.paint.canvas, 0, 0);
    if (hidden) {
      const square = Math.round(this.size / 4);
      all.fillStyle = GRAY;
      const [x, y] = hidden.map((at) => Math.round(at - square / 2) + margin);
      all.fillRect(x, y, square, square);
    }
    return all.getImageData(0, 0, side, side);
  }

  /** Draws what the network is given on a canvas of its size. */
  draw(canvas) {
    const { size, margin } = this;
    canvas.width = canvas.height = size;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.putImageData(this.pixels(), -margin, -margin);
  }

  /** As bytes for the server: RGB, row by row. */
  bytes() {
    const { data } = this.pixels();
    const rgb = new Uint8Array((data.length / 4) * 3);
    for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
      rgb[to] = data[from];
      rgb[to + 1] = data[from + 1];
      rgb[to + 2] = data[from + 2];
    }
    return rgb;
  }

  #move() {
    const { moved, side, source } = this;
    const { right, down, turn, zoom, brightness } = this.settings;
    moved.resetTransform();
    moved.fillStyle = GRAY;
    moved.fillRect(0, 0, side, side);
    moved.translate(side / 2 + right * this.size, side / 2 + down * this.size);
    moved.rotate((turn * Math.PI) / 180);
    moved.scale(zoom, zoom);
    const whole = turn === 0 && zoom === 1; // then no pixel is mixed with its neighbors
    moved.imageSmoothingEnabled = !whole;
    if (whole) moved.setTransform(1, 0, 0, 1, ...this.#whole(side));
    moved.drawImage(source, -side / 2, -side / 2);
    if (brightness === 1) return;
    const picture = moved.getImageData(0, 0, side, side);
    picture.data.forEach((value, i) => {
      if (i % 4 < 3) picture.data[i] = value * brightness; // cut to 0..255 by the array
    });
    moved.putImageData(picture, 0, 0);
  }

  #whole(side) {
    const { right, down } = this.settings;
    return [right, down].map((share) => side / 2 + Math.round(share * this.size));
  }
}
