// The receptive-field explorer: a layer reduced to its wiring, y = ½ (memory + attention) of x minus its running mean.

const formulas = {
  alpha: (halfLife) => -Math.expm1(-Math.LN2 / halfLife),
  edge: (token, chunkSize) => token - (token % chunkSize),

  // Each part as a lower triangular matrix: row t is output t, column s its weight for input s.
  matrix: (size, entry) => Array.from({ length: size }, (_, t) => Array.from({ length: size }, (_, s) => (s > t ? 0 : entry(t, s)))),
  identity: (size) => formulas.matrix(size, (t, s) => (t === s ? 1 : 0)),
  averaging: (size, halfLife) => formulas.matrix(size, (t, s) => formulas.alpha(halfLife) * (1 - formulas.alpha(halfLife)) ** (t - s)),
  attending: (size, chunkSize) =>
    formulas.matrix(size, (t, s) => {
      const start = formulas.edge(t, chunkSize);
      return s >= start ? 1 / (t - start + 1) : 0;
    }),

  // Row by row, row · (I - M) with M_{t,s} = 1/(t + 1): each input loses its share in all running means after it.
  lessTheMean(row) {
    const result = new Array(row.length).fill(0);
    let later = 0;
    for (let s = row.length - 1; s >= 0; s -= 1) {
      later += row[s] / (s + 1);
      result[s] = row[s] - later;
    }
    return result;
  },

  field({ constants, chunk_size: chunkSize, half_life: halfLife }, { attention, memory, statistics }) {
    const averaged = memory ? formulas.averaging(constants.time, halfLife) : formulas.identity(constants.time);
    const attended = attention ? formulas.attending(constants.time, chunkSize) : formulas.identity(constants.time);
    return averaged.map((row, t) => {
      const mixed = row.map((weight, s) => (weight + attended[t][s]) / 2);
      return (statistics ? formulas.lessTheMean(mixed) : mixed).map(Math.abs);
    });
  },

  parts(state) {
    const open = { attention: state.attention, memory: state.memory, statistics: state.statistics };
    const field = formulas.field(state, open);
    const row = field[state.token];
    const shut = { attention: false, memory: false, statistics: false };
    const alone = Object.fromEntries(
      Object.keys(open).map((name) => [name, formulas.field(state, { ...shut, [name]: open[name] })[state.token]]),
    );
    const edge = formulas.edge(state.token, state.chunk_size);
    const sum = (values) => values.reduce((total, value) => total + value, 0);
    const all = sum(row);
    return { field, row, alone, edge, share: all > 0 ? sum(row.slice(0, edge)) / all : 0 };
  },
  values(state) {
    const { field, row, alone, share } = formulas.parts(state);
    return { field: field.flat(), row, ...alone, share: [share] };
  },
};

const PATHS = { statistics: ["green", "6 4"], memory: ["orange"], attention: ["blue"] };

// Strength from 0 (as faint as the picture shows) to 1 on a logarithmic scale; nothing for what is not seen at all.
function strengths(field, faintest) {
  const most = Math.max(...field.flat());
  const shade = (value) => Math.max(0, 1 - Math.log(value / most) / Math.log(faintest));
  return field.map((row) => row.map((value) => (value > 1e-12 * most ? shade(value) : null)));
}

function edges(time, chunkSize) {
  const found = [];
  for (let edge = chunkSize; edge < time; edge += chunkSize) found.push(edge);
  return found;
}

function fieldChart(state, parts) {
  const { time, faintest } = state.constants();
  const [chunkSize, token] = [state.get("chunk_size"), state.get("token")];
  const step = time / chunkSize <= 8 ? chunkSize : 8;
  const ticks = Array.from({ length: Math.ceil(time / step) }, (_, index) => [index * step, String(index * step)]);
  const ends = [-0.5, time - 0.5];
  return {
    title: "Who sees whom",
    label: `Influence of ${time} inputs on ${time} outputs with chunks of ${chunkSize}; above the diagonal there is nothing.`,
    axes: {
      x: { domain: ends, label: "input s", ticks },
      y: { domain: [...ends].reverse(), label: "output t", ticks },
    },
    marks: [
      { kind: "cells", name: "field", rows: strengths(parts.field, faintest), colour: "blue" },
      ...(time / chunkSize <= 8 ? edges(time, chunkSize) : []).flatMap((edge) => [
        { kind: "rule", name: "edge", x: edge - 0.5, colour: "vermilion" },
        { kind: "level", name: "edge", y: edge - 0.5, colour: "vermilion" },
      ]),
      { kind: "box", name: "token", x: ends, y: [token - 0.5, token + 0.5], colour: "ink" },
    ],
  };
}

