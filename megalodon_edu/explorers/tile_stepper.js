// The tile stepper: a matrix in memory, and programs that take a block of its numbers each.

const ALONG = "along a row";
const DOWN = "down a column";

const formulas = {
  stride: ({ columns, gap }) => columns + gap,

  // Row, column and existence of every lane of every program.
  lanes({ rows, columns, block, order }) {
    const along = order === ALONG;
    const [outer, inner] = along ? [rows, columns] : order === DOWN ? [columns, rows] : [1, rows * columns];
    const pieces = Math.ceil(inner / block);
    return Array.from({ length: outer * pieces }, (_, program) => {
      const first = Math.floor(program / pieces);
      return Array.from({ length: block }, (_, lane) => {
        const second = (program % pieces) * block + lane;
        const exists = second < inner;
        if (along) return { row: first, column: second, exists };
        if (order === DOWN) return { row: second, column: first, exists };
        return { row: Math.floor(second / columns), column: second % columns, exists };
      });
    });
  },
  place: (state, { row, column }) => row * formulas.stride(state) + column,

  // Lanes, masked lanes, bytes asked for, and different sectors.
  counts(state, lanes) {
    const live = lanes.filter(({ exists }) => exists);
    const touched = new Set(live.map((lane) => Math.floor((formulas.place(state, lane) * state.size) / state.constants.sector)));
    return [lanes.length, lanes.length - live.length, live.length * state.size, touched.size];
  },

  parts(state) {
    const programs = formulas.lanes(state);
    const shown = Math.min(state.program, programs.length - 1);
    const counts = programs.map((lanes) => formulas.counts(state, lanes));
    const all = counts.reduce((total, one) => total.map((value, index) => value + one[index]));
    return { programs, shown, lanes: programs[shown], counts, here: counts[shown], all };
  },
  values(state) {
    const { lanes, counts, here, all } = formulas.parts(state);
    return {
      places: lanes.map((lane) => formulas.place(state, lane)),
      exists: lanes.map(({ exists }) => (exists ? 1 : 0)),
      sectors: counts.map((one) => one[3]),
      here,
      all,
    };
  },
};

const counted = (value, word) => `${value.toLocaleString("en-US")} ${word}${value === 1 ? "" : "s"}`;
const grid = (height, width, entry) => Array.from({ length: height }, (_, r) => Array.from({ length: width }, (_, c) => entry(r, c)));
const ends = (length) => [-0.5, length - 0.5];

// A tick for every number, or for every few where they would be crowded.
const ticks = (length, text = String) => {
  const every = length <= 10 ? 1 : length <= 20 ? 2 : 4;
  return Array.from({ length: Math.ceil(length / every) }, (_, index) => [index * every, text(index * every)]);
};

// Cells in `height` lines: those that `inside` says belong to the matrix, those that a program touches, its masked lanes.
function marks(height, width, inside, live, masked) {
  const has = (set, r, c) => set.has(`${r},${c}`);
  const keys = (lanes) => new Set(lanes.map(([r, c]) => `${r},${c}`));
  const [touched, crossed] = [keys(live), keys(masked)];
  const shade = (r, c) => ((r + c) % 2 ? 0.75 : 1); // like a chessboard, so that cells can be counted
  const cells = (name, colour, strength, shown) => {
    const rows = grid(height, width, (r, c) => (shown(r, c) ? strength * shade(r, c) : null));
    return { kind: "cells", name, colour, rows };
  };
  return [
    cells("matrix", "sky", 0.35, (r, c) => inside(r, c) && !has(touched, r, c)),
    cells("live", "blue", 1, (r, c) => has(touched, r, c)),
    cells("masked", "vermilion", 0.6, (r, c) => has(crossed, r, c)),
  ];
}

const KEY = [
  { label: "the matrix", colour: "sky", dot: true },
  { label: "lanes of this program", colour: "blue", dot: true },
  { label: "masked lanes", colour: "vermilion", dot: true },
];

