"use strict";
// Without this script the page is complete; with it, tables of class "data" can be sorted, and long ones filtered.
const FEW = 8;

function make(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}

function sortable(table, rowsOf) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const key = row => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
    const button = make("button", {type: "button"});
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const keys = [...table.tBodies].flatMap(rowsOf).map(key).filter(text => text !== "");
      const numeric = keys.every(text => Number.isFinite(Number(text)));
      const order = numeric ? (a, b) => a - b : (a, b) => a.localeCompare(b, undefined, {numeric: true});
      const now = head.getAttribute("aria-sort");
      const up = numeric ? now === "descending" : now !== "ascending";  // numbers: the largest first
      const compare = (a, b) => (a === "") - (b === "") || (up ? order(a, b) : order(b, a));
      for (const body of table.tBodies) body.append(...rowsOf(body).sort((a, b) => compare(key(a), key(b))));
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
    });
  });
}

function filterable(table, rowsOf) {
  const rows = [...table.tBodies].flatMap(rowsOf);
  if (rows.length <= FEW) return;
  const what = table.getAttribute("aria-label");
  const input = make("input", {type: "search", placeholder: "Filter", ariaLabel: `Filter: ${what}`});
  const count = make("output", {textContent: `${rows.length} rows`});
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    for (const row of rows) row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
    const left = rows.filter(row => !row.hidden).length;
    count.textContent = left < rows.length ? `${left} of ${rows.length} rows` : `${rows.length} rows`;
  });
  const bar = make("div", {className: "filter"});
  bar.append(input, count);
  table.closest(".scroll").before(bar);
}

for (const table of document.querySelectorAll("table.data")) {
  const rowsOf = body => [...body.rows].filter(row => !row.classList.contains("heading"));
  sortable(table, rowsOf);
  filterable(table, rowsOf);
}
