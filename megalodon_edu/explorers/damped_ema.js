// The decay-mix explorer: K_τ = Σ w_k φ_k^τ, MEGA's kernel with w = η α β and φ = 1 - α δ, beside a target kernel.

const formulas = {
  targets: [
    (tau) => 1 / (1 + tau),
    (tau, length) => (tau < length ? 1 : 0),
    (tau, length) => (tau === length ? 1 : 0),
    (tau, length) => 0.7 * 0.5 ** (tau / 2) + 0.3 * 0.5 ** (tau / length),
  ],
  targetKernel({ constants, bounds, target, target_length: length }) {
    const kernel = formulas.targets[bounds.target.indexOf(target)];
    return Array.from({ length: constants.length }, (_, tau) => kernel(tau, length));
  },
  decay: (halfLife) => 0.5 ** (1 / halfLife),
  powers: (decay, length) => Array.from({ length }, (_, tau) => decay ** tau),
  dot: (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0),
  norm: (a) => Math.sqrt(formulas.dot(a, a)),

  // Gaussian elimination with the largest pivot of each column.
  solveLinear(matrix, right) {
    const rows = matrix.map((row, index) => [...row, right[index]]);
    const size = rows.length;
    for (let column = 0; column < size; column += 1) {
      let pivot = column;
      for (let row = column + 1; row < size; row += 1) {
        if (Math.abs(rows[row][column]) > Math.abs(rows[pivot][column])) pivot = row;
      }
      [rows[column], rows[pivot]] = [rows[pivot], rows[column]];
      for (let row = column + 1; row < size; row += 1) {
        const factor = rows[row][column] / rows[column][column];
        for (let k = column; k <= size; k += 1) rows[row][k] -= factor * rows[column][k];
      }
    }
    const solution = new Array(size).fill(0);
    for (let row = size - 1; row >= 0; row -= 1) {
      const known = rows[row].slice(row + 1, size).reduce((sum, value, k) => sum + value * solution[row + 1 + k], 0);
      solution[row] = (rows[row][size] - known) / rows[row][row];
    }
    return solution;
  },

  // Minimises |Σ w_k column_k - target|² by the normal equations on columns of length 1. Nearly equal columns would
  // take huge weights of opposite signs: a ridge is raised until none exceeds `largest`.
  leastSquares(columns, target, largest) {
    const norms = columns.map(formulas.norm);
    const unit = columns.map((column, index) => column.map((value) => value / norms[index]));
    const gram = unit.map((a) => unit.map((b) => formulas.dot(a, b)));
    const projection = unit.map((column) => formulas.dot(column, target));
    for (let ridge = 1e-9; ; ridge *= 10) {
      const ridged = gram.map((row, i) => row.map((value, j) => (i === j ? value + ridge : value)));
      const weights = formulas.solveLinear(ridged, projection).map((value, index) => value / norms[index]);
      if (Math.max(...weights.map(Math.abs)) <= largest) return weights;
    }
  },

  // What the button "least squares" sets.
  solve(state) {
    const { constants, bounds, modes, half_lives: halfLives, weights } = state;
    const columns = halfLives.slice(0, modes).map((h) => formulas.powers(formulas.decay(h), constants.length));
    const largest = bounds.weights[1][0];
    return [...formulas.leastSquares(columns, formulas.targetKernel(state), largest), ...weights.slice(modes)];
  },

  // What the button "spread the half-lives" sets.
  spread({ modes, half_lives: halfLives }) {
    const even = Array.from({ length: modes }, (_, index) => (modes > 1 ? 128 ** (index / (modes - 1)) : 8));
    return [...even, ...halfLives.slice(modes)];
  },

  parts(state) {
    const { constants, modes: count, half_lives: halfLives, weights } = state;
    const target = formulas.targetKernel(state);
    const modes = halfLives
      .slice(0, count)
      .map((h, index) => formulas.powers(formulas.decay(h), constants.length).map((power) => weights[index] * power));
    const kernel = target.map((_, tau) => modes.reduce((sum, mode) => sum + mode[tau], 0));
    const missed = kernel.map((value, tau) => value - target[tau]);
    return { target, modes, kernel, error: formulas.norm(missed) / formulas.norm(target) };
  },
  values(state) {
    const { target, modes, kernel, error } = formulas.parts(state);
    return { target, modes: modes.flat(), kernel, error: [error] };
  },
};

const FLOOR = 1e-4; // below this the logarithmic picture shows nothing

const replaced = (list, index, value) => list.map((old, at) => (at === index ? value : old));
const percent = (share) => `${plot.number(100 * share)} %`;
const stepsText = (steps) => (steps === 1 ? "1 step" : `${plot.number(steps)} steps`);

