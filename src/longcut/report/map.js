// A map of many points on a canvas. It draws, zooms, and says which point is meant and which are inside of a lasso.
function addMark(to, kind, px, py, r) {
  if (kind === "s" || r < 1.8) to.rect(px - r * 0.85, py - r * 0.85, r * 1.7, r * 1.7);
  else if (kind === "^" || kind === "v") {
    const up = kind === "^" ? 1 : -1;
    to.moveTo(px, py - up * r * 1.15); to.lineTo(px + r, py + up * r * 0.8); to.lineTo(px - r, py + up * r * 0.8); to.closePath();
  } else if (kind === "D") {
    to.moveTo(px, py - r * 1.2); to.lineTo(px + r * 1.2, py); to.lineTo(px, py + r * 1.2); to.lineTo(px - r * 1.2, py); to.closePath();
  } else { to.moveTo(px + r, py); to.arc(px, py, r, 0, 7); }
}

function pointMap(canvas, points, told) {
  const { x, y, n } = points;  // from 0 to 1
  const ink = canvas.getContext("2d"), still = document.createElement("canvas");
  const view = { scale: 1, left: 0, top: 0 };
  let groups = [], looks = [], shown = null, here = -1, open = -1, path = null, held = null, lasso = false, side = 1;

  const at = (i) => [(x[i] - view.left) * view.scale * side, (y[i] - view.top) * view.scale * side];
  const radius = () => Math.min(7, Math.max(1.6, 3.4 * Math.sqrt(600 / n)) * Math.sqrt(view.scale)) * Math.max(1, side / 480);
  const inside = ([px, py]) => px > -9 && py > -9 && px < side + 9 && py < side + 9;

  function draw() {
    const sharp = window.devicePixelRatio || 1;
    side = canvas.clientWidth;
    if (!side) return;
    if (canvas.width !== Math.round(side * sharp)) canvas.width = canvas.height = Math.round(side * sharp);
    ink.setTransform(sharp, 0, 0, sharp, 0, 0);
    ink.clearRect(0, 0, side, side);
    const r = radius(), line = getComputedStyle(canvas).color, left = [];
    const paths = looks.map(() => [new Path2D(), new Path2D()]), rings = new Path2D();
    for (let i = 0; i < n; i += 1) {
      const place = at(i);
      if (!inside(place)) continue;
      const on = !shown || shown[i] ? 1 : 0;
      addMark(paths[groups[i]][on], looks[groups[i]].mark, ...place, r);
      if (on) left.push(i);
      if (on && points.ringed[i]) { rings.moveTo(place[0] + r * 1.7, place[1]); rings.arc(...place, r * 1.7, 0, 7); }
    }
    for (const on of [0, 1]) {
      ink.globalAlpha = on ? (n > 3000 ? 0.75 : 0.9) : 0.13;
      looks.forEach((look, g) => { ink.fillStyle = look.color; ink.fill(paths[g][on]); });
    }
    ink.globalAlpha = 1;
    ink.strokeStyle = line;
    ink.lineWidth = n > 3000 ? 0.7 : 0.9;
    ink.stroke(rings);
    if (view.scale > 1 && left.length <= 80) {  // so close that there is room for pictures
      for (const i of left) points.picture(ink, i, ...at(i), 30, looks[groups[i]].color);
    }
    still.width = still.height = canvas.width;
    still.getContext("2d").drawImage(canvas, 0, 0);
    overlay();
  }

  function overlay() {
    ink.clearRect(0, 0, side, side);
    ink.drawImage(still, 0, 0, side, side);
    ink.strokeStyle = getComputedStyle(canvas).color;
    if (here >= 0) {
      ink.lineWidth = 2.5;
      ink.beginPath();
      ink.arc(...at(here), radius() + 5, 0, 7);
      ink.stroke();
    }
    if (path) {
      ink.lineWidth = 1.5;
      ink.setLineDash([5, 4]);
      ink.beginPath();
      path.forEach((place) => ink.lineTo(...place));
      ink.stroke();
      ink.setLineDash([]);
    }
  }

  function nearest([px, py], reach) {
    let found = -1, least = reach * reach;
    for (let i = 0; i < n; i += 1) {
      if (shown && !shown[i]) continue;
      const [qx, qy] = at(i), far = (qx - px) ** 2 + (qy - py) ** 2;
      if (far < least) { least = far; found = i; }
    }
    return found;
  }

  function within(corners) {
    const chosen = new Uint8Array(n);
    for (let i = 0; i < n; i += 1) {
      const [px, py] = at(i);
      for (let a = 0, b = corners.length - 1; a < corners.length; b = a, a += 1) {
        const [ax, ay] = corners[a], [bx, by] = corners[b];
        if (ay > py !== by > py && px < ((bx - ax) * (py - ay)) / (by - ay) + ax) chosen[i] ^= 1;
      }
    }
    return chosen;
  }

  function point(i, how) {
    here = i;
    overlay();
    told.over(i, i < 0 ? null : at(i), how);
  }

  function middle() {  // of what is looked at: the point that is meant, else all that are seen
    if (here >= 0 && inside(at(here))) return at(here);
    const seen = Array.from({ length: n }, (_, i) => at(i)).filter(inside);
    return [0, 1].map((axis) => seen.reduce((sum, place) => sum + place[axis], 0) / seen.length || side / 2);
  }

  function zoom(factor, [px, py] = middle()) {
    const scale = Math.min(60, Math.max(1, view.scale * factor));
    view.left += (px / side) * (1 / view.scale - 1 / scale);
    view.top += (py / side) * (1 / view.scale - 1 / scale);
    view.scale = scale;
    pan(0, 0);
  }

  function pan(dx, dy) {
    const most = 1 - 1 / view.scale;
    view.left = Math.min(most, Math.max(0, view.left - dx / side / view.scale));
    view.top = Math.min(most, Math.max(0, view.top - dy / side / view.scale));
    draw();
  }

  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  function toward([dx, dy]) {  // the nearest that lies in this direction rather than to its sides
    let found = -1, least = Infinity;
    for (let i = 0; i < n; i += 1) {
      if (i === here || (shown && !shown[i])) continue;
      const along = (x[i] - x[here]) * dx + (y[i] - y[here]) * dy;
      const aside = Math.abs((x[i] - x[here]) * dy) + Math.abs((y[i] - y[here]) * dx);
      if (along > 0 && aside <= along && along + aside < least) { least = along + aside; found = i; }
    }
    return found;
  }

  const where = (event) => [event.offsetX, event.offsetY];
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    held = where(event);
    path = lasso ? [held] : null;
    if (lasso) canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const place = where(event);
    if (path) { path.push(place); overlay(); }
    else if (held && view.scale > 1 && event.buttons) {
      pan(place[0] - held[0], place[1] - held[1]);
      held = Object.assign(place, { moved: true });
    } else if (event.pointerType === "mouse") point(nearest(place, 14), "pointer");
  });
  canvas.addEventListener("pointerup", (event) => {
    const place = where(event), drawn = path, start = held;
    path = held = null;
    if (drawn && drawn.length > 5) { overlay(); told.chosen(within(drawn)); }
    else if (start && !start.moved && Math.hypot(place[0] - start[0], place[1] - start[1]) < 8) {
      const found = nearest(place, event.pointerType === "mouse" ? 14 : 26);
      point(found, "pointer");
      if (found >= 0) told.open(found);
    }
  });
  canvas.addEventListener("pointercancel", () => { path = held = null; overlay(); });
  canvas.addEventListener("pointerleave", () => { if (!path) { held = null; point(-1, "pointer"); here = open; overlay(); } });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey && view.scale === 1 && event.deltaY > 0) return;  // the page scrolls on
    if (!event.ctrlKey && !event.metaKey && document.activeElement !== canvas) return;
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.25 : 0.8, where(event));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key in step) {
      const next = here < 0 ? nearest([side / 2, side / 2], Infinity) : toward(step[event.key]);
      if (next >= 0) point(next, "key");
    } else if (event.key === "Enter" && here >= 0) told.open(here);
    else if (event.key === "+") zoom(1.6);
    else if (event.key === "-") zoom(1 / 1.6);
    else if (event.key === "Escape") { point(-1, "key"); told.chosen(null); }
    else return;
    event.preventDefault();
  });
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  return {
    color: (column, with_) => { groups = column; looks = with_; draw(); },
    show: (mask) => { shown = mask; draw(); },
    lasso: (on) => { lasso = on; canvas.style.touchAction = on ? "none" : "pan-y pinch-zoom"; },
    zoom,
    point: (i, bring) => {
      here = i;
      if (bring) open = i;
      if (bring && !inside(at(i))) pan(side / 2 - at(i)[0], side / 2 - at(i)[1]);
      else overlay();
    },
    save: (name) => {
      const whole = document.createElement("canvas"), to = whole.getContext("2d");
      whole.width = whole.height = still.width;
      to.fillStyle = getComputedStyle(document.documentElement).backgroundColor;
      to.fillRect(0, 0, whole.width, whole.height);
      to.drawImage(still, 0, 0);
      whole.toBlob((blob) => save(name, blob));
    },
    whole: () => zoom(0),
    redraw: draw,
  };
}
