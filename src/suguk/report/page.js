"use strict";
for (const bar of document.querySelectorAll(".tabs")) {
  bar.hidden = false;
  const show = (kind) => {
    for (const button of bar.children) button.setAttribute("aria-pressed", String(button.value === kind));
    for (const one of document.querySelectorAll(".example")) one.hidden = kind !== "all" && one.dataset.kind !== kind;
  };
  bar.addEventListener("click", (event) => event.target.value && show(event.target.value));
  show(bar.children[0].value);
}
for (const button of document.querySelectorAll(".copy")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.previousElementSibling.textContent);
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
}
// Figures under the pointer, on a touch screen too, where titles are not shown.
for (const title of document.querySelectorAll("svg title")) {
  title.parentNode.dataset.p = title.textContent;
  title.remove();
}
const tip = document.getElementById("tip");
const point = (event) => {
  const said = event.target instanceof Element ? event.target.dataset.p : "";
  tip.style.display = said ? "block" : "none";
  if (!said) return;
  tip.textContent = said;
  tip.style.left = Math.max(4, Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8)) + "px";
  tip.style.top = (event.clientY > 60 ? event.clientY - tip.offsetHeight - 12 : event.clientY + 16) + "px";
};
document.addEventListener("pointermove", point);
document.addEventListener("pointerdown", point);
