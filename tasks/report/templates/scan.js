"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const stages = document.getElementById("stages");

  const wipe = (input) => {
    const stage = input.closest(".stage");
    stage.style.setProperty("--cut", input.value);
    input.setAttribute("aria-valuetext", `${input.value} % ${stages.dataset.before}, ${100 - input.value} % restored`);
  };

  const scrub = (plane, at) => {
    for (const figure of all(`.plane[data-plane="${plane}"]`)) {
      const place = JSON.parse(figure.dataset.places)[at];
      const input = figure.querySelector(".scrub input");
      figure.style.setProperty("--at", at);
      figure.querySelector(".place").textContent = place;
      input.value = at;
      input.setAttribute("aria-valuetext", place);
    }
  };

  for (const input of all(".wipe")) {
    input.addEventListener("input", () => wipe(input));
    wipe(input);
  }
  for (const input of all(".scrub input")) {
    input.addEventListener("input", () => scrub(input.closest(".plane").dataset.plane, input.value));
    scrub(input.closest(".plane").dataset.plane, input.value);
  }
  const bright = document.getElementById("bright");
  const shine = () => {
    stages.style.setProperty("--bright", bright.value);
    bright.setAttribute("aria-valuetext", `${Math.round(100 * bright.value)} %`);
  };
  bright.addEventListener("input", shine);
  shine();
  for (const radio of all('input[name="before"]')) {
    const choose = () => {
      stages.dataset.before = radio.value;
      all(".wipe").forEach(wipe);
    };
    radio.addEventListener("change", choose);
    if (radio.checked) choose();
  }
})();
