"use strict";
// The address ends in #language/section: a reload or a sent link shows the same.
const root = document.documentElement;

function show(language) {
  root.dataset.lang = language;
  root.lang = language;
  for (const button of document.querySelectorAll("[data-language]"))
    button.setAttribute("aria-pressed", button.dataset.language === language);
}

function read() {
  const [language, section] = location.hash.slice(1).split("/");
  if (language === "en" || language === "ko") show(language);
  if (section) document.getElementById(section)?.scrollIntoView();
}

for (const button of document.querySelectorAll("[data-language]"))
  button.addEventListener("click", () => {
    show(button.dataset.language);
    history.replaceState(null, "", "#" + button.dataset.language);
  });
for (const link of document.querySelectorAll("nav a"))
  link.addEventListener("click", (event) => {
    event.preventDefault();
    history.replaceState(null, "", "#" + root.dataset.lang + "/" + link.getAttribute("href").slice(1));
    document.getElementById(link.getAttribute("href").slice(1)).scrollIntoView();
  });
addEventListener("hashchange", read);
read();

for (const button of document.querySelectorAll("[data-copy]"))
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
    button.textContent = "✓";
    setTimeout(() => (button.textContent = "⧉"), 1200);
  });

// The map of a representation: a ring on the map and on the sheet, and the nearest decoded picture beside them.
for (const explorer of document.querySelectorAll(".explorer[data-side]")) {
  const side = Number(explorer.dataset.side);
  const maps = explorer.querySelectorAll(".map");
  const decoded = explorer.querySelector(".decoded div");
  const sheet = explorer.querySelector("img");
  decoded.style.backgroundImage = `url(${sheet.src})`;
  decoded.style.backgroundSize = `${side * 100}% ${side * 100}%`;
  let at = [0.5, 0.5];

  function go(x, y) {
    at = [x, y].map((part) => Math.min(1, Math.max(0, part)));
    for (const map of maps) {
      // the sheet shows pictures as cells: their centres are the points they were decoded at
      const place = (part) => (map.dataset.cells === undefined ? part : (part * (side - 1) + 0.5) / side);
      const ring = map.querySelector(".ring");
      ring.style.left = `${place(at[0]) * 100}%`;
      ring.style.top = `${place(at[1]) * 100}%`;
    }
    // picture i of the sheet was decoded at i / (side - 1) of the map
    const [column, row] = at.map((part) => Math.round(part * (side - 1)));
    decoded.style.backgroundPosition = `${(column / (side - 1)) * 100}% ${(row / (side - 1)) * 100}%`;
  }

  for (const map of maps) {
    const follow = (event) => {
      const box = map.getBoundingClientRect();
      let [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      if (map.dataset.cells !== undefined) [x, y] = [x, y].map((part) => (part * side - 0.5) / (side - 1));
      go(x, y);
    };
    map.addEventListener("pointerdown", (event) => { map.setPointerCapture(event.pointerId); follow(event); });
    map.addEventListener("pointermove", (event) => { if (event.buttons) follow(event); });
    map.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      go(at[0] + step[0] / (side - 1), at[1] + step[1] / (side - 1));
    });
  }
  go(0.5, 0.5);
}
