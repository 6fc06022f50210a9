// The Timestep Norm explorer: a signal that steps and drifts, and what four norms make of it.

const EPS = 1e-5;

const formulas = {
  mean: (values) => values.reduce((sum, value) => sum + value, 0) / values.length,
  variance(values) {
    const mean = formulas.mean(values);
    return formulas.mean(values.map((value) => (value - mean) ** 2));
  },
  signal({ constants, step_at: stepAt, drift }, step, loudness) {
    const last = constants.noise.length - 1;
    return constants.noise.map((features, t) => {
      const level = (t >= stepAt ? step : 0) + (drift * t) / last;
      return features.map((value) => (t >= stepAt ? loudness : 1) * value + level);
    });
  },
  normal: (features, mean, variance) => features.map((value) => (value - mean) / Math.sqrt(variance + EPS)),
  whole(x) {
    const all = x.flat();
    const [mean, variance] = [formulas.mean(all), formulas.variance(all)];
    return x.map((features) => formulas.normal(features, mean, variance));
  },
  token: (x) => x.map((features) => formulas.normal(features, formulas.mean(features), formulas.variance(features))),
  // n ← decay · n + 1. With a decay of 1 nothing fades, and it is Timestep Norm.
  fading(x, decay) {
    let [count, mean, variance] = [0, 0, 0];
    return x.map((features) => {
      count = decay * count + 1;
      const c = 1 / count;
      const difference = formulas.mean(features) - mean;
      mean += c * difference;
      variance += c * (formulas.variance(features) + (1 - c) * difference ** 2 - variance);
      return formulas.normal(features, mean, variance);
    });
  },
  outputs: (x, halfLife) => ({
    whole: formulas.whole(x),
    token: formulas.token(x),
    timestep: formulas.fading(x, 1),
    fading: formulas.fading(x, 0.5 ** (1 / halfLife)),
  }),
  parts(state) {
    const { constants, step_at: stepAt, step, loudness, half_life: halfLife } = state;
    const signal = formulas.signal(state, step, loudness);
    const outputs = formulas.outputs(signal, halfLife);
    const without = formulas.outputs(formulas.signal(state, 0, 1), halfLife);
    const names = Object.keys(constants.norms);
    const leak = names.map((name) => {
      const before = outputs[name].slice(0, stepAt).flat();
      const calm = without[name].slice(0, stepAt).flat();
      return before.reduce((most, value, at) => Math.max(most, Math.abs(value - calm[at])), 0);
    });
    const ends = names.map((name) => outputs[name].slice(-constants.last).flat());
    const level = ends.map(formulas.mean);
    const size = ends.map((end) => Math.sqrt(formulas.mean(end.map((value) => value * value))));
    return { signal, outputs, leak, level, size };
  },
  values(state) {
    const { signal, outputs, leak, level, size } = formulas.parts(state);
    const flat = Object.fromEntries(Object.entries(outputs).map(([name, y]) => [name, y.flat()]));
    return { signal: signal.flat(), ...flat, leak, level, size };
  },
};

// From the smallest to the largest value, which need not be round numbers: the charts are low.
const extent = (values) => [Math.min(...values), Math.max(...values)];

// A tick at every second unit, or at every fourth or eighth where that would be too many.
function ticks([low, high]) {
  const step = 2 ** Math.max(1, Math.ceil(Math.log2((high - low) / 5)));
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, at) => [(first + at) * step, plot.tickLabel((first + at) * step)]);
}

// Each feature thin and grey, their mean thick, and a line where the step is.
function cloudChart({ name, title, label, rows, colour, stepAt, domain, yLabel }) {
  const features = rows[0].map((_, feature) => rows.map((values, t) => [t, values[feature]]));
  return {
    title,
    label,
    axes: { x: { domain: [0, rows.length - 1], label: "token t" }, y: { domain, label: yLabel, ticks: ticks(domain) } },
    marks: [
      ...features.map((points, feature) => ({ kind: "line", name: `${name}-${feature}`, points, colour: "grey", width: 0.4 })),
      { kind: "rule", name: `${name}-step`, x: stepAt, colour: "grey" },
      { kind: "line", name, points: rows.map((values, t) => [t, formulas.mean(values)]), colour, width: 2.5 },
    ],
  };
}

