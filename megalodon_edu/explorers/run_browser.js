// The run browser: loss curves of training runs. The formulas are those of training/curves.py and run_browser.py.

const formulas = {
  // The moving average of a curve, divided by the weight that it has gathered: free of the pull of its empty start.
  smoothed(bits, steps, halfLife) {
    if (halfLife === 0) return bits;
    let [average, weight] = [0, 0];
    return bits.map((value, index) => {
      const fade = 2 ** (-(steps[index] - (index ? steps[index - 1] : 0)) / halfLife);
      average = fade * average + (1 - fade) * value;
      weight = fade * weight + (1 - fade);
      return average / weight;
    });
  },

  // The value of a line at a place between its first and its last point.
  at(x, y, place) {
    let [low, high] = [0, x.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (x[middle] <= place) low = middle;
      else high = middle;
    }
    if (place >= x[high]) return y[high];
    if (place <= x[low]) return y[low];
    return y[low] + ((y[high] - y[low]) * (place - x[low])) / (x[high] - x[low]);
  },

  // Median, lowest and highest of several curves, at every x of any of them that all of them reach.
  across(curves) {
    const start = Math.max(...curves.map(({ x }) => x[0]));
    const end = Math.min(...curves.map(({ x }) => x[x.length - 1]));
    const places = [...new Set(curves.flatMap(({ x }) => x))].filter((x) => x >= start && x <= end).sort((a, b) => a - b);
    const sorted = places.map((place) => curves.map(({ x, y }) => formulas.at(x, y, place)).sort((a, b) => a - b));
    const middle = (values) => (values[(values.length - 1) >> 1] + values[values.length >> 1]) / 2;
    return { x: places, median: sorted.map(middle), low: sorted.map((values) => values[0]), high: sorted.map((values) => values[values.length - 1]) };
  },

  // What the horizontal axis shows: bytes where the seconds of the runs compare nothing.
  axis: ({ constants, collection, against }) => (constants.collections[collection].timed ? against : "bytes read"),

  curve(run, kind, state) {
    const { constants, half_life: halfLife } = state;
    const { steps, bits, [constants.axes[formulas.axis(state)]]: x } = run[kind];
    return { x, y: formulas.smoothed(bits, steps, kind === "training" ? halfLife : 0) };
  },

  // What is drawn, before anything is left out at the start: variant by variant, training before validation.
  lines(state) {
    const { constants, collection, shown, grouped } = state;
    const found = [];
    for (const variant of constants.collections[collection].variants.filter((name) => shown.includes(name))) {
      const members = constants.runs.filter((run) => run.variant === variant);
      for (const kind of constants.kinds[state.curve]) {
        const curves = members.map((run) => ({ label: run.label, ...formulas.curve(run, kind, state) })).filter(({ x }) => x.length);
        if (grouped && curves.length) found.push({ label: variant, variant, kind, ...formulas.across(curves) });
        if (!grouped) found.push(...curves.map(({ label, x, y }) => ({ label, variant, kind, x, median: y, low: y, high: y })));
      }
    }
    return found.filter(({ x }) => x.length);
  },

  // The part of a line from `begin` on, with a point at `begin` itself where the line crosses it.
  cut(line, begin) {
    const first = line.x.findIndex((x) => x >= begin);
    if (first === -1) return { ...line, x: [], median: [], low: [], high: [] };
    const edge = first > 0 && line.x[first] !== begin;
    const part = (values, atBegin) => [...(edge ? [atBegin] : []), ...values.slice(first)];
    const y = (values) => part(values, edge && formulas.at(line.x, values, begin));
    return { ...line, x: part(line.x, begin), median: y(line.median), low: y(line.low), high: y(line.high) };
  },

  domain(lines, { start, log_x: logX, log_y: logY }) {
    if (!lines.length) return [1, 10, 1, 8];
    const end = Math.max(...lines.map(({ x }) => x[x.length - 1]));
    const first = logX ? Math.min(...lines.flatMap(({ x }) => x.filter((value) => value > 0))) : 0;
    let begin = Math.max(first, start * end);
    if (begin >= end) begin = end / 2;
    const cut = lines.map((line) => formulas.cut(line, begin));
    const low = Math.min(...cut.flatMap((line) => line.low));
    const high = Math.max(...cut.flatMap((line) => line.high));
    if (logY) {
      const room = high > low ? (high / low) ** 0.04 : 1.1;
      return [begin, end, low / room, high * room];
    }
    const room = high > low ? 0.04 * (high - low) : 0.5;
    return [begin, end, low - room, high + room];
  },

  position([begin, end], { place, log_x: logX }) {
    return Math.min(end, logX ? begin * (end / begin) ** place : begin + place * (end - begin));
  },

  // The place of a position: the other way round.
  place([begin, end], position, logX) {
    return logX ? Math.log(position / begin) / Math.log(end / begin) : (position - begin) / (end - begin);
  },

  // All that is drawn and read; `here` of a line is null where it has no value.
  parts(state) {
    const lines = formulas.lines(state);
    const domain = formulas.domain(lines, state);
    const position = formulas.position(domain, state);
    const read = ({ x, median, low, high }) =>
      x[0] <= position && position <= x[x.length - 1] ? [median, low, high].map((values) => formulas.at(x, values, position)) : null;
    return { lines: lines.map((line) => ({ ...formulas.cut(line, domain[0]), here: read(line) })), domain, position };
  },

  values(state) {
    const { lines, domain, position } = formulas.parts(state);
    const all = (name) => lines.flatMap((line) => line[name]);
    return {
      counts: lines.map(({ x }) => x.length),
      ...{ x: all("x"), median: all("median"), low: all("low"), high: all("high") },
      domain,
      position: [position],
      here: lines.flatMap(({ here }) => here ?? [0, 0, 0]),
    };
  },
};

