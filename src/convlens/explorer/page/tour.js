// The guided tour: a box below the page that leads from stop to stop and says what there is to see.
//
// Its step is part of the address, which it keeps up while the reader looks around; what lies below
// the box is moved up, so that it covers nothing.

import { format, go, parse } from "./address.js";
import { button, h, isTyping } from "./dom.js";
import { LESSON, told } from "./lesson.js";
import { stopsOf } from "./stops.js";

const BEFORE = "before the tour"; // marks the entry of the history that it was begun from

export class Tour {
  constructor(site) {
    this.site = site;
    this.opener = h(
      "button",
      {
        type: "button",
        class: "quiet tour-opener",
        title: "A guided tour of this network",
        onclick: () => this.start(),
      },
      "Tour",
    );
    this.count = h("p", { class: "tour-count" });
    this.title = h("h2", { id: "tour-title" });
    this.says = h("div", { class: "tour-says", id: "tour-says" });
    this.todo = h("p", { class: "tour-todo", id: "tour-todo" });
    this.back = button("Step before (←)", "Back", () => this.to(this.number - 1));
    this.next = button("Next step (→)", "Next", () => this.#forward());
    this.next.classList.add("primary");
    this.element = h(
      "section",
      {
        class: "tour",
        tabindex: -1,
        hidden: true,
        "aria-labelledby": "tour-title",
        "aria-describedby": "tour-says tour-todo",
      },
      h(
        "div",
        { class: "tour-words" },
        h("div", { class: "tour-top" }, this.title, this.count),
        this.says,
      ),
      h(
        "div",
        { class: "tour-deeds" },
        this.todo,
        h(
          "div",
          { class: "tour-steps" },
          button("Leave the tour (Escape)", "Leave", () => this.leave()),
          button("Go to what this step speaks of", "Show me", () => this.#lead()),
          this.back,
          this.next,
        ),
      ),
    );
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.watching = new MutationObserver(() => this.#look());
    this.measuring = new ResizeObserver(() => this.#measure());
  }

  /** Opens at the step that the address names, now and whenever it names one. */
  async begin() {
    document.body.append(this.element);
    window.addEventListener("hashchange", () => this.#follow());
    window.addEventListener("keydown", (event) => this.#escape(event), { capture: true });
    for (const kind of ["wheel", "touchmove", "pointerdown", "keydown"]) {
      const moved = (event) => {
        this.moved ||= !this.element.contains(event.target);
      };
      window.addEventListener(kind, moved, { capture: true, passive: true });
    }
    await this.#follow();
  }

  /** From where the reader is; leaving leads back there. */
  start() {
    if (this.step) {
      this.element.focus();
      return;
    }
    this.before = location.hash;
    history.replaceState(BEFORE, "");
    this.to(1);
  }

  /** Leads to a step's place; the newest wins. */
  async to(number) {
    if (number < 1) return;
    this.step?.stop.end?.();
    this.asked = number;
    const steps = await this.#steps();
    const at = Math.min(number, steps.length);
    const place = await steps[at - 1].stop.place(this.#image(parse(location.hash)));
    if (this.asked === number) go({ ...place, tour: at });
  }

  leave() {
    const { before } = this;
    this.step?.stop.end?.();
    this.#close();
    this.left = true;
    const here = { ...parse(before ?? location.hash), tour: undefined };
    if (format(here) === location.hash) this.opener.focus();
    else go(here, { replace: true });
  }

  #steps() {
    this.all ??= stopsOf(this.site).then((stops) =>
      LESSON.filter(({ stop: name }) => stops.has(name)).map(({ stop: name, ...words }) => ({
        name,
        ...words,
        stop: stops.get(name),
      })),
    );
    return this.all;
  }

  /** The image that the reader is at, or was at last. */
  #image({ image }) {
    return image ?? this.image ?? this.site.examples[0] ?? this.site.images[0]?.id;
  }

  #forward() {
    if (this.isLast) this.leave();
    else this.to(this.number + 1);
  }

  /** Does what the address says; one that was come to by a link of the page gets its step. */
  async #follow() {
    const address = parse(location.hash);
    this.image = address.image ?? this.image;
    if (address.tour === undefined) {
      if (this.left) this.opener.focus();
      this.left = false;
      if (!this.step) return;
      if (history.state === BEFORE) {
        this.#close();
        return;
      }
      history.replaceState(null, "", format({ ...address, tour: this.number }));
    }
    const steps = await this.#steps();
    const at = Math.min(Math.max(address.tour ?? this.number, 1), steps.length);
    if (this.step !== steps[at - 1]) this.#open(at, steps);
    if (!this.placed) await this.#settle(address, at);
    this.#look();
  }

  /** Leads to the step's place unless the address names one; says so where it needs an image. */
  async #settle(address, at) {
    const { step } = this;
    const place = await step.stop.place(this.#image(address));
    if (this.step !== step) return;
    this.placed = place ? true : null;
    const wanted = { view: "image", ...place };
    const fits =
      address.tour === at
      && address.view === wanted.view
      && address.layer === wanted.layer
      && (address.image === undefined) === (wanted.image === undefined);
    if (!fits) go({ ...wanted, tour: at }, { replace: true });
    this.#write();
    if (place) await this.#tell(fits ? address : place);
    if (this.step === step) this.says.removeAttribute("aria-busy");
  }

  #open(at, steps) {
    const opened = !this.step;
    this.step?.stop.end?.();
    Object.assign(this, { step: steps[at - 1], number: at, isLast: at === steps.length });
    Object.assign(this, { moved: false, begun: false, placed: undefined, facts: {} });
    this.element.hidden = false;
    const { classList, dataset } = document.documentElement;
    classList.add("touring");
    dataset.step = this.step.name;
    if (opened) {
      const main = document.querySelector("main");
      for (const each of [this.element, main]) this.measuring.observe(each);
      const what = {
        subtree: true,
        childList: true,
        attributeFilter: ["hidden", "aria-busy", "width"],
      };
      this.watching.observe(main, what);
    }
    this.says.setAttribute("aria-busy", "true"); // until #settle knows what its sentences miss
    this.count.textContent = `Step ${at} of ${steps.length}`;
    this.title.textContent = this.step.title;
    this.back.disabled = at === 1;
    this.next.textContent = this.isLast ? "Done" : "Next";
    this.next.title = this.isLast ? "Leave the tour" : "Next step (→)";
    this.next.setAttribute("aria-label", this.isLast ? "Done: leave the tour" : this.next.title);
    this.#write();
    this.element.scrollTop = 0;
    this.element.focus({ preventScroll: true });
    this.#look();
  }

  #close() {
    this.watching.disconnect();
    this.measuring.disconnect();
    Object.assign(this, { step: null, asked: null, before: undefined });
    this.element.hidden = true;
    document.documentElement.classList.remove("touring");
    for (const each of document.querySelectorAll(".spoken")) {
      each.classList.remove("spoken", "led");
    }
  }

  /** Asks for the words that the step's sentences miss. */
  async #tell(address) {
    const { step } = this;
    const facts = await step.stop.facts(address).catch(() => ({}));
    if (this.step !== step) return;
    this.facts = facts;
    this.#write();
  }

