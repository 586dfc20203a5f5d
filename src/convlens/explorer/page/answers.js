// Asking the server, or the files of a static site: both answer the same paths.

import { h } from "./dom.js";

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
  const bitmap = createImageBitmap(await (await request(path, { signal }, news)).blob());
  return bitmap.catch(() => {
    throw new Problem(`${path} is no picture; load the page again`, 200);
  });
}

const kept = new Map();

/** Like `ask` or `picture`, for what stays the same while the page is open: asked for once. */
export async function keep(how, path, options) {
  if (!kept.has(path)) kept.set(path, await how(path, options));
  return kept.get(path);
}

/** Sends an image file's bytes; its id, width and height. */
export async function upload(file, { signal, news } = {}) {
  // Only a page of this same address may send that header without being asked back.
  const headers = { "X-Requested-With": "convlens" };
  const answer = await request("images", { method: "POST", body: file, headers, signal }, news);
  return answer.json();
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
    if (!signal.aborted) element.removeAttribute("aria-busy");
  }
}

function trouble(error, again) {
  const sentence = error instanceof Problem ? error.message : "The page cannot draw this";
  return h(
    "div",
    { class: "trouble", role: "alert" },
    h("p", {}, `${sentence.replace(/\.$/, "")}.`),
    h("button", { type: "button", class: "quiet", onclick: again }, "Try again"),
  );
}
