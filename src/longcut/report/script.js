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

// --- what is shown can be taken along: tables as CSV, figures as SVG and PNG, commands by a click ---

function slug(element) {
  const heads = [...document.querySelectorAll("h2, h3, h4, caption")].filter((head) => head.compareDocumentPosition(element) & 4);
  const said = element.getAttribute("aria-label") ?? "", name = said && said.length < 40 ? said : heads.at(-1)?.textContent ?? "longcut";
  return name.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 60) || "longcut";
}

function saver(text, what, act) {
  const made = make("button", {type: "button", textContent: text, className: "quiet", ariaLabel: `save ${what} as ${text}`});
  made.addEventListener("click", act);
  return made;
}

function bar(after, ...buttons) {
  const made = make("div", {className: "saves"});
  made.append(...buttons);
  after.after(made);
}

function cellsOf(table) {
  const text = cell => cell.textContent.replace(/\s+/g, " ").trim(), parts = table.querySelector("tr.heading");
  const rows = [[...(parts ? ["Part"] : []), ...[...table.tHead.rows[0].cells].map(text)]];
  for (const body of table.tBodies) {
    const part = body.querySelector("tr.heading");
    for (const row of body.rows) {
      if (row !== part && !row.hidden) rows.push([...(parts ? [part ? text(part) : ""] : []), ...[...row.cells].map(text)]);
    }
  }
  return rows;
}

function drawn(svg) {  // as a file of its own: dark ink on white, whatever the scheme of the page
  const copy = svg.cloneNode(true), [, , wide, high] = svg.getAttribute("viewBox").split(" ").map(Number);
  const ground = document.createElementNS(svg.namespaceURI, "rect");
  for (const [name, value] of Object.entries({width: wide, height: high, fill: "#fff"})) ground.setAttribute(name, value);
  copy.prepend(ground);
  for (const [name, value] of Object.entries({width: wide, height: high, style: "color:#1b1f24"})) copy.setAttribute(name, value);
  return {text: new XMLSerializer().serializeToString(copy), wide, high};
}

function painted({text, wide, high}, name) {
  const image = new Image(), canvas = make("canvas", {width: 3 * wide, height: 3 * high});
  image.addEventListener("load", () => {
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob(blob => save(`${name}.png`, blob));
  });
  image.src = `data:image/svg+xml,${encodeURIComponent(text)}`;
}

for (const table of document.querySelectorAll("table.data, table.confusion, table.triple")) {
  const act = () => save(`${slug(table)}.csv`, csv(cellsOf(table)), "text/csv");
  bar(table.closest(".scroll"), saver("CSV", "this table", act));
}
for (const svg of document.querySelectorAll("main svg[role=img][viewBox]")) {
  const name = () => slug(svg.closest("figure, .maps > *") ?? svg);
  bar(svg, saver("SVG", "this figure", () => save(`${name()}.svg`, drawn(svg).text, "image/svg+xml")), saver("PNG", "this figure", () => painted(drawn(svg), name())));
}
for (const pre of document.querySelectorAll("pre")) {
  const made = make("button", {type: "button", textContent: "Copy", className: "quiet copy"});
  made.addEventListener("click", async () => {
    getSelection().selectAllChildren(pre.firstElementChild);
    try { await navigator.clipboard.writeText(pre.firstElementChild.textContent); made.textContent = "Copied"; } catch { made.textContent = "Selected"; }
  });
  pre.append(made);
}
document.querySelector("nav")?.addEventListener("click", event => { if (event.target.closest("a")) event.currentTarget.firstElementChild.open = false; });
