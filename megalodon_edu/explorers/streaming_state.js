// The streaming-state explorer: what is kept while a text is written, token by token and part by part.

const formulas = {
  // The ends of every tooth: in each chunk 0 and C - 1 tokens.
  axis(longest, chunkSize) {
    const counts = [];
    for (let edge = 0; edge < longest; edge += chunkSize) counts.push(edge, edge + chunkSize - 1);
    return counts;
  },
  // The chunk before, the open one and the next; in each 0, 1, 2, 4, ... and C - 1, for a logarithmic axis.
  window(tokens, chunkSize) {
    const inside = [0];
    for (let place = 1; place < chunkSize; place *= 2) inside.push(place);
    if (inside[inside.length - 1] < chunkSize - 1) inside.push(chunkSize - 1);
    const open = tokens - (tokens % chunkSize);
    const edges = [open - chunkSize, open, open + chunkSize].filter((edge) => edge >= 0);
    return edges.flatMap((edge) => inside.map((place) => edge + place));
  },
  // One layer: keys and values of the open chunk, CEMA's complex h, the norm's count (int64), mean and variance.
  layer(model, tokens, chunkSize, bytes) {
    const held = tokens % chunkSize;
    return {
      keys: held * model.z_dim * bytes,
      values: held * model.value_dim * bytes,
      CEMA: model.model_dim * model.cema_ndim * 8,
      norm: 8 + 2 * model.norm_num_groups * 4,
    };
  },
  // All layers, and the norm before the head.
  state(model, tokens, chunkSize, bytes) {
    const { keys, values, CEMA, norm } = formulas.layer(model, tokens, chunkSize, bytes);
    return model.num_layers * (keys + values + CEMA + norm) + norm;
  },
  cache: ({ num_layers: layers, model_dim: width }, tokens, bytes) => 2 * layers * width * tokens * bytes,

  values({ constants, tokens, model: name, precision, chunk_size: chunkSize }) {
    const model = constants.models[name];
    const bytes = constants.precisions[precision];
    const axis = formulas.axis(constants.longest, chunkSize);
    const state = (count) => formulas.state(model, count, chunkSize, bytes);
    const cache = (count) => formulas.cache(model, count, bytes);
    const window = formulas.window(tokens, chunkSize);
    const layers = window.map((count) => formulas.layer(model, count, chunkSize, bytes));
    const part = (key) => layers.map((layer) => layer[key]);
    const now = formulas.layer(model, tokens, chunkSize, bytes);
    return {
      axis,
      state: axis.map(state),
      cache: axis.map(cache),
      window,
      keys: part("keys"),
      values: part("values"),
      CEMA: part("CEMA"),
      norm: part("norm"),
      here: [state(tokens), cache(tokens), now.keys, now.values, now.CEMA, now.norm],
      handed_on: [state(0)],
    };
  },
};

const UNITS = [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]];
function bytesText(value) {
  const [size, unit] = UNITS.find(([least]) => value >= least) ?? [1, "B"];
  return size === 1 ? `${value} B` : `${plot.number(value / size)} ${unit}`;
}
const tokensText = (value) => value.toLocaleString("en-US");
const counted = (value, word) => `${tokensText(value)} ${word}${value === 1 ? "" : "s"}`;

// Ticks of a linear axis of bytes, all in one unit.
function byteTicks(high) {
  const [size, unit] = UNITS.find(([least]) => high >= least) ?? [1, "B"];
  const rough = high / size / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const ticks = [];
  for (let index = 0; index * step * size <= high * 1.001; index += 1) {
    ticks.push([index * step * size, `${Number((index * step).toPrecision(6))} ${unit}`]);
  }
  return ticks;
}

const tokenTicks = (longest) => Array.from({ length: 5 }, (_, index) => [(index * longest) / 4, tokensText((index * longest) / 4)]);
const pairs = (axis, sizes) => axis.map((count, index) => [count, sizes[index]]);

