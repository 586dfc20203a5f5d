// The training patches that excite a map most, cut out of their images.

import { format } from "./address.js";
import { ask, keep, picture } from "./answers.js";
import { h, note } from "./dom.js";
import { brief } from "./numbers.js";

const BEYOND = "rgb(128 128 128)"; // what lies over the image's border

/** Elements that show a map's nine patches, strongest first. */
export async function patchPictures(site, r, l, map, signal, news) {
  const { maps, dead } = await keep(ask, `api/${r}/patches-${l}.json`, { signal, news });
  if (dead.includes(map)) {
    return [note("Dead: no training image excites this map.")];
  }
  const patches = maps[map];
  const images = await Promise.all(
    patches.map(({ image }) => picture(`images/${r}/${image}.png`, { signal, news })),
  );
  const { classes } = site.runs[r];
  const figures = patches.map((patch, i) => {
    const name = classes[patch.label] ?? "unknown class";
    const canvas = crop(images[i], patch.box);
    const words = `${name}, ${brief(patch.value)}`;
    const shown = site.static
      ? h("span", { class: "patch", role: "img", "aria-label": words, title: words }, canvas)
      : h(
          "a",
          {
            class: "patch",
            "aria-label": `${words}; look at the whole image`,
            title: words,
            href: format({ image: patch.image, run: r, layer: l, map }),
          },
          canvas,
        );
    return h("figure", {}, shown, h("figcaption", {}, name));
  });
  return [h("div", { class: "patches" }, figures)];
}

/** The box of an image. A side on which it is longer than the image is the image's own. */
function crop(image, [top, left, bottom, right]) {
  if (bottom - top > image.height) [top, bottom] = [0, image.height];
  if (right - left > image.width) [left, right] = [0, image.width];
  const canvas = h("canvas", { width: right - left, height: bottom - top });
  const context = canvas.getContext("2d");
  context.fillStyle = BEYOND;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, -left, -top);
  return canvas;
}
