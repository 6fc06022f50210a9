// The roofline: what the rungs of CEMA's ladder move and compute. The formulas are those of measure/ladder.py.

const SECTOR = 32;
const TILE = 16;
const ROW = 32;

const formulas = {
  shape({ constants, batch, length, channels, precision, modes, chunk, segment }) {
    const itemsize = constants.precisions[precision];
    return { batch, length, channels, itemsize, modes, chunk, segment: Math.min(segment, length), values: batch * length * channels };
  },

  // The states between segments, written and read twice.
  stateBytes({ batch, length, channels, modes, segment }) {
    const segments = Math.floor(length / segment);
    return segments === 1 ? 0 : 4 * batch * segments * channels * modes * 8;
  },

  recurrent(shape, rung) {
    const { values, modes, itemsize, batch, channels, length, segment } = shape;
    const twice = rung === "segments";
    const operations = 2 * values * (modes * (twice ? 12 : 7) + 1);
    const pass = values * itemsize;
    if (rung === "naive") {
      return { moved: 2 * pass, asked: 2 * values * SECTOR, operations, programs: batch * channels, unit: "ordinary" };
    }
    const moved = twice ? 3 * pass + formulas.stateBytes(shape) : 2 * pass;
    const programs = batch * (twice ? Math.floor(length / segment) : 1) * Math.ceil(channels / ROW);
    return { moved, asked: moved, operations, programs, unit: "ordinary" };
  },

  chunked(shape, rung) {
    const { values, modes, itemsize, batch, channels, length, chunk, segment } = shape;
    const states = formulas.stateBytes(shape);
    const walks = states ? 2 : 1;
    const products = chunk + 2 * modes + walks * 2 * modes;
    const operations = 2 * values * (products + (walks * 4 * modes) / chunk);
    const moved = (walks + 1) * values * itemsize + states;
    const asked = rung === "channel tiles" ? moved : (walks + 1) * values * SECTOR + states;
    const groups = Math.ceil((batch * Math.floor(length / segment)) / TILE);
    const programs = groups * (rung === "channel tiles" ? Math.ceil(channels / TILE) : channels);
    const cores = itemsize === 2 ? "tensor" : "tensor, float32";
    return { moved, asked, operations, programs, unit: rung === "chunks" ? "ordinary" : cores };
  },

  count: (shape, rung) => (["naive", "coalesced", "segments"].includes(rung) ? formulas.recurrent : formulas.chunked)(shape, rung),

  rate: (device, unit) => ({ ordinary: device.ordinary, tensor: device.tensor, "tensor, float32": device.tensor / 6 })[unit],

  // Recorded times belong to one card, to bfloat16, 16 modes, chunks of 16 and segments of 256.
  milliseconds({ constants, device, precision, modes, chunk, segment, batch, length, channels }) {
    const taken = device === constants.measured && constants.precisions[precision] === 2 && modes === 16 && chunk === 16;
    const found = {};
    if (!taken || segment !== 256) return found;
    for (const { rung, shape, milliseconds } of constants.recorded) {
      if (shape[0] === batch && shape[1] === length && shape[2] === channels) found[rung] = milliseconds;
    }
    return found;
  },

  values(state) {
    const { constants } = state;
    const device = constants.devices[state.device];
    const shape = formulas.shape(state);
    const counted = constants.rungs.map((rung) => formulas.count(shape, rung));
    const times = formulas.milliseconds(state);
    const floors = counted.map(({ moved, operations, unit }) =>
      Math.max(moved / device.bytes_per_second, operations / formulas.rate(device, unit)),
    );
    return {
      moved: counted.map(({ moved }) => moved / 1e6),
      asked: counted.map(({ asked }) => asked / 1e6),
      operations: counted.map(({ operations }) => operations / 1e9),
      programs: counted.map(({ programs }) => programs),
      each: counted.map(({ programs }) => programs / device.multiprocessors),
      intensity: counted.map(({ moved, operations }) => operations / moved),
      floor: floors.map((seconds) => 1e3 * seconds),
      reach: counted.map(({ operations }, index) => operations / floors[index] / 1e12),
      recorded: constants.rungs.map((rung) => times[rung] ?? 0),
    };
  },
};

const DOMAIN = { x: [3, 500], y: [0.5, 2000] };
const thousands = (value) => value.toLocaleString("en-US");
const size = (megabytes) => (megabytes >= 1000 ? `${plot.number(megabytes / 1000)} GB` : `${plot.number(megabytes)} MB`);

// A dot for every rung [x, y, index]; those that stand close together share one label, at the outermost: "1 2".
function places(points, side) {
  const near = (a, b) => Math.abs(a.x / b.x - 1) < 0.2 && Math.abs(a.y / b.y - 1) < 0.2;
  const groups = [];
  for (const [x, y, index] of points) {
    const place = { x, y, index };
    const group = groups.find(([first]) => near(first, place));
    if (group) group.push(place);
    else groups.push([place]);
  }
  return groups.flatMap((group) => {
    const label = group.map(({ index }) => index + 1).join(" ");
    const outermost = group.reduce((a, b) => ((side === "left" ? b.x < a.x : b.x > a.x) ? b : a));
    return group.map((place) => ({ x: place.x, y: place.y, side, label: place === outermost ? label : null }));
  });
}

