// The page: what stands around the views, and which view the address asks for.

import { format, go, parse } from "./address.js";
import { ask, during } from "./answers.js";
import { Chooser } from "./chooser.js";
import { Classes } from "./classes.js";
import { Confusion } from "./confusion.js";
import { button, h, isTyping } from "./dom.js";
import { Embedding } from "./embedding.js";
import { helpDialog } from "./help.js";
import { ImageView } from "./image.js";
import { Images } from "./images.js";
import { Mistakes } from "./mistakes.js";
import { named } from "./names.js";
import { brief, counted } from "./numbers.js";
import { explainTerms } from "./terms.js";
import { Tour } from "./tour.js";
import { Training } from "./training.js";

const VIEWS = {
  image: { name: "Image", View: ImageView },
  training: { name: "Training", View: Training },
  confusion: { name: "Confusion", View: Confusion },
  classes: { name: "Classes", View: Classes },
  mistakes: { name: "Mistakes", View: Mistakes },
  embedding: { name: "Embedding", View: Embedding },
  images: { name: "Images", View: Images },
};
const POLLED = 1000; // milliseconds

const main = document.querySelector("main");
let site;
let chooser;
let shown = null; // {name, view}
const places = new Map(); // by view: how far down the reader was in it

async function open() {
  site = named(await ask("api/site.json"));
  for (const run of site.runs) run.softmax = softmaxOf(run);
  explainTerms();
  chooser = new Chooser(site);
  const tour = new Tour(site);
  const help = helpDialog(() => tour.start());
  document.body.append(chooser.element, help);
  document.querySelector(".subject").textContent = [
    site.runs.map(({ name }) => name).join(" and "),
    site.data?.name,
  ]
    .filter(Boolean)
    .join(" on ");
  document
    .querySelector("nav")
    .append(
      ...Object.entries(VIEWS).map(([view, { name }]) =>
        h("a", { href: format({ view }), "data-view": view }, name),
      ),
    );
  document.querySelector(".tools").append(
    tour.opener,
    button("Keys (?)", "?", () => help.showModal()),
  );
  document.querySelector(".skip").addEventListener("click", () => main.focus());
  document.addEventListener("keydown", (event) => keys(event, help));
  window.addEventListener("hashchange", show);
  main.replaceChildren();
  main.classList.toggle("two", site.runs.length > 1);
  show();
  tour.begin();
  if (!site.static && site.data) followSurvey();
}

/** What comes after the last layer, in the form of a layer. */
function softmaxOf({ temperature, classes }) {
  const kind = temperature === 1 ? "softmax" : `softmax, temperature ${brief(temperature)}`;
  return { name: "softmax", kind, shape: [classes.length], field: null };
}

/** Shows the view that the address names; a view stays while only its details change. */
function show() {
  const address = parse(location.hash);
  const { View, name } = VIEWS[address.view];
  const isNew = shown?.name !== address.view;
  const isFirst = !shown;
  const top = address.view === "image" ? 0 : (places.get(address.view) ?? 0);
  if (isNew) {
    shown?.view.leave();
    const view = new View(site, {
      choose: () => chooser.open(),
      nameOf: chooser.nameOf,
      names: chooser.names,
    });
    shown = { name: address.view, view };
    main.replaceChildren(shown.view.element);
    for (const link of document.querySelectorAll("nav [data-view]")) {
      if (link.dataset.view === address.view) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }
  shown.view.update(address);
  if (isNew && !isFirst) arrive(address.tour ? 0 : top);
  document.title = `${shown.view.title ?? name} · ConvLens`;
  if (address.view === "image" && shown.view.image) {
    document.querySelector("nav [data-view=image]").href = format({
      image: shown.view.image,
      beside: address.beside,
    });
  }
}

window.addEventListener("scroll", () => shown && places.set(shown.name, scrollY), {
  passive: true,
});

/** Leads to a view's heading, or to where the reader was in it, as soon as it reaches so far. */
function arrive(top, tries = 60) {
  scrollTo({ top, behavior: "instant" });
  if (tries === 60) main.querySelector("h1")?.focus({ preventScroll: true });
  if (scrollY < top && tries) requestAnimationFrame(() => arrive(top, tries - 1));
}

/** Says above the page what the server still reads of the data set. */
async function followSurvey() {
  const line = document.querySelector(".survey");
  const bar = h("progress", { "aria-label": "Reading the data set" });
  const words = h("span");
  line.append(bar, words);
  for (;;) {
    const { tasks, failure } = await ask("api/progress.json");
    if (failure) {
      line.hidden = false;
      line.replaceChildren(failure);
      return;
    }
    const open = tasks.filter(({ done, total }) => done < total);
    line.hidden = !open.length;
    if (!open.length) return;
    words.textContent =
      `Reading the data set: ${open[0].name}`
      + (open.length > 1 ? `, then ${counted(open.length - 1, "more task")}` : "");
    bar.value = open[0].total ? open[0].done / open[0].total : 0;
    await new Promise((resolve) => {
      setTimeout(resolve, POLLED);
    });
  }
}

function keys(event, help) {
  if (event.altKey || event.ctrlKey || event.metaKey || isTyping(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  const views = Object.keys(VIEWS);
  const image = shown.name === "image" && shown.view;
  if (event.key === "?") help.showModal();
  else if (event.key === "c") chooser.open();
  else if (event.key === "n" && image) image.step(1);
  else if (event.key === "p" && image) image.step(-1);
  else if (/^\d$/.test(event.key) && views[event.key - 1]) {
    go(parse(document.querySelector(`nav [data-view=${views[event.key - 1]}]`).hash));
  } else return;
  event.preventDefault();
}

/** Says that nobody answers, and goes on by itself once somebody does. */
let absent = false;
window.addEventListener("gone", async () => {
  if (absent) return;
  absent = true;
  const banner = document.querySelector(".banner");
  banner.hidden = false;
  banner.textContent =
    "The server does not answer. Start convlens explore again; this page will go on by itself.";
  for (;;) {
    await new Promise((resolve) => {
      setTimeout(resolve, 2 * POLLED);
    });
    const answer = await fetch("api/site.json", { cache: "no-store" }).catch(() => null);
    if (answer?.ok) break;
  }
  location.reload();
});

/** A picture that the server was too busy for is asked for again, a few times. */
const tries = new WeakMap();
document.addEventListener(
  "error",
  ({ target }) => {
    const count = (tries.get(target) ?? 0) + 1;
    if (target.tagName !== "IMG" || count > 4) return;
    tries.set(target, count);
    const { src } = target;
    setTimeout(
      () => {
        if (target.src === src) target.src = src;
      },
      POLLED * 2 ** count * (0.75 + Math.random() / 2),
    );
  },
  true,
);

const never = new AbortController().signal;
during(main, never, open);
