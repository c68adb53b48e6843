// Zoom and pan of the layers of a stage, in step: by pointers, wheel and calls.
//
// Zoom is in pixels of the screen for a pixel of the picture, so that 1 is sharp on every screen.

const STEP = 1.25;
const LARGEST = 64;
const VISIBLE_PX = 48; // so much of the picture always stays in sight
const ARROW_PX = 60;
const WHEEL_PX = 400; // a turn of so many pixels zooms by e

export class Viewport {
  #stage;
  #onChange;
  #size = null; // of the picture
  #zoom = 1;
  #middle = { x: 0, y: 0 }; // of the picture, from the stage's, in pixels of the page
  #fitted = true;
  #pointers = new Map();

  constructor(stage, onChange) {
    this.#stage = stage;
    this.#onChange = onChange;
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    for (const kind of ["pointerup", "pointercancel"]) {
      stage.addEventListener(kind, (event) => this.#pointers.delete(event.pointerId));
    }
    stage.addEventListener("dblclick", (event) => {
      if (!isControl(event.target)) this.#fitted ? this.zoomTo(1, this.#place(event)) : this.fit();
    });
    stage.addEventListener("keydown", (event) => this.#arrows(event));
    new ResizeObserver(() => (this.#fitted ? this.fit() : this.#draw())).observe(stage);
  }

  // Takes over the size of the first picture; all layers have the same.
  show(width, height) {
    if (this.#size) return this.#draw();
    this.#size = { width, height };
    this.fit();
  }

  fit() {
    if (!this.#size) return;
    this.#fitted = true;
    const { clientWidth, clientHeight } = this.#stage;
    const ratio = devicePixelRatio * Math.min(clientWidth / this.#size.width, clientHeight / this.#size.height);
    // Pixels of small pictures are enlarged alike.
    this.#zoom = ratio < 1 ? ratio : Math.min(Math.floor(ratio), LARGEST);
    this.#middle = { x: 0, y: 0 };
    this.#draw();
  }

  larger() {
    this.zoomTo(this.#zoom * STEP);
  }

  smaller() {
    this.zoomTo(this.#zoom / STEP);
  }

  // Zooms so that a place of the stage, from its middle, stays where it is.
  zoomTo(zoom, place = { x: 0, y: 0 }) {
    if (!this.#size) return;
    const smallest = 16 / Math.max(this.#size.width, this.#size.height);
    const next = Math.min(Math.max(zoom, smallest), LARGEST);
    const factor = next / this.#zoom;
    this.#zoom = next;
    this.#middle.x = place.x + (this.#middle.x - place.x) * factor;
    this.#middle.y = place.y + (this.#middle.y - place.y) * factor;
    this.#fitted = false;
    this.#draw();
  }

  #panBy(x, y) {
    this.#middle.x += x;
    this.#middle.y += y;
    this.#fitted = false;
    this.#draw();
  }

  #draw() {
    if (!this.#size) return;
    const scale = this.#zoom / devicePixelRatio;
    const { clientWidth, clientHeight } = this.#stage;
    const reach = (side, room) => Math.max((side * scale + room) / 2 - VISIBLE_PX, 0);
    const clamp = (value, most) => Math.min(Math.max(value, -most), most);
    this.#middle.x = clamp(this.#middle.x, reach(this.#size.width, clientWidth));
    this.#middle.y = clamp(this.#middle.y, reach(this.#size.height, clientHeight));
    const corner = (middle, side, room) => {
      const place = (room - side * scale) / 2 + middle;
      return Math.round(place * devicePixelRatio) / devicePixelRatio; // between pixels of the screen it would blur
    };
    const x = corner(this.#middle.x, this.#size.width, clientWidth);
    const y = corner(this.#middle.y, this.#size.height, clientHeight);
    this.#stage.style.setProperty("--place", `translate(${x}px, ${y}px) scale(${scale})`);
    this.#stage.classList.toggle("pixels", this.#zoom > 1);
    this.#onChange(this.#zoom, this.#size);
  }

  #place(event) {
    const box = this.#stage.getBoundingClientRect();
    return { x: event.clientX - box.x - box.width / 2, y: event.clientY - box.y - box.height / 2 };
  }

  #wheel(event) {
    if (isControl(event.target)) return;
    event.preventDefault();
    const turn = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 30 : 1);
    // Browsers report a pinch on a touchpad as a short turn with Ctrl.
    this.zoomTo(this.#zoom * Math.exp((-turn * (event.ctrlKey ? 4 : 1)) / WHEEL_PX), this.#place(event));
  }

  #down(event) {
    if (isControl(event.target) || event.button !== 0) return;
    this.#stage.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, this.#place(event));
  }

  #move(event) {
    if (!this.#pointers.has(event.pointerId)) return;
    const before = span([...this.#pointers.values()]);
    this.#pointers.set(event.pointerId, this.#place(event));
    const after = span([...this.#pointers.values()]);
    this.#panBy(after.x - before.x, after.y - before.y);
    if (before.length && after.length) this.zoomTo((this.#zoom * after.length) / before.length, after);
  }

  #arrows(event) {
    const arrows = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const [x, y] = arrows[event.key] ?? [0, 0];
    if (event.target !== this.#stage || !(x || y)) return;
    event.preventDefault();
    this.#panBy(x * ARROW_PX, y * ARROW_PX);
  }
}

// The middle of one or two pointers, and their distance.
function span(places) {
  const [a, b = a] = places;
  return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, length: Math.hypot(a.x - b.x, a.y - b.y) };
}

function isControl(element) {
  return element.closest(".divider, .zoom") !== null;
}
