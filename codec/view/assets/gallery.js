// A picture that cannot be read says why, where its preview would be.
async function explain(image) {
  const answer = await fetch(image.src);
  const text = answer.ok ? "cannot be shown" : ((await answer.json()).error ?? answer.statusText);
  const message = document.createElement("span");
  message.className = "failure";
  message.textContent = text;
  image.replaceWith(message);
}

for (const image of document.querySelectorAll(".thumbnail img")) {
  if (image.complete && image.naturalWidth === 0) explain(image);
  else image.addEventListener("error", () => explain(image), { once: true });
}
