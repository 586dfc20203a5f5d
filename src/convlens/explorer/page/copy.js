// The page as one file: what it would ask a server for lies in the file, and the networks run here.
//
// The file's pack (pack.py) holds answers under the paths of the server, and weights. Answers about
// an image that nobody prepared are computed; what can only be prepared is told to be missing.

import { explain, explainSoftmax } from "./explain.js";
import { Fastest } from "./fastest.js";
import { Forward } from "./forward.js";
import { filters, probabilities, short, sprite, statistics } from "./pass.js";
import { middle, square } from "./resample.js";

const PASSES = 4; // kept; one of ConvNet's is 2 MB
const DIGITS = 7; // what float32 knows
const JSON_TYPE = { "Content-Type": "application/json" };
const MISSING = "This copy of the page does not have it; convlens explore shows it";

export class Copy {
  /** Of the base64 text that the document carries. */
  static async open(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const copy = new Copy(new Uint8Array(await new Response(plain).arrayBuffer()));
    const thumbnails = copy.files["images/validation.png"];
    if (thumbnails) {
      const address = `url("${URL.createObjectURL(copy.#blob(thumbnails))}")`;
      document.documentElement.style.setProperty("--thumbnails", address);
    }
    return copy;
  }

  constructor(pack) {
    const head = new DataView(pack.buffer).getUint32(0, true);
    const about = JSON.parse(new TextDecoder().decode(pack.subarray(4, 4 + head)));
    Object.assign(this, about, { pack: pack.subarray(4 + head) });
    this.uploads = new Map(); // by id: by run, the pixels as they are loaded, RGBA
    this.passes = new Map(); // by run and image; what is still computed, too
    this.networks = this.networks.map((network) => network && new Runner(network, this.pack));
  }

  /** What a server would answer. */
  async answer(path, { method, body, signal } = {}) {
    signal?.throwIfAborted();
    const found = method === "POST" ? await this.#add(body) : await this.#find(path);
    signal?.throwIfAborted();
    return found;
  }

  async #find(path) {
    const file = this.files[path];
    if (file) return new Response(this.#blob(file));
    const sum = /^api\/(\d+)\/(\w+)\/(unit|softmax)-([\d-]+)\.json$/.exec(path);
    if (sum) return this.#sum(Number(sum[1]), sum[2], sum[3], sum[4].split("-").map(Number));
    const asked = /^(?:api|images)\/(\d+)\/(?:(\w+)\/)?(\w+?)(?:-(\w+))?(?:-(\d+))?\.\w+$/.exec(
      path,
    );
    if (!asked) return missing();
    const [run, ...rest] = asked.slice(1);
    return path.startsWith("images/")
      ? this.#image(Number(run), ...rest.slice(1))
      : this.#ask(Number(run), ...rest);
  }