function matrixChart(state, { lanes, shown, programs }) {
  const { rows, columns } = state;
  const [height, width] = [Math.max(rows, ...lanes.map(({ row }) => row + 1)), Math.max(columns, ...lanes.map(({ column }) => column + 1))];
  const of = (exists) => lanes.filter((lane) => lane.exists === exists).map(({ row, column }) => [row, column]);
  return {
    title: `The matrix: program ${shown}, of 0 to ${programs.length - 1}`,
    label: `${rows} rows and ${columns} columns. Program ${shown} takes ${counted(of(true).length, "number")}; ${counted(of(false).length, "lane")} masked.`,
    legend: KEY,
    axes: {
      x: { domain: ends(width), label: "column", ticks: ticks(width) },
      y: { domain: ends(height).reverse(), label: "row", ticks: ticks(height) },
    },
    marks: marks(height, width, (r, c) => r < rows && c < columns, of(true), of(false)),
  };
}

function memoryChart(state, { lanes, here }) {
  const { rows, columns, size, constants } = state;
  const { line, sector } = constants;
  const stride = formulas.stride(state);
  const places = lanes.map((lane) => formulas.place(state, lane));
  const height = Math.ceil(Math.max((rows - 1) * stride + columns, ...places.map((place) => place + 1)) / line);
  const at = (place) => [Math.floor(place / line), place % line];
  const of = (exists) => places.filter((_, index) => lanes[index].exists === exists).map(at);
  const inside = (r, c) => (r * line + c) % stride < columns && r * line + c < rows * stride;
  const inSector = sector / size;
  const touched = new Set(places.filter((_, index) => lanes[index].exists).map((place) => Math.floor(place / inSector)));
  const edges = Array.from({ length: line / inSector - 1 }, (_, index) => (index + 1) * inSector - 0.5);
  return {
    title: `Memory: ${counted(here[3], "sector")} of ${sector} bytes touched`,
    label: `Places of memory in lines of ${line}. The program touches ${counted(here[3], "sector")}.`,
    legend: [{ label: "sectors that memory must hand out", colour: "orange" }],
    axes: {
      x: { domain: ends(line), label: "place in its line; dotted: the edges of sectors", ticks: ticks(line) },
      y: { domain: ends(height).reverse(), label: "place", ticks: ticks(height, (r) => String(r * line)) },
    },
    marks: [
      ...marks(height, line, inside, of(true), of(false)),
      ...edges.map((x) => ({ kind: "rule", name: "sector edge", x, colour: "grey", dash: "1 3" })),
      ...[...touched].map((index) => {
        const [r, c] = at(index * inSector);
        return { kind: "box", name: "sector", x: [c - 0.5, c + inSector - 0.5], y: [r - 0.5, r + 0.5], colour: "orange" };
      }),
    ],
  };
}

function table(rows) {
  const body = plot.html("tbody");
  const heading = (text) => plot.html("th", { scope: "col" }, text);
  const head = plot.html("tr", {}, ["", "this program", "all programs"].map(heading));
  const node = plot.html("table", { class: "mx-table mx-numbers" }, plot.html("thead", {}, head), body);
  const line = ([name, ...cells]) =>
    plot.html("tr", {}, plot.html("th", { scope: "row" }, name), cells.map((text) => plot.html("td", {}, text)));
  return { node, draw: () => body.replaceChildren(...rows().map(line)) };
}

function countRows(state, { here, all }) {
  const { sector } = state.constants;
  const both = (text) => [here, all].map(text);
  return [
    ["lanes", ...both(([lanes]) => lanes.toLocaleString("en-US"))],
    ["of them masked", ...both(([, masked]) => masked.toLocaleString("en-US"))],
    ["bytes asked for", ...both(([, , bytes]) => `${bytes.toLocaleString("en-US")} B`)],
    ["bytes handed out", ...both(([, , , sectors]) => `${(sectors * sector).toLocaleString("en-US")} B`)],
    ["used", ...both(([, , bytes, sectors]) => (sectors ? `${Math.round((100 * bytes) / (sectors * sector))} %` : "–"))],
  ];
}

