// The normalized-attention explorer: q = k = κ z' of fixed tokens, with z' made in four ways.

const formulas = {
  dot: (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0),
  // RMS norm without a gain, divided by √d: the length 1, but for eps.
  unit(z, eps) {
    const length = Math.sqrt(formulas.dot(z, z) + z.length * eps);
    return z.map((value) => value / length);
  },
  scale: [() => 1, (width) => width, (width) => 1 / Math.sqrt(width), (width) => 1 / Math.sqrt(width)],
  softmax(row) {
    const highest = Math.max(...row);
    const powers = row.map((logit) => Math.exp(logit - highest));
    const total = powers.reduce((sum, power) => sum + power, 0);
    return powers.map((power) => power / total);
  },
  entropy: (weights) => weights.reduce((sum, w) => sum - (w > 0 ? w * Math.log(w) : 0), 0) / Math.log(weights.length),

  // Row t of logits and weights holds t + 1 numbers: a token sees itself and those before it.
  parts({ constants, bounds, scheme, width, kappa, size }) {
    const number = bounds.scheme.indexOf(scheme);
    const normed = number < 3;
    const q = constants.z
      .map((token) => token.slice(0, width).map((value) => size * value))
      .map((token) => (normed ? formulas.unit(token, constants.eps) : token))
      .map((token) => token.map((value) => kappa * value));
    const scale = formulas.scale[number](width);
    const logits = q.map((query, t) => q.slice(0, t + 1).map((key) => scale * formulas.dot(query, key)));
    const weights = logits.map(formulas.softmax);
    return { logits, weights, entropy: weights.slice(1).map(formulas.entropy), largest: Math.max(...logits.flat().map(Math.abs)) };
  },
  values(state) {
    const { logits, weights, entropy, largest } = formulas.parts(state);
    const whole = (rows) => rows.flatMap((row) => [...row, ...new Array(rows.length - row.length).fill(0)]);
    return { logits: whole(logits), weights: whole(weights), entropy, largest: [largest] };
  },
};

const shown = (token) => (token === " " ? "␣" : token);
const ticks = (state) => state.constants().tokens.map((token, place) => [place, shown(token)]);
const ends = (state) => [-0.5, state.constants().tokens.length - 0.5];
const query = (state) => `“${shown(state.constants().tokens[state.get("row")])}”`;

function weightsChart(state, parts) {
  const row = state.get("row");
  return {
    title: "Attention weights: a darker square is a larger weight",
    label: `The weights of every token on those before it and on itself. In the row of ${query(state)} the strongest is ${plot.fixed(Math.max(...parts.weights[row]), 2)}.`,
    axes: {
      x: { domain: ends(state), ticks: ticks(state), label: "key: whom it looks at" },
      y: { domain: ends(state).reverse(), ticks: ticks(state), label: "query: who looks" },
    },
    marks: [
      { kind: "cells", name: "weights", colour: "blue", rows: parts.weights },
      { kind: "box", name: "row", colour: "vermilion", x: [-0.5, row + 0.5], y: [row - 0.5, row + 0.5] },
    ],
  };
}

function rowChart(state, name, values, domain) {
  return {
    title: `${name} in the row of ${query(state)}`,
    label: `${name} of ${query(state)}: ${values.map((value) => plot.fixed(value, 2)).join(", ")}.`,
    axes: {
      x: { domain: ends(state), ticks: ticks(state), label: "key" },
      y: { domain, label: name.toLowerCase() },
    },
    marks: [{ kind: "stems", name, colour: "blue", radius: 3.5, points: values.map((value, place) => [place, value]) }],
  };
}

function reading(state, { weights, entropy, largest }) {
  const row = state.get("row");
  return [
    "The largest |logit| of all rows is ",
    plot.bold(plot.number(largest)),
    `. In the row of ${query(state)} the strongest of ${row + 1} weights is `,
    plot.bold(plot.fixed(Math.max(...weights[row]), 2)),
    ", and the entropy is ",
    plot.bold(plot.fixed(entropy[row - 1], 2)),
    " of its most (1: all weights equal, 0: one token gets all).",
  ];
}

function build(state) {
  const plain = (name, options) => ({ name, get: () => state.get(name), set: (value) => state.set({ [name]: value }), ...options });
  const slider = (name, options) => plot.slider(plain(name, { bounds: () => state.bounds(name), ...options }));
  const scheme = plot.select(plain("scheme", { label: "What is done", choices: () => state.bounds("scheme") }));
  const width = slider("width", { label: "width d of z", scale: "log", step: 1, text: String });
  const kappa = slider("kappa", { label: "gain κ of q and k", scale: "log", text: (value) => plot.number(value) });
  const size = slider("size", { label: "size of all z (of W)", scale: "log", text: (value) => `× ${plot.number(value)}` });
  const row = slider("row", { label: "row looked at", step: 1, text: (row) => `${query(state)}, ${row + 1} of ${state.constants().tokens.length}` });
  let parts = null;
  const compute = { draw: () => (parts = formulas.parts(state.all())) };
  const all = plot.chart(() => weightsChart(state, parts), { height: 400 });
  const logits = plot.chart(
    () => {
      const values = parts.logits[state.get("row")];
      return rowChart(state, "Logits", values, plot.niceDomain(values, { include: [0, 1], count: 4 }));
    },
    { height: 200 },
  );
  const weights = plot.chart(() => rowChart(state, "Weights", parts.weights[state.get("row")], [0, 1]), { height: 200 });
  const text = plot.sentence(() => reading(state, parts));
  return {
    title: "From z to attention",
    hint: ["Fourteen tokens with fixed z; equal letters point to similar directions. Choose what is done to z, then move width, gain and size."],
    body: plot.html(
      "div",
      {},
      plot.html("div", { class: "mx-controls" }, scheme.node, width.node, kappa.node, size.node, row.node),
      plot.html(
        "div",
        { class: "mx-columns" },
        plot.html("div", { class: "mx-stack" }, all.node),
        plot.html("div", { class: "mx-stack" }, logits.node, weights.node),
      ),
      text.node,
    ),
    parts: [compute, scheme, width, kappa, size, row, all, logits, weights, text],
  };
}

const names = ["bounds", "scheme", "width", "kappa", "size", "row"];
const render = (context) => plot.explorer(context, names, build);

export default { render, formulas };
