// The page of a picture: joins its parts, and writes what the server says of a file.

import { addDivider } from "./divider.js";
import { Encodings } from "./encodings.js";
import { addKeys } from "./keys.js";
import { Layer } from "./layer.js";
import { Result } from "./result.js";
import { Viewport } from "./viewport.js";

const $ = (id) => document.getElementById(id);
const main = document.querySelector("main");

if ($("stage")) start();
addKeys($);

function start() {
  const compares = main.dataset.compares === "yes";
  const viewport = new Viewport($("stage"), (zoom, size) => {
    $("size").textContent = `${size.width}\u2009×\u2009${size.height},`;
    $("zoom-value").value = `${zoom < 0.1 ? (100 * zoom).toFixed(1) : Math.round(100 * zoom)} %`;
  });
  const layers = { original: new Layer($("original"), viewport), decoded: new Layer($("decoded"), viewport, $("right-tag")) };
  const result = new Result(layers.decoded);
  const efforts = [main.dataset.quickEffort, main.dataset.defaultEffort];
  const encodings = new Encodings(efforts, (line, query, more) => result.take(line, query, more));

  $("zoom-out").onclick = () => viewport.smaller();
  $("zoom-in").onclick = () => viewport.larger();
  $("zoom-fit").onclick = () => viewport.fit();
  $("zoom-one").onclick = () => viewport.zoomTo(1);
  $("shown").onchange = () => result.draw();
  $("account").ontoggle = () => result.draw();
  const want = (wish) => {
    result.wait();
    encodings.want(wish);
  };
  if (!compares) return want(null);
  addDivider($("stage"), $("divider"));
  layers.original.load("original.png", "Original");
  const update = () => want(readWish());
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
  getSelection().selectAllChildren($("command")); // for those whose browser forbids the next line
  await navigator.clipboard.writeText($("command").textContent);
  $("copy").textContent = "Copied";
  setTimeout(() => ($("copy").textContent = "Copy"), 1500);
}
