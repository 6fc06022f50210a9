// The residual explorer: sizes of the stream and of the gradient along a deep stack, for three kinds of block.
// A(x) = a · W n(x) and F(x) = f · W₂ relu(W₁ n(x)) with n = LayerNorm; a token is an array of `width` numbers.

const EPSILON = 1e-5; // LayerNorm's

const formulas = {
  // s ← 48271 s mod 2³¹ − 1, spread evenly to ±√3: mean 0, variance 1. Exact in doubles.
  generator({ seed, multiplier, modulus }) {
    let state = seed;
    return () => {
      state = (multiplier * state) % modulus;
      return Math.sqrt(3) * ((2 * state) / modulus - 1);
    };
  },
  matrix(rows, columns, scale, draw) {
    return Array.from({ length: rows }, () => Float64Array.from({ length: columns }, () => scale * draw()));
  },
  // Input, probe and the weights of the deepest stack; a shallower one uses the first of them.
  network(constants) {
    if (formulas.made) return formulas.made;
    const { tokens, width, hidden, deepest } = constants;
    const draw = formulas.generator(constants);
    const [x, probe] = [0, 1].map(() => formulas.matrix(tokens, width, 1, draw));
    const blocks = Array.from({ length: deepest }, () => ({
      mixer: formulas.matrix(width, width, 1 / Math.sqrt(width), draw),
      first: formulas.matrix(hidden, width, 1 / Math.sqrt(width), draw),
      second: formulas.matrix(width, hidden, Math.sqrt(2 / hidden), draw),
    }));
    formulas.made = { x, probe, blocks };
    return formulas.made;
  },

  times(matrix, vector, scale = 1) {
    const result = new Float64Array(matrix.length);
    for (let row = 0; row < matrix.length; row += 1) result[row] = scale * formulas.dot(matrix[row], vector);
    return result;
  },
  transposedTimes(matrix, vector, scale = 1) {
    const result = new Float64Array(matrix[0].length);
    for (let index = 0; index < matrix.length; index += 1) {
      const factor = scale * vector[index];
      if (factor === 0) continue;
      const row = matrix[index];
      for (let k = 0; k < row.length; k += 1) result[k] += factor * row[k];
    }
    return result;
  },
  dot(a, b) {
    let sum = 0;
    for (let k = 0; k < a.length; k += 1) sum += a[k] * b[k];
    return sum;
  },
  add(a, b) {
    const sum = new Float64Array(a.length);
    for (let k = 0; k < a.length; k += 1) sum[k] = a[k] + b[k];
    return sum;
  },
  mean(values) {
    let sum = 0;
    for (let k = 0; k < values.length; k += 1) sum += values[k];
    return sum / values.length;
  },
  rms: (rows) => Math.sqrt(rows.reduce((sum, row) => sum + formulas.dot(row, row), 0) / (rows.length * rows[0].length)),

  // LayerNorm, and the gradient that passes back through it. Plain loops: this runs thousands of times per move.
  norm(x) {
    const mean = formulas.mean(x);
    const n = new Float64Array(x.length);
    for (let k = 0; k < x.length; k += 1) n[k] = x[k] - mean;
    const factor = 1 / Math.sqrt(formulas.dot(n, n) / n.length + EPSILON);
    for (let k = 0; k < n.length; k += 1) n[k] *= factor;
    return { n, factor };
  },
  normBack({ n, factor }, gradient) {
    const mean = formulas.mean(gradient);
    const along = formulas.dot(gradient, n) / n.length;
    const back = new Float64Array(n.length);
    for (let k = 0; k < n.length; k += 1) back[k] = factor * (gradient[k] - mean - n[k] * along);
    return back;
  },

  // One token through one block. What the way back needs is kept.
  forward(variant, block, x, a, f) {
    const post = variant === "post-norm";
    const before = formulas.norm(x);
    const sum = formulas.add(x, formulas.times(block.mixer, before.n, a));
    const norm = post ? formulas.norm(sum) : null;
    const middle = post ? norm.n : sum;
    const between = formulas.norm(middle);
    const hidden = formulas.times(block.first, between.n).map((value) => Math.max(value, 0));
    const update = formulas.times(block.second, hidden, f);
    const end = formulas.add(variant === "two-hop" ? x : middle, update);
    const last = post ? formulas.norm(end) : null;
    return { y: post ? last.n : end, before, norm, between, hidden, last };
  },
  // The gradient at the block's input from the one at its output, and the one at attention's update.
  backward(variant, block, kept, gradient, a, f) {
    const post = variant === "post-norm";
    const atEnd = post ? formulas.normBack(kept.last, gradient) : gradient;
    const atHidden = formulas.transposedTimes(block.second, atEnd, f).map((value, k) => (kept.hidden[k] > 0 ? value : 0));
    const through = formulas.normBack(kept.between, formulas.transposedTimes(block.first, atHidden));
    const atMiddle = variant === "two-hop" ? through : formulas.add(through, atEnd);
    const atSum = post ? formulas.normBack(kept.norm, atMiddle) : atMiddle;
    const back = formulas.normBack(kept.before, formulas.transposedTimes(block.mixer, atSum, a));
    const atInput = formulas.add(atSum, back);
    return { gradient: variant === "two-hop" ? formulas.add(atInput, atEnd) : atInput, atUpdate: atSum };
  },
  // ‖∂loss/∂W‖ of attention's matrix, where ∂loss/∂W = a · Σ over tokens of (gradient at the update) ⊗ n. The square of
  // its norm is a² Σ over pairs of tokens of (u_s · u_t)(n_s · n_t).
  mixerGradient(updates, normals, a) {
    let sum = 0;
    updates.forEach((u, s) => {
      updates.forEach((other, t) => (sum += formulas.dot(u, other) * formulas.dot(normals[s], normals[t])));
    });
    return a * Math.sqrt(Math.max(sum, 0));
  },

  profile(variant, { constants, depth, attention, feed_forward: feedForward, start, rescale }) {
    const { x, probe, blocks } = formulas.network(constants);
    const size = (layer) => feedForward * (rescale ? 0.1 * 0.5 ** layer : 1);
    const stack = blocks.slice(0, depth);
    let stream = x.map((token) => token.map((value) => start * value));
    const streams = [formulas.rms(stream)];
    const kept = stack.map((block, layer) => {
      const found = stream.map((token) => formulas.forward(variant, block, token, attention, size(layer)));
      stream = found.map(({ y }) => y);
      streams.push(formulas.rms(stream));
      return found;
    });
    let back = stream.map((token, index) => formulas.normBack(formulas.norm(token), probe[index]));
    const gradients = [formulas.rms(back)];
    const attentions = [];
    for (let layer = depth - 1; layer >= 0; layer -= 1) {
      const found = back.map((gradient, token) =>
        formulas.backward(variant, stack[layer], kept[layer][token], gradient, attention, size(layer)),
      );
      back = found.map(({ gradient }) => gradient);
      gradients.unshift(formulas.rms(back));
      const normals = kept[layer].map(({ before }) => before.n);
      attentions.unshift(formulas.mixerGradient(found.map(({ atUpdate }) => atUpdate), normals, attention));
    }
    return { stream: streams, gradient: gradients, attention: attentions };
  },
  profiles: (state) => state.constants.variants.map((variant) => formulas.profile(variant, state)),
  values(state) {
    const profiles = formulas.profiles(state);
    const joined = (name) => profiles.flatMap((profile) => profile[name]);
    return { stream: joined("stream"), gradient: joined("gradient"), attention_gradient: joined("attention") };
  },
};

