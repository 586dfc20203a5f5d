// Asking the server, or a copy of the page in one file: both answer the same paths.

import { h } from "./dom.js";

// What the page has instead of a server where it was written as one file.
const inDocument = document.querySelector("#copy");
const copy =
  inDocument && import("./copy.js").then(({ Copy }) => Copy.open(inDocument.textContent));
inDocument?.remove(); // some megabytes

const NOT_HERE = 501; // status of what a copy cannot tell

/** What went wrong in one sentence for the reader. status: HTTP's, or 0 where nobody answered. */
export class Problem extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

/** The newest of several pieces of work: starting one gives up the one before. */
export class Latest {
  #controller = new AbortController();

  /** The signal of the new piece; a piece whose signal is aborted may show nothing any more. */
  next() {
    this.stop();
    this.#controller = new AbortController();
    return this.#controller.signal;
  }

  stop() {
    this.#controller.abort();
  }
}

/** The JSON at `path`. news({wait, done, total}) is called while it is still being computed. */
export async function ask(path, { signal, news } = {}) {
  return (await request(path, { signal }, news)).json();
}

/** The picture at `path`, decoded. */
export async function picture(path, { signal, news } = {}) {
  const drawn = copy && (await (await copy).drawn(path));
  if (drawn) return drawn;
  const bitmap = createImageBitmap(await (await request(path, { signal }, news)).blob());
  return bitmap.catch(() => {
    throw new Problem(`${path} is no picture; load the page again`, 200);
  });
}

/** The bytes at `path`. */
export async function fetched(path, options = {}) {
  return (await request(path, options)).arrayBuffer();
}

/** Has an <img> show the picture at `path`. */
export async function showPicture(element, path) {
  if (!copy) {
    element.src = path;
    return;
  }
  element.dataset.path = path;
  const answer = await reach(path, {});
  const address = answer.ok ? URL.createObjectURL(await answer.blob()) : "";
  if (element.dataset.path === path) element.src = address;
}

/** An <img> of the picture at `path`. */
export function photograph(path, attributes) {
  const element = h("img", attributes);
  showPicture(element, path);
  return element;
}

const kept = new Map();

/** Like `ask` or `picture`, for what stays the same while the page is open, or from when
 *  isFinal(answer) says so: no more asked for then. */
export async function keep(how, path, options, isFinal = () => true) {
  if (kept.has(path)) return kept.get(path);
  const answer = await how(path, options);
  if (isFinal(answer)) kept.set(path, answer);
  return answer;
}

/** Sends an image file's bytes; its id, width and height. */
export async function upload(file, { signal, news } = {}) {
  // Only a page of this same address may send that header without being asked back.
  const headers = { "X-Requested-With": "convlens" };
  const answer = await request("images", { method: "POST", body: file, headers, signal }, news);
  return answer.json();
}

/** What a run makes of a picture's RGB bytes: {probabilities, statistics, id, maps}, in which maps
 *  are the pictures of `layers`, by their numbers. keep: makes an image of it, whose name is id. */
export async function touched(run, bytes, { layers, keep = false, signal, news }) {
  if (copy) return (await copy).touched(run, bytes, { layers, keep });
  const headers = { "X-Requested-With": "convlens" };
  const path = `api/${run}/touched?layers=${layers.join(",")}${keep ? "&keep" : ""}`;
  const answer = await request(path, { method: "POST", body: bytes, headers, signal }, news);
  const body = await answer.arrayBuffer();
  let at = 4 + new DataView(body).getUint32(0, true);
  const told = JSON.parse(new TextDecoder().decode(new Uint8Array(body, 4, at - 4)));
  const drawn = told.lengths.map((length) => {
    const blob = new Blob([new Uint8Array(body, at, length)], { type: "image/png" });
    at += length;
    return createImageBitmap(blob);
  });
  const bitmaps = await Promise.all(drawn);
  return { ...told, maps: new Map(told.layers.map((l, i) => [l, bitmaps[i]])) };
}

async function request(path, options, news) {
  for (let refused = 0; ; ) {
    const answer = await reach(path, options);
    if (answer.status === 200 || answer.status === 201) return answer;
    const body = await answer.json().catch(() => ({}));
    if (![202, 429, 503].includes(answer.status)) {
      // not yet, and twice too much to do
      const sentence = body.error ?? `the server answers ${answer.status} to ${path}`;
      throw new Problem(sentence, answer.status);
    }
    news?.({ wait: body.wait ?? "the server has much to do", ...body });
    if (answer.status !== 202) refused += 1;
    await sleep(pause(answer.headers.get("Retry-After"), refused), options.signal);
  }
}

/** Milliseconds until to ask again: each time longer, and not all pages at the same moment. */
function pause(seconds, refused) {
  const longer = refused && 2 ** Math.min(refused - 1, 3) * (0.75 + Math.random() / 2);
  return Number(seconds ?? 0.4) * 1000 * (longer || 1);
}

async function reach(path, options) {
  if (copy) return (await copy).answer(path, options);
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    window.dispatchEvent(new Event("gone"));
    throw new Problem("Nobody answers at this address", 0);
  }
}

function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        reject(new DOMException("newer work has begun", "AbortError"));
      },
      { once: true },
    );
  });
}

const PATIENCE = 500; // milliseconds without a sign of life
const newest = new WeakMap(); // of each element, the work that was begun last

/** Runs work(news), and shows in `element` that it takes long, or what went wrong. */
export async function during(element, signal, work) {
  element.querySelector(":scope > .trouble")?.remove();
  const bar = h("progress", { "aria-label": "Working" });
  const words = h("span");
  const waiting = h("div", { class: "waiting", role: "status" }, bar, words);
  const timer = setTimeout(() => element.append(waiting), PATIENCE);
  const news = ({ wait, done, total }) => {
    words.textContent = total ? `${wait}: ${Math.floor((100 * done) / total)} %` : wait;
    if (total) bar.value = done / total;
  };
  newest.set(element, work);
  element.setAttribute("aria-busy", "true");
  try {
    await work(news);
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    element.append(trouble(error, () => signal.aborted || during(element, signal, work)));
    if (!(error instanceof Problem)) throw error;
  } finally {
    clearTimeout(timer);
    waiting.remove();
    if (newest.get(element) === work) element.removeAttribute("aria-busy");
  }
}

function trouble(error, again) {
  const sentence = error instanceof Problem ? error.message : "The page cannot draw this";
  if (error.status === NOT_HERE) return h("p", { class: "trouble note" }, `${sentence}.`);
  return h(
    "div",
    { class: "trouble", role: "alert" },
    h("p", {}, `${sentence.replace(/\.$/, "")}.`),
    h("button", { type: "button", class: "quiet", onclick: again }, "Try again"),
  );
}
