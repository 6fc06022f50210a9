// Moves through the slides, makes each fit, and keeps a speaker's window in step. No library, no network.

(() => {
  const slides = [...document.querySelectorAll(".slide")];
  const root = document.documentElement;
  const told = document.querySelector("#told");
  let now = 0;
  let speaker = null;

  // Type is as large as the slide allows: text grows into empty room, and nothing becomes smaller than can be read from
  // the back. What is still too wide then is an equation or a table, and gets tighter by itself.
  function fit(slide) {
    const content = slide.querySelector(".content");
    const fits = () => content.scrollHeight <= content.clientHeight + 1 && content.scrollWidth <= content.clientWidth + 1;
    const pres = [...content.querySelectorAll("pre")];
    const unwrapped = () => pres.every((pre) => {
      const { lineHeight, paddingTop } = getComputedStyle(pre);
      const lines = (pre.clientHeight - 2 * parseFloat(paddingTop)) / parseFloat(lineHeight);
      return Math.round(lines) <= pre.textContent.split("\n").length;
    });
    // Lines of code and output are broken only where even the smallest type does not hold them.
    for (const wanted of [() => fits() && unwrapped(), fits]) {
      for (let scale = slide.classList.contains("figure") ? 1 : 1.4; scale >= 0.75; scale -= 0.025) {
        content.style.setProperty("--scale", scale.toFixed(3));
        if (wanted()) return;
      }
    }
    for (let tight = 1; tight >= 0.7 && !fits(); tight -= 0.025) content.style.setProperty("--tight", tight.toFixed(3));
  }

  function show(place) {
    now = Math.min(Math.max(place, 0), slides.length - 1);
    slides.forEach((slide, index) => {
      slide.classList.toggle("now", index === now);
      slide.inert = index !== now;
      slide.setAttribute("aria-hidden", String(index !== now));
    });
    history.replaceState(null, "", `#${now + 1}`);
    told.textContent = slides[now].getAttribute("aria-label");
    const panel = document.querySelector("#notes");
    if (panel) panel.innerHTML = notesOf(now);
    speak();
  }

  const titleOf = (place) => slides[place]?.querySelector("h1, h2").textContent ?? "the end";
  const notesOf = (place) => slides[place].querySelector(".notes").innerHTML || "<p>No notes.</p>";

  function toggleNotes() {
    const panel = document.querySelector("#notes");
    if (panel) return panel.remove();
    document.body.append(Object.assign(document.createElement("aside"), { id: "notes", innerHTML: notesOf(now) }));
  }

  function openSpeaker() {
    speaker = window.open("", "megalodon-edu-speaker", "width=900,height=700");
    if (!speaker) return;
    const page = speaker.document;
    page.open();
    page.write(`<!doctype html><html lang="en"><title>Speaker's notes</title><body class="speaker"></body></html>`);
    page.close();
    page.head.append(document.querySelector("style").cloneNode(true));
    page.documentElement.dataset.theme = root.dataset.theme ?? "";
    page.addEventListener("keydown", onKey);
    const start = Date.now();
    const clock = speaker.setInterval(() => {
      const seconds = Math.floor((Date.now() - start) / 1000);
      const shown = page.querySelector(".clock");
      if (shown) shown.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    }, 1000);
    speaker.addEventListener("pagehide", () => clearInterval(clock));
    speak();
  }

  function speak() {
    if (!speaker || speaker.closed) return;
    const page = speaker.document;
    const clock = page.querySelector(".clock")?.textContent ?? "0:00";
    page.body.innerHTML = `<span class="clock">${clock}</span><h1></h1><div>${notesOf(now)}</div><p class="next"></p>`;
    page.querySelector("h1").textContent = `${now + 1} of ${slides.length}: ${titleOf(now)}`;
    page.querySelector(".next").textContent = `Next: ${titleOf(now + 1)}`;
  }

  function openContents() {
    const list = document.querySelector("#contents ol");
    if (!list.children.length) {
      slides.forEach((slide, index) => {
        const name = slide.dataset.section || titleOf(index);
        if (index > 0 && (slides[index - 1].dataset.section || titleOf(index - 1)) === name) return;
        const link = Object.assign(document.createElement("a"), { href: `#${index + 1}`, textContent: name });
        link.addEventListener("click", () => document.querySelector("#contents").close());
        const item = document.createElement("li");
        item.append(link);
        list.append(item);
      });
    }
    document.querySelector("#contents").showModal();
  }

  const dark = () => (root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark");
  const fullScreen = () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen());
  const blank = () => (document.querySelector("#blank").hidden = !document.querySelector("#blank").hidden);
  const next = () => show(now + 1);
  const back = () => show(now - 1);
  const actions = {
    ArrowRight: next, ArrowDown: next, PageDown: next, " ": next,
    ArrowLeft: back, ArrowUp: back, PageUp: back,
    Home: () => show(0), End: () => show(slides.length - 1),
    n: toggleNotes, s: openSpeaker, c: openContents, d: dark, f: fullScreen, b: blank,
    "?": () => document.querySelector("#keys").showModal(),
  };

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.key === " " && event.target.closest?.("button")) return;
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  document.addEventListener("keydown", onKey);
  document.querySelector("#controls").addEventListener("click", ({ target }) => actions[target.dataset.key]?.());
  addEventListener("hashchange", () => show(Number(location.hash.slice(1)) - 1 || 0));
  if (matchMedia("(prefers-color-scheme: dark)").matches) root.dataset.theme = "dark";
  document.fonts.ready.then(() => {
    slides.forEach(fit);
    root.dataset.ready = "";
  });
  show(Number(location.hash.slice(1)) - 1 || 0);
})();
