// Makes every quiz on the page live that is not live yet. No library, no network, no kernel.

(() => {
  const element = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children);
    return node;
  };
  // The texts are HTML that Python has escaped.
  const rich = (tag, attributes, text) => {
    const node = element(tag, attributes);
    node.innerHTML = text;
    return node;
  };

  // What a text may mean: "7/3", "0,5" and "-1.5 steps" one number, "2,333" two of them. Nothing, if it is no number.
  function readings(text) {
    const plain = text.trim().replace(/[−–]/g, "-").replace(/[\s_']/g, "").replace(/[a-zA-Z%]+$/, "");
    const found = /^-?\d{1,3}(,\d{3})+(\.\d+)?$/.test(plain) ? [Number(plain.replaceAll(",", ""))] : [];
    const parts = plain.replaceAll(",", ".").split("/").map((part) => (part === "" ? NaN : Number(part)));
    if (parts.length <= 2) found.push(parts.length === 2 ? parts[0] / parts[1] : parts[0]);
    return found.filter(Number.isFinite);
  }

  function judge(question, text) {
    const values = readings(text);
    if (!values.length) return { right: null, why: "Give a number, for example 12.5 or 7/3." };
    const near = (goal, reach) => values.some((value) => Math.abs(value - goal) <= reach);
    if (near(question.answer, question.tolerance)) return { right: true, why: question.why };
    const slip = question.slips.find((one) => near(one.value, Math.max(question.tolerance, 0.01 * Math.abs(one.value))));
    if (slip) return { right: false, why: slip.why };
    return { right: false, why: values[0] < question.answer ? "That is too small." : "That is too large." };
  }

  function isDark(node) {
    const { jpThemeLight, vscodeThemeKind } = document.body.dataset;
    const said = jpThemeLight ?? vscodeThemeKind ?? document.documentElement.dataset.theme;
    if (said && said !== "auto") return said === "false" || said.includes("dark") || said === "vscode-high-contrast";
    const [red, green, blue] = (getComputedStyle(node).color.match(/[\d.]+/g) ?? [0, 0, 0]).map(Number);
    return 0.299 * red + 0.587 * green + 0.114 * blue > 140;
  }

  function ask(question, name, number, changed) {
    const result = { tries: 0, right: false, shown: false };
    const feedback = element("div", { class: "mq-feedback", role: "status" });
    const reveal = element("button", { type: "button", hidden: true, onclick: show }, "Show the answer");
    const answers = question.choices ? choices() : input();

    function choices() {
      return element(
        "div",
        { class: "mq-answers" },
        ...question.choices.map((choice, index) =>
          element(
            "label",
            { class: "mq-choice" },
            element("input", { type: "radio", name, value: index }),
            rich("span", {}, choice.text),
          ),
        ),
      );
    }
    function input() {
      const field = element("input", { type: "text", inputmode: "decimal", autocomplete: "off", "aria-label": `Answer to question ${number}` });
      return element("label", { class: "mq-number mq-answers" }, field, question.unit);
    }
    function verdict() {
      if (!question.choices) return judge(question, answers.querySelector("input").value);
      const chosen = answers.querySelector("input:checked");
      if (!chosen) return { right: null, why: "Choose one first." };
      const { right, why } = question.choices[Number(chosen.value)];
      return { right: Boolean(right), why };
    }
    function say(kind, opening, why) {
      feedback.className = `mq-feedback ${kind}`;
      feedback.replaceChildren(element("strong", {}, opening), " ", rich("span", {}, why));
    }
    function check() {
      const { right, why } = verdict();
      if (right === null) return say("", "Not yet:", why);
      if (!result.right && !result.shown) result.tries += 1;
      if (right && !result.shown) result.right = true;
      say(right ? "mq-yes" : "mq-no", right ? "Yes:" : "Look again:", why);
      reveal.hidden = right;
      changed();
    }
    function show() {
      result.shown = true;
      const right = question.choices?.find((choice) => choice.right);
      say("mq-yes", "The answer:", right ? `${right.text} ${right.why}` : `${question.right}. ${question.why}`);
      reveal.hidden = true;
      changed();
    }

    const button = element("button", { type: "button", onclick: check }, "Check");
    answers.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      check();
    });
    const node = element(
      "fieldset",
      { class: "mq-question", "data-question": question.id },
      rich("legend", {}, `${number}. ${question.question}`),
      answers,
      element("div", { class: "mq-buttons" }, button, reveal),
      feedback,
    );
    return { node, result };
  }

  function mount(root, place) {
    root.setAttribute("data-live", "");
    const questions = JSON.parse(root.dataset.questions);
    const score = element("p", { class: "mq-score", role: "status" });
    const asked = questions.map((question, index) => ask(question, `mq-${place}-${question.id}`, index + 1, count));
    function count() {
      const results = asked.map((one) => one.result);
      const right = results.filter((result) => result.right).length;
      const first = results.filter((result) => result.right && result.tries === 1).length;
      score.textContent = `${right} of ${results.length} right, ${first} at the first try.`;
    }
    root.querySelector(".mq-list").replaceWith(...asked.map((one) => one.node), score);
    // Jupyter's shortcuts take keys before a field sees them, unless what has the focus says no.
    root.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true"));
    root.addEventListener("keydown", (event) => event.stopPropagation());
    const theme = () => root.classList.toggle("mq-dark", isDark(root.parentElement));
    const watched = { attributes: true, attributeFilter: ["class", "style", "data-jp-theme-light", "data-vscode-theme-kind", "data-theme"] };
    const observer = new MutationObserver(() => requestAnimationFrame(theme));
    [document.body, document.documentElement].forEach((node) => observer.observe(node, watched));
    theme();
  }

  // Two quizzes of one chapter on a page need names of their own for their radio buttons.
  const start = () => {
    const offset = document.querySelectorAll(".mq[data-live]").length;
    document.querySelectorAll(".mq[data-questions]:not([data-live])").forEach((root, index) => mount(root, offset + index));
  };
  start();
})();
