// The calculator: bytes and FLOPs of a Megalodon and of the Transformer with as many parameters, from their sizes.
// The formulas are those of measure/cost_model.py, under the same names.

const BILLION = 1e9;
const QUANTITIES = ["memory while writing", "FLOPs for the next token", "FLOPs to read the context", "memory of a training step"];

const formulas = {
  attendedPairs(context, size) {
    const full = Math.floor(context / size);
    const rest = context % size;
    return (full * size * (size + 1) + rest * (rest + 1)) / 2;
  },
  tables: (model) => (model.share_emb ? 1 : 2) * model.vocab_size * model.model_dim,

  // Weights in the products of one layer: around the attention, and in the feed-forward part.
  projections(model) {
    const { model_dim: d } = model;
    if (model.kv_heads) return 2 * d * d + 2 * d * model.kv_heads * (d / model.num_heads);
    return d * (model.z_dim + 2 * model.value_dim + d) + model.value_dim * d;
  },
  feedForward: (model) => (model.kv_heads || model.swiglu ? 3 : 2) * model.model_dim * model.ffn_hidden_dim,

  parameters(model) {
    const { model_dim: d, z_dim: z, value_dim: v } = model;
    const products = formulas.projections(model) + formulas.feedForward(model);
    if (model.kv_heads) return model.num_layers * (2 * d + products) + d + formulas.tables(model);
    const average = 4 * d * model.cema_ndim + 2 * d;
    const layer = 5 * d + average + 4 * z + products + 2 * v + z + d + (model.rescale_nffn ? d : 0);
    return model.num_layers * layer + 2 * d + formulas.tables(model);
  },

  // The Transformer of the same depth and width whose feed-forward width makes up for the difference.
  match(model, headWidth, queriesPerKey) {
    const heads = Math.floor(model.model_dim / headWidth);
    const kvHeads = Math.max(1, Math.floor(heads / queriesPerKey));
    const { num_layers, model_dim, vocab_size, share_emb } = model;
    const bare = { num_layers, model_dim, vocab_size, share_emb, num_heads: heads, kv_heads: kvHeads, ffn_hidden_dim: 1 };
    const exact = 1 + (formulas.parameters(model) - formulas.parameters(bare)) / (3 * num_layers * model_dim);
    return { ...bare, ffn_hidden_dim: Math.max(1, exact >= 64 ? Math.round(exact / 8) * 8 : Math.round(exact)) };
  },

  // CEMA, chunk by chunk of `scan` steps.
  average(model, tokens, most) {
    const scan = Math.min(most, tokens);
    const kernel = (length) => {
      const block = Math.max(1, Math.round(Math.sqrt(length)));
      return 4 * Math.ceil(length / block) * model.cema_ndim * block;
    };
    const piece = (size, number) => (size ? kernel(size) + number * (2 * size * size + 8 * size * model.cema_ndim) : 0);
    return model.model_dim * (piece(scan, Math.floor(tokens / scan)) + piece(tokens % scan, 1));
  },

  flops(model, tokens, pairs, scan) {
    const { model_dim: d, num_layers: layers } = model;
    const products = 2 * tokens * (layers * (formulas.projections(model) + formulas.feedForward(model)) + d * model.vocab_size);
    if (model.kv_heads) return products + 4 * pairs * layers * d + tokens * (2 * layers + 1) * 4 * d;
    const timestepNorm = 8 * d + 12 * model.norm_num_groups;
    const norms = timestepNorm + 11 * d + (model.normalize_z ? 3 * model.z_dim : 0);
    return (
      products +
      2 * pairs * layers * (model.z_dim + model.value_dim) +
      layers * formulas.average(model, tokens, scan) +
      tokens * (layers * norms + timestepNorm)
    );
  },

  mostState(model, context, batch, bytes) {
    const { num_layers: layers, model_dim: d } = model;
    if (model.kv_heads) return batch * layers * 2 * model.kv_heads * (d / model.num_heads) * context * bytes;
    const cache = Math.min(context, model.chunk_size - 1) * (model.z_dim + model.value_dim) * bytes;
    const norm = 8 + 2 * model.norm_num_groups * 4;
    return batch * (layers * (cache + d * model.cema_ndim * 8 + norm) + norm);
  },

  activations(model, context, batch, most) {
    const { model_dim: d, num_layers: layers, num_heads: heads } = model;
    if (model.kv_heads) {
      const width = d / heads;
      const layer = 8 * d + 2 + 2 * model.kv_heads * width + 2 * width + heads + 4 * model.ffn_hidden_dim;
      return 4 * batch * context * (layers * layer + 3 * d + 3 + model.vocab_size);
    }
    const { z_dim: z, cema_ndim: modes } = model;
    const scan = Math.min(most, context);
    let rounds = 0;
    while (2 ** rounds < context) rounds += 1;
    const norm = (rounds + 2) * model.norm_num_groups + 2 * rounds;
    const attention = 3 * z + Math.floor((2 * z) / heads) + 6 * model.value_dim + Math.min(model.chunk_size, context) * heads;
    const zNorm = model.normalize_z ? z + heads : 0;
    const feedForward = (model.swiglu ? 4 : 2) * model.ffn_hidden_dim + (model.rescale_nffn ? d : 0);
    const layer = 9 * d + 5 + norm + Math.floor((6 * d * modes) / scan) + attention + zNorm + feedForward;
    const tables = layers * d * scan * (scan + 18 * modes);
    return 4 * (batch * context * (layers * layer + 4 * d + norm + model.vocab_size) + tables);
  },

  // Parameters, weights, state and the four quantities, in this order.
  costs(model, context, { bytes, batch, scan }) {
    const parameters = formulas.parameters(model);
    const state = formulas.mostState(model, context, batch, bytes);
    const size = model.chunk_size ?? context;
    const behind = model.chunk_size ? Math.min(context, size - 1) : context;
    return [
      parameters,
      parameters * bytes,
      state,
      parameters * bytes + state,
      batch * formulas.flops(model, 1, behind + 1, scan),
      batch * formulas.flops(model, context, formulas.attendedPairs(context, size), scan),
      16 * parameters + formulas.activations(model, context, batch, scan),
    ];
  },

  contexts: ([least, most], points) =>
    Array.from({ length: points }, (_, index) => Math.round(least * (most / least) ** (index / (points - 1)))),

  firstContext(costsMore, contexts) {
    let found = 0;
    costsMore.forEach((more, index) => (found = more ? found || contexts[index] : 0));
    return found;
  },

  models({ constants, model: name, chunk, queries_per_key: queriesPerKey }) {
    const preset = constants.models[name];
    const megalodon = { ...preset, chunk_size: constants.chunks[chunk] ?? preset.chunk_size };
    return { transformer: formulas.match(preset, constants.head_width, queriesPerKey), megalodon };
  },

  // Every cost in billions: whole numbers of FLOPs outgrow 64 bits.
  values(state) {
    const { constants, bounds, context, quantity, precision, batch } = state;
    const { transformer, megalodon } = formulas.models(state);
    const settings = { bytes: constants.precisions[precision], batch, scan: constants.scan };
    const place = 3 + QUANTITIES.indexOf(quantity);
    const contexts = formulas.contexts(bounds.context, constants.points);
    const costs = (model, length) => formulas.costs(model, length, settings).map((cost) => cost / BILLION);
    const drawn = (model) => contexts.map((length) => costs(model, length)[place]);
    const lines = { transformer: drawn(transformer), megalodon: drawn(megalodon) };
    const here = costs(transformer, context);
    const perToken = formulas.mostState(transformer, 1, batch, settings.bytes);
    const most = costs(megalodon, bounds.context[1])[3];
    const sizes = Object.values(constants.gpus).map((size) => size / BILLION);
    return {
      contexts,
      ...lines,
      here_transformer: here,
      here_megalodon: costs(megalodon, context),
      walls: sizes.map((size) => Math.floor((Math.max(size - here[1], 0) * BILLION) / perToken)),
      fits: sizes.map((size) => (most <= size ? 1 : 0)),
      crossing: [formulas.firstContext(lines.transformer.map((cost, index) => cost > lines.megalodon[index]), contexts)],
    };
  },
};

