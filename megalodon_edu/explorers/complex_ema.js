// The pole-plane explorer: CEMA's memories as points q = |q| e^{iθ} in the unit disc, with δ = 1, so α = 1 - |q|.

const formulas = {
  polar: (size, angle) => ({ re: size * Math.cos(angle), im: size * Math.sin(angle) }),
  times: (a, b) => ({ re: a.re * b.re - a.im * b.im, im: a.re * b.im + a.im * b.re }),
  over(a, b) {
    const square = b.re * b.re + b.im * b.im;
    return { re: (a.re * b.re + a.im * b.im) / square, im: (a.im * b.re - a.re * b.im) / square };
  },
  conjugate: (a) => ({ re: a.re, im: -a.im }),

  // ln 2 / -ln |q|
  halfLife: (radius) => (radius === 0 ? 0 : Math.LN2 / -Math.log(radius)),

  // For each pole: q, and size and phase of w = η p with p = α, or α e^{iθ} in the paper's form.
  memories({ poles, radii, angles, eta_sizes: sizes, eta_phases: phases, input_phase: inputPhase }) {
    return radii.slice(0, poles).map((radius, k) => ({
      radius,
      angle: angles[k],
      pole: formulas.polar(radius, angles[k]),
      size: sizes[k] * (1 - radius),
      phase: phases[k] + (inputPhase ? angles[k] : 0),
    }));
  },

  // K_τ = Re Σ w q^τ = Σ |w| |q|^τ cos(arg w + θ τ)
  kernel: (memories, length) =>
    Array.from({ length }, (_, tau) =>
      memories.reduce((sum, { radius, angle, size, phase }) => sum + size * radius ** tau * Math.cos(phase + angle * tau), 0),
    ),

  // H(e^{iω}) = ½ Σ [w/(1 - q e^{-iω}) + w̄/(1 - q̄ e^{-iω})]
  response(memories, omega) {
    const delay = formulas.polar(1, -omega);
    const term = (weight, pole) => {
      const turned = formulas.times(pole, delay);
      return formulas.over(weight, { re: 1 - turned.re, im: -turned.im });
    };
    const sum = { re: 0, im: 0 };
    for (const { size, phase, pole } of memories) {
      const weight = formulas.polar(size, phase);
      const straight = term(weight, pole);
      const mirrored = term(formulas.conjugate(weight), formulas.conjugate(pole));
      sum.re += (straight.re + mirrored.re) / 2;
      sum.im += (straight.im + mirrored.im) / 2;
    }
    return sum;
  },
  decibel: ({ re, im }, floor) => Math.max(20 * Math.log10(Math.hypot(re, im)), floor),

  values(state) {
    const { length, frequencies, floor } = state.constants;
    const memories = formulas.memories(state);
    return {
      kernel: formulas.kernel(memories, length),
      response_db: Array.from({ length: frequencies }, (_, index) =>
        formulas.decibel(formulas.response(memories, (Math.PI * index) / (frequencies - 1)), floor),
      ),
      half_lives: memories.map(({ radius }) => formulas.halfLife(radius)),
    };
  },
};

const DEGREE = Math.PI / 180;
const KEY_STEP = 0.01;
const LISTS = ["radii", "angles", "eta_sizes", "eta_phases"];

const replaced = (list, index, value) => list.map((old, at) => (at === index ? value : old));
const degrees = (angle) => `${plot.fixed(angle / DEGREE, 0)}°`;
const wrapped = (angle) => Math.atan2(Math.sin(angle), Math.cos(angle));
const stepsText = (count) => `${plot.number(count)} steps`;
const turning = (angle) =>
  Math.abs(angle) < 1e-9 ? "does not turn" : `turns once in ${stepsText((2 * Math.PI) / Math.abs(angle))}`;

