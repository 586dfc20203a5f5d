// What looks at an image share that are a sentence on what they show and a column a run.

import { Latest } from "./answers.js";
import { h } from "./dom.js";

export class Look {
  /** name: for those who listen; lead: what it shows, in words. */
  constructor(site, name, ...lead) {
    this.site = site;
    this.latest = new Latest();
    this.runs = h("div");
    this.element = h(
      "section",
      { class: name.toLowerCase(), "aria-label": name },
      h("p", { class: "lead" }, lead),
      this.runs,
    );
  }
}
