// Axes, lines, sliders and handles shared by every explorer. No library, no network.
// Everything lives in one object, so that an explorer's own names cannot clash with these.

const plot = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  // ---------------------------------------------------------------- elements

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value === undefined || value === null || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return node;
  }

  const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  // ----------------------------------------------------------------- numbers

  const SUPERSCRIPT = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
  const superscript = (integer) => [...String(integer)].map((sign) => SUPERSCRIPT[sign]).join("");

  // Three significant digits, a real minus sign, powers of ten only where a plain number would be hard to read.
  function number(value, digits = 3) {
    if (!Number.isFinite(value)) return value > 0 ? "∞" : value < 0 ? "−∞" : "not a number";
    if (value === 0) return "0";
    const size = Math.abs(value);
    const sign = value < 0 ? "−" : "";
    if (size >= 1e5 || size < 1e-3) {
      const [mantissa, exponent] = size.toExponential(digits - 1).split("e");
      return `${sign}${mantissa} × 10${superscript(Number(exponent))}`;
    }
    const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
    return sign + size.toFixed(decimals);
  }

  // A fixed number of decimals, with a real minus sign.
  const fixed = (value, decimals) => (Math.abs(value) < 0.5 * 10 ** -decimals ? 0 : value).toFixed(decimals).replace("-", "−");

  // A tick's label: as few digits as it needs.
  function tickLabel(value) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    const sign = value < 0 ? "−" : "";
    if (size >= 1e5 || size < 1e-3) {
      const exponent = Math.floor(Math.log10(size) + 1e-9);
      const mantissa = Number((size / 10 ** exponent).toPrecision(3));
      return `${sign}${mantissa === 1 ? "" : `${mantissa} × `}10${superscript(exponent)}`;
    }
    return sign + String(Number(size.toPrecision(6)));
  }

  const clamp = (value, [low, high]) => Math.min(Math.max(value, low), high);

  // ------------------------------------------------------------------ scales

  function linearScale([low, high], [from, to]) {
    const slope = (to - from) / (high - low || 1);
    const scale = (value) => from + (value - low) * slope;
    scale.invert = (pixel) => low + (pixel - from) / slope;
    return scale;
  }

  function logScale([low, high], range) {
    const inner = linearScale([Math.log(low), Math.log(high)], range);
    const scale = (value) => inner(Math.log(Math.max(value, Number.MIN_VALUE)));
    scale.invert = (pixel) => Math.exp(inner.invert(pixel));
    return scale;
  }

  function linearTicks([low, high], count) {
    const rough = (high - low) / Math.max(1, count);
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) ?? 10);
    const ticks = [];
    for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; index += 1) {
      ticks.push(Number((index * step).toPrecision(12)));
    }
    return ticks;
  }

  function logTicks([low, high], count) {
    const first = Math.ceil(Math.log10(low) - 1e-9);
    const last = Math.floor(Math.log10(high) + 1e-9);
    const every = Math.max(1, Math.ceil((last - first + 1) / Math.max(1, count)));
    const ticks = [];
    for (let exponent = first; exponent <= last; exponent += every) ticks.push(10 ** exponent);
    return ticks;
  }

  // An interval that holds every value, widened to round numbers.
  function niceDomain(values, { include = [], count = 5 } = {}) {
    let low = Math.min(...values, ...include);
    let high = Math.max(...values, ...include);
    if (high - low < 1e-12) high = low + 1;
    const [first, second] = linearTicks([low, high], count);
    const step = second === undefined ? high - low : second - first;
    low = Math.floor(low / step + 1e-9) * step;
    high = Math.ceil(high / step - 1e-9) * step;
    return [low, high];
  }

  // ------------------------------------------------------------------ charts

  const colour = (name) => `var(--mx-${name})`;
  const rounded = (value) => Math.round(value * 100) / 100;

  function pathData(points) {
    let data = "";
    let pen = "M";
    for (const [x, y] of points) {
      if (!Number.isFinite(x) || !Number.isFinite(y)) {
        pen = "M";
        continue;
      }
      data += `${pen}${rounded(x)},${rounded(y)}`;
      pen = "L";
    }
    return data;
  }

  const drawers = {
    line(mark, { x, y }) {
      const points = mark.points.map(([a, b]) => [x(a), y(b)]);
      return svg("path", {
        d: pathData(points),
        "data-series": mark.name,
        class: "mx-line",
        style: `stroke:${colour(mark.colour)};stroke-width:${mark.width ?? 2}`,
        "stroke-dasharray": mark.dash,
      });
    },
    area(mark, { x, y }) {
      const zero = y(mark.base ?? 0);
      const points = mark.points.map(([a, b]) => [x(a), y(b)]);
      const closed = [[points[0][0], zero], ...points, [points[points.length - 1][0], zero]];
      return svg("path", { d: `${pathData(closed)}Z`, class: "mx-area", style: `fill:${colour(mark.colour)}` });
    },
    // The area between two lines: `points` are [x, low, high].
    band(mark, { x, y }) {
      const edge = (side) => mark.points.map((point) => [x(point[0]), y(point[side])]);
      const d = `${pathData([...edge(1), ...edge(2).reverse()])}Z`;
      return svg("path", { d, "data-series": mark.name, class: "mx-area mx-band", style: `fill:${colour(mark.colour)}` });
    },
    // A name to the right of each place [x, y], moved up or down where it would touch another, with a line to its place.
    labels(mark, { x, y, top, bottom }) {
      const boxes = mark.entries.map((entry) => ({ ...entry, x: x(entry.x), y: y(entry.y), width: textWidth(entry.label) + 16 }));
      return svg(
        "g",
        { "aria-hidden": "true" },
        spread(boxes, [top, bottom]).map((box) => {
          const lead = `M${rounded(box.x + 3)},${rounded(box.from)}L${rounded(box.x + 12)},${rounded(box.y)}`;
          return svg(
            "g",
            { "data-label": box.label },
            svg("path", { d: lead, class: "mx-line", style: `stroke:${colour(box.colour)};stroke-width:1.5` }),
            svg("text", { x: box.x + 15, y: box.y, "dominant-baseline": "central", class: "mx-mark-label" }, box.label),
          );
        }),
      );
    },
    stems(mark, { x, y }) {
      const zero = y(0);
      const stems = mark.points.map(([a, b]) => `M${rounded(x(a))},${rounded(zero)}V${rounded(y(b))}`).join("");
      const dots = mark.points.map(([a, b]) => svg("circle", { cx: rounded(x(a)), cy: rounded(y(b)), r: mark.radius ?? 2 }));
      return svg(
        "g",
        { style: `--mark:${colour(mark.colour)}`, class: "mx-stems" },
        svg("path", { d: stems, "data-series": mark.name }),
        dots,
      );
    },
    dot(mark, { x, y, left, right, top }) {
      const [cx, cy] = [x(mark.x), y(mark.y)];
      const node = svg("g", { class: "mx-dot" }, svg("circle", { cx, cy, r: mark.radius ?? 5, style: `fill:${colour(mark.colour)}` }));
      if (mark.label && mark.side) {
        const [shift, anchor] = mark.side === "right" ? [9, "start"] : [-9, "end"];
        const y = cy + 4 - (mark.lift ?? 0);
        node.append(svg("text", { x: cx + shift, y, "text-anchor": anchor, class: "mx-mark-label" }, mark.label));
      } else if (mark.label) {
        node.append(placedText(mark.label, cx, Math.max(cy - 10, top + 12), [left, right]));
      }
      return node;
    },
    // A vertical line with its label at the top, on the side where there is room.
    rule(mark, { x, top, bottom, left, right }) {
      const at = rounded(x(mark.x));
      if (at < left - 1 || at > right + 1) return svg("g");
      const anchorEnd = at > (left + right) / 2;
      return svg(
        "g",
        { class: "mx-rule", style: `--mark:${colour(mark.colour)}` },
        svg("path", { d: `M${at},${top}V${bottom}`, "data-series": mark.name, "stroke-dasharray": mark.dash ?? "5 4" }),
        mark.label && svg("text", { x: at + (anchorEnd ? -6 : 6), y: top + 12, "text-anchor": anchorEnd ? "end" : "start" }, mark.label),
      );
    },
    // A horizontal line with its label above its left (or right) end.
    level(mark, { y, left, right }) {
      const at = rounded(y(mark.y));
      const atEnd = mark.side === "right";
      return svg(
        "g",
        { class: "mx-rule", style: `--mark:${colour(mark.colour)}` },
        svg("path", { d: `M${left},${at}H${right}`, "data-series": mark.name, "stroke-dasharray": mark.dash ?? "5 4" }),
        mark.label && svg("text", { x: atEnd ? right - 2 : left + 6, y: at - 5, "text-anchor": atEnd ? "end" : "start" }, mark.label),
      );
    },
    // A cell for each entry of `rows`, row r and column c centred on (c, r): 0 is the palest, 1 the full colour, null none.
    // One path for each of 25 shades, since thousands of elements would be slow.
    cells(mark, { x, y }) {
      const shades = Array.from({ length: 25 }, () => "");
      const width = rounded(x(1) - x(0));
      const height = rounded(y(1) - y(0));
      mark.rows.forEach((row, r) =>
        row.forEach((strength, c) => {
          if (strength === null) return;
          shades[Math.round(24 * strength)] += `M${rounded(x(c - 0.5))},${rounded(y(r - 0.5))}h${width}v${height}h${-width}z`;
        }),
      );
      const paths = shades.map((d, level) => svg("path", { d, "fill-opacity": 0.1 + (0.9 * level) / 24 }));
      return svg("g", { "data-series": mark.name, style: `fill:${colour(mark.colour)}`, "shape-rendering": "crispEdges" }, paths);
    },
    // The outline of a rectangle between two places on each axis.
    box(mark, { x, y }) {
      const [[left, right], [top, bottom]] = [mark.x.map(x), mark.y.map(y)];
      const d = `M${rounded(left)},${rounded(top)}H${rounded(right)}V${rounded(bottom)}H${rounded(left)}Z`;
      return svg("path", { d, "data-series": mark.name, class: "mx-line", style: `stroke:${colour(mark.colour)};stroke-width:1.5` });
    },
  };

  const LABEL_HEIGHT = 15;

  // Boxes {x, y, width} moved up and down until none covers another; `from` keeps the old y. Boxes that would touch
  // form a group around the mean of their places; groups that touch are joined. Boxes side by side stay where they are.
  function spread(boxes, [top, bottom]) {
    const columns = [];
    for (const box of [...boxes].sort((a, b) => a.x - b.x)) {
      const column = columns[columns.length - 1];
      if (column && box.x < column.right) {
        column.boxes.push(box);
        column.right = Math.max(column.right, box.x + box.width);
      } else columns.push({ boxes: [box], right: box.x + box.width });
    }
    const height = (group) => (group.length - 1) * LABEL_HEIGHT;
    const first = (group) => {
      const mean = group.reduce((sum, { y }) => sum + y, 0) / group.length;
      return Math.max(top, Math.min(mean - height(group) / 2, bottom - height(group)));
    };
    return columns.flatMap((column) => {
      const groups = [];
      for (const box of column.boxes.sort((a, b) => a.y - b.y)) {
        groups.push([box]);
        const touch = ([upper, lower]) => first(upper) + height(upper) + LABEL_HEIGHT > first(lower);
        while (groups.length > 1 && touch(groups.slice(-2))) groups.push([...groups.splice(-2)].flat());
      }
      return groups.flatMap((group) => group.map((box, index) => ({ ...box, from: box.y, y: first(group) + index * LABEL_HEIGHT })));
    });
  }

  // Text near a point, turned to the side where it is not cut.
  function placedText(text, x, y, [left, right]) {
    const anchor = x < left + 60 ? "start" : x > right - 60 ? "end" : "middle";
    return svg("text", { x, y, "text-anchor": anchor, class: "mx-mark-label" }, text);
  }

  function makeScale(axis, range) {
    return axis.scale === "log" ? logScale(axis.domain, range) : linearScale(axis.domain, range);
  }

  function makeTicks(axis, count) {
    if (axis.ticks) return axis.ticks;
    const ticks = axis.scale === "log" ? logTicks(axis.domain, count) : linearTicks(axis.domain, count);
    return ticks.map((value) => [value, tickLabel(value)]);
  }

  const TEXT_WIDTH = 6.7; // one digit at 12 px, an upper estimate
  const textWidth = (text) => text.length * TEXT_WIDTH;

  // Labels that would touch their neighbour are left out; their ticks stay.
  function thinned(ticks, position, gap) {
    let free = -Infinity;
    return ticks.filter(([value, label]) => {
      const half = textWidth(label) / 2;
      if (position(value) - half < free) return false;
      free = position(value) + half + gap;
      return true;
    });
  }

  function drawAxes(frame, axes, ticks) {
    const { x, y, left, right, top, bottom } = frame;
    const group = svg("g", { class: "mx-axes", "aria-hidden": "true" });
    for (const [value, label] of ticks.y) {
      const at = rounded(y(value));
      group.append(
        svg("path", { d: `M${left},${at}H${right}`, class: "mx-grid" }),
        svg("text", { x: left - 8, y: at, "text-anchor": "end", "dominant-baseline": "central" }, label),
      );
    }
    for (const [value] of ticks.x) {
      const at = rounded(x(value));
      group.append(svg("path", { d: `M${at},${bottom}v4`, class: "mx-tick" }));
    }
    for (const [value, label] of thinned(ticks.x, x, 8)) {
      const at = rounded(x(value));
      const anchor = at + textWidth(label) / 2 > frame.width ? "end" : "middle";
      group.append(svg("text", { x: anchor === "end" ? frame.width - 1 : at, y: bottom + 18, "text-anchor": anchor }, label));
    }
    const zero = axes.y.scale !== "log" && axes.y.domain[0] < 0 && axes.y.domain[1] > 0 ? rounded(y(0)) : bottom;
    group.append(
      svg("path", { d: `M${left},${zero}H${right}`, class: "mx-base" }),
      svg("text", { x: (left + right) / 2, y: bottom + 36, "text-anchor": "middle", class: "mx-axis-label" }, axes.x.label),
      svg("text", { x: 0, y: 12, class: "mx-axis-label" }, axes.y.label),
    );
    return group;
  }

  // What a series looks like, for a legend.
  function swatch({ colour: name, dash, dot }) {
    return svg(
      "svg",
      { width: 22, height: 10, class: "mx-key", "aria-hidden": "true" },
      dot
        ? svg("circle", { cx: 11, cy: 5, r: 3.5, style: `fill:${colour(name)}` })
        : svg("path", { d: "M1,5H21", style: `stroke:${colour(name)};stroke-width:2.5`, "stroke-dasharray": dash }),
    );
  }

  function legend(entries) {
    return html("ul", { class: "mx-legend" }, entries.map((entry) => html("li", {}, swatch(entry), entry.label)));
  }

  // A chart redraws itself at the width it is given, so that text keeps its size on a phone.
  // `spec(width)` returns { title, label, legend, axes: {x, y}, marks, right }; `label` is the chart in words, `right`
  // the room in pixels kept free there. `pointed`, if given, is called with the x under the mouse or the finger.
  function chart(spec, { height = 240, pointed } = {}) {
    const heading = html("h4", { class: "mx-title" });
    const key = html("div");
    let frame = null;
    const point = ({ clientX }) => {
      const at = clientX - canvas.getBoundingClientRect().left;
      if (at >= frame.left - 8 && at <= frame.right + 8) pointed(frame.x.invert(clamp(at, [frame.left, frame.right])));
    };
    const canvas = svg("svg", { role: "img", height, ...(pointed && { onpointermove: point, onpointerdown: point }) });
    const node = html("figure", { class: "mx-chart" }, heading, key, canvas);

    function draw() {
      const width = Math.max(220, Math.floor(node.clientWidth || 480));
      const { title, label, legend: entries = [], axes, marks, right = 12 } = spec(width);
      const wanted = { x: makeTicks(axes.x, width / 70), y: makeTicks(axes.y, (height - 70) / 34) };
      const left = Math.max(...wanted.y.map(([, text]) => textWidth(text)), 16) + 12;
      frame = { left, right: width - right, top: 24, bottom: height - 44, width };
      frame.x = makeScale(axes.x, [frame.left, frame.right]);
      frame.y = makeScale(axes.y, [frame.bottom, frame.top]);
      heading.textContent = title;
      key.replaceChildren(entries.length ? legend(entries) : "");
      canvas.setAttribute("aria-label", label);
      canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
      canvas.setAttribute("width", width);
      canvas.replaceChildren(drawAxes(frame, axes, wanted), ...marks.map((mark) => drawers[mark.kind](mark, frame)));
    }

    return { node, draw };
  }

  // ---------------------------------------------------------------- controls

  // JupyterLab moves between cells with the arrow keys and takes them from a focused slider: keep them.
  const keepKeys = (event) => event.stopPropagation();

  const SLIDER_STEPS = 400;

  // A labelled slider. `step` rounds the value; on a log scale the thumb moves evenly in the logarithm. `description`
  // is the name a screen reader says where the label alone would not tell two sliders apart.
  // `last`: the highest value at present, where the other controls leave a part of the range without meaning.
  function slider({ label, description = label, bounds, scale = "linear", step, last, get, set, text = number, enabled = () => true, name }) {
    const [low, high] = bounds();
    const positions = step && scale === "linear" ? Math.round((high - low) / step) : SLIDER_STEPS;
    const toValue = (scale === "log" ? logScale : linearScale)([low, high], [0, positions]);
    const valueOf = (position) => {
      const value = clamp(toValue.invert(position), [low, high]);
      return step ? Number((low + Math.round((value - low) / step) * step).toPrecision(12)) : value;
    };
    // Where a key's move is smaller than the step of the value, take one whole step.
    const moved = (position) => {
      const [value, current] = [valueOf(position), get()];
      if (!step || value !== current) return value;
      return clamp(current + step * Math.sign(position - Math.round(toValue(current))), [low, high]);
    };
    const input = html("input", {
      type: "range",
      min: 0,
      max: positions,
      step: 1,
      "data-control": name,
      "aria-label": description,
      onkeydown: keepKeys,
      oninput: () => set(moved(Number(input.value))),
    });
    const output = html("output", { class: "mx-output" });
    const caption = html("span", { class: "mx-caption" }, label);
    const node = html("label", { class: "mx-control" }, html("span", { class: "mx-control-head" }, caption, output), input);

    function draw() {
      const value = get();
      if (last) input.max = String(Math.round(toValue(last())));
      input.value = String(Math.round(toValue(value)));
      input.disabled = !enabled();
      output.textContent = enabled() ? text(value) : "–";
      input.setAttribute("aria-valuetext", text(value));
    }
    return { node, draw };
  }

  function select({ label, choices, get, set, text = String, name }) {
    const values = choices();
    const input = html(
      "select",
      {
        "data-control": name,
        onkeydown: keepKeys,
        onchange: () => set(values[input.selectedIndex]),
      },
      values.map((value) => html("option", {}, text(value))),
    );
    const head = html("span", { class: "mx-control-head" }, html("span", { class: "mx-caption" }, label));
    const node = html("label", { class: "mx-control" }, head, input);
    return { node, draw: () => (input.selectedIndex = values.indexOf(get())) };
  }

  function checkbox({ label, get, set, name }) {
    const input = html("input", {
      type: "checkbox",
      "data-control": name,
      onkeydown: keepKeys,
      onchange: () => set(input.checked),
    });
    const node = html("label", { class: "mx-check" }, input, html("span", {}, label));
    return { node, draw: () => (input.checked = get()) };
  }

  function button({ label, press, name, primary = false, enabled = () => true }) {
    const look = primary ? "mx-button mx-primary" : "mx-button";
    const node = html("button", { type: "button", class: look, "data-control": name, onkeydown: keepKeys, onclick: press }, label);
    return { node, draw: () => (node.disabled = !enabled()) };
  }

  // A sentence with numbers in bold: `parts()` returns strings, and numbers' texts wrapped by `bold`.
  const bold = (text) => html("strong", {}, text);

  function sentence(parts) {
    const node = html("p", { class: "mx-sentence" });
    return { node, draw: () => node.replaceChildren(...parts()) };
  }

  // ---------------------------------------------------------------- explorer

  // Jupyter, VS Code and Jupyter Book write their theme on the page. Elsewhere it is read from the colour of the text
  // around, which is known only when the explorer has its place on the page.
  function isDark(node) {
    const { jpThemeLight, vscodeThemeKind } = document.body.dataset;
    const said = jpThemeLight ?? vscodeThemeKind ?? document.documentElement.dataset.theme;
    if (said && said !== "auto") return said === "false" || said.includes("dark") || said === "vscode-high-contrast";
    const [red, green, blue] = (getComputedStyle(node).color.match(/[\d.]+/g) ?? [0, 0, 0]).map(Number);
    return 0.299 * red + 0.587 * green + 0.114 * blue > 140;
  }

  function followTheme(host, root) {
    const update = () => root.classList.toggle("mx-dark", isDark(host));
    const observer = new MutationObserver(() => requestAnimationFrame(update));
    const watched = { attributes: true, attributeFilter: ["class", "style", "data-jp-theme-light", "data-vscode-theme-kind", "data-theme"] };
    observer.observe(document.body, watched);
    observer.observe(document.documentElement, watched);
    update();
    return { update, stop: () => observer.disconnect() };
  }

  // Puts an explorer on the page. `build(state)` returns { title, hint, body, parts }: `body` is what is shown,
  // `parts` everything with a draw(). state.get(name), state.set({name: value, ...}) read and write the controls;
  // each change is sent to Python and redraws.
  function explorer({ model, el }, names, build) {
    let scheduled = false;
    const state = {
      get: (name) => model.get(name),
      bounds: (name) => model.get("bounds")[name],
      constants: () => model.get("constants"),
      all: () => Object.fromEntries(["constants", ...names].map((name) => [name, model.get(name)])),
      set(changes) {
        for (const [name, value] of Object.entries(changes)) model.set(name, value);
        model.save_changes();
      },
    };
    const { title, hint, body, parts } = build(state);
    const root = html(
      "section",
      { class: "mx", "aria-label": title },
      html("header", { class: "mx-header" }, html("h3", {}, title), html("p", {}, hint)),
      body,
    );
    // Jupyter's shortcuts take the arrow keys before a slider sees them, unless what has the focus says no.
    root.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true"));
    el.replaceChildren(root);

    const draw = () => parts.forEach((part) => part.draw());
    const schedule = () => {
      if (scheduled) return;
      scheduled = true;
      queueMicrotask(() => {
        scheduled = false;
        draw();
      });
    };
    names.forEach((name) => model.on(`change:${name}`, schedule));
    const theme = followTheme(el, root);
    let width = 0;
    const resize = new ResizeObserver(([entry]) => {
      if (Math.abs(entry.contentRect.width - width) < 1) return;
      width = entry.contentRect.width;
      theme.update();
      draw();
    });
    resize.observe(root);
    draw();
    return () => {
      names.forEach((name) => model.off(`change:${name}`, schedule));
      resize.disconnect();
      theme.stop();
    };
  }

  return { html, svg, number, fixed, tickLabel, clamp, linearScale, logScale, linearTicks, niceDomain, colour, chart, swatch, legend, textWidth, keepKeys, slider, select, checkbox, button, bold, sentence, explorer };
})();
