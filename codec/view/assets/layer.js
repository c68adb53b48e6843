// A layer of the stage, which keeps its picture until the next one is there.
export class Layer {
  #element;
  #viewport;
  #tag;
  #url = "";

  // The tag, if there is one, names the picture.
  constructor(element, viewport, tag) {
    this.#element = element;
    this.#viewport = viewport;
    this.#tag = tag;
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
    if (this.#tag) this.#tag.textContent = alt;
    this.#viewport.show(image.naturalWidth, image.naturalHeight);
  }
}
