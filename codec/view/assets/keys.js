// Keys of the whole page. They click what is there, so each does what its control does.

const CLICKS = {
  "+": "zoom-in",
  "=": "zoom-in",
  "-": "zoom-out",
  0: "zoom-fit",
  1: "zoom-one",
  c: "copy",
  p: "previous",
  n: "next",
  "?": "help-button",
};

export function addKeys($) {
  $("help-button").onclick = () => $("help").showModal();
  document.addEventListener("keydown", (event) => {
    const altGr = event.getModifierState("AltGraph"); // with it, some keyboards have the brackets
    if (((event.ctrlKey || event.altKey) && !altGr) || event.metaKey || $("help").open) return;
    const key = event.key.toLowerCase();
    if (CLICKS[key]) $(CLICKS[key])?.click();
    else if (key === "d") $("divider")?.focus();
    else if (key === "b") turnRadio("right");
    else if (key === "[" || key === "]") step(key === "]" ? 1 : -1);
    else return;
    event.preventDefault();
  });

  function turnRadio(name) {
    document.querySelector(`input[name="${name}"]:not(:checked)`)?.click();
  }

  function step(direction) {
    const slider = document.querySelector(".slider:not([hidden]) input");
    if (!slider) return;
    // More quality is a smaller error.
    slider.value = Number(slider.value) + (slider.id === "max_error" ? -direction : direction);
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  }
}
