// Where the reader is, written in the fragment of the page's address, so that back, forward,
// reload and a shared link all lead to the same view, also in a static site.
//
//   #/image/v12                        the network for an image
//   #/image/v12/run/1/layer/3/map/17   one map of it (run/0 is left out)
//   #/image/v12/layer/3/map/17/row/4/column/9   a unit of that map
//   #/image/v12/attribution/target/5   what speaks for a class
//   #/image/v12/neighbors  #/image/v12/invariance
//   #/image/v12/among/mistakes         any of these, come to from a list
//   #/image/v12/beside/v7              any of these, with another image beside it
//   #/training  #/confusion/5/7  #/classes  #/mistakes  #/embedding  #/images
//   #/image/v12/layer/3/map/17/tour/2   any of these in step 2 of the tour; #/tour/2 finds its place

import { AMONG } from "./among.js";

const VIEWS = ["image", "training", "confusion", "classes", "mistakes", "embedding", "images"];
const TABS = ["attribution", "neighbors", "invariance"];
const NUMBERS = ["run", "layer", "map", "row", "column", "target"];

const TOUR = /\/?tour\/(\d+)$/;

export function parse(fragment) {
  const [, tour] = TOUR.exec(fragment) ?? [];
  if (tour) return { ...parse(fragment.replace(TOUR, "")), tour: Number(tour) };

  const [view, ...words] = fragment.replace(/^#\/?/, "").split("/");
  if (view === "confusion") {
    return { view, truth: number(words[0]), predicted: number(words[1]) };
  }
  if (view !== "image") {
    return { view: VIEWS.includes(view) ? view : "image", tab: "network", run: 0 };
  }

  const address = { view, image: words.shift(), tab: "network", run: 0 };
  while (words.length) {
    const word = words.shift();
    if (TABS.includes(word)) address.tab = word;
    else if (word === "among" && AMONG.test(words[0])) address.among = words.shift();
    else if (word === "beside" && words[0]) address.beside = words.shift();
    else if (NUMBERS.includes(word)) address[word] = number(words.shift());
  }
  address.run ??= 0;
  if (address.target !== undefined) address.tab = "attribution";
  return address;
}

export function format(address) {
  const { view = "image", image, among, beside, tab, run, layer, map, row, column } = address;
  const { target, truth, predicted, tour } = address;
  const words = [view];
  if (view === "image" && image !== undefined) {
    words.push(image);
    if (among) words.push("among", among);
    if (beside !== undefined) words.push("beside", beside);
    if (TABS.includes(tab)) words.push(tab);
    if (tab === "attribution" && target !== undefined) words.push("target", target);
    if ((tab ?? "network") === "network" && map !== undefined) {
      if (run) words.push("run", run);
      words.push("layer", layer, "map", map);
      if (row !== undefined) words.push("row", row, "column", column);
    }
  }
  if (view === "confusion" && truth !== undefined) {
    words.push(truth);
    if (predicted !== undefined) words.push(predicted);
  }
  if (tour !== undefined) words.push("tour", tour);
  return `#/${words.join("/")}`;
}

/** Leads there, in the tour if one is on, and with the image that is pinned; `replace` leaves no
 *  step behind for the back button. */
export function go(address, { replace = false } = {}) {
  const { tour, beside } = parse(location.hash);
  const fragment = format({ tour, beside, ...address });
  if (fragment === location.hash) return;
  if (replace) location.replace(fragment);
  else location.hash = fragment;
}

function number(word) {
  return /^\d+$/.test(word ?? "") ? Number(word) : undefined;
}