function modelChart(state, found) {
  const { longest } = state.constants();
  const [kept, cache] = found.here;
  const high = 1.05 * Math.max(...found.cache, ...found.state);
  return {
    title: "The whole model",
    label: `At ${counted(state.get("tokens"), "token")} Megalodon keeps ${bytesText(kept)}, the Transformer ${bytesText(cache)}.`,
    legend: [
      { label: "Transformer: KV cache", colour: "vermilion" },
      { label: "Megalodon: state", colour: "blue" },
    ],
    axes: {
      x: { domain: [0, longest], label: "tokens written", ticks: tokenTicks(longest) },
      y: { domain: [0, high], label: "bytes kept", ticks: byteTicks(high) },
    },
    marks: [
      { kind: "line", name: "cache", points: pairs(found.axis, found.cache), colour: "vermilion", width: 2.5 },
      { kind: "line", name: "state", points: pairs(found.axis, found.state), colour: "blue", width: 2 },
      { kind: "rule", name: "tokens", x: state.get("tokens"), colour: "ink", dash: "1 0" },
      { kind: "dot", x: state.get("tokens"), y: cache, colour: "vermilion", radius: 5 },
      { kind: "dot", x: state.get("tokens"), y: kept, colour: "blue", radius: 5 },
    ],
  };
}

const PARTS = [
  { key: "values", label: "values", colour: "blue" },
  { key: "keys", label: "keys", colour: "sky" },
  { key: "CEMA", label: "CEMA’s h", colour: "orange" },
  { key: "norm", label: "norm’s n, m, v", colour: "pink" },
];

function layerChart(state, found) {
  const chunkSize = state.get("chunk_size");
  const [first, last] = [found.window[0], found.window[found.window.length - 1] + 1];
  const edges = [];
  for (let edge = first; edge <= last; edge += chunkSize) edges.push([edge, tokensText(edge)]);
  const [keys, values, CEMA, norm] = found.here.slice(2);
  const now = { keys, values, CEMA, norm };
  const low = 10 ** Math.floor(Math.log10(norm));
  const high = 10 ** Math.ceil(Math.log10(Math.max(...found.values, CEMA)));
  const ticks = [];
  for (let size = low; size <= high * 1.001; size *= 10) ticks.push([size, bytesText(size).replace(/(\d)\.0+ /, "$1 ")]);
  return {
    title: "One layer, part by part",
    label: `Parts of one layer's state on a logarithmic scale: ${PARTS.map(({ key, label }) => `${label} ${bytesText(now[key])}`).join(", ")}.`,
    legend: PARTS.map(({ label, colour }) => ({ label, colour })),
    axes: {
      x: { domain: [first, last], label: "tokens written; a tick at each edge", ticks: edges },
      y: { domain: [low, high], label: "bytes kept", scale: "log", ticks },
    },
    marks: [
      ...PARTS.map(({ key, colour }) => ({
        kind: "line",
        name: key,
        points: found.window.map((count, index) => [count, found[key][index] >= low ? found[key][index] : NaN]),
        colour,
        width: 2.5,
      })),
      { kind: "rule", name: "tokens", x: state.get("tokens"), colour: "ink", dash: "1 0" },
      ...PARTS.filter(({ key }) => now[key] >= low).map(({ key, colour }) => ({
        kind: "dot",
        x: state.get("tokens"),
        y: now[key],
        colour,
        radius: 4.5,
      })),
    ],
  };
}

function layerTable(state, parts) {
  const cell = (tag, text, attributes = {}) => plot.html(tag, attributes, text);
  const head = ["in one layer", "numbers", "bytes"].map((text) => cell("th", text, { scope: "col" }));
  const body = plot.html("tbody");
  const node = plot.html("table", { class: "mx-table mx-numbers" }, plot.html("thead", {}, plot.html("tr", {}, head)), body);
  function draw() {
    const model = state.constants().models[state.get("model")];
    const held = state.get("tokens") % state.get("chunk_size");
    const [keys, values, CEMA, norm] = parts().here.slice(2);
    const rows = [
      ["keys", `${tokensText(held)} × ${tokensText(model.z_dim)}`, keys],
      ["values", `${tokensText(held)} × ${tokensText(model.value_dim)}`, values],
      ["CEMA’s h", `${tokensText(model.model_dim)} × ${model.cema_ndim}`, CEMA],
      ["norm’s n, m, v", `1 + 2 × ${model.norm_num_groups}`, norm],
    ];
    body.replaceChildren(
      ...rows.map(([name, numbers, size]) =>
        plot.html("tr", {}, cell("th", name, { scope: "row" }), cell("td", numbers), cell("td", tokensText(size))),
      ),
    );
  }
  return { node, draw };
}