  /** What the network tells: of an image, or of a map's filter. */
  async #ask(run, image, what, stage, map) {
    const network = this.networks[run];
    if (network && !image && what === "filter") return answered(network.filter(stage, map));
    if (!network || !["prediction", "layers", "map"].includes(what)) return missing();
    const pass = await this.#pass(run, image);
    if (!pass) return missing();
    if (what === "prediction") {
      const label = this.labels[run][image] ?? null;
      return answered({ probabilities: pass.probabilities, label });
    }
    if (what === "layers") return answered(pass.statistics);
    const { data, shape } = pass.stages[stage];
    const [height = 1, width = 1] = shape.slice(1);
    const row = (_, y) => {
      const start = (map * height + y) * width;
      return Array.from(data.subarray(start, start + width), (value) => short(value, DIGITS));
    };
    return answered(Array.from({ length: height }, row));
  }

  /** The sum behind a number of a stage, or behind a probability. */
  async #sum(run, image, what, [number, ...unit]) {
    const network = this.networks[run];
    const pass = network && (await this.#pass(run, image));
    if (!pass) return missing();
    if (what === "softmax") {
      const { logits, probabilities: shares } = pass;
      return answered(explainSoftmax(logits, network.temperature, shares[number], number));
    }
    const { loaded, size } = this.sizes[run];
    const pixels = middle(await this.#pixels(run, image), loaded, size);
    return answered(network.explain(pass, pixels, number, unit));
  }

  #blob({ kind, start, length }) {
    return new Blob([this.pack.subarray(start, start + length)], { type: kind });
  }

  /** An image as the network is given it or as it is loaded; a training image is cut out of the
   *  picture that holds them all. */
  async #image(run, id, which) {
    const { size, loaded } = this.sizes[run];
    const pixels = await this.#pixels(run, id);
    if (pixels && which === "loaded") return new Response(await png(pixels, loaded, loaded));
    if (pixels) return new Response(await png(middle(pixels, loaded, size), size, size));
    const place = this.training[run]?.indexOf(id) ?? -1;
    if (place < 0) return missing();
    this.sheets ??= [];
    this.sheets[run] ??= createImageBitmap(this.#blob(this.files[`images/${run}/training`]));
    const sheet = await this.sheets[run];
    const side = this.sizes[run].thumbnail;
    const columns = sheet.width / side;
    const canvas = new OffscreenCanvas(size, size);
    const from = [(place % columns) * side, Math.floor(place / columns) * side];
    canvas.getContext("2d").drawImage(sheet, ...from, side, side, 0, 0, size, size);
    return new Response(await canvas.convertToBlob());
  }

  /** The pass over an image; the last few are kept. */
  async #pass(run, image) {
    const key = `${run} ${image}`;
    const known = this.passes.get(key);
    if (known) return known;
    const pixels = await this.#pixels(run, image);
    if (!pixels) return null;
    const again = this.passes.get(key); // another question came first
    if (again) return again;
    const pass = this.#run(run, pixels);
    this.passes.set(key, pass);
    pass.catch(() => this.passes.delete(key));
    if (this.passes.size > PASSES) this.passes.delete(this.passes.keys().next().value);
    return pass;
  }

  /** The pixels as they are loaded, RGBA; null of an image that is not here. */
  async #pixels(run, image) {
    const file = this.files[`images/${run}/${image}-loaded.png`];
    return this.uploads.get(image)?.[run] ?? (file ? (await decoded(this.#blob(file))).data : null);
  }

  async #run(run, pixels) {
    const { loaded, size } = this.sizes[run];
    const { fastest, temperature } = this.networks[run];
    const pass = await fastest.run(middle(pixels, loaded, size));
    pass.statistics = pass.stages.map(statistics);
    const shares = probabilities(pass.logits, temperature);
    pass.probabilities = shares.map((share) => short(share, 6));
    return pass;
  }

  /** The picture at `path`, where it is one of maps; without a file in between. */
  async drawn(path) {
    const [, run, image, stage] = /^api\/(\d+)\/(\w+)\/layer-(\d+)\.png$/.exec(path) ?? [];
    const pass = this.networks[run] && (await this.#pass(Number(run), image));
    return pass ? maps(pass, stage) : null;
  }

  /** What a network makes of a square of RGB bytes; see `touched` of answers.js. */
  async touched(run, bytes, { layers, keep }) {
    const side = Math.sqrt(bytes.length / 3);
    const data = new Uint8ClampedArray(4 * side * side).fill(255);
    for (let i = 0, to = 0; i < bytes.length; i += 1) {
      data[to] = bytes[i];
      to += i % 3 === 2 ? 2 : 1;
    }
    const id = this.#keep({ data, width: side, height: side });
    const pass = await this.#run(run, this.uploads.get(id)[run]);
    if (!keep) this.uploads.delete(id);
    const bitmaps = await Promise.all(layers.map((stage) => maps(pass, stage)));
    return {
      probabilities: pass.probabilities,
      statistics: pass.statistics,
      id: keep ? id : null,
      maps: new Map(layers.map((stage, i) => [stage, bitmaps[i]])),
    };
  }

  /** Makes an image of a picture; its name. */
  #keep(image) {
    this.kept = (this.kept ?? 0) + 1;
    const id = `u${String(this.kept).padStart(16, "0")}`;
    this.uploads.set(
      id,
      this.sizes.map(({ loaded, fit }) => square(image, loaded, fit)),
    );
    return id;
  }

  async #add(file) {
    let image;
    try {
      image = await decoded(file);
    } catch {
      return answered({ error: "this is not an image that the browser can read" }, 415);
    }
    const id = this.#keep(image);
    return answered({ id, width: image.width, height: image.height }, 201);
  }
}

/** A network of the pack, which is built once it is asked. */
class Runner {
  constructor({ graph, filters: ofStage, stages: names, tensors, temperature }, pack) {
    const { size } = graph;
    Object.assign(this, { graph, ofStage, names, tensors, temperature, pack, size });
  }

  get forward() {
    this.built ??= new Forward(this.graph, (number) => this.#tensor(number));
    return this.built;
  }

  get fastest() {
    this.quick ??= new Fastest(this.forward);
    return this.quick;
  }

  filter(stage, map) {
    const of = this.ofStage[stage];
    const tensor = this.#tensor(of.tensor);
    return {
      of: of.name,
      kernel: tensor.shape.slice(2),
      inputs: filters(tensor, of.groups, map),
    };
  }

  /** The sum behind a number of a pass over RGBA pixels. */
  explain({ stages }, pixels, stage, unit) {
    const { graph, names } = this;
    const tensor = (number) => this.#tensor(number);
    const image = this.forward.normalized(pixels, 4);
    return explain({ graph, tensor, names, image, stages }, stage, unit);
  }

  #tensor(number) {
    this.numbers ??= joined(this.pack, this.tensors);
    const { shape, first } = this.tensors.each[number];
    const count = shape.reduce((product, side) => product * side, 1);
    return { shape, data: this.numbers.subarray(first, first + count) };
  }
}

/** Numbers whose three upper bytes lie in three planes, the lowest first. */
function joined(pack, { start, count }) {
  const [low, middle, high] = [0, 1, 2].map((plane) => {
    const first = start + plane * count;
    return pack.subarray(first, first + count);
  });
  const bits = new Uint32Array(count);
  for (let i = 0; i < count; i += 1) bits[i] = (low[i] << 8) | (middle[i] << 16) | (high[i] << 24);
  return new Float32Array(bits.buffer);
}

async function decoded(blob) {
  const bitmap = await createImageBitmap(blob);
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff"; // on which convlens lays what is transparent
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, width, height);
}

/** All maps of a stage in one picture. */
function maps({ stages, statistics: told }, stage) {
  const { pixels, width, height } = sprite(stages[stage], told[stage].scale);
  return createImageBitmap(new ImageData(pixels, width, height));
}

async function png(pixels, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
  return canvas.convertToBlob();
}

function answered(content, status = 200) {
  return new Response(JSON.stringify(content), { status, headers: JSON_TYPE });
}

function missing() {
  return answered({ error: MISSING }, 501);
}