// The disc, with rings of equal half-life. Poles are handles: dragged, or focused and moved by the arrow keys.
function plane(state, selection) {
  const [, [largest]] = state.bounds("radii");
  const rings = [1, 4, 16].map((halfLife) => ({ halfLife, radius: 0.5 ** (1 / halfLife) }));
  const canvas = plot.svg("svg", { class: "mx-plane", role: "group", "aria-label": "Unit disc with poles" });
  const ground = plot.svg("g", { class: "mx-plane-ground", "aria-hidden": "true" });
  const mirrors = plot.svg("g", { "aria-hidden": "true" });
  const handles = state.constants().colours.map((colour, index) => handle(colour, index));
  canvas.append(ground, mirrors, ...handles);
  const node = plot.html("figure", { class: "mx-chart mx-first" }, plot.html("h4", { class: "mx-title" }, "Drag a pole"), canvas);
  let [centre, unit] = [0, 1];

  function place(index, { re, im }) {
    const radius = Math.min(Math.hypot(re, im), largest);
    const angle = radius === 0 ? state.get("angles")[index] : Math.atan2(im, re);
    state.set({
      radii: replaced(state.get("radii"), index, radius),
      angles: replaced(state.get("angles"), index, angle),
    });
  }

  function position(index) {
    return formulas.polar(state.get("radii")[index], state.get("angles")[index]);
  }

  function drag(event, index) {
    const box = canvas.getBoundingClientRect();
    place(index, { re: (event.clientX - box.left - centre) / unit, im: -(event.clientY - box.top - centre) / unit });
  }

  function press(event, index) {
    const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (event.key === "Tab") return;
    event.stopPropagation();
    if (!direction) return;
    event.preventDefault();
    const step = event.shiftKey ? 5 * KEY_STEP : KEY_STEP;
    const { re, im } = position(index);
    place(index, { re: re + step * direction[0], im: im + step * direction[1] });
  }

  function handle(colour, index) {
    const group = plot.svg(
      "g",
      {
        class: "mx-handle",
        tabindex: 0,
        role: "slider",
        "aria-label": `Pole ${index + 1}`,
        "aria-valuemin": 0,
        "aria-valuemax": largest,
        "data-control": `pole-${index + 1}`,
        style: `--mark:${plot.colour(colour)}`,
        onfocus: () => selection.choose(index),
        onkeydown: (event) => press(event, index),
        onpointerdown(event) {
          group.setPointerCapture(event.pointerId);
          group.focus({ preventScroll: true });
          event.preventDefault();
        },
        onpointermove: (event) => group.hasPointerCapture(event.pointerId) && drag(event, index),
      },
      plot.svg("circle", { r: 20, class: "mx-handle-reach" }),
      plot.svg("circle", { r: 15, class: "mx-handle-ring" }),
      plot.svg("circle", { r: 11, class: "mx-handle-dot" }),
      plot.svg("text", { "text-anchor": "middle", "dominant-baseline": "central" }, String(index + 1)),
    );
    return group;
  }

  function drawGround() {
    const size = Math.min(Math.max(220, node.clientWidth || 320), 400);
    [centre, unit] = [size / 2, size / 2 - 26];
    canvas.setAttribute("viewBox", `0 0 ${size} ${size}`);
    canvas.setAttribute("width", size);
    canvas.setAttribute("height", size);
    const at = (x, y) => ({ x: centre + unit * x, y: centre - unit * y });
    const label = (x, y, anchor, text, [right, down]) => {
      const spot = at(x, y);
      return plot.svg("text", { x: spot.x + right, y: spot.y + down, "text-anchor": anchor }, text);
    };
    ground.replaceChildren(
      plot.svg("circle", { cx: centre, cy: centre, r: unit, class: "mx-disc" }),
      ...rings.map(({ radius }) => plot.svg("circle", { cx: centre, cy: centre, r: unit * radius, class: "mx-ring" })),
      plot.svg("path", { class: "mx-ring", d: `M${centre - unit},${centre}H${centre + unit}M${centre},${centre - unit}V${centre + unit}` }),
      ...rings.slice(0, 2).map(({ radius, halfLife }) =>
        label(0, -radius, "middle", `half-life ${halfLife === 1 ? "1 step" : `${halfLife} steps`}`, [0, -6]),
      ),
      label(1, 0, "start", "0", [6, 4]),
      label(-1, 0, "end", "π", [-6, 4]),
      label(0, 1, "middle", "θ = π/2", [0, -8]),
      label(0, -1, "middle", "−π/2", [0, 18]),
    );
  }

  function draw() {
    drawGround();
    const count = state.get("poles");
    const colours = state.constants().colours;
    const spots = handles.map((_, index) => position(index));
    mirrors.replaceChildren(
      ...spots.slice(0, count).map(({ re, im }, index) =>
        plot.svg("circle", {
          cx: centre + unit * re,
          cy: centre + unit * im,
          r: 6,
          class: "mx-mirror",
          style: `stroke:${plot.colour(colours[index])}`,
        }),
      ),
    );
    handles.forEach((group, index) => {
      const { re, im } = spots[index];
      const [radius, angle] = [state.get("radii")[index], state.get("angles")[index]];
      group.style.display = index < count ? "" : "none";
      group.classList.toggle("mx-selected", index === selection.index());
      group.setAttribute("transform", `translate(${centre + unit * re},${centre - unit * im})`);
      group.setAttribute("aria-valuenow", radius.toFixed(3));
      const words = `radius ${plot.number(radius)}, angle ${degrees(angle)}, half-life ${stepsText(formulas.halfLife(radius))}`;
      group.setAttribute("aria-valuetext", words);
    });
  }

  return { node, draw, focus: (index) => handles[index].focus({ preventScroll: true }) };
}

function kernelChart(state) {
  const { kernel } = formulas.values(state.all());
  return {
    title: "Kernel",
    label: `Kernel over ${kernel.length} steps, from ${plot.number(Math.min(...kernel))} to ${plot.number(Math.max(...kernel))}.`,
    axes: {
      x: { domain: [0, kernel.length - 1], label: "τ, steps back" },
      y: { domain: plot.niceDomain(kernel, { include: [0], count: 4 }), label: "weight" },
    },
    marks: [{ kind: "stems", name: "kernel", points: kernel.map((value, tau) => [tau, value]), colour: "ink", radius: 2.4 }],
  };
}

