// Names of classes, runs and files, as they are shown: they may come from anybody's files.

const LONGEST = 120; // characters
// Characters that do something instead of being seen: controls, line ends, and those that turn the
// direction of the text around them. The command line writes the same ones out.
const UNSEEN = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** The name with what is not seen written out, and cut where it is too long. */
export function readable(name) {
  const all = Array.from(name.slice(0, 2 * LONGEST + 1)); // so that no character is halved
  const some = all.length > LONGEST ? [...all.slice(0, LONGEST), "…"] : all;
  return some
    .join("")
    .replace(UNSEEN, (it) => `\\u${it.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** What there is to see, its names readable and those of a run's classes still distinct. */
export function named(site) {
  for (const run of site.runs) {
    run.name = readable(run.name);
    run.classes = distinct(run.classes.map(readable));
  }
  if (site.data) site.data.name = readable(site.data.name);
  for (const image of site.images) image.path = readable(image.path);
  return site;
}

function distinct(names) {
  const seen = new Map();
  return names.map((name) => {
    const count = (seen.get(name) ?? 0) + 1;
    seen.set(name, count);
    return count > 1 ? `${name} (${count})` : name;
  });
}
