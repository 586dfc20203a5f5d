// A network on the graphics card, by WebGPU: the steps that forward.js has prepared, in one go.
//
// Weights and values stay on the card. A pass sends the image, has all steps computed and reads what
// is shown in one piece, for waiting for the card takes longer than most steps do.

import { shapesOf } from "./forward.js";
import { DESCRIPTIONS, size, written } from "./shaders.js";

const ERRORS = ["validation", "out-of-memory", "internal"]; // what a card may refuse something for

/** The graphics card; throws where there is none. imitated: one that the processor plays will do. */
export async function card(imitated) {
  const adapter = await navigator.gpu?.requestAdapter();
  const isImitation = adapter?.info?.isFallbackAdapter ?? adapter?.isFallbackAdapter;
  if (!adapter || (isImitation && !imitated)) throw new Error("there is no graphics card");
  return adapter.requestDevice();
}

export class OnCard {
  /** forward: the network. Throws what the card has no room for, or is not able to do. */
  static async load(device, forward) {
    const shapes = shapesOf(forward);
    const network = new OnCard(device, forward);
    const described = forward.steps.map(({ inputs, ...step }, i) =>
      DESCRIPTIONS[step.op]?.(
        step,
        inputs.map((input) => shapes[input]),
        shapes[i + 1],
      ),
    );
    const shaders = [...new Set(described.flatMap((each) => each?.shader ?? []))];
    const pipelines = await checked(device, () => Promise.all(shaders.map(compiled)));
    const of = new Map(shaders.map((shader, i) => [shader, pipelines[i]]));
    await checked(device, () => network.#lay(described, of, shapes));
    return network;

    function compiled(code) {
      const compute = { module: device.createShaderModule({ code }) };
      return device.createComputePipelineAsync({ layout: "auto", compute });
    }
  }

  constructor(device, forward) {
    Object.assign(this, { device, forward, commands: [], shown: [], bytes: 0 });
  }

  /** As the network's own `run`, but later. Throws where the card fails. */
  async run(image, channels = 4) {
    const { device } = this;
    const { data } = this.forward.normalized(image, channels);
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    let staging; // each pass has its own, so that another one may begin meanwhile
    await checked(device, () => {
      staging = device.createBuffer({ size: this.bytes, usage });
      device.queue.writeBuffer(this.image, 0, data);
      const encoder = device.createCommandEncoder();
      for (const command of this.commands) command(encoder);
      for (const { value, at } of this.shown) {
        encoder.copyBufferToBuffer(value, 0, staging, at, value.size);
      }
      device.queue.submit([encoder.finish()]);
      return staging.mapAsync(GPUMapMode.READ);
    });
    const read = staging.getMappedRange().slice();
    staging.destroy();
    const [{ data: logits }, ...stages] = this.shown.map(({ value, at, shape }) => {
      return { data: new Float32Array(read, at, value.size / 4), shape };
    });
    return { logits, stages };
  }

  /** Everything onto the card: weights, room for each value, and a command a step. */
  #lay(described, pipelines, shapes) {
    const { forward } = this;
    const values = [this.#room(shapes[0])];
    this.image = values[0];
    const stages = [];
    for (const [i, { op, inputs, stage }] of forward.steps.entries()) {
      const given = inputs.map((input) => values[input]);
      if (described[i]) {
        values.push(this.#room(shapes[i + 1]));
        this.#compute(described[i], pipelines, given, values[i + 1]);
      } else if (op === "join") {
        values.push(this.#room(shapes[i + 1]));
        this.#join(given, values[i + 1]);
      } else {
        if (op !== "same" && op !== "reshape") throw new Error(`no ${op} on the card`);
        values.push(given[0]);
      }
      if (stage !== undefined) stages[stage] = i + 1;
    }
    for (const i of [values.length - 1, ...stages]) {
      this.shown.push({ value: values[i], at: this.bytes, shape: shapes[i] });
      this.bytes += values[i].size;
    }
  }

  #compute({ shader, weights, told, across }, pipelines, given, made) {
    const pipeline = pipelines.get(shader);
    // the larger one first, where one of two holds for whole maps of the other
    const read = given.toSorted((one, other) => other.size - one.size);
    const buffers = [
      this.#sent(written(told), GPUBufferUsage.UNIFORM),
      made,
      ...read,
      ...weights.map((each) => this.#sent(each, GPUBufferUsage.STORAGE)),
    ];
    const bound = this.device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
    });
    this.commands.push((encoder) => {
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bound);
      pass.dispatchWorkgroups(...across);
      pass.end();
    });
  }

  #join(given, made) {
    let at = 0;
    for (const value of given) {
      const start = at;
      this.commands.push((encoder) =>
        encoder.copyBufferToBuffer(value, 0, made, start, value.size),
      );
      at += value.size;
    }
  }

  #room(shape) {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    return this.device.createBuffer({ size: 4 * size(shape), usage });
  }

  #sent(data, usage) {
    const buffer = this.device.createBuffer({
      size: data.byteLength,
      usage: usage | GPUBufferUsage.COPY_DST,
    });
    this.device.queue.writeBuffer(buffer, 0, data);
    return buffer;
  }
}

/** What work() gives, waited for; throws where the card refuses a part of it. */
async function checked(device, work) {
  for (const filter of ERRORS) device.pushErrorScope(filter);
  const done = (async () => work())(); // throws only below, when the scopes are closed
  const problems = ERRORS.map(() => device.popErrorScope());
  const [result, ...found] = await Promise.all([done, ...problems]);
  const problem = found.find(Boolean);
  if (problem) throw new Error(problem.message);
  return result;
}