function responseChart(state) {
  const { response_db: response } = formulas.values(state.all());
  const { floor, colours } = state.constants();
  const loudest = response.indexOf(Math.max(...response)) / (response.length - 1);
  const angles = state.get("angles").slice(0, state.get("poles"));
  return {
    title: "Frequency response",
    label: `Gain in decibels by frequency; the loudest frequency is ${plot.number(loudest)} π.`,
    axes: {
      x: { domain: [0, 1], label: "frequency ω / π (a colour marks each pole’s θ)" },
      y: { domain: [floor, 20], label: "gain |H|, dB" },
    },
    marks: [
      ...angles.map((angle, index) => ({ kind: "rule", name: `theta-${index + 1}`, x: Math.abs(angle) / Math.PI, colour: colours[index] })),
      { kind: "line", name: "response", points: response.map((gain, index) => [index / (response.length - 1), gain]), colour: "ink" },
    ],
  };
}

function poleList(state) {
  const node = plot.html("ol", { class: "mx-poles" });
  function draw() {
    const memories = formulas.memories(state.all());
    const colours = state.constants().colours;
    node.replaceChildren(
      ...memories.map(({ radius, angle }, index) =>
        plot.html(
          "li",
          {},
          plot.html("span", { class: "mx-badge", style: `background:${plot.colour(colours[index])}` }, String(index + 1)),
          plot.html("span", {}, "half-life ", plot.bold(stepsText(formulas.halfLife(radius))), `, ${turning(angle)}`),
        ),
      ),
    );
  }
  return { node, draw };
}

function build(state) {
  let selected = 0;
  const selection = {
    index: () => Math.min(selected, state.get("poles") - 1),
    choose(index) {
      if (selected === index) return;
      selected = index;
      parts.forEach((part) => part.draw());
    },
  };
  const disc = plane(state, selection);
  const item = (name, options) =>
    plot.slider({
      name,
      get: () => state.get(name)[selection.index()],
      set: (value) => state.set({ [name]: replaced(state.get(name), selection.index(), value) }),
      bounds: () => state.bounds(name).map(([end]) => end),
      ...options,
    });
  const heading = plot.sentence(() => ["Pole ", plot.bold(String(selection.index() + 1)), " of ", String(state.get("poles"))]);
  const sliders = [
    item("radii", { label: "radius |q|", step: 0.005, text: (value) => plot.fixed(value, 3) }),
    item("angles", { label: "angle θ", step: DEGREE, text: degrees }),
    item("eta_sizes", { label: "size |η|", step: 0.05, text: (value) => plot.fixed(value, 2) }),
    item("eta_phases", { label: "phase of η", step: DEGREE, text: degrees }),
  ];
  const add = plot.button({
    name: "add",
    label: "Add a pole",
    enabled: () => state.get("poles") < state.bounds("poles")[1],
    press() {
      selected = state.get("poles");
      state.set({ poles: selected + 1 });
    },
  });
  const remove = plot.button({
    name: "remove",
    label: "Remove this pole",
    enabled: () => state.get("poles") > 1,
    press() {
      const at = selection.index();
      const without = (list) => [...list.slice(0, at), ...list.slice(at + 1), list[at]];
      const lists = Object.fromEntries(LISTS.map((name) => [name, without(state.get(name))]));
      state.set({ ...lists, poles: state.get("poles") - 1 });
    },
  });
  const harmonic = plot.button({
    name: "harmonic",
    label: "Harmonic angles θₖ = k θ₁",
    enabled: () => state.get("poles") > 1,
    press() {
      const [first] = state.get("angles");
      state.set({ angles: state.get("angles").map((_, index) => wrapped((index + 1) * first)) });
    },
  });
  const form = plot.checkbox({
    name: "input_phase",
    label: "the paper’s form: the input turns too, p = α exp(iθ) (authors’ code: p = α)",
    get: () => state.get("input_phase"),
    set: (on) => state.set({ input_phase: on }),
  });
  const list = poleList(state);
  const kernel = plot.chart(() => kernelChart(state), { height: 230 });
  const response = plot.chart(() => responseChart(state), { height: 230 });
  kernel.node.classList.add("mx-second");
  const parts = [disc, heading, ...sliders, add, remove, harmonic, form, list, kernel, response];
  return {
    title: "Memories in the unit disc",
    hint: "The distance from the centre is how slowly a memory fades, the angle how fast it turns. Drag a pole, or focus it and use the arrow keys.",
    body: plot.html(
      "div",
      { class: "mx-columns" },
      plot.html(
        "div",
        { class: "mx-stack" },
        disc.node,
        plot.html("div", { class: "mx-buttons" }, add.node, remove.node, harmonic.node),
        plot.html("div", { class: "mx-panel" }, heading.node, plot.html("div", { class: "mx-pairs" }, sliders.map((slider) => slider.node))),
      ),
      plot.html("div", { class: "mx-stack" }, list.node, kernel.node, response.node, form.node),
    ),
    parts,
  };
}

const names = ["poles", ...LISTS, "input_phase"];
const render = (context) => plot.explorer(context, names, build);

export default { render, formulas };
