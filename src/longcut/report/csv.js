"use strict";
// What pages save: tables as CSV that no spreadsheet takes for formulas, and any text or picture as a file.
const escaped = (cell) => (/^[=+\-@\t\r\n＝＋－＠]/.test(cell) && !(cell.trim() && Number.isFinite(Number(cell))) ? `'${cell}` : cell);
const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
const csv = (rows) => rows.map((row) => row.map((cell) => quoted(escaped(String(cell)))).join(",") + "\r\n").join("");

function save(name, content, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const ANSWERS = ["row", "name", "label", "score", "drawn", "attribute"];
const saveAnswers = (rows) => save("answers.csv", csv([ANSWERS, ...rows]), "text/csv");
