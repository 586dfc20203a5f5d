// The network for one image: every layer in the order of the data, its maps as thumbnails.

import { ask, during, keep, picture } from "./answers.js";
import { diagram } from "./diagram.js";
import { h, range } from "./dom.js";
import { ancestors, hasMaps, unitsBehind, unitUnder } from "./field.js";
import { heading } from "./heading.js";
import { brief, percent } from "./numbers.js";
import { saver } from "./saver.js";
import { Sheet } from "./sheet.js";
import { Strip } from "./strip.js";
import { term } from "./terms.js";

const ROWS = 2; // of thumbnails that a layer shows before it is asked for all
const GAP = 4; // pixels, as in the style sheet
const QUIET = { quiet: true };

/** on.open(layer, map, {replace}), on.field(layer, unit | null) tell what the reader points at.
 *  leader: the same network for another image, whose order of the maps is kept. */
export class Network {
  constructor(run, index, on, leader) {
    this.run = run;
    this.leader = leader;
    this.followers = [];
    leader?.followers.push(this);
    this.path = `api/${index}`;
    this.on = on;
    this.order = "strength";
    this.rows = run.layers.map((layer, l) => {
      if (hasMaps(layer)) return new Maps(layer, l, this);
      const names = layer.shape[0] === run.classes.length ? run.classes : null;
      return new Strip(layer, names, {
        open: (feature, how = {}) => on.open(l, feature, how),
        name: () => [run.name, layer.name, this.image],
      });
    });
    const open = (target, how = {}) => on.open(run.layers.length, target, how);
    this.softmax = new Strip(run.softmax, run.classes, {
      open,
      write: percent,
      name: () => [run.name, "softmax", this.image],
    });
    this.rows.push(this.softmax);
    this.list = h(
      "ol",
      { class: "layers" },
      this.rows.map((row) => row.element),
    );
    this.element = h(
      "section",
      { class: "network", "aria-label": `Layers of ${run.name}` },
      !leader && diagram(run, (l) => this.#lead(l)),
      this.list,
    );
    this.list.addEventListener("keydown", (event) => this.#step(event));
    new ResizeObserver(() => this.#arrange()).observe(this.list);
  }

  /** Shows what the layers answer to `image`; the former image's maps stay until then. */
  async show(image, signal) {
    this.image = image;
    const base = `${this.path}/${image}`;
    await during(this.element, signal, async (news) => {
      const statistics = ask(`${base}/layers.json`, { signal, news });
      const said = ask(`${base}/prediction.json`, { signal, news });
      await Promise.all(
        this.rows.map(async (row, l) => {
          if (row === this.softmax) {
            const { probabilities } = await said;
            if (!signal.aborted) row.paint({ mean: probabilities });
            return;
          }
          const bitmap =
            row instanceof Maps ? picture(`${base}/layer-${l}.png`, { signal, news }) : null;
          const [all, sheet] = await Promise.all([statistics, bitmap]);
          if (!signal.aborted) row.paint(all[l], sheet);
        }),
      );
      for (const follower of this.followers) follower.#arrange();
    });
  }

  /** The layers with maps of which something is on the screen. */
  inSight() {
    return range(this.run.layers.length).filter((l) => {
      const row = this.rows[l];
      if (!(row instanceof Maps)) return false;
      const { top, bottom, height } = row.grid.getBoundingClientRect();
      return height > 0 && bottom > 0 && top < innerHeight;
    });
  }

  /** Shows an answer to a picture that is being changed: numbers, and the maps that came along. */
  follow({ statistics, maps, probabilities }) {
    for (const [l, row] of this.rows.entries()) {
      if (row === this.softmax) row.paint({ mean: probabilities });
      else if (!(row instanceof Maps)) row.paint(statistics[l]);
      else if (maps.has(l)) {
        const { order } = row.statistics; // as it was, or maps would jump about
        row.paint({ ...statistics[l], order }, maps.get(l));
      }
    }
  }

  /** Frames, in each layer on the way to a unit, the units that it is computed from. */
  trace(layer, unit) {
    const behind = unit ? ancestors(this.run.layers, layer) : new Set();
    for (const [l, row] of this.rows.entries()) {
      const box = behind.has(l)
        ? unitsBehind(this.run.layers[l], this.run.layers[layer], unit)
        : null;
      row.frameUnits?.(box);
    }
  }

  #lead(l) {
    const row = this.rows[l]?.element ?? this.element;
    row.scrollIntoView();
    row.querySelector("h3").focus({ preventScroll: true });
  }

  /** Marks the maps that no training image excites, once the server has read them all. */
  async markDead(signal) {
    if (this.dead) return;
    this.dead = (await keep(ask, `${this.path}/dead.json`, { signal })).dead;
    for (const [l, row] of this.rows.entries()) row.markDead?.(this.dead[l]);
  }

  /** Marks the map that the panel shows; none without arguments. */
  select(layer, map) {
    this.selected = layer === undefined ? null : { layer, map };
    for (const [l, row] of this.rows.entries()) row.select(l === layer ? map : null);
  }

  sortBy(order) {
    this.order = order;
    this.#arrange();
    for (const follower of this.followers) follower.sortBy(order);
  }

  /** The order of a layer's maps by strength; `own` where nobody leads. */
  strongest(l, own) {
    return this.leader?.rows[l].statistics?.order ?? own;
  }

  focus(layer, map) {
    this.rows[layer]?.focus(map);
  }

  /** The map before or after another in the order shown; at a layer's end, the next layer's. */
  neighbor({ layer, map }, step) {
    const order = this.rows[layer].order;
    const next = order[order.indexOf(map) + step];
    if (next !== undefined) return { layer, map: next };
    const reached = this.rows[layer + step]?.order;
    return reached && { layer: layer + step, map: step > 0 ? reached[0] : reached.at(-1) };
  }

  #arrange() {
    const width = this.rows[0].element.clientWidth;
    if (!width) return; // not shown now
    const tile = parseFloat(getComputedStyle(this.list).getPropertyValue("--tile"));
    this.columns = Math.max(1, Math.floor((width + GAP) / (tile + GAP)));
    for (const row of this.rows) row.arrange();
  }

  /** Arrow keys: from map to map, and over a layer's edge to the next layer. */
  #step(event) {
    const tile = event.target.closest(".tile");
    if (!tile || event.altKey || event.ctrlKey || event.metaKey) return;
    const layer = Number(tile.dataset.layer);
    const row = this.rows[layer];
    const here = row.tiles.indexOf(tile);
    const step = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -this.columns,
      ArrowDown: this.columns,
    }[event.key];
    let target;
    if (event.key === "Home") target = row.tiles[0];
    else if (event.key === "End") target = row.tiles.at(-1);
    else if (step) target = row.tiles[here + step] ?? this.#over(layer, here, step);
    else return;
    event.preventDefault();
    event.stopPropagation(); // the page's own arrow keys are for other places
    if (!target) return;
    target.focus();
    const [to, map] = [target.dataset.layer, target.dataset.map].map(Number);
    if (this.selected) this.on.open(to, map, { replace: true });
  }

  #over(layer, here, step) {
    const down = step > 0 ? 1 : -1;
    for (let l = layer + down; this.rows[l]; l += down) {
      const tiles = this.rows[l].tiles;
      if (!tiles?.length) continue;
      if (Math.abs(step) === 1) return down > 0 ? tiles[0] : tiles.at(-1);
      const column = here % this.columns;
      const last = Math.floor((tiles.length - 1) / this.columns) * this.columns;
      return tiles[Math.min(down > 0 ? column : last + column, tiles.length - 1)];
    }
    return undefined;
  }
}