function kernelChart(state) {
  const { target, modes, kernel, error } = formulas.parts(state.all());
  const colours = state.constants().colours;
  const log = state.get("axes") === "log-log";
  const points = (values) => values.map((value, tau) => (log ? [1 + tau, value < FLOOR ? NaN : value] : [tau, value]));
  const highest = Math.max(...target, ...kernel, ...modes.flat());
  return {
    title: "Target, sum and each mode",
    label: `Target ${state.get("target")}, and the sum of ${modes.length} decays, which misses it by ${percent(error)}.`,
    legend: [
      { label: "target", colour: "ink", dash: "6 4" },
      { label: "sum of the modes", colour: "blue" },
    ],
    axes: log
      ? {
          x: { domain: [1, target.length], label: "1 + τ, steps back", scale: "log" },
          y: { domain: [FLOOR, highest > 1 ? 10 : 1], label: "weight", scale: "log" },
        }
      : {
          x: { domain: [0, target.length - 1], label: "τ, steps back" },
          y: { domain: plot.niceDomain([...target, ...kernel, ...modes.flat()], { include: [0] }), label: "weight" },
        },
    marks: [
      ...modes.map((mode, index) => ({
        kind: "line",
        name: `mode-${index + 1}`,
        points: points(mode),
        colour: colours[index],
        width: 1.5,
      })),
      { kind: "line", name: "kernel", points: points(kernel), colour: "blue", width: 3 },
      { kind: "line", name: "target", points: points(target), colour: "ink", width: 1.8, dash: "6 4" },
    ],
  };
}

function modeRow(state, index) {
  const colour = state.constants().colours[index];
  const item = (name) => ({
    get: () => state.get(name)[index],
    set: (value) => state.set({ [name]: replaced(state.get(name), index, value) }),
    bounds: () => state.bounds(name).map((end) => end[index]),
  });
  const halfLife = plot.slider({
    ...item("half_lives"),
    name: `half_life-${index + 1}`,
    label: "half-life",
    description: `mode ${index + 1}, half-life in steps`,
    scale: "log",
  });
  const weight = plot.slider({
    ...item("weights"),
    name: `weight-${index + 1}`,
    label: "weight",
    description: `mode ${index + 1}, weight`,
    step: 0.01,
    text: (value) => plot.fixed(value, 2),
  });
  const swatch = plot.html("span", { class: "mx-swatch", style: `background:${plot.colour(colour)}`, "aria-hidden": "true" });
  const node = plot.html("div", { class: "mx-mode" }, plot.html("span", { class: "mx-mode-name" }, swatch, String(index + 1)), halfLife.node, weight.node);
  return {
    node,
    draw() {
      node.hidden = index >= state.get("modes");
      halfLife.draw();
      weight.draw();
    },
  };
}

function reading(state) {
  const { target, modes, kernel, error } = formulas.parts(state.all());
  const hidden = state.get("axes") === "log-log" && [target, kernel, ...modes].some((values) => values.some((value) => value <= 0));
  const decays = state.get("half_lives").slice(0, modes.length).map((h) => plot.number(formulas.decay(h)));
  return [
    modes.length === 1 ? "One decay, φ = " : `${modes.length} decays, φ = `,
    ...decays.flatMap((decay, index) => [index ? ", " : "", plot.bold(decay)]),
    modes.length === 1 ? ", misses the target by " : ", miss the target by ",
    plot.bold(percent(error)),
    ".",
    hidden ? " Weights of 0 and below have no place on logarithmic axes; linear ones show them." : "",
  ];
}

function build(state) {
  const plain = (name, options) => ({ name, get: () => state.get(name), set: (value) => state.set({ [name]: value }), ...options });
  const target = plot.select(plain("target", { label: "Target kernel", choices: () => state.bounds("target") }));
  const length = plot.slider(
    plain("target_length", {
      label: "T, the target’s length",
      scale: "log",
      step: 1,
      bounds: () => state.bounds("target_length"),
      text: stepsText,
      enabled: () => state.get("target") !== state.bounds("target")[0],
    }),
  );
  const axes = plot.select(plain("axes", { label: "Axes", choices: () => state.bounds("axes") }));
  const modes = plot.slider(plain("modes", { label: "N, decays added up", step: 1, bounds: () => state.bounds("modes"), text: String }));
  const chart = plot.chart(() => kernelChart(state), { height: 320 });
  const rows = state.constants().colours.map((_, index) => modeRow(state, index));
  const solve = plot.button({
    name: "solve",
    label: "Least squares: find the weights",
    primary: true,
    press: () => state.set({ weights: formulas.solve(state.all()) }),
  });
  const spread = plot.button({
    name: "spread",
    label: "Spread the half-lives",
    press: () => state.set({ half_lives: formulas.spread(state.all()) }),
  });
  const text = plot.sentence(() => reading(state));
  return {
    title: "A kernel built from decays",
    hint: [
      "Each memory adds w φ",
      plot.html("sup", {}, "τ"),
      " to the kernel. Choose a target, then move half-lives and weights until the blue sum lies on the dashed line.",
    ],
    body: plot.html(
      "div",
      {},
      plot.html("div", { class: "mx-controls" }, target.node, length.node, axes.node, modes.node),
      plot.html(
        "div",
        { class: "mx-columns mx-wide-left" },
        plot.html("div", { class: "mx-stack" }, chart.node),
        plot.html(
          "div",
          { class: "mx-stack" },
          plot.html("div", { class: "mx-modes" }, rows.map((row) => row.node)),
          plot.html("div", { class: "mx-buttons" }, solve.node, spread.node),
        ),
      ),
      text.node,
    ),
    parts: [target, length, axes, modes, chart, ...rows, solve, spread, text],
  };
}

const names = ["bounds", "modes", "half_lives", "weights", "target", "target_length", "axes"];
const render = (context) => plot.explorer(context, names, build);

export default { render, formulas };