const DASH = "7 4";
const LONGEST_NAME = 24;
const LEAST_WIDTH = 560; // narrower, there is no room for names beside the lines
const bits = (value) => plot.fixed(value, 3);

// 52_000_000 bytes as "52.0 million bytes", 40 seconds as "40.0 s".
function amount(value, against) {
  if (against === "seconds") return `${plot.number(value)} s`;
  const [size, word] = value >= 1e6 ? [1e6, " million"] : value >= 1e3 ? [1e3, " thousand"] : [1, ""];
  return `${plot.number(value / size)}${word} bytes`;
}

const short = (value) => (value >= 1e6 ? `${value / 1e6}M` : value >= 1e3 ? `${value / 1e3}K` : plot.tickLabel(value));

// Powers of ten on a logarithmic axis that holds at least three of them, else round numbers.
function ticks([low, high], log, count) {
  const decades = log ? Array.from({ length: 20 }, (_, index) => 10 ** (index - 3)).filter((tick) => low <= tick && tick <= high) : [];
  return (decades.length > 2 ? decades : plot.linearTicks([low, high], count)).map((value) => [value, short(value)]);
}

const axis = (state) => formulas.axis(state.all());
const collectionOf = (state) => state.constants().collections[state.get("collection")];

const look = (state, variant) => {
  const { colour, dashed } = state.constants().looks[variant];
  return { colour, dash: dashed ? DASH : undefined };
};

