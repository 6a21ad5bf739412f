// Exploring the samples of an audit: the map, a table of those that are chosen, one of them in full, and answers.
const MODELS = ["Looks like", "Ordinary model", "Kept from the cue"];  // what the biased, the ordinary and the debiased one say
const ROWS = 15, UNSURE = "?", BY_RULE = "by rule";

function unpack(text, kind) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new kind(bytes.buffer);
}

function button(text, act, properties) {
  const made = make("button", { type: "button", textContent: text, ...properties });
  made.addEventListener("click", act);
  return made;
}

function explorer(home) {
  const data = JSON.parse(home.querySelector("script.atlas").textContent), { n, classes } = data;
  const place = unpack(data.place, Uint16Array), row = unpack(data.row, Uint32Array), label = unpack(data.label, Uint16Array);
  const said = unpack(data.said, Uint16Array), sure = unpack(data.sure, Uint8Array), score = unpack(data.score, Uint16Array);
  const kind = unpack(data.kind, Uint8Array), near = unpack(data.near, Uint16Array), codes = unpack(data.codes, Uint16Array);
  const modes = data.modes.map((mode) => ({ ...mode, group: unpack(mode.group, Uint16Array) }));
  const known = modes.find((mode) => mode.what === "attribute"), suspicions = modes.find((mode) => mode.what === "suspicion");
  const width = MODELS.length, kept = { answers: {}, more: [] };
  const sheet = new Image();
  let mode = modes[0], mask = null, only = -1, words = "", chosen = [], first = 0, sorted = null, open = -1;

  // --- what is known of a sample ---
  const name = (i) => (data.names ? data.names[i] : `row ${row[i]}`);
  const cells = (i) => data.columns.map((column, c) => [column, data.cells[c][codes[i * data.columns.length + c]]]);
  const suspicion = (i) => score[i] / 10000;
  const model = (i, m) => classes[said[i * width + m]];
  const called = (i) => (data.texts ? data.texts[i] : name(i));
  const attribute = (i) => (known ? known.names[known.group[i]] : "");
  const values = () => [...new Set([...data.values, ...kept.more])];
  const written = (value) => (value === UNSURE ? "cannot tell" : /^\d+$/.test(value) ? `${data.attribute} ${value}` : value);
  const all = (i) => [name(i), classes[label[i]], attribute(i), data.texts ? data.texts[i] : "", ...cells(i).map((cell) => cell[1])].join(" ");

  const pictured = (i) => Boolean(data.sheet) && i < data.pictured && sheet.naturalWidth > 0;
  const tile = (i) => [(i % data.across) * data.side, Math.floor(i / data.across) * data.side, data.side, data.side];
  function picture(i, size, alt = "") {
    if (!data.sheet || i >= data.pictured) return "";
    const made = make("canvas", { width: data.side, height: data.side, className: "tile" });
    made.style.width = made.style.height = `${size}px`;
    made.setAttribute("role", alt ? "img" : "presentation");
    if (alt) made.setAttribute("aria-label", alt);
    if (pictured(i)) made.getContext("2d").drawImage(sheet, ...tile(i), 0, 0, data.side, data.side);
    return made;
  }

  // --- answers are kept in this browser until they are saved ---
  try { Object.assign(kept, JSON.parse(localStorage.getItem(data.key) || "{}")); } catch { /* then only in memory */ }
  const keep = () => { try { localStorage.setItem(data.key, JSON.stringify(kept)); } catch { /* only in memory */ } };

  // --- the parts ---
  const canvas = make("canvas", { className: "points", tabIndex: 0 });
  const tip = make("div", { className: "tip", hidden: true }), said_aloud = make("p", { className: "aloud" });
  const frame = make("div", { className: "frame" }), tools = make("div", { className: "tools" });
  const keys = make("ul", { className: "legend keys", ariaLabel: "groups, to show one alone" });
  const detail = make("section", { className: "detail", ariaLabel: "the opened sample", tabIndex: -1 });
  const list = make("div", { className: "chosen" });
  said_aloud.setAttribute("aria-live", "polite");
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-roledescription", "map");
  canvas.setAttribute("aria-label", `Map of ${n} samples: arrows go to the next, Enter opens it, plus and minus zoom, Escape shows all. The table below has the same samples.`);

  const by = make("select", { ariaLabel: "colour by" });
  modes.forEach((one, i) => by.append(make("option", { value: i, textContent: one.title })));
  by.addEventListener("change", () => { mode = modes[by.value]; only = -1; recolor(); filter(); });
  const lasso = button("Lasso", () => {
    const on = lasso.getAttribute("aria-pressed") !== "true";
    lasso.setAttribute("aria-pressed", String(on));
    map.lasso(on);
  });
  lasso.setAttribute("aria-pressed", "false");
  const clear = button("Show all", () => { mask = null; only = -1; words = search.value = ""; map.whole(); recolor(); filter(); });
  const colour = make("label", { textContent: "Colour by " });
  colour.append(by);
  tools.append(colour, lasso, button("+", () => map.zoom(1.6), { ariaLabel: "zoom in" }), button("−", () => map.zoom(1 / 1.6), { ariaLabel: "zoom out" }), clear,
    button("PNG", () => map.save("map.png"), { ariaLabel: "save the map as PNG", className: "quiet" }));
  frame.append(canvas, tip);

  const map = pointMap(canvas, {
    n,
    x: Float32Array.from({ length: n }, (_, i) => 0.03 + (0.94 * place[2 * i]) / 65535),
    y: Float32Array.from({ length: n }, (_, i) => 0.03 + (0.94 * place[2 * i + 1]) / 65535),
    ringed: kind,
    picture: (ink, i, x, y, size, color) => {
      if (!pictured(i)) return;
      ink.drawImage(sheet, ...tile(i), x - size / 2, y - size / 2, size, size);
      ink.strokeStyle = color;
      ink.lineWidth = 2;
      ink.strokeRect(x - size / 2, y - size / 2, size, size);
    },
  }, { over: hover, open: show, chosen: (found) => { mask = found; filter(); } });

  function line(i) {
    return `${classes[label[i]]}, looks like ${model(i, 0)}, an ordinary model says ${model(i, 1)}, score ${suspicion(i).toFixed(2)}`;
  }

  function hover(i, at, how) {
    tip.hidden = i < 0;
    if (i < 0) return;
    const facts = make("p", { textContent: line(i), dir: "auto" }), head = make("b", { textContent: cut(called(i), 120), dir: "auto" });
    const table = make("p", { className: "soft", textContent: cells(i).slice(0, 5).map(([column, value]) => `${column} ${value}`).join(" · ") });
    tip.replaceChildren(picture(i, 72), head, facts, ...(data.columns.length ? [table] : []));
    const room = canvas.clientWidth;
    tip.style.left = `${Math.max(0, Math.min(at[0] + 14, room - tip.offsetWidth))}px`;
    tip.style.top = `${at[1] + 16 + tip.offsetHeight > room ? Math.max(0, at[1] - tip.offsetHeight - 12) : at[1] + 16}px`;
    if (how === "key") said_aloud.textContent = `${called(i)}: ${line(i)}`;
  }

  const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

  function recolor() {
    const looks = mode.colors.map((color, g) => ({ color, mark: mode.marks[g] }));
    const counts = mode.names.map(() => 0);
    for (const g of mode.group) counts[g] += 1;
    keys.replaceChildren(...mode.names.slice(0, 24).map((text, g) => {
      const key = make("canvas", { width: 28, height: 28, className: "key" }), item = make("li");
      keyed(key, looks[g]);
      const made = button("", () => { only = only === g ? -1 : g; recolor(); filter(); });
      made.append(key, make("bdi", { textContent: text }), make("small", { textContent: counts[g].toLocaleString("en") }));
      made.setAttribute("aria-pressed", String(only === g));
      item.append(made);
      return item;
    }));
    map.color(mode.group, looks);
  }

  function keyed(key, look) {
    const ink = key.getContext("2d");
    ink.fillStyle = look.color;
    ink.beginPath();
    addMark(ink, look.mark, 14, 14, 9);
    ink.fill();
  }

  // --- the table ---
  const search = make("input", { type: "search", placeholder: "Filter", ariaLabel: "Filter: samples" });
  const count = make("output"), pages = make("div", { className: "tools" }), table = make("table", { className: "rows", ariaLabel: "samples" });
  const box = make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "samples" });
  box.append(table);
  let texts = null;
  search.addEventListener("input", () => { words = search.value; filter(); });

  const columns = [
    ["Sample", called], ["Label", (i) => classes[label[i]]], ...MODELS.map((title, m) => [title, (i) => model(i, m)]),
    ...(known ? [[data.attribute, attribute]] : []), ["Score", suspicion, true],
    ["Suspicion", (i) => (kind[i] ? suspicions.names[kind[i]] : "")], ["Answer", (i) => (row[i] in kept.answers ? written(kept.answers[row[i]]) : "")],
    ...data.columns.map((column, c) => [column, (i) => data.cells[c][codes[i * data.columns.length + c]]]),
  ];

  function filter() {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean), shown = mask || only >= 0 || wanted.length ? new Uint8Array(n) : null;
    if (wanted.length && !texts) texts = Array.from({ length: n }, (_, i) => all(i).toLowerCase());
    chosen = [];
    for (let i = 0; i < n; i += 1) {
      if ((mask && !mask[i]) || (only >= 0 && mode.group[i] !== only) || !wanted.every((word) => texts[i].includes(word))) continue;
      if (shown) shown[i] = 1;
      chosen.push(i);
    }
    if (sorted) order();
    first = 0;
    map.show(shown);
    list_rows();
  }

  function order() {
    const [, value, numeric] = columns[sorted.column], sign = sorted.up ? 1 : -1;
    const keyOf = new Map(chosen.map((i) => [i, value(i)]));
    const plainNumbers = numeric || chosen.every((i) => Number.isFinite(Number(keyOf.get(i))));
    const compare = plainNumbers ? (a, b) => a - b : new Intl.Collator("en", { numeric: true }).compare;
    chosen.sort((a, b) => sign * compare(keyOf.get(a), keyOf.get(b)) || a - b);
  }

  function list_rows() {
    const head = make("tr"), body = make("tbody");
    columns.forEach(([title, , numeric], column) => {
      const cell = make("th", { scope: "col", className: numeric ? "number" : "" });
      const now = sorted && sorted.column === column;
      if (now) cell.setAttribute("aria-sort", sorted.up ? "ascending" : "descending");
      cell.append(button(title, () => {
        sorted = { column, up: now ? !sorted.up : !numeric };
        order();
        first = 0;
        list_rows();
        table.tHead.rows[0].cells[column].firstChild.focus();
      }));
      head.append(cell);
    });
    for (const i of chosen.slice(first, first + ROWS)) {
      const line_ = make("tr", { className: i === open ? "open" : "" });
      columns.forEach(([, value, numeric], column) => {
        const cell = make(column ? "td" : "th", { className: numeric ? "number" : "", dir: "auto" });
        if (column) cell.textContent = numeric ? value(i).toFixed(2) : value(i);
        else {
          cell.scope = "row";
          const both = make("div", { className: "pair-of" });
          both.append(picture(i, 28), button(cut(value(i), 90), () => show(i, true), { className: "name" }));
          cell.append(both);
        }
        line_.append(cell);
      });
      line_.addEventListener("pointerenter", () => map.point(i));
      body.append(line_);
    }
    const top = make("thead");
    top.append(head);
    table.replaceChildren(top, body);
    count.textContent = chosen.length < n ? `${chosen.length.toLocaleString("en")} of ${n.toLocaleString("en")} samples` : `${n.toLocaleString("en")} samples`;
    const last = Math.min(first + ROWS, chosen.length);
    const turn = (to) => { first = to; list_rows(); };
    pages.replaceChildren(
      button("← Before", () => turn(Math.max(0, first - ROWS)), { disabled: first === 0 }),
      make("span", { textContent: chosen.length ? `${first + 1} to ${last}` : "none" }),
      button("Next →", () => turn(first + ROWS), { disabled: last >= chosen.length }),
      button("CSV", () => save("samples.csv", csv([["Row", ...columns.map(([title]) => title)], ...chosen.map((i) => [row[i], ...columns.map(([, value]) => value(i))])]), "text/csv"), { ariaLabel: "save these samples as CSV", className: "quiet" }),
    );
  }

  // --- one sample ---
  function show(i, far = false) {
    open = i;
    map.point(i, true);
    const models = make("table"), like = make("ul", { className: "near" });
    MODELS.forEach((title, m) => {
      const line_ = make("tr");
      line_.append(make("th", { scope: "row", textContent: title }), make("td", { textContent: model(i, m), className: said[i * width + m] === label[i] ? "" : "doubt", dir: "auto" }),
        make("td", { className: "number", textContent: `${sure[i * width + m]} %` }));
      models.append(line_);
    });
    const k = near.length / n;
    for (const j of near.slice(k * i, k * i + k)) {
      const item = make("li"), to = button("", () => show(j, true));
      to.append(picture(j, 44), make("span", { textContent: cut(data.sheet && j < data.pictured ? "" : called(j), 60), dir: "auto" }), make("small", { textContent: classes[label[j]], dir: "auto" }));
      to.setAttribute("aria-label", `${cut(called(j), 60)}, ${classes[label[j]]}`);
      item.append(to);
      like.append(item);
    }
    const content = [picture(i, Math.min(176, Math.max(112, data.side * 2)), `${name(i)}, labelled ${classes[label[i]]}`)];
    if (data.texts) content.push(make("blockquote", { textContent: data.texts[i], dir: "auto" }));
    if (data.columns.length) {
      const facts = make("dl");
      for (const [column, value] of cells(i)) facts.append(make("dt", { textContent: column }), make("dd", { textContent: value, dir: "auto" }));
      content.push(facts);
    }
    const head = make("h4"), sub = make("p", { className: "soft" });
    head.append(make("bdi", { textContent: classes[label[i]] }), make("small", { textContent: kind[i] ? `suspected: ${suspicions.names[kind[i]]}` : "" }));
    sub.append(make("bdi", { textContent: name(i) }), `, score ${suspicion(i).toFixed(2)}`, ...(known ? [", ", make("bdi", { textContent: `${data.attribute} ${attribute(i)}` })] : []));
    detail.replaceChildren(head, sub, ...content, models, make("h5", { textContent: "Most alike to the biased model" }), like, ...marks(i));
    list_rows();
    detail.focus({ preventScroll: !far });
  }

  function marks(i) {
    const group = make("div", { className: "tools marks", role: "group", ariaLabel: data.attribute });
    const answer = (value) => {
      if (kept.answers[row[i]] === value) delete kept.answers[row[i]];
      else kept.answers[row[i]] = value;
      keep();
      show(i);
      detail.querySelector(`[aria-pressed="true"]`)?.focus();
    };
    for (const value of [...values(), UNSURE]) {
      const made = button(written(value), () => answer(value), { dir: "auto" });
      made.setAttribute("aria-pressed", String(kept.answers[row[i]] === value));
      group.append(made);
    }
    const more = make("input", { type: "text", placeholder: "Another value", ariaLabel: `another value of ${data.attribute}`, size: 12 });
    const add = () => {
      const value = more.value.trim();
      if (!value || value === UNSURE) return;
      if (!values().includes(value)) kept.more.push(value);
      delete kept.answers[row[i]];
      answer(value);
    };
    more.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();  // or the button that has the focus next would be pressed
      add();
    });
    group.append(more, button("Add", add));
    const count_ = Object.keys(kept.answers).length;
    const out = button(`Save ${count_} answer${count_ === 1 ? "" : "s"} (CSV)`, () => saveAnswers(
      Array.from({ length: n }, (_, j) => j).filter((j) => row[j] in kept.answers)
        .map((j) => [row[j], name(j), classes[label[j]], suspicion(j), BY_RULE, kept.answers[row[j]]])), { disabled: !count_ });
    const help = make("p", { className: "soft" });
    help.append("Answers stay in this browser until they are saved; ", make("code", { textContent: "longcut annotate AUDIT --answers answers.csv" }), " reads them; AUDIT is the folder of this audit.");
    return [make("h5", { textContent: known ? `Mark its ${data.attribute}` : "Mark what you see" }), group, out, help];
  }

  // --- together ---
  const top = make("div", { className: "explore" }), side = make("div");
  detail.append(make("p", { className: "soft", textContent: "Click a point of the map or a name in the table to open a sample: what each model says of it, its neighbours, and buttons to mark what you see. Click a key below the map, draw a lasso or type words to choose samples." }));
  side.append(tools, frame, keys, said_aloud);
  top.append(side, detail);
  const bar = make("div", { className: "filter" });
  bar.append(search, count);
  list.append(bar, box, pages);
  home.prepend(top, list);
  home.classList.add("explored");
  sheet.addEventListener("load", () => { map.redraw(); list_rows(); });
  if (data.sheet) sheet.src = data.sheet;
  recolor();
  filter();
}

for (const script of document.querySelectorAll("script.atlas")) explorer(script.parentElement);