  #write() {
    const { says, todo } = this.step;
    const known = (sentences) => sentences.map((each) => told(each, this.facts)).filter(Boolean);
    this.says.replaceChildren(h("p", {}, known(says).join(" ")));
    const [deed = ""] = known(todo);
    this.todo.replaceChildren(
      ...(this.placed === null
        ? ["This step needs a picture: press Choose and give it one."]
        : [h("b", {}, "Try it: "), deed]),
    );
  }

  /** Frames what the step speaks of, once it is there, and leads to it until the reader moves. */
  #look() {
    this.looking ??= requestAnimationFrame(() => {
      this.looking = null;
      if (!this.step) return;
      const { stop } = this.step;
      if (stop.begin && this.placed && !this.begun) this.begun = stop.begin();
      const targets = this.#targets();
      for (const each of document.querySelectorAll(".spoken")) {
        if (!targets.includes(each)) each.classList.remove("spoken", "led");
      }
      for (const [i, each] of targets.entries()) {
        each.classList.add("spoken");
        each.classList.toggle("led", i === 0);
      }
      if (targets.length && !this.moved) reveal(targets[0]);
    });
  }

  #targets() {
    if (this.placed !== null) return this.step.stop.targets();
    return [...document.querySelectorAll(".image-view .primary")];
  }

  /** Leads the reader, and the keys, to what the step speaks of. */
  async #lead() {
    this.moved = false;
    if (!this.#targets().length) await this.to(this.number);
    this.#look();
    const first = 'a[href], button, input, select, [tabindex="0"]';
    const [target] = this.#targets();
    const around = [target, target?.closest(".panel, .page, .image-view")];
    around
      .flatMap((each) => (each ? [each, ...each.querySelectorAll(first)] : []))
      .find((each) => each.matches(first) && each.checkVisibility())
      ?.focus({ preventScroll: true });
  }

  #measure() {
    const { height } = this.element.getBoundingClientRect();
    document.documentElement.style.setProperty("--tour", `${Math.ceil(height)}px`);
    this.#look();
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowRight" && !this.isLast) this.to(this.number + 1);
    else if (event.key === "ArrowLeft") this.to(this.number - 1);
    else return;
    event.preventDefault();
  }

  #escape(event) {
    if (event.key !== "Escape" || !this.step || isTyping(event.target)) return;
    if (document.querySelector("dialog[open], .tip:not([hidden])")) return; // which it closes
    event.preventDefault();
    event.stopPropagation();
    this.leave();
  }
}

/** Scrolls so far that an element is in sight, or the beginning of one that is too tall. */
function reveal(element) {
  const scroller = element.closest(".panel, .side") ?? document.documentElement;
  const { scrollPaddingTop: top, scrollPaddingBottom: bottom } = getComputedStyle(scroller);
  const room = scroller.clientHeight - (parseFloat(top) || 0) - (parseFloat(bottom) || 0);
  const block = element.offsetHeight > room ? "start" : "nearest";
  element.scrollIntoView({ block, behavior: "instant" });
}
