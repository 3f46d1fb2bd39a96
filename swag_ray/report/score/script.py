"""What the page of scored images does: filter, enlarge, go on with the arrow keys. Without it the page reads the same,
unfiltered; the heatmaps are switched by the style sheet alone.
"""

SCRIPT = """
document.documentElement.classList.add("scripted");
const form = document.querySelector("#filter"), query = form.querySelector("[type=search]");
const count = form.querySelector("output"), heat = document.querySelector("#heat");
const items = [...document.querySelectorAll("[data-kind]")], texts = new Map();
const plain = text => text.normalize().toLowerCase();
const textOf = item => {
  if (!texts.has(item)) texts.set(item, plain([...item.querySelectorAll(".find")].map(e => e.textContent).join(" ")));
  return texts.get(item);
};
const filter = () => {
  const words = plain(query.value).split(/\\s+/).filter(Boolean);
  const kinds = new Set([...form.querySelectorAll("[type=checkbox]:checked")].map(box => box.value));
  let shown = 0;
  for (const item of items) {
    item.hidden = !kinds.has(item.dataset.kind) || !words.every(word => textOf(item).includes(word));
    shown += !item.hidden;
  }
  count.textContent = `${shown} of ${items.length} shown`;
  for (const part of document.querySelectorAll(".listed"))
    part.hidden = !part.querySelector("[data-kind]:not([hidden])");
};
form.hidden = false;
form.addEventListener("input", filter);
form.addEventListener("submit", event => event.preventDefault());
filter();

const dialog = document.querySelector("dialog"), stage = dialog.querySelector(".stage");
const title = dialog.querySelector("h2"), facts = dialog.querySelector(".facts");
let card = null;
const show = next => {
  card = next;
  stage.classList.remove("near");
  stage.replaceChildren(card.querySelector(".layers").cloneNode(true));
  title.textContent = card.querySelector("h2").textContent;
  facts.replaceChildren(card.querySelector("dl").cloneNode(true));
  if (!dialog.open) dialog.showModal();
};
const step = by => {
  const cards = items.filter(item => !item.hidden && item.querySelector(".layers"));
  const next = cards[cards.indexOf(card) + by];
  if (next) show(next);
};
for (const button of document.querySelectorAll(".zoom"))
  button.addEventListener("click", () => show(button.closest(".film")));
const nearer = event => {
  const box = stage.getBoundingClientRect();
  const {clientX, clientY} = event || {clientX: box.left + box.width / 2, clientY: box.top + box.height / 2};
  const x = (clientX - box.left) / box.width, y = (clientY - box.top) / box.height;
  if (stage.classList.toggle("near"))
    stage.scrollTo(x * stage.scrollWidth - box.width / 2, y * stage.scrollHeight - box.height / 2);
};
const keys = {ArrowRight: () => step(1), ArrowLeft: () => step(-1), h: () => heat && heat.click(), "+": () => nearer()};
stage.addEventListener("click", nearer);
dialog.addEventListener("keydown", event => {
  if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  keys[event.key]();
});
for (const button of dialog.querySelectorAll("button[value]"))
  button.addEventListener("click", () => keys[button.value]());
dialog.querySelector(".close").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => card.querySelector(".zoom").focus());
"""
