// Which image to look at: dropped, pasted, a file, one of the validation set, a worst mistake.

import { go } from "./address.js";
import { during, Latest, Problem, photograph, upload } from "./answers.js";
import { camera } from "./camera.js";
import { announce, button, h, note } from "./dom.js";
import { evaluationOf, mistakes } from "./evaluation.js";
import { readable } from "./names.js";
import { counted, rounded } from "./numbers.js";
import { thumbnail } from "./thumbnails.js";

const LISTED = 240; // thumbnails at once

export class Chooser {
  constructor(site) {
    this.site = site;
    this.sending = new Latest();
    this.listing = new Latest();
    this.names = new Map(); // of uploaded images, by id
    this.file = h("input", {
      type: "file",
      accept: "image/*",
      id: "file",
      onchange: () => {
        this.send(this.file.files[0]);
        this.file.value = "";
      },
    });
    this.search = h("input", {
      type: "text",
      inputmode: "search",
      id: "search",
      autocomplete: "off",
      placeholder: "class or file name",
      oninput: () => this.#list(),
    });
    this.wrong = h("input", { type: "checkbox", id: "wrong", onchange: () => this.#list() });
    this.count = h("p", { class: "note", role: "status" });
    this.grid = h("div", { class: "choices" });
    this.status = h("div", { class: "slot upload-status" });
    this.element = h(
      "dialog",
      { class: "chooser", "aria-label": "Choose an image" },
      h(
        "div",
        { class: "panel-top" },
        h("h2", {}, "Choose an image"),
        button("Close", "✕", () => this.element.close()),
      ),
      site.upload
        && h(
          "div",
          { class: "drop" },
          h("label", { for: "file" }, "An image of yours "),
          this.file,
          note(
            "or drop it anywhere on this page, or paste it. ",
            `At most ${rounded(site.upload.bytes)}B; it is kept in memory only.`,
          ),
          camera((file) => this.send(file)),
        ),
      this.status,
      h(
        "div",
        { class: "controls" },
        h("label", { for: "search" }, site.static ? "Images of this page " : "Validation set "),
        this.search,
        site.data && h("label", {}, this.wrong, " worst mistakes first"),
      ),
      this.count,
      this.grid,
    );
    this.grid.addEventListener("keydown", (event) => this.#step(event));
    this.#receive();
  }

  open() {
    if (this.element.open) return;
    this.element.showModal();
    this.#list();
    this.search.focus();
  }

  /** What an image is called: its class and file, or the uploaded file's name. */
  nameOf = (id) => {
    const short = (path) => path.replace(/^[^/]*\/(?=.*\/)/, ""); // without "validation/"
    this.paths ??= new Map(this.site.images.map(({ id, path }) => [id, short(path)]));
    return (
      this.paths.get(id)
      ?? this.names.get(id)
      ?? (id.startsWith("t") ? `Training image ${id.slice(1)}` : "An uploaded image")
    );
  };

  /** Uploads a file and leads to it; a newer file takes over. */
  async send(file) {
    if (!file) return;
    const signal = this.sending.next();
    const { bytes } = this.site.upload;
    if (!this.element.open) this.open();
    await during(this.status, signal, async (news) => {
      if (file.size > bytes) {
        const sizes = [file.size, bytes].map((count) => `${rounded(count)}B`);
        throw new Problem(`${file.name} has ${sizes[0]}; at most ${sizes[1]} are taken`, 413);
      }
      news({ wait: `Sending ${file.name}` });
      const { id } = await upload(file, { signal, news });
      if (signal.aborted) return;
      this.names.set(id, readable(file.name));
      this.element.close();
      go({ image: id });
    });
  }

  /** Drops and pastes anywhere on the page. */
  #receive() {
    const over = (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = this.site.upload ? "copy" : "none";
      document.body.classList.toggle("dropping", Boolean(this.site.upload));
    };
    document.addEventListener("dragenter", over);
    document.addEventListener("dragover", over);
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) document.body.classList.remove("dropping");
    });
    document.addEventListener("drop", (event) => {
      document.body.classList.remove("dropping");
      if (!event.dataTransfer.files.length) return;
      event.preventDefault();
      this.#take(event.dataTransfer.files);
    });
    document.addEventListener("paste", (event) => {
      if (event.clipboardData.files.length) this.#take(event.clipboardData.files);
    });
  }

  #take(files) {
    if (this.site.upload) this.send(files[0]);
    else announce("This page was written to files; it takes no images.");
  }

  async #list() {
    const signal = this.listing.next();
    const images = this.wrong.checked ? await this.#mistakes(signal) : this.site.images;
    if (signal.aborted) return;
    const words = this.search.value.trim().toLowerCase().split(/\s+/);
    const found = images.filter(({ path }) =>
      words.every((word) => path.toLowerCase().includes(word)),
    );
    this.count.textContent =
      counted(found.length, "image") + (found.length > LISTED ? `, the first ${LISTED} shown` : "");
    this.grid.replaceChildren(
      ...found.slice(0, LISTED).map(({ id, path }, i) =>
        h(
          "button",
          {
            type: "button",
            title: path,
            "aria-label": path,
            tabindex: i ? -1 : 0,
            onclick: () => {
              this.element.close();
              go({ image: id });
            },
          },
          id.startsWith("v")
            ? thumbnail(Number(id.slice(1)), 56)
            : photograph(`images/0/${id}.png`, {
                alt: "",
                width: 56,
                height: 56,
                loading: "lazy",
              }),
        ),
      ),
    );
  }

  async #mistakes(signal) {
    let rows = [];
    await during(this.status, signal, async (news) => {
      rows = mistakes(await evaluationOf(0, { signal, news }));
    });
    const byId = new Map(this.site.images.map((image) => [image.id, image]));
    return rows.map((row) => byId.get(`v${row}`)).filter(Boolean);
  }

  #step(event) {
    const tiles = [...this.grid.children];
    const here = tiles.indexOf(event.target);
    const columns = getComputedStyle(this.grid).gridTemplateColumns.split(" ").length;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    if (here < 0 || !(event.key in steps)) return;
    event.preventDefault();
    const next = tiles[here + steps[event.key]];
    if (!next) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
}
