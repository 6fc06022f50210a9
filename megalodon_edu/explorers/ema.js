// The EMA explorer: h_t = α x_t + (1 - α) h_{t-1} on a signal the reader picks.

const formulas = {
  // ln 2 / -ln(1 - α)
  halfLife: (alpha) => Math.LN2 / -Math.log1p(-alpha),
  // α = 1 - 2^(-1/h)
  alpha: (halfLife) => -Math.expm1(-Math.LN2 / halfLife),
  memory(signal, alpha) {
    let h = 0;
    return signal.map((x) => (h = alpha * x + (1 - alpha) * h));
  },
  kernel: (alpha, length) => Array.from({ length }, (_, steps) => alpha * (1 - alpha) ** steps),
  values({ constants, alpha, signal, steps_back: stepsBack }) {
    const x = constants.signals[signal];
    const kernel = formulas.kernel(alpha, x.length);
    return {
      signal: x,
      memory: formulas.memory(x, alpha),
      kernel,
      half_life: [formulas.halfLife(alpha)],
      weight: [kernel[stepsBack]],
    };
  },
};

const steps = (count) => (count === 1 ? "1 step" : `${plot.number(count)} steps`);
const wholeSteps = (count) => (count === 1 ? "1 step" : `${count} steps`);
const indexed = (values) => values.map((value, index) => [index, value]);

function signalChart(values, state) {
  const name = state.get("signal");
  return {
    title: "The signal and its memory",
    label: `The signal ${name} as dots and its exponential moving average with alpha ${plot.number(state.get("alpha"))} as a line.`,
    legend: [
      { label: "signal x", colour: "grey", dot: true },
      { label: "memory h", colour: "blue" },
    ],
    axes: {
      x: { domain: [0, values.signal.length - 1], label: "time step" },
      y: { domain: plot.niceDomain(values.signal, { include: [0] }), label: "value" },
    },
    marks: [
      { kind: "stems", name: "signal", points: indexed(values.signal), colour: "grey" },
      { kind: "line", name: "memory", points: indexed(values.memory), colour: "blue", width: 2.5 },
    ],
  };
}

function kernelChart(values, state) {
  const [halfLife] = values.half_life;
  const [weight] = values.weight;
  const back = state.get("steps_back");
  return {
    title: "The weight of each past token",
    label: `The weight falls from ${plot.number(values.kernel[0])} and halves every ${steps(halfLife)}.`,
    legend: [
      { label: "weight α(1 − α)ⁿ", colour: "blue" },
      { label: "half-life", colour: "vermilion", dash: "5 4" },
      { label: `${wholeSteps(back)} back`, colour: "ink", dot: true },
    ],
    axes: {
      x: { domain: [0, values.kernel.length - 1], label: "steps back" },
      y: { domain: plot.niceDomain([values.kernel[0]], { include: [0], count: 4 }), label: "weight" },
    },
    marks: [
      { kind: "area", points: indexed(values.kernel), colour: "blue" },
      { kind: "line", name: "kernel", points: indexed(values.kernel), colour: "blue", width: 2.5 },
      { kind: "rule", name: "half-life", x: halfLife, colour: "vermilion", label: `half-life ${steps(halfLife)}` },
      { kind: "dot", x: back, y: weight, colour: "ink" },
    ],
  };
}

function reading(values, state) {
  const back = state.get("steps_back");
  const share = -Math.expm1((back + 1) * Math.log1p(-state.get("alpha")));
  const token = back === 0 ? "The newest token" : `The token ${wholeSteps(back)} back`;
  return [
    "With α = ",
    plot.bold(plot.number(state.get("alpha"))),
    " the memory halves every ",
    plot.bold(steps(values.half_life[0])),
    `. ${token} weighs `,
    plot.bold(plot.number(values.weight[0])),
    "; it and the newer ones carry ",
    plot.bold(`${plot.number(100 * share)} %`),
    " of all the weight.",
  ];
}

function build(state) {
  const values = () => formulas.values(state.all());
  const [lowest, highest] = state.bounds("alpha");
  const parts = [
    plot.select({
      name: "signal",
      label: "Signal",
      choices: () => state.bounds("signal"),
      get: () => state.get("signal"),
      set: (signal) => state.set({ signal }),
    }),
    plot.slider({
      name: "alpha",
      label: "α, the newest token’s weight",
      scale: "log",
      bounds: () => [lowest, highest],
      get: () => state.get("alpha"),
      set: (alpha) => state.set({ alpha }),
    }),
    plot.slider({
      name: "half_life",
      label: "Half-life, which sets α",
      scale: "log",
      bounds: () => [formulas.halfLife(highest), formulas.halfLife(lowest)],
      get: () => formulas.halfLife(state.get("alpha")),
      set: (halfLife) => state.set({ alpha: plot.clamp(formulas.alpha(halfLife), [lowest, highest]) }),
      text: steps,
    }),
    plot.slider({
      name: "steps_back",
      label: "n, steps back",
      step: 1,
      bounds: () => state.bounds("steps_back"),
      get: () => state.get("steps_back"),
      set: (back) => state.set({ steps_back: back }),
      text: wholeSteps,
    }),
    plot.chart(() => signalChart(values(), state)),
    plot.chart(() => kernelChart(values(), state)),
    plot.sentence(() => reading(values(), state)),
  ];
  const [signal, alpha, halfLife, back, left, right, text] = parts.map((part) => part.node);
  return {
    title: "One number remembers",
    hint: "hₜ = α xₜ + (1 − α) hₜ₋₁. Move α and watch the past fade.",
    body: plot.html(
      "div",
      {},
      plot.html("div", { class: "mx-controls" }, signal, alpha, halfLife, back),
      plot.html("div", { class: "mx-columns" }, left, right),
      text,
    ),
    parts,
  };
}

const render = (context) => plot.explorer(context, ["alpha", "signal", "steps_back"], build);

export default { render, formulas };
