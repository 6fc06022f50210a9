// What a page of the book does in the browser: explorers come alive, equations are set. No library but KaTeX, no network.

(() => {
  // What anywidget hands to an explorer, without a kernel behind it.
  function modelOf(state) {
    const listeners = {};
    return {
      get: (name) => state[name],
      set(name, value) {
        state[name] = value;
        for (const listener of listeners[`change:${name}`] ?? []) listener();
      },
      save_changes() {},
      on: (event, listener) => (listeners[event] ??= []).push(listener),
      off: (event, listener) => (listeners[event] = (listeners[event] ?? []).filter((other) => other !== listener)),
    };
  }

  for (const place of document.querySelectorAll("[data-explorer]")) {
    const state = JSON.parse(place.querySelector("script[type='application/json']").textContent);
    const el = document.createElement("div");
    window.megalodonExplorers[place.dataset.explorer].render({ model: modelOf(state), el });
    place.append(el);
  }

  for (const node of document.querySelectorAll(".tex")) {
    window.katex.render(node.textContent, node, { displayMode: node.tagName === "DIV", throwOnError: false });
  }

  // What scrolls must scroll with the arrow keys too, and for that it must take the focus.
  function letScroll() {
    for (const node of document.querySelectorAll("div.tex")) {
      if (node.scrollWidth > node.clientWidth) node.tabIndex = 0;
      else node.removeAttribute("tabindex");
    }
  }
  window.addEventListener("resize", letScroll);
  document.fonts.ready.then(letScroll);

  // Beneath each result Sphinx fetches a page's text, which browsers forbid to pages that are opened as files.
  if (window.location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
})();
