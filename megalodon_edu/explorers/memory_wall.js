// The memory-wall explorer: bytes that a decoder keeps to write the next token, by the length of what it has read.

const formulas = {
  // 2 · layers · kv heads · head width · context · bytes · batch, where kv heads · head width = width / queries per key
  cache({ num_layers: layers, model_dim: width }, context, bytes, queriesPerKey, batch) {
    return (2 * layers * (width / queriesPerKey)) * context * bytes * batch;
  },
  // Per layer: keys and values of an unfinished chunk, CEMA's complex state, the norm's count, mean and variance.
  // One more norm stands before the head.
  state(model, context, bytes, batch) {
    const held = Math.min(context, model.chunk_size - 1);
    const keysAndValues = held * (model.z_dim + model.value_dim) * bytes;
    const average = model.model_dim * model.cema_ndim * 8;
    const norm = 8 + 2 * model.norm_num_groups * 4;
    return batch * (model.num_layers * (keysAndValues + average + norm) + norm);
  },
  contexts: ([least, most], points) =>
    Array.from({ length: points }, (_, index) => Math.round(least * (most / least) ** (index / (points - 1)))),

  values({ constants, bounds, context, model: name, precision, queries_per_key: queriesPerKey, batch }) {
    const model = constants.models[name];
    const bytes = constants.precisions[precision];
    const cache = (length) => formulas.cache(model, length, bytes, queriesPerKey, batch);
    const state = (length) => formulas.state(model, length, bytes, batch);
    const contexts = formulas.contexts(bounds.context, constants.points);
    return {
      contexts,
      cache: contexts.map(cache),
      state: contexts.map(state),
      here: [cache(context), state(context)],
      walls: Object.values(constants.gpus).map((size) => size / cache(1)),
    };
  },
};

const scaled = (value, units) => {
  const [size, unit] = units.find(([least]) => value >= least) ?? units[units.length - 1];
  return `${plot.number(value / size)}${unit}`;
};
const bytesText = (value) => scaled(value, [[1e12, " TB"], [1e9, " GB"], [1e6, " MB"], [1e3, " kB"], [1, " B"]]);
const tokensText = (value) => scaled(value, [[1e6, " million tokens"], [1e3, " thousand tokens"], [1, " tokens"]]);
const shortTokens = (value) => (value >= 1e6 ? `${value / 1e6}M` : value >= 1e3 ? `${value / 1e3}K` : String(value));
const plainTokens = (value) => value.toLocaleString("en-US");

function sizeChart(state) {
  const { contexts, cache, state: kept, here, walls } = formulas.values(state.all());
  const { gpus } = state.constants();
  const context = state.get("context");
  const [least, most] = state.bounds("context");
  const pairs = (values) => values.map((value, index) => [contexts[index], value]);
  const low = 10 ** Math.floor(Math.log10(Math.min(...cache, ...kept)));
  const high = 10 ** Math.ceil(Math.log10(Math.max(...cache, 2e11)));
  const decades = Array.from({ length: Math.round(Math.log10(high / low)) + 1 }, (_, index) => low * 10 ** index);
  return {
    title: "Bytes kept in order to go on writing",
    label:
      `The Transformer's cache grows in proportion to the context and is ${bytesText(here[0])} at ${plainTokens(context)} tokens; ` +
      `Megalodon's state is ${bytesText(here[1])} and stays so.`,
    legend: [
      { label: "Transformer: KV cache", colour: "vermilion" },
      { label: "Megalodon: state", colour: "blue" },
      { label: "memory of a GPU", colour: "grey", dash: "2 3" },
    ],
    axes: {
      x: {
        domain: [least, most],
        label: "context, tokens",
        scale: "log",
        ticks: [1e3, 1e4, 1e5, 1e6, 1e7].map((value) => [value, shortTokens(value)]).filter(([value]) => value >= least),
      },
      y: { domain: [low, high], label: "bytes", scale: "log", ticks: decades.map((value) => [value, bytesText(value).replace(/\.0+ /, " ")]) },
    },
    marks: [
      ...Object.entries(gpus).map(([name, size]) => ({ kind: "level", name: `gpu-${name}`, y: size, colour: "grey", dash: "2 3", label: name })),
      { kind: "line", name: "cache", points: pairs(cache), colour: "vermilion", width: 3 },
      { kind: "line", name: "state", points: pairs(kept), colour: "blue", width: 3 },
      ...walls
        .map((wall, index) => ({ kind: "dot", x: wall, y: Object.values(gpus)[index], colour: "vermilion", radius: 4 }))
        .filter(({ x }) => x >= least && x <= most),
      { kind: "rule", name: "context", x: context, colour: "ink", dash: "1 0" },
      { kind: "dot", x: context, y: here[0], colour: "vermilion", radius: 6 },
      { kind: "dot", x: context, y: here[1], colour: "blue", radius: 6 },
    ],
  };
}