const PREFIXES = [[1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]];
const withPrefix = (value, unit) => {
  const [size, prefix] = PREFIXES.find(([least]) => value >= least) ?? [1, ""];
  return `${plot.number(value / size)} ${prefix}${unit}`;
};
const bytesText = (billions) => withPrefix(billions * BILLION, "B");
const flopsText = (billions) => withPrefix(billions * BILLION, "FLOP");
const countText = (billions) => (billions >= 1 ? `${plot.number(billions)} billion` : `${plot.number(1000 * billions)} million`);
const shortTokens = (value) => (value >= 1e6 ? `${value / 1e6}M` : value >= 1e3 ? `${value / 1e3}K` : String(value));
const plainTokens = (value) => value.toLocaleString("en-US");
const isMemory = (quantity) => quantity.includes("memory");

function costChart(state) {
  const { contexts, transformer, megalodon, here_transformer, here_megalodon } = formulas.values(state.all());
  const [quantity, context] = [state.get("quantity"), state.get("context")];
  const text = isMemory(quantity) ? bytesText : flopsText;
  const place = 3 + QUANTITIES.indexOf(quantity);
  const gpus = isMemory(quantity) ? Object.entries(state.constants().gpus).map(([name, size]) => [name, size / BILLION]) : [];
  const pairs = (values) => values.map((value, index) => [contexts[index], value]);
  const sizes = gpus.map(([, size]) => size);
  const low = 10 ** Math.floor(Math.log10(Math.min(...transformer, ...megalodon)));
  const high = 10 ** Math.ceil(Math.log10(Math.max(...transformer, ...megalodon, ...sizes)));
  const decades = Math.round(Math.log10(high / low));
  const every = Math.ceil(decades / 7);
  const ticks = Array.from({ length: Math.floor(decades / every) + 1 }, (_, index) => low * 10 ** (index * every));
  return {
    title: `${quantity[0].toUpperCase()}${quantity.slice(1)}`,
    label:
      `At ${plainTokens(context)} tokens the Transformer takes ${text(here_transformer[place])} ` +
      `and Megalodon ${text(here_megalodon[place])}.`,
    legend: [
      { label: "Transformer", colour: "vermilion" },
      { label: "Megalodon", colour: "blue" },
      ...(sizes.length ? [{ label: "memory of a GPU", colour: "grey", dash: "2 3" }] : []),
    ],
    axes: {
      x: {
        domain: state.bounds("context"),
        label: "context, tokens",
        scale: "log",
        ticks: [1e3, 1e4, 1e5, 1e6, 1e7].map((value) => [value, shortTokens(value)]),
      },
      y: {
        domain: [low, high],
        label: isMemory(quantity) ? "bytes" : "floating-point operations",
        scale: "log",
        ticks: ticks.map((value) => [value, text(value).replace(/\.0+ /, " ")]),
      },
    },
    marks: [
      ...gpus
        .filter(([, size]) => size > low)
        .map(([name, size]) => ({ kind: "level", name: `gpu-${name}`, y: size, colour: "grey", dash: "2 3", label: name })),
      { kind: "line", name: "transformer", points: pairs(transformer), colour: "vermilion", width: 3 },
      { kind: "line", name: "megalodon", points: pairs(megalodon), colour: "blue", width: 3 },
      { kind: "rule", name: "context", x: context, colour: "ink", dash: "1 0" },
      { kind: "dot", x: context, y: here_transformer[place], colour: "vermilion", radius: 6 },
      { kind: "dot", x: context, y: here_megalodon[place], colour: "blue", radius: 6 },
    ],
  };
}