const FLOOR = 1e-9; // below this a picture with whole decades shows nothing more
const DASHES = ["7 4", "2 4", undefined];

// The domain and ticks of a logarithmic axis: from one of 1, 2, 5 to another within a few decades, whole decades beyond.
function logAxis(values, label) {
  const positive = values.filter((value) => value > FLOOR);
  const [low, high] = positive.length ? [Math.min(...positive), Math.max(...positive)] : [0.1, 1];
  const factors = high / low > 200 ? [1] : [1, 2, 5];
  const candidates = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    candidates.push(...factors.map((factor) => Number((factor * 10 ** power).toPrecision(3))));
  }
  const bottom = Math.max(...candidates.filter((tick) => tick <= low * 1.001));
  const top = Math.min(...candidates.filter((tick) => tick >= high / 1.001 && tick > bottom));
  const ticks = candidates.filter((tick) => tick >= bottom && tick <= top);
  const axis = { domain: [bottom, top], label, scale: "log" };
  return ticks.length > 7 ? axis : { ...axis, ticks: ticks.map((tick) => [tick, plot.tickLabel(tick)]) };
}

function profileChart(state, profiles, name, { title, label, axis, unit }) {
  const variants = state.bounds("variant");
  const colours = state.constants().colours;
  const chosen = state.get("variant");
  const lines = profiles.map((profile) => profile[name]);
  const ends = variants.map((variant, at) => `${variant} from ${plot.number(lines[at][0])} to ${plot.number(lines[at].at(-1))}`);
  return {
    title,
    label: `${label}: ${ends.join(", ")}.`,
    legend: variants.map((variant, at) => ({ label: variant, colour: colours[at], dash: DASHES[at] })),
    axes: { x: { domain: [0, Math.max(...lines.map((line) => line.length - 1))], label: axis }, y: logAxis(lines.flat(), unit) },
    marks: variants.map((variant, at) => ({
      kind: "line",
      name: `${name}-${variant}`,
      points: lines[at].map((value, place) => [place, value > FLOOR ? value : NaN]),
      colour: colours[at],
      dash: DASHES[at],
      width: variant === chosen ? 3.5 : 1.8,
    })),
  };
}