function reading(state, { shown, lanes, here }) {
  const { order, gap, constants } = state;
  const first = lanes[0];
  const where = order === ALONG ? `row ${first.row}, from column ${first.column} on` : order === DOWN ? `column ${first.column}, from row ${first.row} on` : `number ${shown * lanes.length} and on`;
  const masked = here[1] ? ["; ", plot.bold(counted(here[1], "lane")), " would lie beyond the end and must be masked"] : ["; no lane needs a mask"];
  const apart = gap ? ` Rows begin ${formulas.stride(state)} places apart.` : "";
  return [
    `Program ${shown} takes ${where}`,
    ...masked,
    ". It asks for ",
    plot.bold(`${here[2]} bytes`),
    ", and memory hands out ",
    plot.bold(`${here[3] * constants.sector}`),
    `.${apart}`,
  ];
}

function build(state) {
  const plain = (name, options) => ({ name, get: () => state.get(name), set: (value) => state.set({ [name]: value }), ...options });
  const bounded = (name, options) => plot.slider(plain(name, { bounds: () => state.bounds(name), step: 1, ...options }));
  const choice = (name, label, text) => plot.select(plain(name, { label, text, choices: () => state.bounds(name) }));
  const parts = () => formulas.parts(state.all());
  const rows = bounded("rows", { label: "Rows", text: String });
  const columns = bounded("columns", { label: "Columns", text: String });
  const gap = bounded("gap", { label: "Gap behind each row", text: (value) => counted(value, "place") });
  const order = choice("order", "A program goes");
  const block = choice("block", "BLOCK: lanes of a program");
  const size = choice("size", "A number has", (value) => (value === 4 ? "4 bytes (float32)" : "2 bytes (bfloat16)"));
  const program = bounded("program", {
    label: "Program",
    text: () => {
      const { shown, programs } = parts();
      return `${shown}, of 0 to ${programs.length - 1}`;
    },
    last: () => parts().programs.length - 1,
  });
  // From one program to the next, and from the last one back to the first.
  const step = (by) => {
    const { shown, programs } = parts();
    state.set({ program: (shown + by + programs.length) % programs.length });
  };
  const back = plot.button({ name: "back", label: "◀ Previous", press: () => step(-1) });
  const next = plot.button({ name: "next", label: "Next ▶", primary: true, press: () => step(1) });
  const matrix = plot.chart(() => matrixChart(state.all(), parts()), { height: 300 });
  const memory = plot.chart(() => memoryChart(state.all(), parts()), { height: 300 });
  const text = plot.sentence(() => reading(state.all(), parts()));
  const counts = table(() => countRows(state.all(), parts()));
  return {
    title: "The tile stepper",
    hint: "Step through the programs of a launch, and see which addresses each of them touches.",
    body: plot.html(
      "div",
      {},
      plot.html(
        "div",
        { class: "mx-controls" },
        ...[rows, columns, gap, order, block, size, program].map(({ node }) => node),
        plot.html("div", {}, plot.html("div", { class: "mx-buttons" }, back.node, next.node)),
      ),
      plot.html(
        "div",
        { class: "mx-columns" },
        plot.html("div", { class: "mx-stack" }, matrix.node),
        plot.html("div", { class: "mx-stack" }, memory.node),
      ),
      plot.html(
        "div",
        { class: "mx-columns" },
        plot.html("div", { class: "mx-stack" }, counts.node),
        plot.html("div", { class: "mx-stack mx-reading" }, text.node),
      ),
    ),
    parts: [rows, columns, gap, order, block, size, program, back, next, matrix, memory, counts, text],
  };
}

const names = ["rows", "columns", "gap", "block", "order", "size", "program"];
const render = (context) => plot.explorer(context, names, build);

export default { render, formulas };
