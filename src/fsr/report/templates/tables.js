
const collator = new Intl.Collator("en", { numeric: true });

function numberOf(text) {
  const found = text.replaceAll("−", "-").replaceAll("∞", "Infinity").match(/^\s*[-+]?(?:Infinity|\d+(?:\.\d+)?(?:e[-+]?\d+)?)/i);
  return found ? Number(found[0]) : NaN;
}

function order(a, b, sign) {
  if (typeof a === "string") return sign * collator.compare(a, b);
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
  return a === b ? 0 : a < b ? -sign : sign;
}

function sortBy(table, head) {
  const index = head.cellIndex, ascending = head.getAttribute("aria-sort") !== "ascending", body = table.tBodies[0];
  const key = (line) => {
    const value = line.cells[index].dataset.value;
    return value === undefined ? line.cells[index].textContent.trim() : numberOf(value);
  };
  const lines = [...body.rows].map((line) => [key(line), line]);
  lines.sort((a, b) => order(a[0], b[0], ascending ? 1 : -1));
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  body.append(...lines.map((pair) => pair[1]));
}

function makeSortable(table) {
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(table, head));
    head.append(button);
  }
}

function cellOf(tag, text, attributes) {
  const cell = document.createElement(tag);
  cell.textContent = text;
  for (const [name, value] of Object.entries(attributes)) cell.setAttribute(name, value);
  return cell;
}

function layOut(details) {
  const region = details.querySelector(".scroll");
  if (region.firstElementChild) return;
  const { caption, columns, rows } = JSON.parse(details.querySelector("script").textContent);
  const table = document.createElement("table"), body = table.createTBody(), heads = table.createTHead().insertRow();
  table.createCaption().textContent = caption;
  heads.append(...columns.map((name, index) => cellOf("th", name, index === 1 ? { scope: "col", class: "text" } : { scope: "col" })));
  for (const values of rows) {
    const line = body.insertRow();
    line.append(...values.map((text, index) => index === 0 ? cellOf("th", text, { scope: "row" })
      : cellOf("td", text, index === 1 ? { class: "text" } : { "data-value": text })));
  }
  makeSortable(table);
  region.append(table);
}

function filter(details) {
  const wanted = details.querySelector(".filter").value.trim().toLowerCase();
  for (const line of details.querySelector("tbody").rows) line.hidden = !line.cells[0].textContent.toLowerCase().includes(wanted);
}

for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
for (const details of document.querySelectorAll("details.images")) {
  details.addEventListener("toggle", () => { if (details.open) layOut(details); });
  details.querySelector(".filter").addEventListener("input", () => { layOut(details); filter(details); });
}
for (const link of document.querySelectorAll("a.drill")) {
  link.addEventListener("click", () => {
    const details = document.getElementById(link.hash.slice(1));
    details.open = true;
    layOut(details);
    details.querySelector(".filter").value = link.dataset.image;
    filter(details);
  });
}
function unfold() {
  const folded = document.getElementById(location.hash.slice(1))?.querySelector("details:not(.images)");
  if (folded) folded.open = true;
}
addEventListener("hashchange", unfold);
unfold();