const times = (ratio) => `${plot.number(ratio)} ×`;

function summary(state, profiles) {
  const rows = state.bounds("variant").map((variant, at) => {
    const { stream, gradient, attention } = profiles[at];
    const cells = [stream.at(-1) / stream[0], gradient[0] / gradient.at(-1), attention.at(-1)].map((value, column) =>
      plot.html("td", {}, column === 2 ? plot.number(value) : times(value)),
    );
    return plot.html("tr", {}, plot.html("th", { scope: "row" }, variant), cells);
  });
  const heads = ["stream", "gradient", "weights"].map((head) => plot.html("th", { scope: "col" }, head));
  return plot.html(
    "table",
    { class: "mx-table" },
    plot.html("thead", {}, plot.html("tr", {}, plot.html("td"), heads)),
    plot.html("tbody", {}, rows),
  );
}

function reading(state, profiles) {
  const variant = state.get("variant");
  const { stream, gradient } = profiles[state.bounds("variant").indexOf(variant)];
  const product = (place) => stream[place] * gradient[place];
  return [
    `${variant}, `,
    plot.bold(`${state.get("depth")} blocks`),
    ": the stream goes from ",
    plot.bold(plot.number(stream[0])),
    " to ",
    plot.bold(plot.number(stream.at(-1))),
    ", the gradient from ",
    plot.bold(plot.number(gradient.at(-1))),
    " at the end to ",
    plot.bold(plot.number(gradient[0])),
    " at the start. Stream × gradient is ",
    plot.bold(plot.number(product(0))),
    " at the start and ",
    plot.bold(plot.number(product(stream.length - 1))),
    " at the end.",
  ];
}

const explanation = [
  "The table: how many times the stream grows on its way up, the gradient on its way down; and the gradient of attention’s weights in the last block.",
];

function build(state) {
  let profiles = [];
  const computed = { draw: () => (profiles = formulas.profiles(state.all())) };
  const setter = (name) => ({ name, bounds: () => state.bounds(name), get: () => state.get(name), set: (value) => state.set({ [name]: value }) });
  const table = plot.html("div", { class: "mx-panel" });
  const parts = [
    plot.select({ ...setter("variant"), label: "Highlight", choices: () => state.bounds("variant") }),
    plot.slider({ ...setter("depth"), label: "Depth, blocks", step: 1, text: String }),
    plot.slider({ ...setter("attention"), label: "a, attention’s update", step: 0.05, text: (value) => plot.fixed(value, 2) }),
    plot.slider({ ...setter("feed_forward"), label: "f, feed-forward’s update", step: 0.05, text: (value) => plot.fixed(value, 2) }),
    plot.slider({ ...setter("start"), label: "Stream at the start", scale: "log" }),
    plot.checkbox({ ...setter("rescale"), label: "rescale: f · 0.1 · 0.5ˡ in block l" }),
    plot.chart(() =>
      profileChart(state, profiles, "stream", {
        title: "The stream on its way up",
        label: "Size of the stream",
        axis: "blocks passed",
        unit: "RMS of x",
      }),
    ),
    plot.chart(() =>
      profileChart(state, profiles, "gradient", {
        title: "The gradient on its way down",
        label: "Size of the gradient",
        axis: "blocks passed",
        unit: "RMS of ∂loss/∂x",
      }),
    ),
    plot.chart(() =>
      profileChart(state, profiles, "attention", {
        title: "The gradient of attention’s weights",
        label: "Norm of the gradient of attention's weights",
        axis: "block",
        unit: "norm",
      }),
    ),
    { node: table, draw: () => table.replaceChildren(summary(state, profiles)) },
    plot.sentence(() => reading(state, profiles)),
    plot.sentence(() => explanation),
  ];
  const [variant, depth, attention, feedForward, start, rescale, stream, gradient, weights, panel, text, note] = parts.map((part) => part.node);
  return {
    title: "Three ways through a deep stack",
    hint: "Random stand-ins for attention and feed-forward, six tokens, width 32. Every variant has the same weights.",
    body: plot.html(
      "div",
      {},
      plot.html("div", { class: "mx-controls" }, variant, depth, attention, feedForward, start, rescale),
      plot.html("div", { class: "mx-columns" }, stream, gradient, weights, plot.html("div", { class: "mx-stack mx-reading" }, panel, text, note)),
    ),
    parts: [computed, ...parts],
  };
}

const render = (context) => plot.explorer(context, ["depth", "variant", "attention", "feed_forward", "start", "rescale"], build);

export default { render, formulas };
