(() => {
  const { key, values, attribute, samples } = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const unsure = "?";
  let answers = {}, done = [], here = 0;

  const load = () => {
    try {
      const kept = JSON.parse(localStorage.getItem(key) || "{}");
      answers = kept.answers || {};
      done = kept.done || [];
    } catch { answers = {}; done = []; }
  };
  const keep = () => { try { localStorage.setItem(key, JSON.stringify({ answers, done })); } catch { /* then only in memory */ } };
  const element = (name, text, into) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (into) into.append(made);
    return made;
  };
  const open = (from) => {
    for (let step = 0; step < samples.length; step += 1) {
      const place = (from + step) % samples.length;
      if (!(samples[place].row in answers)) return place;
    }
    return -1;
  };

  const draw = () => {
    const sample = samples[here], place = at("sample");
    place.replaceChildren();
    if (sample.uri) {
      const image = element("img", undefined, place);
      image.src = sample.uri;
      image.alt = `${sample.name}, labelled ${sample.label}`;
      if (sample.small) image.className = "small";
    }
    if (sample.text !== null) element("blockquote", sample.text, place).dir = "auto";
    if (sample.cells.length) {
      const table = element("table", undefined, place);
      for (const [name, value] of sample.cells) {
        const row = element("tr", undefined, table);
        element("th", name, row).scope = "row";
        element("td", value, row);
      }
    }
    const label = element("p", "Label: ", place);
    element("b", sample.label, label).dir = "auto";
    element("p", sample.name, place).className = "soft";
    const count = Object.keys(answers).length;
    at("bar").max = samples.length;
    at("bar").value = count;
    at("count").textContent = count === samples.length
      ? `All ${count} are answered: save the answers. This is sample ${here + 1}.`
      : `Sample ${here + 1} of ${samples.length}; ${count} answered.`;
    for (const button of at("values").children) {
      button.setAttribute("aria-pressed", String(answers[sample.row] === button.value));
    }
    at("back").disabled = here === 0;
    at("forth").disabled = here === samples.length - 1;
    at("undo").disabled = !done.length;
  };

  const say = (value) => {
    const { row } = samples[here];
    done.push([here, row in answers ? answers[row] : null]);
    answers[row] = value;
    keep();
    const next = open(here + 1);
    if (next >= 0) here = next;
    draw();
  };
  const undo = () => {
    if (!done.length) return;
    const [place, before] = done.pop();
    here = place;
    if (before === null) delete answers[samples[here].row];
    else answers[samples[here].row] = before;
    keep();
    draw();
  };
  const move = (step) => {
    here = Math.min(Math.max(here + step, 0), samples.length - 1);
    draw();
  };

  const saveAll = () => saveAnswers(samples.map((s) => [s.row, s.name, s.label, s.score, s.drawn, answers[s.row] || ""]));

  [...values, unsure].forEach((value, place) => {
    const button = element("button", undefined, at("values"));
    const digit = value === unsure ? "0" : place < 9 ? String(place + 1) : "";
    button.type = "button";
    button.value = value;
    if (digit) {
      element("kbd", digit, button);
      button.setAttribute("aria-keyshortcuts", digit);
    }
    element("span", value === unsure ? "cannot tell" : /^\d+$/.test(value) ? `${attribute} ${value}` : value, button).dir = "auto";
    button.addEventListener("click", () => say(value));
  });
  at("back").addEventListener("click", () => move(-1));
  at("forth").addEventListener("click", () => move(1));
  at("undo").addEventListener("click", undo);
  at("save").addEventListener("click", saveAll);
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.metaKey || (event.ctrlKey && event.key !== "z")) return;
    if (event.key === "u" || event.key === "Backspace" || (event.ctrlKey && event.key === "z")) undo();
    else if (event.key === "ArrowLeft") move(-1);
    else if (event.key === "ArrowRight") move(1);
    else if (event.key === "0") say(unsure);
    else if (/^[1-9]$/.test(event.key) && Number(event.key) <= values.length) say(values[Number(event.key) - 1]);
    else return;
    event.preventDefault();
  });
  load();
  here = Math.max(open(0), 0);
  draw();
})();