function reading(state, found) {
  const [tokens, chunkSize] = [state.get("tokens"), state.get("chunk_size")];
  const [held, edge] = [tokens % chunkSize, tokens - (tokens % chunkSize)];
  const [kept, cache] = found.here;
  const past = edge === 0
    ? ["No chunk is closed yet."]
    : [
        "All that is left of the first ",
        plot.bold(counted(edge, "token")),
        " is ",
        plot.bold(bytesText(found.handed_on[0])),
        ", however many they are.",
      ];
  const larger = cache > kept ? `${plot.number(cache / kept)} times Megalodon’s state` : `${plot.number(cache / kept)} times Megalodon’s state, so smaller`;
  return [
    `The open chunk holds `,
    plot.bold(counted(held, "token")),
    ` of ${tokensText(chunkSize)}; the next edge is ${counted(chunkSize - held, "token")} away. `,
    ...past,
    " The Transformer’s cache is ",
    plot.bold(bytesText(cache)),
    `: ${larger}.`,
  ];
}

function build(state) {
  const plain = (name, options) => ({ name, get: () => state.get(name), set: (value) => state.set({ [name]: value }), ...options });
  const choice = (name, label, text) => plot.select(plain(name, { label, text, choices: () => state.bounds(name) }));
  const longest = state.constants().longest;
  const tokens = plot.slider(
    plain("tokens", { label: "Tokens written", step: 1, bounds: () => state.bounds("tokens"), text: (value) => tokensText(value) }),
  );
  const model = choice("model", "Model");
  const precision = choice("precision", "Keys and values in");
  const chunk = choice("chunk_size", "Chunk size C", (value) => `${tokensText(value)} tokens`);
  const edgeAfter = () => (Math.floor(state.get("tokens") / state.get("chunk_size")) + 1) * state.get("chunk_size");
  const jump = (name, label, target) =>
    plot.button({
      name,
      label,
      enabled: () => target() >= 0 && target() <= longest && target() !== state.get("tokens"),
      press: () => state.set({ tokens: target() }),
    });
  const buttons = [
    jump("write", "Write one token", () => state.get("tokens") + 1),
    jump("before", "To the last token of the chunk", () => edgeAfter() - 1),
    jump("edge", "Over the edge", () => edgeAfter()),
  ];
  const found = () => formulas.values(state.all());
  const whole = plot.chart(() => modelChart(state, found()), { height: 300 });
  const layer = plot.chart(() => layerChart(state, found()), { height: 300 });
  const text = plot.sentence(() => reading(state, found()));
  const table = layerTable(state, found);
  return {
    title: "What is kept while a text is written",
    hint: "Move through the text and watch the state grow with the open chunk, and fall at its end.",
    body: plot.html(
      "div",
      {},
      plot.html(
        "div",
        { class: "mx-controls" },
        plot.html("div", { class: "mx-span" }, tokens.node),
        model.node,
        precision.node,
        chunk.node,
        plot.html("div", { class: "mx-span mx-buttons" }, buttons.map(({ node }) => node)),
      ),
      plot.html(
        "div",
        { class: "mx-columns" },
        plot.html("div", { class: "mx-stack" }, whole.node, text.node),
        plot.html("div", { class: "mx-stack" }, layer.node, table.node),
      ),
    ),
    parts: [tokens, model, precision, chunk, ...buttons, whole, layer, text, table],
  };
}

const names = ["bounds", "tokens", "model", "precision", "chunk_size"];
const render = (context) => plot.explorer(context, names, build);

export default { render, formulas };