const heading = (text) => plot.html("th", { scope: "col" }, text);
const row = (name, ...cells) =>
  plot.html("tr", {}, plot.html("th", { scope: "row" }, name), ...cells.map((text) => plot.html("td", {}, text)));

function table(corner, rows) {
  const body = plot.html("tbody");
  const head = plot.html("tr", {}, heading(corner), heading("Transformer"), heading("Megalodon"));
  const node = plot.html("table", { class: "mx-table mx-numbers" }, plot.html("thead", {}, head), body);
  return { node, draw: () => body.replaceChildren(...rows()) };
}

function costRows(state) {
  const { here_transformer, here_megalodon } = formulas.values(state.all());
  const names = [
    ["parameters", countText],
    ["weights", bytesText],
    ["cache or state", bytesText],
    ["together, while writing", bytesText],
    ["next token", flopsText],
    ["to read it all", flopsText],
    ["a training step", bytesText],
  ];
  return names.map(([name, text], index) => row(name, text(here_transformer[index]), text(here_megalodon[index])));
}

function limitRows(state) {
  const { walls, fits } = formulas.values(state.all());
  return Object.keys(state.constants().gpus).map((name, index) =>
    row(
      name,
      walls[index] ? `${plainTokens(walls[index])} tokens` : "never",
      fits[index] ? "any length" : "not always",
    ),
  );
}