function wallTable(state) {
  const body = plot.html("tbody");
  const head = plot.html("tr", {}, plot.html("th", { scope: "col" }, "GPU"), plot.html("th", { scope: "col" }, "The cache alone fills it at"));
  const node = plot.html("table", { class: "mx-table" }, plot.html("thead", {}, head), body);
  function draw() {
    const { walls } = formulas.values(state.all());
    body.replaceChildren(
      ...Object.keys(state.constants().gpus).map((name, index) =>
        plot.html("tr", {}, plot.html("th", { scope: "row" }, name), plot.html("td", {}, tokensText(walls[index]))),
      ),
    );
  }
  return { node, draw };
}

function reading(state) {
  const { here } = formulas.values(state.all());
  const [cache, kept] = here;
  const [larger, ratio] = cache > kept ? ["the cache", cache / kept] : ["the state", kept / cache];
  return [
    "After ",
    plot.bold(`${plainTokens(state.get("context"))} tokens`),
    " the Transformer keeps ",
    plot.bold(bytesText(cache)),
    " and Megalodon at most ",
    plot.bold(bytesText(kept)),
    `: ${larger} is `,
    plot.bold(`${plot.number(ratio)} times as large`),
    ". The weights come on top for both.",
  ];
}

function build(state) {
  const plain = (name, options) => ({ name, get: () => state.get(name), set: (value) => state.set({ [name]: value }), ...options });
  const choice = (name, label, text) => plot.select(plain(name, { label, text, choices: () => state.bounds(name) }));
  const context = plot.slider(
    plain("context", {
      label: "Context",
      scale: "log",
      step: 1,
      bounds: () => state.bounds("context"),
      text: (value) => `${plainTokens(value)} tokens`,
    }),
  );
  const model = choice("model", "Size of both models");
  const precision = choice("precision", "Precision");
  const sharing = choice("queries_per_key", "Query heads per key head", (n) => (n === 1 ? "1: no sharing" : `${n}: cache ÷ ${n}`));
  const batch = choice("batch", "Texts at once");
  const chart = plot.chart(() => sizeChart(state), { height: 340 });
  const text = plot.sentence(() => reading(state));
  const table = wallTable(state);
  const note = plot.sentence(() => ["1 GB is 10⁹ bytes. Megalodon’s state is counted where it is largest, just before a chunk is full."]);
  return {
    title: "The memory wall",
    hint: "Lengthen the context and see which of the two must keep more and more.",
    body: plot.html(
      "div",
      {},
      plot.html(
        "div",
        { class: "mx-controls" },
        plot.html("div", { class: "mx-span" }, context.node),
        model.node,
        precision.node,
        sharing.node,
        batch.node,
      ),
      plot.html(
        "div",
        { class: "mx-columns mx-mostly-left" },
        plot.html("div", { class: "mx-stack" }, chart.node),
        plot.html("div", { class: "mx-stack mx-reading" }, text.node, table.node, note.node),
      ),
    ),
    parts: [context, model, precision, sharing, batch, chart, text, table, note],
  };
}

const names = ["bounds", "context", "model", "precision", "queries_per_key", "batch"];
const render = (context) => plot.explorer(context, names, build);

export default { render, formulas };
