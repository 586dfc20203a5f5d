// The words of the guided tour, to be edited by whoever teaches with it.
//
// A step has a title, what it says, and something to do: of `todo` the first sentence is shown that
// can be told. {words in braces} are filled in by stops.js from the network, the picture and the
// answers; a sentence of which a word is not known is left out, such as one about {sum} in a copy of
// the page that cannot run the network, and shows no sums. Steps without a place on a page are left
// out, and the rest counted.

export const LESSON = [
  {
    stop: "filter",
    title: "A filter is a small pattern of weights",
    says: [
      "The first layer looks at the picture through filters. Framed is one of {layer}: {kernel} weights for {reads}.",
      "Orange weights count for, blue ones count against. Laid on the picture, the filter answers most where the picture looks like its pattern.",
      "Nobody writes these weights down: training finds them.",
    ],
    todo: ["Look at other filters with ‹ and › above. Which look for an edge, which for a color?"],
  },
  {
    stop: "map",
    title: "A map shows where the filter answers",
    says: [
      "The filter slides over the whole picture. Its answers, one number a place, make a map, also called an activation: here {map} numbers.",
      "Bright is a strong answer. {layer} has {count} filters and therefore {count} maps.",
    ],
    todo: [
      "Point at any square of the map, or tap it: the frame over the image shows which pixels it was computed from.",
    ],
  },
  {
    stop: "sum",
    title: "One number comes of one window",
    says: [
      "Each square of the map is one number, and {sum} behind it is written out here.",
      "Every number in the window is multiplied by the weight at the same place; all products are added.",
      "What follows below, such as the bias, is added or applied in turn, until the number of the map is reached.",
    ],
    todo: [
      "Point at another square of the map above and watch the numbers. Where do they become large?",
    ],
  },
  {
    stop: "relu",
    title: "ReLU: what is below 0 becomes 0",
    says: [
      "ReLU keeps every number above 0 and makes 0 of the others. {silent} of this map's numbers are 0.",
      "So a map tells where its pattern was found, and is silent elsewhere.",
      "Without such a bend, convolutions one after another could do no more than a single one: sums of sums are sums again.",
    ],
    todo: [
      "Point at a dark square of the map above: its number ends as 0 in {sum}. Then point at a bright one.",
      "Point at a dark square of the map and read its number below, then at a bright one.",
    ],
  },
  {
    stop: "pool",
    title: "Pooling makes the maps smaller",
    says: [
      "{layer} makes one number of each window of a map: {pooled}.",
      "Maps of {before} numbers become maps of {after}.",
      "That saves work, and it makes the network less picky: a pattern that moves a little gives much the same answer.",
    ],
    todo: [
      "Point at a square of the map: {sum} below shows its window and the number that comes of it.",
      "Compare this map with the same one in the layer before: what is lost, what stays?",
    ],
  },
  {
    stop: "depth",
    title: "Deeper layers see more",
    says: [
      "A number of {first} sees {little} of the picture. One of {layer}, the last layer of maps, sees {much}.",
      "Each layer builds on what the layers before it found, so that patterns become larger and richer with depth.",
      "Framed are the {patches} of training pictures that excite this map most.",
    ],
    todo: [
      "What do these {patches} have in common? Click a tile of the first layer and compare.",
      "Point at squares of the map: the frame shows what each of them sees.",
    ],
  },
  {
    stop: "head",
    title: "From features to an answer",
    says: [
      "{layer} gives each of the {classes} classes a score, its logit.",
      "It is a sum again: each of the {features} features before it times a weight of its own.",
      "{Framed} is the sum for {class}, the features that add most first.",
      "The softmax makes probabilities of the logits: none below 0, together 100 %.",
    ],
    todo: [
      "Click another bar of {layer}: what adds to {sum} of that class?",
      "Point at the bars: which classes come next?",
    ],
  },
  {
    stop: "errs",
    title: "Where it errs",
    says: [
      "A row is a true class, a column an answer. On the diagonal the network is right; every colored square beside it is a mistake.",
      "It gets {wrong} of {images} validation pictures wrong.",
      "Among its most frequent mistakes is {truth} taken for {taken}, {times}×.",
    ],
    todo: [
      "Click a colored square beside the diagonal, one of the {wrong} mistakes, and look at its pictures. Would you have known?",
      "Click a colored square and look at its pictures.",
    ],
  },
  {
    stop: "sure",
    title: "How sure it may be",
    says: [
      "A probability is a promise: of all pictures answered with 80 %, 8 in 10 should be right. A network that keeps it is called calibrated.",
      "Here it is {mean} sure on average, and right in {accuracy}.",
      "Of the {sure} it answers with at least 90 %, {kept} are right.",
    ],
    todo: [
      "Set “Answer” to wrong and “Sure from, %” to 90: what remains are mistakes that it is sure of.",
    ],
  },
  {
    stop: "curves",
    title: "What training did",
    says: [
      "In each epoch the network sees the training pictures once and changes its weights a little, so that its loss on them falls.",
      "The curve called {other} is of pictures that it does not learn from: it tells what to expect of new ones.",
      "Where train goes on improving and {other} does not, the network begins to know its pictures by heart: it overfits.",
    ],
    todo: ["Point at the curves and read them epoch by epoch. From when on did little change?"],
  },
  {
    stop: "touch",
    title: "Touch the picture",
    says: [
      "The answer depends on the pixels and on nothing else. Change them, and bars and maps follow at once.",
      "If hiding a part changes the answer, the answer relied on that part.",
    ],
    todo: [
      "Move over the picture: a gray square hides what lies below it. Where do the bars change most? Then turn the picture by “Turn”.",
    ],
  },
  {
    stop: "own",
    title: "A picture of your own",
    says: [
      "The network sees your picture as {size} pixels, whatever it was before.",
      "It knows {classes} classes and nothing else: whatever it is shown, it names one of them, and it may sound sure.",
    ],
    todo: [
      "Press Choose and give it a picture of yours. Then try one that is none of its classes.",
    ],
  },
];

/** `sentence` with its words filled in; null if one of them is not known. */
export function told(sentence, facts) {
  const words = [...sentence.matchAll(/\{(\w+)\}/g)].map(([, word]) => word);
  if (words.some((word) => facts[word] === undefined)) return null;
  return sentence.replace(/\{(\w+)\}/g, (_, word) => facts[word]);
}
