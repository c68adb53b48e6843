const $ = (id) => document.getElementById(id);

// What is shown of a file: figures, the picture on the right, the ledger, the command.
export class Result {
  #layer;
  #query = null;
  #final = false;
  #ledgerOf = null;
  #scaleOf = null;
  #words = "";

  constructor(layer) {
    this.#layer = layer;
  }

  // Another result was asked for.
  wait() {
    $("panel").ariaBusy = true;
    markStale(["bytes", "bpp", "psnr", "ms_ssim"], true);
    this.#progress(0, "Working …");
  }

  // Takes a line that the server sends of the result of a query; more says whether another result follows.
  take(line, query, more) {
    $("panel").ariaBusy = more || !("likeness" in line || "error" in line);
    $("failure").hidden = !("error" in line);
    if ("error" in line) {
      $("failure").textContent = line.error;
      this.#progress(null, "");
    } else if ("done" in line) {
      this.#progress(line.done, "Working …");
    } else if ("command" in line) {
      this.#query = query;
      this.#final = !more;
      this.#facts(line);
      if ($("command")) writeCommand(line.command);
      this.draw();
    } else if ("bytes" in line) {
      this.#facts(line);
    } else if ("likeness" in line) {
      this.#likeness(line.likeness);
      if (more) this.#progress(0, `${this.#words}; a shorter file follows`);
      else this.#progress(null, this.#words);
    }
  }

  // Loads what is looked at. Maps and ledgers take as long as a file, so quick files have none while others follow.
  draw() {
    if (this.#query === null) return;
    const bits = new FormData($("shown")).get("right") === "bits";
    $("legend").hidden = !bits;
    if (!bits) this.#decoded();
    if (!this.#final) return;
    if (bits) this.#scale();
    if ($("account").open) this.#ledger();
  }

  #progress(done, words) {
    $("progress").classList.toggle("on", done !== null);
    if (done !== null) $("progress").value = done;
    const text = words || "\u00a0";
    if ($("status").textContent !== text) $("status").textContent = text; // else it would be read aloud again
  }

  #facts(facts) {
    this.#words = sentence(facts.fidelity);
    $("bytes").textContent = `${facts.bytes.toLocaleString("en")} B`;
    $("bytes").dataset.value = facts.bytes;
    $("bpp").textContent = facts.bpp.toFixed(3);
    markStale(["bytes", "bpp"], false);
  }

  #likeness(found) {
    markStale(["psnr", "ms_ssim"], false);
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
    if (scale.top === null) this.#decoded();
    else this.#layer.load(`bits.png${query}`, "Where the bits went");
  }

  #decoded() {
    this.#layer.load(`decoded.png${this.#query}`, "Decoded");
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

// A line breaks between words, not at their hyphens.
function writeCommand(command) {
  const words = (command ?? "").split(" ").map((word) => {
    const span = document.createElement("span");
    span.textContent = word;
    return [span, " "];
  });
  $("command").replaceChildren(...words.flat().slice(0, -1));
  $("command").parentElement.hidden = command === null;
}

// Figures of the file before are soft until the new ones are there.
function markStale(names, stale) {
  for (const name of names) $(name)?.classList.toggle("stale", stale);
}

function sentence(words) {
  return words[0].toUpperCase() + words.slice(1);
}