function lossChart(state, { lines, domain, position }, width) {
  const [logX, logY] = [state.get("log_x"), state.get("log_y")];
  const [begin, end, low, high] = domain;
  const ends = new Map(lines.filter(({ x }) => x.length).map((line) => [line.variant, line]));
  const entries = [...ends.values()].map(({ variant, x, median }) => ({
    ...{ x: x[x.length - 1], y: median[median.length - 1], label: variant.length > LONGEST_NAME ? `${variant.slice(0, LONGEST_NAME - 1)}…` : variant },
    colour: look(state, variant).colour,
  }));
  const named = width >= LEAST_WIDTH;
  // What a name needs right of the axis' end: all of it where its line ends there, less where the line ends before.
  const room = ({ x, label }) => {
    const share = formulas.place(domain, x, logX);
    return (1.1 * plot.textWidth(label) + 20 - (1 - share) * (width - 60)) / Math.max(share, 0.1);
  };
  const drawn = lines.flatMap(({ label, variant, kind, x, median, low: lowest, high: highest }) => {
    const points = (values) => x.map((place, index) => [place, values[index]]);
    const name = `${kind}-${label}`;
    const validation = kind === "validation";
    const band = lowest.some((value, index) => value !== highest[index]);
    return [
      ...(band ? [{ kind: "band", name: `band-${name}`, colour: look(state, variant).colour, points: x.map((place, index) => [place, lowest[index], highest[index]]) }] : []),
      { kind: "line", name, points: points(median), ...look(state, variant), width: validation ? 1.2 : 2 },
      ...(validation ? points(median).map(([px, py]) => ({ kind: "dot", x: px, y: py, colour: look(state, variant).colour, radius: 3 })) : []),
    ];
  });
  const reads = lines.filter(({ here }) => here).map(({ variant, here }) => ({ kind: "dot", x: position, y: here[0], colour: look(state, variant).colour, radius: 5 }));
  const both = state.get("curve") === "both";
  return {
    title: "Loss, in bits per byte",
    label: `Bits per byte against ${axis(state)}, ${lines.length} lines, from ${bits(low)} to ${bits(high)}.`,
    legend: both
      ? [
          { label: state.get("half_life") ? "training, smoothed" : "training", colour: "ink" },
          { label: "validation, not smoothed", colour: "ink", dot: true },
        ]
      : [],
    right: named ? Math.max(12, ...entries.map(room)) : 12,
    axes: {
      x: { domain: [begin, end], label: axis(state), scale: logX ? "log" : "linear", ticks: ticks([begin, end], logX, width / 70) },
      y: { domain: [low, high], label: "bits per byte", scale: logY ? "log" : "linear", ticks: ticks([low, high], logY, 8) },
    },
    marks: [
      ...drawn,
      { kind: "rule", name: "place", x: position, colour: "ink", dash: "1 0", label: amount(position, axis(state)) },
      ...reads,
      ...(named ? [{ kind: "labels", entries }] : []),
    ],
  };
}

// A box to tick for every variant, with the look of its line: the legend. The last one that is ticked stays so.
function picker(state) {
  const variants = Object.keys(state.constants().looks);
  const toggle = (variant, on) => state.set({ shown: variants.filter((name) => (name === variant ? on : state.get("shown").includes(name))) });
  const boxes = variants.map((variant) => {
    const runs = state.constants().runs.filter((run) => run.variant === variant).length;
    const box = plot.checkbox({
      name: `shown-${variant}`,
      label: runs > 1 ? `${variant} (${runs} runs)` : variant,
      get: () => state.get("shown").includes(variant),
      set: (on) => toggle(variant, on),
    });
    box.node.insertBefore(plot.swatch(look(state, variant)), box.node.lastChild);
    return { ...box, variant };
  });
  const node = plot.html("div", { class: "mx-picker", role: "group", "aria-label": "Runs to show" }, boxes.map((box) => box.node));
  function draw() {
    const here = collectionOf(state).variants;
    const shown = state.get("shown").filter((name) => here.includes(name));
    boxes.forEach(({ node: label, draw: drawBox, variant }) => {
      drawBox();
      label.hidden = !here.includes(variant);
      label.querySelector("input").disabled = shown.length === 1 && shown[0] === variant;
    });
  }
  return { node, draw };
}

function readTable(state, parts) {
  const head = plot.html("tr");
  const body = plot.html("tbody");
  const grid = plot.html("table", { class: "mx-table mx-numbers" }, plot.html("thead", {}, head), body);
  const node = plot.html("div", { class: "mx-scroll", tabindex: 0, role: "group", "aria-label": "The runs in numbers" }, grid);
  const cell = (here) => (here ? (here[1] === here[2] ? bits(here[0]) : `${bits(here[0])} (${bits(here[1])} to ${bits(here[2])})`) : "–");
  function draw() {
    const { lines } = parts();
    const kinds = state.constants().kinds[state.get("curve")];
    const rows = new Map();
    for (const line of lines) rows.set(line.label, { ...rows.get(line.label), variant: line.variant, [line.kind]: line.here });
    head.replaceChildren(...["run", ...kinds].map((text) => plot.html("th", { scope: "col" }, text)));
    body.replaceChildren(
      ...[...rows].map(([label, row]) =>
        plot.html(
          "tr",
          {},
          plot.html("th", { scope: "row" }, plot.swatch(look(state, row.variant)), label),
          kinds.map((kind) => plot.html("td", {}, cell(row[kind]))),
        ),
      ),
    );
  }
  return { node, draw };
}

