// The divider of a stage: what is left of it shows the original, what is right of it the decoded picture.

const KEYS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };

export function addDivider(stage, divider) {
  let percent = 50;

  function place(value) {
    percent = Math.min(Math.max(value, 0), 100);
    stage.style.setProperty("--divider", `${percent}%`);
    divider.setAttribute("aria-valuenow", Math.round(percent));
    divider.setAttribute("aria-valuetext", `${Math.round(percent)} % original`);
  }

  divider.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    divider.setPointerCapture(event.pointerId);
    divider.focus({ preventScroll: true });
    event.preventDefault();
  });
  divider.addEventListener("pointermove", (event) => {
    if (!divider.hasPointerCapture(event.pointerId)) return;
    const box = stage.getBoundingClientRect();
    place((100 * (event.clientX - box.x)) / box.width);
  });
  divider.addEventListener("keydown", (event) => {
    const step = (KEYS[event.key] ?? 0) * (event.shiftKey ? 10 : 1);
    if (step) place(percent + step);
    else if (event.key === "Home") place(0);
    else if (event.key === "End") place(100);
    else return;
    event.preventDefault();
  });
  place(percent);
}