function reading(state) {
  const { crossing } = formulas.values(state.all());
  const { transformer } = formulas.models(state.all());
  const heads = `Query heads ${transformer.num_heads}, key heads ${transformer.kv_heads}. `;
  if (!crossing[0]) return [heads, plot.bold("Megalodon takes more at every context drawn.")];
  if (crossing[0] === state.bounds("context")[0]) return [heads, plot.bold("The Transformer takes more at every context drawn.")];
  return [heads, "The Transformer takes more from about ", plot.bold(`${plot.number(crossing[0] / 1000)} thousand tokens`), " on."];
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
  const quantity = choice("quantity", "Draw");
  const model = choice("model", "Preset");
  const precision = choice("precision", "Weights and cache in");
  const sharing = choice("queries_per_key", "Query heads per key head", (n) => (n === 1 ? "1: no sharing" : `${n}, or all of them`));
  const batch = choice("batch", "Texts at once");
  const chunk = choice("chunk", "Megalodon’s chunk");
  const chart = plot.chart(() => costChart(state), { height: 320 });
  const text = plot.sentence(() => reading(state));
  const costs = table("cost", () => costRows(state));
  const limits = table("fits into", () => limitRows(state));
  const note = plot.sentence(() => [
    "1 GB is 10⁹ bytes. Everything is for all texts at once. Megalodon is counted just before a chunk is full, a training step in float32 with Adam.",
  ]);
  return {
    title: "The calculator",
    hint: "Choose a model and a context, and see what both architectures would cost.",
    body: plot.html(
      "div",
      {},
      plot.html(
        "div",
        { class: "mx-controls" },
        plot.html("div", { class: "mx-span" }, context.node),
        quantity.node,
        model.node,
        sharing.node,
        batch.node,
        precision.node,
        chunk.node,
      ),
      chart.node,
      plot.html(
        "div",
        { class: "mx-columns" },
        plot.html("div", { class: "mx-stack" }, costs.node),
        plot.html("div", { class: "mx-stack mx-reading" }, limits.node, text.node, note.node),
      ),
    ),
    parts: [context, quantity, model, sharing, batch, precision, chunk, chart, text, costs, limits, note],
  };
}

const names = ["bounds", "quantity", "context", "model", "precision", "queries_per_key", "batch", "chunk"];
const render = (context) => plot.explorer(context, names, build);

export default { render, formulas };