function reading(state, { lines, position }) {
  const kind = state.get("curve") === "training" ? "training" : "validation";
  const at = ["At ", plot.bold(amount(position, axis(state)))];
  const read = lines.filter((line) => line.kind === kind && line.here).sort((a, b) => a.here[0] - b.here[0]);
  if (!read.length) return [...at, `, no run that is shown has a value of the ${kind} loss.`];
  const [best, ...others] = read;
  const lead = [...at, `, the lowest ${kind} loss has `, plot.bold(best.label), ": ", plot.bold(`${bits(best.here[0])} bits per byte`)];
  const last = others[others.length - 1];
  return last ? [...lead, ", ", plot.bold(bits(last.here[0] - best.here[0])), ` below the highest, ${last.label}.`] : [...lead, "."];
}

function build(state) {
  const { runs, collections } = state.constants();
  const plain = (name, options) => ({ name, get: () => state.get(name), set: (value) => state.set({ [name]: value }), ...options });
  const choice = (name, label) => plot.select(plain(name, { label, choices: () => state.bounds(name) }));
  const bounded = (name, options) => plot.slider(plain(name, { bounds: () => state.bounds(name), ...options }));
  let last = null;
  const parts = () => last ?? (last = formulas.parts(state.all()));
  // A part that is there only while it has something to say.
  const sometimes = (part, needed) => ({
    ...part,
    draw() {
      part.draw();
      part.node.hidden = !needed();
    },
  });
  const collection = sometimes(choice("collection", "Recorded runs"), () => Object.keys(collections).length > 1);
  const note = sometimes(plot.sentence(() => [collectionOf(state).note]), () => collectionOf(state).note);
  const pick = picker(state);
  const against = sometimes(choice("against", "Horizontal axis"), () => collectionOf(state).timed);
  const curve = choice("curve", "Loss");
  const smooth = bounded("half_life", {
    label: "Smoothing: half-life",
    step: 1,
    text: (value) => (value === 0 ? "none" : value === 1 ? "1 step" : `${value} steps`),
    enabled: () => state.get("curve") !== "validation",
  });
  const start = bounded("start", { label: "Leave out the start", text: (value) => `${Math.round(100 * value)} %`, step: 0.01 });
  const place = bounded("place", { label: "Read at", text: () => amount(parts().position, axis(state)) });
  const several = () => runs.filter(({ variant }) => collectionOf(state).variants.includes(variant)).length > collectionOf(state).variants.length;
  const switches = [
    plot.checkbox(plain("log_x", { label: "horizontal axis logarithmic" })),
    plot.checkbox(plain("log_y", { label: "vertical axis logarithmic" })),
    sometimes(plot.checkbox(plain("grouped", { label: "seeds of a variant as their median and range" })), several),
  ];
  const pointed = (x) => {
    const share = formulas.place(parts().domain, x, state.get("log_x"));
    state.set({ place: plot.clamp(share, state.bounds("place")) });
  };
  const chart = plot.chart((width) => lossChart(state, parts(), width), { height: 400, pointed });
  const table = readTable(state, parts);
  const text = plot.sentence(() => reading(state, parts()));
  const fresh = { draw: () => (last = null) }; // the first part of every drawing: all others share what is computed once
  return {
    title: "Run browser",
    hint: "Tick runs and move over the picture to read them. The slider “Read at” does the same with the arrow keys.",
    body: plot.html(
      "div",
      {},
      plot.html(
        "div",
        { class: "mx-controls" },
        plot.html("div", { class: "mx-span" }, collection.node, note.node),
        plot.html("div", { class: "mx-span" }, pick.node),
        against.node,
        curve.node,
        smooth.node,
        start.node,
        plot.html("div", { class: "mx-span mx-switches" }, switches.map(({ node }) => node)),
        plot.html("div", { class: "mx-span" }, place.node),
      ),
      chart.node,
      text.node,
      table.node,
    ),
    parts: [fresh, collection, note, pick, against, curve, smooth, start, ...switches, place, chart, text, table],
  };
}

const names = ["bounds", "collection", "shown", "against", "curve", "half_life", "start", "log_x", "log_y", "grouped", "place"];
const render = (context) => plot.explorer(context, names, build);

export default { render, formulas };