// Four rows of numbers, one for each norm.
function table(computed, state) {
  const { norms, last } = state.constants();
  const cell = (text) => plot.html("td", {}, text);
  const body = plot.html("tbody");
  const heads = ["norm", "leak", "level", "size"];
  const head = plot.html("tr", {}, heads.map((text) => plot.html("th", { scope: "col" }, text)));
  const words =
    "Leak: how far an output before the step moves when the step is taken away. " +
    `Level and size: the mean and the root mean square of the outputs of the last ${last} tokens.`;
  const node = plot.html(
    "div",
    { class: "mx-reading" },
    plot.html("table", { class: "mx-table" }, plot.html("thead", {}, head), body),
    plot.html("p", { class: "mx-sentence" }, words),
  );
  return {
    node,
    draw() {
      const { leak, level, size } = computed();
      const rows = Object.values(norms).map((title, at) =>
        plot.html(
          "tr",
          {},
          plot.html("th", { scope: "row" }, title.split(/[:,]/)[0]),
          cell(leak[at] < 1e-9 ? "nothing" : plot.fixed(leak[at], 2)),
          cell(plot.fixed(level[at], 2)),
          cell(plot.fixed(size[at], 2)),
        ),
      );
      body.replaceChildren(...rows);
    },
  };
}

function build(state) {
  const { norms, colours } = state.constants();
  // One computation for all charts of one drawing.
  let [key, kept] = [null, null];
  const computed = () => {
    const all = state.all();
    const wanted = names.map((name) => all[name]).join();
    if (wanted !== key) [key, kept] = [wanted, formulas.parts(all)];
    return kept;
  };
  const slider = (name, label, options = {}) =>
    plot.slider({
      name,
      label,
      bounds: () => state.bounds(name),
      get: () => state.get(name),
      set: (value) => state.set({ [name]: value }),
      ...options,
    });
  const decimals = (value) => plot.fixed(value, 1);
  const sliders = [
    slider("step_at", "The step comes at token", { step: 1, text: String }),
    slider("step", "Step: the level jumps by", { step: 0.1, text: decimals }),
    slider("loudness", "and the spread is multiplied by", { scale: "log", text: (value) => plot.number(value, 2) }),
    slider("drift", "Slow drift until the end", { step: 0.1, text: decimals }),
    slider("half_life", "Half-life of the fading statistics", { scale: "log", text: (value) => `${plot.number(value, 2)} tokens` }),
  ];
  const signal = plot.chart(
    () =>
      cloudChart({
        name: "signal",
        title: "The signal x: eight features, and their mean",
        label: `A signal with a step of ${decimals(state.get("step"))} at token ${state.get("step_at")}.`,
        rows: computed().signal,
        colour: "ink",
        stepAt: state.get("step_at"),
        domain: extent(computed().signal.flat()),
        yLabel: "x",
      }),
    { height: 190 },
  );
  const charts = Object.entries(norms).map(([name, title]) =>
    plot.chart(
      () => {
        const { outputs } = computed();
        return cloudChart({
          name,
          title,
          label: `The output. ${title}.`,
          rows: outputs[name],
          colour: colours[name],
          stepAt: state.get("step_at"),
          domain: extent(Object.values(outputs).flat(2)),
          yLabel: "y",
        });
      },
      { height: 190 },
    ),
  );
  const numbers = table(computed, state);
  return {
    title: "A step and a drift under four norms",
    hint: "The same signal, normalised with four kinds of statistics. Which of them change what came before the step? Which forget it?",
    body: plot.html(
      "div",
      {},
      plot.html("div", { class: "mx-controls" }, sliders.map((part) => part.node)),
      plot.html(
        "div",
        { class: "mx-columns" },
        plot.html("div", { class: "mx-span" }, signal.node),
        charts.map((part) => part.node),
        plot.html("div", { class: "mx-span" }, numbers.node),
      ),
    ),
    parts: [...sliders, signal, ...charts, numbers],
  };
}

const names = ["step_at", "step", "loudness", "drift", "half_life"];
const render = (context) => plot.explorer(context, ["bounds", ...names], build);

export default { render, formulas };
