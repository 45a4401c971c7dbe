"use strict";

const SMALL = 480; // pixels on the screen that a small picture fills, by whole multiples

class Viewer {
  constructor(figure) {
    this.figure = figure;
    for (const name of ["zoom", "size", "stage", "pane", "pictures", "split"]) this[name] = figure.querySelector(`.${name}`);
    this.split.addEventListener("input", () => this.draw());
    this.zoom.addEventListener("change", () => this.resize());
    this.pane.addEventListener("scroll", () => this.draw());
    addEventListener("resize", () => { if (!figure.hidden) this.resize(); });
    figure.addEventListener("keydown", (event) => this.key(event));
    this.pane.addEventListener("pointerdown", () => { this.dragged = false; });
    this.pane.addEventListener("pointermove", (event) => this.drag(event));
    this.pane.addEventListener("click", (event) => { if (!this.dragged) this.splitAt(event.clientX); });
  }

  // left and right: { src, label, note, pixelated }; width and height are those of the larger picture, in pixels
  show({ left, right, width, height }) {
    this.width = width;
    this.height = height;
    this.sides = { left, right };
    for (const [side, picture] of Object.entries(this.sides)) {
      const image = this.pictures.querySelector(`.${side}`);
      image.src = picture.src;
      image.alt = picture.label;
      this.stage.querySelector(`.tag.${side}`).textContent = picture.label;
      this.figure.querySelector(`figcaption .${side}`).textContent = `${picture.label}: ${picture.note}`;
    }
    this.split.setAttribute("aria-label", `${left.label} on the left, ${right.label} on the right`);
    this.figure.hidden = false;
    this.resize();
  }

  factor() {
    if (this.zoom.value !== "fit") return Number(this.zoom.value);
    const room = Math.min(this.figure.clientWidth / this.width, (0.8 * innerHeight) / this.height);
    if (room < 1) return room;
    return Math.max(1, Math.floor(Math.min(room, SMALL / Math.max(this.width, this.height))));
  }

  resize() {
    const { pane, pictures } = this, factor = this.factor();
    const centre = [(pane.scrollLeft + pane.clientWidth / 2) / (pictures.clientWidth || 1), (pane.scrollTop + pane.clientHeight / 2) / (pictures.clientHeight || 1)];
    pictures.style.width = `${this.width * factor}px`;
    pictures.style.height = `${this.height * factor}px`;
    for (const [side, picture] of Object.entries(this.sides)) {
      pictures.querySelector(`.${side}`).classList.toggle("pixelated", factor >= 1 || picture.pixelated);
    }
    pane.scrollTo(centre[0] * pictures.clientWidth - pane.clientWidth / 2, centre[1] * pictures.clientHeight - pane.clientHeight / 2);
    pane.classList.toggle("pannable", this.pannable());
    this.size.textContent = `${this.width}×${this.height} pixels, shown at ${Math.round(100 * factor)} %`;
    this.draw();
  }

  pannable() {
    return this.pane.scrollWidth > this.pane.clientWidth || this.pane.scrollHeight > this.pane.clientHeight;
  }

  // The split stands still in the view while the picture is scrolled beneath it.
  draw() {
    const { pane, split } = this, at = (split.value / 100) * pane.clientWidth;
    this.stage.style.setProperty("--view", `${pane.clientWidth}px`);
    this.stage.style.setProperty("--at", `${at}px`);
    this.pictures.style.setProperty("--clip", `${pane.scrollLeft + at}px`);
    split.setAttribute("aria-valuetext", `${split.value} % ${this.sides.left.label}`);
  }

  splitAt(x) {
    const box = this.pane.getBoundingClientRect();
    this.split.value = (100 * (x - box.left)) / this.pane.clientWidth;
    this.draw();
  }

  drag(event) {
    if (event.buttons !== 1 || event.pointerType !== "mouse") return;
    this.dragged = true;
    if (this.pannable()) this.pane.scrollBy(-event.movementX, -event.movementY);
    else this.splitAt(event.clientX);
  }

  key(event) {
    const step = { "+": 1, "=": 1, "-": -1 }[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.zoom.selectedIndex = Math.min(this.zoom.length - 1, Math.max(0, this.zoom.selectedIndex + step));
    this.resize();
  }
}
