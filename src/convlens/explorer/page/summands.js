// A sum as a table, to be saved: every number that it is made of, those computed first standing
// first.

const COLUMNS = ["step", "of", "row", "column", "value", "weight", "product"];

/** Rows of cells, COLUMNS first. classes: names, for the softmax. */
export function summands(term, classes) {
  const filled = rowsOf(term, classes).map((row) => COLUMNS.map((_, i) => row[i] ?? ""));
  return [COLUMNS, ...filled];
}

function rowsOf(term, classes) {
  const before = (term.parts ?? []).flatMap((part) => rowsOf(part, classes));
  const step = term.layer ? `${term.kind} ${term.layer}` : (term.name ?? term.kind);
  const made = MADE[term.kind]?.(term, step, classes) ?? [];
  const of = term.kind === "value" ? named(term) : "result";
  return [...before, ...made, [step, of, "", "", term.value]];
}

// By kind, what a step reads beside its parts.
const MADE = {
  convolution(term, step) {
    const shown = term.inputs.flatMap((input) =>
      input.window.flatMap((line, i) =>
        line.map((value, j) => {
          const weight = input.kernel[i][j];
          const place = [term.at[0] + i * term.step[0], term.at[1] + j * term.step[1]];
          return [step, named(input), ...place, value, weight, value * weight];
        }),
      ),
    );
    const told = term.inputs.reduce((all, { sum }) => all + sum, 0);
    return [
      ...shown,
      ...others(step, term.sums.length - term.inputs.length, term.value - (term.bias ?? 0) - told),
      ...bias(step, term),
    ];
  },
  linear(term, step) {
    const shown = term.inputs.map((input) => [
      step,
      named(input),
      "",
      "",
      input.value,
      input.weight,
      input.product,
    ]);
    return [...shown, ...others(step, term.others, term.rest), ...bias(step, term)];
  },
  maximum: pooled,
  average: pooled,
  norm: ({ mean, variance, eps, weight, bias: shift }, step) =>
    Object.entries({ mean, variance, eps, weight, bias: shift }).map(([name, value]) => [
      step,
      name,
      "",
      "",
      value,
    ]),
  softmax: ({ temperature, inputs, total }, step, classes) => [
    [step, "temperature", "", "", temperature],
    ...inputs.map(({ class: c, logit, power }) => [step, classes[c], "", "", logit, "", power]),
    [step, "all classes", "", "", "", "", total],
  ],
};

function pooled({ window, at, stage, map }, step) {
  return window.flatMap((line, i) =>
    line.map((value, j) => [step, named({ stage, map }), at[0] + i, at[1] + j, value ?? ""]),
  );
}

function named({ stage, map, unit, channel, feature }) {
  if (stage === undefined)
    return channel === undefined ? `number ${feature}` : `channel ${channel}`;
  return [stage || "image", ...(unit ?? [map])].join(" ");
}

const others = (step, count, rest) =>
  count > 0 ? [[step, `${count} others`, "", "", "", "", rest]] : [];

const bias = (step, term) =>
  term.bias === null ? [] : [[step, "bias", "", "", "", "", term.bias]];