function roofChart(state) {
  const { intensity, reach, operations, recorded } = formulas.values(state.all());
  const { devices, precisions } = state.constants();
  const device = devices[state.get("device")];
  const tensor = precisions[state.get("precision")] === 2 ? device.tensor : device.tensor / 6;
  const steps = Array.from({ length: 61 }, (_, index) => DOMAIN.x[0] * (DOMAIN.x[1] / DOMAIN.x[0]) ** (index / 60));
  const roof = (rate) => steps.map((x) => [x, Math.min(x * device.bytes_per_second, rate) / 1e12]);
  // Labels stand outside: those of rungs on the slope to its left, those of rungs under a flat roof to the right.
  const onSlope = (index) => reach[index] * 1e12 > 0.999 * intensity[index] * device.bytes_per_second;
  const best = (slope) => intensity.flatMap((x, index) => (onSlope(index) === slope ? [[x, reach[index], index]] : []));
  const taken = recorded.flatMap((ms, index) => (ms ? [[intensity[index], operations[index] / ms, index]] : []));
  return {
    title: "Operations a second against operations for each byte",
    label: `${state.get("device")}: the roof of tensor cores at ${plot.number(tensor / 1e12)} TFLOP/s, of ordinary units at ${plot.number(device.ordinary / 1e12)}.`,
    legend: [
      { label: "tensor cores", colour: "blue" },
      { label: "ordinary units", colour: "orange", dash: "6 3" },
      { label: "rung: at best", colour: "ink", dot: true },
      ...(taken.length ? [{ label: "rung: recorded", colour: "vermilion", dot: true }] : []),
    ],
    axes: {
      x: { domain: DOMAIN.x, label: "operations for each byte moved", scale: "log" },
      y: { domain: DOMAIN.y, label: "TFLOP/s", scale: "log" },
    },
    marks: [
      { kind: "line", name: "tensor", points: roof(tensor), colour: "blue", width: 3 },
      { kind: "line", name: "ordinary", points: roof(device.ordinary), colour: "orange", width: 3, dash: "6 3" },
      ...[...places(best(false), "right"), ...places(best(true), "left")].map((place) => ({ kind: "dot", ...place, colour: "ink", lift: 8 })),
      ...places(taken, "right").map((place) => ({ kind: "dot", ...place, colour: "vermilion", radius: 4, lift: -3 })),
    ],
  };
}

const HEADINGS = ["rung", "programs", "per multi­processor", "moved", "asked", "GFLOP", "FLOP / byte", "at best", "recorded"];

function table(state) {
  const body = plot.html("tbody");
  const head = plot.html("tr", {}, HEADINGS.map((text) => plot.html("th", { scope: "col" }, text)));
  const grid = plot.html("table", { class: "mx-table mx-numbers" }, plot.html("thead", {}, head), body);
  const node = plot.html("div", { style: "overflow-x: auto", tabindex: 0, role: "group", "aria-label": "The rungs in numbers" }, grid);
  function draw() {
    const values = formulas.values(state.all());
    const rows = state.constants().rungs.map((rung, index) =>
      plot.html(
        "tr",
        {},
        plot.html("th", { scope: "row" }, `${index + 1} ${rung}`),
        [
          thousands(values.programs[index]),
          plot.number(values.each[index]),
          size(values.moved[index]),
          size(values.asked[index]),
          plot.number(values.operations[index]),
          plot.number(values.intensity[index]),
          `${plot.number(values.floor[index])} ms`,
          values.recorded[index] ? `${plot.number(values.recorded[index])} ms` : "–",
        ].map((text) => plot.html("td", {}, text)),
      ),
    );
    body.replaceChildren(...rows);
  }
  return { node, draw };
}

function reading(state) {
  const { floor, each } = formulas.values(state.all());
  const { rungs } = state.constants();
  const lowest = Math.min(...floor);
  const best = rungs.filter((_, index) => floor[index] === lowest);
  const idle = rungs.filter((_, index) => each[index] < 1);
  const few = idle.length
    ? [" Fewer programs than multiprocessors, so some have nothing to do: ", plot.bold(idle.join(", ")), "."]
    : [" Every rung has a program for each multiprocessor."];
  return ["The lowest floor: ", plot.bold(`${plot.number(lowest)} ms, ${best.join(" and ")}`), ".", ...few];
}

function build(state) {
  const choice = (name, label, text) =>
    plot.select({
      name,
      label,
      text,
      choices: () => state.bounds(name),
      get: () => state.get(name),
      set: (value) => state.set({ [name]: value }),
    });
  const controls = [
    choice("device", "GPU"),
    choice("precision", "Numbers of x and y"),
    choice("batch", "Sequences"),
    choice("length", "Steps", thousands),
    choice("channels", "Channels", thousands),
    choice("modes", "Modes"),
    choice("chunk", "Steps of a chunk"),
    choice("segment", "Steps of a segment (at most all)", thousands),
  ];
  const chart = plot.chart(() => roofChart(state), { height: 380 });
  const text = plot.sentence(() => reading(state));
  const rungs = table(state);
  return {
    title: "The roofline",
    hint: "Choose a shape and a GPU, and see where each rung of the ladder could stand.",
    body: plot.html(
      "div",
      {},
      plot.html("div", { class: "mx-controls" }, controls.map(({ node }) => node)),
      chart.node,
      text.node,
      rungs.node,
    ),
    parts: [...controls, chart, text, rungs],
  };
}

const names = ["bounds", "device", "precision", "batch", "length", "channels", "modes", "chunk", "segment"];
const render = (context) => plot.explorer(context, names, build);

export default { render, formulas };