/** One layer's maps. */
class Maps {
  constructor(layer, index, network) {
    Object.assign(this, { layer, index, network, tiles: [], dead: new Set(), all: false });
    this.order = range(layer.shape[0]);
    this.counts = h("span", { class: "counts" });
    this.grid = h("div", { class: "tiles", role: "group", "aria-label": `Maps of ${layer.name}` });
    this.more = h("button", { type: "button", class: "quiet more", onclick: () => this.#toggle() });
    const { layers } = network.run;
    const sources = layer.shortcut?.reads.map((l) => layers[l]?.name ?? "the image");
    const above = heading(layer, { rest: [this.counts], first: index === 0, sources });
    const keep = saver({
      of: `the maps of ${layer.name}`,
      name: () => [network.run.name, layer.name, "maps", network.image],
      picture: () => this.grid,
      rows: () => this.#rows(),
    });
    above.firstChild.after(keep);
    this.element = h("li", { class: "layer" }, above, this.grid, this.more);
    this.frame = h("span", { class: "frame", hidden: true });
    this.grid.addEventListener("click", (event) => {
      const tile = event.target.closest(".tile");
      if (tile) network.on.open(index, Number(tile.dataset.map), {});
    });
    this.grid.addEventListener("pointermove", (event) => {
      const tile = event.target.closest(".tile");
      network.on.field(index, tile && unitUnder(event, tile, layer.shape.slice(1)));
    });
    this.grid.addEventListener("pointerleave", () => network.on.field(index, null));
  }

  paint(statistics, bitmap) {
    this.statistics = statistics;
    this.sheet = new Sheet(bitmap, statistics, this.layer.shape);
    this.arrange();
  }

  #rows() {
    const { mean, max, active } = this.statistics ?? { mean: [] };
    return [
      ["map", "mean", "strongest", "active"],
      ...mean.map((m, i) => [i, m, max[i], active[i]]),
    ];
  }

  markDead(dead) {
    this.dead = new Set(dead);
    if (this.sheet) this.arrange();
  }

  select(map) {
    this.chosen = map;
    this.arrange();
  }

  /** box: [top, left, bottom, right] in units, framed on the first map; null for none. */
  frameUnits(box) {
    this.frame.hidden = !box || !this.tiles.length;
    if (this.frame.hidden) return;
    const [, height, width] = this.layer.shape;
    const [top, left, bottom, right] = box;
    this.frame.style.inset = `${(100 * top) / height}% ${100 - (100 * right) / width}% ${100 - (100 * bottom) / height}% ${(100 * left) / width}%`;
    this.tiles[0].append(this.frame);
  }

  focus(map) {
    this.tiles.find((tile) => Number(tile.dataset.map) === map)?.focus();
  }

  /** Lays out as many tiles as there is room for, in the order chosen, and draws each. */
  arrange() {
    const { sheet, network, statistics } = this;
    if (!sheet || !network.columns) return;
    const count = this.layer.shape[0];
    this.order =
      network.order === "strength" ? network.strongest(this.index, statistics.order) : range(count);
    const shown = this.order.slice(0, this.all ? count : ROWS * network.columns);
    if (this.chosen != null && !shown.includes(this.chosen)) shown[shown.length - 1] = this.chosen;
    while (this.tiles.length < shown.length) this.tiles.push(this.#tile());
    for (const tile of this.tiles.splice(shown.length)) tile.remove();
    for (const [i, tile] of this.tiles.entries()) this.#draw(tile, shown[i]);
    const entrance = this.tiles.find((tile) => tile.matches(".chosen")) ?? this.tiles[0];
    for (const tile of this.tiles) tile.tabIndex = tile === entrance ? 0 : -1;

    this.more.hidden = count <= ROWS * network.columns;
    this.more.setAttribute("aria-expanded", this.all);
    this.more.textContent = this.all ? "Show fewer" : `Show all ${count}`;
    const active = statistics.active.filter((share) => share > 0).length;
    const dead = this.dead.size ? [`, ${this.dead.size} `, term("dead", "dead", QUIET)] : [];
    this.counts.replaceChildren(
      `${active} of ${count} `,
      term("respond", "respond", QUIET),
      ...dead,
    );
  }

  #tile() {
    const attributes = { type: "button", class: "tile", "data-layer": this.index };
    const tile = h("button", attributes, h("canvas"));
    this.grid.append(tile);
    return tile;
  }

  #draw(tile, map) {
    const canvas = tile.firstChild;
    this.sheet.draw(map, canvas);
    const { mean, max } = this.statistics;
    const dead = this.dead.has(map);
    const words = dead
      ? "dead: no training image excites it"
      : max[map] > 0
        ? `mean ${brief(mean[map])}, strongest ${brief(max[map])}`
        : "silent for this image";
    tile.dataset.map = map;
    tile.title = `Map ${map}: ${words}`;
    tile.setAttribute("aria-label", `${this.layer.name}, map ${map}: ${words}`);
    tile.setAttribute("aria-pressed", map === this.chosen);
    tile.classList.toggle("chosen", map === this.chosen);
    tile.classList.toggle("dead", dead);
    tile.classList.toggle("coarse", this.sheet.width < 48);
  }

  #toggle() {
    this.all = !this.all;
    this.arrange();
    if (!this.all) this.element.scrollIntoView({ block: "nearest" });
  }
}
