// The sheet that holds all maps of a layer, as one gray picture in channel order.

export class Sheet {
  constructor(bitmap, { columns, scale }, [, height, width]) {
    Object.assign(this, { bitmap, columns, scale, height, width });
  }

  /** Draws a map on `canvas`, a pixel a unit. */
  draw(map, canvas) {
    canvas.width = this.width; // also clears it
    canvas.height = this.height;
    const left = (map % this.columns) * this.width;
    const top = Math.floor(map / this.columns) * this.height;
    const context = canvas.getContext("2d");
    context.drawImage(
      this.bitmap,
      left,
      top,
      this.width,
      this.height,
      0,
      0,
      this.width,
      this.height,
    );
    return context;
  }

  /** The map's units as they were computed, to 8 bits: from 0 to the layer's scale. */
  values(map) {
    const canvas = new OffscreenCanvas(this.width, this.height);
    const { data } = this.draw(map, canvas).getImageData(0, 0, this.width, this.height);
    const value = (_, i) => (data[4 * i] / 255) * this.scale;
    return Float32Array.from({ length: data.length / 4 }, value);
  }
}
