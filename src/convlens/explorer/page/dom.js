// Elements made in one expression. Text is always set as text, never as markup.

export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child || child === 0));
  return element;
}

/** A view: its title, which takes the focus when it opens, what it is about, and what it shows. */
export function page(title, lead, ...content) {
  return h(
    "section",
    { class: "page" },
    h("h1", { tabindex: -1 }, title),
    h("p", { class: "lead" }, lead),
    ...content,
  );
}

/** A canvas that shows `bitmap`; attributes: size and role are its own. */
export function drawn(bitmap, attributes) {
  const { width, height } = bitmap;
  const canvas = h("canvas", { role: "img", width, height, ...attributes });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return canvas;
}

/** A path as elements: it is broken behind a slash or an underscore. */
export function path(name) {
  return name.split(/(?<=[/_])/).flatMap((part) => [part, h("wbr")]);
}

/** A plain button; what it shows may be a sign only, so that `label` says what it does. Who speaks
 *  to the page says the words that are seen, which the name therefore has. */
export function button(label, sign, onclick) {
  const seen = sign.replace(/[^\p{L} ]/gu, "").trim();
  const name = label.includes(seen) ? label : `${sign}: ${label}`;
  const attributes = { type: "button", class: "quiet", title: label, "aria-label": name, onclick };
  return h("button", attributes, sign);
}

/** A small sentence beside what it is about. */
export function note(...words) {
  return h("p", { class: "note" }, words);
}

/** Says `sentence` to those who listen to the page instead of looking at it. */
export function announce(sentence) {
  document.querySelector(".announcement").textContent = sentence;
}

/** Whether a key typed at `target` is meant for a field there and for nothing else. */
export function isTyping(target) {
  return target.closest("input:not([type=radio]):not([type=range]), select, textarea") !== null;
}

export function range(count) {
  return Array.from({ length: count }, (_, i) => i);
}
