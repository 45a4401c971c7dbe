"use strict";
const store = document.getElementById("pictures").content;
const choice = { left: document.getElementById("left"), right: document.getElementById("right") };
const label = (side) => choice[side].selectedOptions[0].textContent;

function show(slider) {
  const pictures = JSON.parse(slider.dataset.pictures);
  for (const side of ["left", "right"]) {
    const row = choice[side].value;
    const image = slider.querySelector(`img.${side}`);
    image.src = store.getElementById(pictures[row]).src;
    image.alt = `${slider.dataset.image}, ${label(side)}`;
    image.classList.toggle("pixelated", row === "lr");
    slider.querySelector(`.tag.${side}`).textContent = label(side);
  }
  slider.querySelector("input").setAttribute(
    "aria-label", `${slider.dataset.image}: ${label("left")} on the left, ${label("right")} on the right`);
}

function move(slider) {
  const input = slider.querySelector("input");
  slider.style.setProperty("--split", `${input.value}%`);
  input.setAttribute("aria-valuetext", `${input.value} % ${label("left")}`);
}

for (const slider of document.querySelectorAll(".slider")) {
  slider.querySelector("input").addEventListener("input", () => move(slider));
  show(slider);
  move(slider);
}
for (const select of Object.values(choice)) {
  select.addEventListener("change", () => document.querySelectorAll(".slider").forEach((slider) => { show(slider); move(slider); }));
}
