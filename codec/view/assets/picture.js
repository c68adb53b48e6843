// The page of a picture: joins its parts, and writes what the server says of a file.

import { addDivider } from "./divider.js";
import { Encodings } from "./encodings.js";
import { addKeys } from "./keys.js";
import { Viewport } from "./viewport.js";

const $ = (id) => document.getElementById(id);
const main = document.querySelector("main");

if ($("stage")) start();
addKeys($);

function start() {
  const compares = main.dataset.compares === "yes";
  const viewport = new Viewport($("stage"), (zoom) => {
    $("zoom-value").value = `${zoom < 0.1 ? (100 * zoom).toFixed(1) : Math.round(100 * zoom)} %`;
  });
  const layers = { original: new Layer($("original"), viewport), decoded: new Layer($("decoded"), viewport) };
  const result = new Result(layers.decoded);
  const efforts = [main.dataset.quickEffort, main.dataset.defaultEffort];
  const encodings = new Encodings(efforts, (line, query, more) => result.take(line, query, more));

  $("zoom-out").onclick = () => viewport.smaller();
  $("zoom-in").onclick = () => viewport.larger();
  $("zoom-fit").onclick = () => viewport.fit();
  $("zoom-one").onclick = () => viewport.zoomTo(1);
  $("shown").onchange = () => result.draw();
  $("account").ontoggle = () => result.draw();
  if (!compares) {
    encodings.want(null);
    return;
  }
  addDivider($("stage"), $("divider"));
  layers.original.load("original.png", "Original");
  const update = () => encodings.want(readWish());
  $("wish").oninput = update;
  $("wish").onsubmit = (event) => event.preventDefault();
  $("copy").onclick = copy;
  update();
}

// Returns the wish of the controls as a query, or null for the file that is there; shows the slider that counts.
function readWish() {
  const fidelity = new FormData($("wish")).get("fidelity");
  for (const name of ["quality", "max_error"]) {
    $(`${name}-row`).hidden = fidelity !== name;
    $(`${name}-value`).value = $(name).value;
  }
  if (fidelity === "held") return null;
  return fidelity === "lossless" ? "max_error=0" : `${fidelity}=${$(fidelity).value}`;
}

async function copy() {
  await navigator.clipboard.writeText($("command").textContent);
  $("copy").textContent = "Copied";
  setTimeout(() => ($("copy").textContent = "Copy"), 1500);
}

// A layer of the stage, which keeps its picture until the next one is there.
class Layer {
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

// What is shown of a file: figures, the picture on the right, the ledger, the command.
class Result {
  #layer;
  #query = null;
  #final = false;
  #ledgerOf = null;
  #scaleOf = null;

  constructor(layer) {
    this.#layer = layer;
  }

  take(line, query, more) {
    $("failure").hidden = !("error" in line);
    if ("error" in line) {
      $("failure").textContent = line.error;
      this.#progress(null, "");
    } else if ("done" in line) {
      this.#progress(line.done, more ? "Encoding quickly …" : "Encoding …");
    } else if ("bytes" in line) {
      this.#query = query;
      this.#final = !more;
      this.#facts(line);
      this.draw();
    } else if ("likeness" in line) {
      this.#likeness(line.likeness);
      this.#progress(null, more ? `${this.words}; a smaller file follows` : this.words);
    }
  }

  // Loads what is looked at. Maps and ledgers take as long as a file, so quick files have none while others follow.
  draw() {
    if (this.#query === null) return;
    const bits = new FormData($("shown")).get("right") === "bits";
    $("legend").hidden = !bits;
    $("right-tag").textContent = bits ? "Bits" : "Decoded";
    if (!bits) this.#layer.load(`decoded.png${this.#query}`, "Decoded");
    if (!this.#final) return;
    if (bits) this.#scale();
    if ($("account").open) this.#ledger();
  }

  #progress(done, words) {
    $("progress").classList.toggle("on", done !== null);
    if (done !== null) $("progress").value = done;
    $("status").textContent = words || "\u00a0";
  }

  #facts(facts) {
    this.words = sentence(facts.fidelity);
    $("bytes").textContent = `${facts.bytes.toLocaleString("en")} B`;
    $("bytes").dataset.value = facts.bytes;
    $("bpp").textContent = facts.bpp.toFixed(3);
    if ($("command")) {
      $("command").textContent = facts.command ?? "";
      $("command").parentElement.hidden = facts.command === null;
    }
  }

  #likeness(found) {
    if (!$("psnr") || !("psnr" in found)) return;
    $("psnr").textContent = found.psnr === null ? "exact" : `${found.psnr.toFixed(2)} dB`;
    $("psnr").dataset.value = found.psnr ?? "";
    $("ms_ssim").textContent = found.ms_ssim === null ? "\u2013" : found.ms_ssim.toFixed(4);
  }

  async #scale() {
    const query = this.#query;
    if (this.#scaleOf === query) return;
    const scale = await (await fetch(`scale${query}`)).json();
    if (query !== this.#query) return;
    this.#scaleOf = query;
    $("scale-says").textContent =
      scale.top === null
        ? "The image is stored as PNG: no bits belong to single pixels."
        : `Bits a pixel: mean ${scale.mean.toFixed(3)}, largest ${scale.largest.toFixed(2)}.`;
    $("scale-middle").textContent = scale.top === null ? "" : (scale.top / 2).toPrecision(2);
    $("scale-top").textContent = scale.top === null ? "" : `${scale.top.toPrecision(2)}+`;
    if (scale.top !== null) this.#layer.load(`bits.png${query}`, "Bits of every pixel");
  }

  async #ledger() {
    const query = this.#query;
    if (this.#ledgerOf === query) return;
    const text = await (await fetch(`ledger${query}`)).text();
    if (query !== this.#query) return;
    this.#ledgerOf = query;
    $("ledger").innerHTML = text;
  }
}

function sentence(words) {
  return words[0].toUpperCase() + words.slice(1);
}
