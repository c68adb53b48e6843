// A layer of the stage, which keeps its picture until the next one is there.
export class Layer {
  #element;
  #viewport;
  #url = "";

  constructor(element, viewport) {
    this.#element = element;
    this.#viewport = viewport;
  }

  async load(url, alt) {
    if (url === this.#url) return;
    this.#url = url;
    const image = new Image();
    image.alt = alt;
    image.draggable = false;
    image.src = url;
    try {
      await image.decode();
    } catch {
      return; // what went wrong stands in the lines about the result
    }
    if (url !== this.#url) return;
    this.#element.replaceChildren(image);
    this.#viewport.show(image.naturalWidth, image.naturalHeight);
  }
}