function rowChart(state, parts) {
  const { time, faintest } = state.constants();
  const [token, floor] = [state.get("token"), faintest / 10];
  const series = [
    ...Object.entries(PATHS)
      .filter(([name]) => state.get(name))
      .map(([name, [colour, dash]]) => ({ name, label: `${name} alone`, colour, dash, values: parts.alone[name], width: 1.5, radius: 4 })),
    { name: "row", label: "all together", colour: "ink", values: parts.row, width: 2.5, radius: 5 },
  ];
  return {
    title: `What reaches output ${token}`,
    label: `Influence of every input on output ${token}, on a logarithmic scale.`,
    legend: series.map(({ label, colour, dash }) => ({ label, colour, dash })),
    axes: {
      x: { domain: [-0.5, time - 0.5], label: "input s" },
      y: { domain: [floor, 4], label: "influence", scale: "log" },
    },
    marks: [
      { kind: "rule", name: "edge", x: parts.edge - 0.5, colour: "vermilion", label: "the chunk begins" },
      ...series.flatMap(({ name, colour, dash, values, width, radius }) => [
        { kind: "line", name, colour, dash, width, points: values.map((value, s) => [s, value < floor ? NaN : value]) },
        ...(values[token] < floor ? [] : [{ kind: "dot", x: token, y: values[token], radius, colour }]),
      ]),
    ],
  };
}

const count = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;

function reading(state, parts) {
  const [token, chunkSize] = [state.get("token"), state.get("chunk_size")];
  const place = token - parts.edge;
  const looks = state.get("attention")
    ? [" Attention sees ", plot.bold(count(place + 1, "token")), place === 0 ? ", its own alone." : `, from ${parts.edge} to ${token}.`]
    : [" Attention is shut: each token sees itself alone."];
  const crossing = parts.share > 0
    ? [" Of all that reaches it, ", plot.bold(`${plot.number(100 * parts.share)} %`), " comes over the chunk’s edge."]
    : [" ", plot.bold("Nothing"), " comes over the chunk’s edge."];
  return [`Output ${token} stands at place ${place} of a chunk of ${chunkSize}.`, ...looks, ...crossing];
}

function build(state) {
  const plain = (name, options) => ({ name, get: () => state.get(name), set: (value) => state.set({ [name]: value }), ...options });
  const bounded = (name, options) => plot.slider(plain(name, { bounds: () => state.bounds(name), ...options }));
  const chunk = bounded("chunk_size", { label: "Chunk size C", step: 1, text: (value) => count(value, "token") });
  const life = bounded("half_life", {
    label: "Half-life of the memory",
    scale: "log",
    text: (value) => `${plot.number(value)} steps`,
    enabled: () => state.get("memory"),
  });
  const token = bounded("token", { label: "Output t to look at", step: 1, text: String });
  const labels = {
    attention: "attention inside the chunk",
    memory: "memory (a moving average)",
    statistics: "norm statistics (a running mean)",
  };
  const switches = Object.entries(labels).map(([name, label]) => plot.checkbox(plain(name, { label })));
  const parts = () => formulas.parts(state.all());
  const field = plot.chart(() => fieldChart(state, parts()), { height: 500 });
  const row = plot.chart(() => rowChart(state, parts()), { height: 390 });
  const text = plot.sentence(() => reading(state, parts()));
  return {
    title: "What a token can see",
    hint: "Each row is an output, each column an input. Dark is strong, faint is weak (down to a thousandth), empty is nothing at all.",
    body: plot.html(
      "div",
      {},
      plot.html("div", { class: "mx-controls" }, chunk.node, life.node, token.node, plot.html("div", {}, switches.map(({ node }) => node))),
      plot.html(
        "div",
        { class: "mx-columns" },
        plot.html("div", { class: "mx-stack" }, field.node),
        plot.html("div", { class: "mx-stack" }, row.node, text.node),
      ),
    ),
    parts: [chunk, life, token, ...switches, field, row, text],
  };
}

const names = ["chunk_size", "half_life", "token", "attention", "memory", "statistics"];
const render = (context) => plot.explorer(context, names, build);

export default { render, formulas };
