// Asks the server for the file of the wish of the moment: with little effort first, then, at rest, with the usual one.

const REST_MS = 250;

export class Encodings {
  #efforts;
  #show;
  #wanted = null;
  #running = null;
  #rested = false;
  #timer;

  // show is called with each line that the server sends, the query of its result, and whether another one follows.
  constructor(efforts, show) {
    this.#efforts = efforts;
    this.#show = show;
  }

  // Takes a wish, as a query without effort; null asks for the file that is there.
  want(wish) {
    this.#wanted = wish;
    this.#rested = false;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#rest(), REST_MS);
    // While a slider moves, a quick encoding that has begun is finished: else a slow one would never show.
    if (!this.#running) this.#start(0);
    else if (this.#running.step > 0) this.#restart();
  }

  #rest() {
    this.#rested = true;
    if (!this.#running) this.#next(this.#wanted, 0);
    else if (this.#running.wish !== this.#wanted) this.#restart();
  }

  #restart() {
    this.#running.abort.abort();
    this.#start(0);
  }

  // A wish that was met asks for more effort when the slider rests.
  #next(met, step) {
    if (met !== this.#wanted) this.#start(0);
    else if (this.#rested && met !== null && step + 1 < this.#efforts.length) this.#start(step + 1);
  }

  async #start(step) {
    const wish = this.#wanted;
    const query = wish === null ? "" : `?${wish}&effort=${this.#efforts[step]}`;
    const run = { wish, step, abort: new AbortController() };
    this.#running = run;
    const more = wish !== null && step + 1 < this.#efforts.length;
    let failed = false;
    try {
      for await (const line of linesOf(`result${query}`, run.abort.signal)) {
        if (this.#running !== run) return;
        failed ||= "error" in line;
        this.#show(line, query, more || wish !== this.#wanted);
      }
    } catch (error) {
      if (run.abort.signal.aborted) return;
      failed = true;
      this.#show({ error: `vlae does not answer: ${error.message}` }, query, false);
    }
    if (this.#running !== run) return;
    this.#running = null;
    if (!failed || wish !== this.#wanted) this.#next(wish, step);
  }
}

// Yields the objects of an answer that has one a line; empty lines say that the server is at work.
async function* linesOf(url, signal) {
  const answer = await fetch(url, { signal });
  if (!answer.ok) {
    yield await answer.json().catch(() => ({ error: answer.statusText }));
    return;
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line) yield JSON.parse(line);
  }
}
