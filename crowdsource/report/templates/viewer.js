"use strict";
// Image, model and residual side by side. One view (middle and scale) serves all panels; sources are the rows of the plots' data.
(() => {
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const root = document.getElementById("viewer");
  const find = (name) => root.querySelector(name);
  const [width, height] = data.size;
  const LARGEST_SCALE = 64, SHOWN = 4000, NEAR = 14;
  const view = {x: (width - 1) / 2, y: (height - 1) / 2, scale: 1};
  const panels = [];
  let mode = "all", selected = -1, marked = [], columns = null, source = null;

  function panelOf(plane) {
    const box = document.createElement("div"), picture = document.createElement("canvas"), marks = document.createElement("canvas");
    const label = document.createElement("span"), image = new Image();
    box.className = "view";
    label.textContent = plane.name + plane.note;
    box.append(picture, marks, label);
    find(".panels").append(box);
    const panel = {plane, box, picture, marks, image, ready: false};
    image.onload = () => { panel.ready = true; draw(); };
    image.src = plane.address;
    return panel;
  }

  // the canvas has the pixels of the screen; y grows upwards in images, downwards on canvases
  const toScreen = (panel, x, y) => [panel.marks.clientWidth / 2 + (x - view.x) * view.scale, panel.marks.clientHeight / 2 - (y - view.y) * view.scale];
  const toImage = (panel, left, top) => [view.x + (left - panel.marks.clientWidth / 2) / view.scale, view.y - (top - panel.marks.clientHeight / 2) / view.scale];
  const shown = () => panels.filter((panel) => mode === "all" || panel.plane.name === mode);

  function fit() {
    const panel = shown()[0];
    Object.assign(view, {x: (width - 1) / 2, y: (height - 1) / 2, scale: Math.min(panel.box.clientWidth / width, panel.box.clientHeight / height)});
  }

  function layout() {
    const visible = shown();
    for (const panel of panels) panel.box.hidden = !visible.includes(panel), panel.box.style.display = panel.box.hidden ? "none" : "";
    const wide = find(".panels").clientWidth / visible.length;
    const tall = Math.max(220, Math.min(wide * height / width, window.innerHeight * 0.8));
    for (const panel of visible) {
      panel.box.style.height = `${tall}px`;
      for (const canvas of [panel.picture, panel.marks]) {
        canvas.width = Math.round(panel.box.clientWidth * devicePixelRatio);
        canvas.height = Math.round(tall * devicePixelRatio);
      }
    }
  }

  function isShown(row) {
    const which = find(".which").value;
    if (which === "good") return columns.good[row] > 0;
    if (which === "bad") return !(columns.good[row] > 0);
    if (which === "psf") return columns.psf_star && columns.psf_star[row] > 0;
    return which === "all";
  }

  function rowsInView(panel) {
    const [left, top] = toImage(panel, 0, 0), [right, bottom] = toImage(panel, panel.marks.clientWidth, panel.marks.clientHeight);
    const rows = [];
    if (!columns || find(".which").value === "none") return rows;
    for (let row = 0; row < columns.x.length; row++) {
      const x = columns.x[row], y = columns.y[row];
      if (x > left && x < right && y > bottom && y < top && isShown(row)) rows.push(row);
    }
    return rows;
  }

  function drawPicture(panel) {
    const canvas = panel.picture, context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!panel.ready) return;
    context.scale(devicePixelRatio, devicePixelRatio);
    const [left, top] = toScreen(panel, -0.5, panel.plane.covers[1] - 0.5);
    context.imageSmoothingEnabled = view.scale < 1;
    context.imageSmoothingQuality = "high";
    const gain = panel.plane.signed ? "" : `brightness(${find(".brightness").value}) `;
    canvas.style.filter = `${gain}contrast(${find(".contrast").value})`;
    context.drawImage(panel.image, left, top, panel.plane.covers[0] * view.scale, panel.plane.covers[1] * view.scale);
  }

  function drawMarks(panel, rows) {
    const canvas = panel.marks, context = canvas.getContext("2d");
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    const radius = Math.max(2.5, Math.min(data.fwhm * 0.6 * view.scale, 40));
    context.lineWidth = 1.1;
    for (const good of [true, false]) {
      context.strokeStyle = panel.plane.signed ? (good ? "#22303ca0" : "#a87400b0") : (good ? "#6fc3f0d0" : "#f2b134d0");
      context.beginPath();
      for (const row of rows.length > SHOWN ? [] : rows) {
        if ((columns.good[row] > 0) !== good) continue;
        const [x, y] = toScreen(panel, columns.x[row], columns.y[row]);
        context.moveTo(x + radius, y);
        context.arc(x, y, radius, 0, 7);
      }
      context.stroke();
    }
    context.strokeStyle = "#e8412c";
    context.beginPath();
    for (const row of marked.slice(0, SHOWN)) {
      const [x, y] = toScreen(panel, columns.x[row], columns.y[row]), size = Math.max(radius, 4);
      context.moveTo(x + size, y);
      context.arc(x, y, size, 0, 7);
    }
    context.stroke();
    if (selected < 0) return;
    const [x, y] = toScreen(panel, columns.x[selected], columns.y[selected]), reach = Math.max(radius + 4, 11);
    context.lineWidth = 2.2;
    context.beginPath();
    context.arc(x, y, reach, 0, 7);
    for (const [a, b] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + a * reach, y + b * reach);
      context.lineTo(x + a * (reach + 7), y + b * (reach + 7));
    }
    context.stroke();
  }

  let waiting = false;
  function draw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const visible = shown(), rows = rowsInView(visible[0]);
      for (const panel of visible) {
        drawPicture(panel);
        drawMarks(panel, rows);
      }
      find(".counted").textContent = rows.length > SHOWN ? `${rows.length} sources here: zoom in to see them.` : `${rows.length} sources here.`;
    });
  }

  // right ascension and declination between the nodes of a grid
  function sky(x, y) {
    if (!data.sky) return "";
    const grid = data.sky, u = x / (width - 1) * (grid.side - 1), v = y / (height - 1) * (grid.side - 1);
    const i = Math.min(Math.max(Math.floor(u), 0), grid.side - 2), j = Math.min(Math.max(Math.floor(v), 0), grid.side - 2);
    const at = (values) => {
      const corner = (a, b) => values[(j + b) * grid.side + i + a], p = u - i, q = v - j;
      return (corner(0, 0) * (1 - p) + corner(1, 0) * p) * (1 - q) + (corner(0, 1) * (1 - p) + corner(1, 1) * p) * q;
    };
    return `   ra ${((at(grid.ra) % 360 + 360) % 360).toFixed(5)}  dec ${at(grid.dec).toFixed(5)}`;
  }

  function spelled(column, row) {
    const value = columns[column.name][row] + (column.offset || 0);
    if (column.words) return column.words[value] || "none";
    if (column.kind === "bool") return value > 0 ? "yes" : "no";
    if (!Number.isFinite(value)) return "–";
    if (column.kind === "int") return String(value);
    if (column.digits !== null) return value.toFixed(column.digits);
    return Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toExponential(4) : String(Number(value.toPrecision(5)));
  }

  function showRow() {
    const panel = find(".row-panel");
    panel.hidden = selected < 0;
    panel.replaceChildren();
    if (selected < 0) return;
    const title = document.createElement("h3"), list = document.createElement("dl");
    title.textContent = `Row ${selected}`;
    for (const column of data.columns) {
      const line = document.createElement("div"), name = document.createElement("dt"), value = document.createElement("dd");
      name.textContent = column.name;
      name.title = column.description;
      value.textContent = `${spelled(column, selected)} ${column.unit}`.trim();
      line.append(name, value);
      list.append(line);
    }
    panel.append(title, list);
  }

  function select(row, move) {
    if (!columns || !(row >= 0 && row < columns.x.length)) row = -1;
    selected = row;
    if (row >= 0 && move) {
      Object.assign(view, {x: columns.x[row], y: columns.y[row], scale: Math.max(view.scale, 6)});
    }
    find(".row-number").value = row < 0 ? "" : row;
    marked = row < 0 ? [] : [row];
    if (source && (source.selected.indices.length !== marked.length || source.selected.indices[0] !== row)) source.selected.indices = marked;
    showRow();
    draw();
  }

  function zoom(panel, left, top, factor) {
    const [x, y] = toImage(panel, left, top), smallest = Math.min(panel.box.clientWidth / width, panel.box.clientHeight / height) * 0.6;
    view.scale = Math.min(LARGEST_SCALE, Math.max(smallest, view.scale * factor));
    view.x = x - (left - panel.marks.clientWidth / 2) / view.scale;
    view.y = y + (top - panel.marks.clientHeight / 2) / view.scale;
    draw();
  }

  function nearest(panel, left, top) {
    let best = -1, least = NEAR ** 2;
    for (const row of rowsInView(panel)) {
      const [x, y] = toScreen(panel, columns.x[row], columns.y[row]), distance = (x - left) ** 2 + (y - top) ** 2;
      if (distance < least) [best, least] = [row, distance];
    }
    return best;
  }

  function listen(panel) {
    const box = panel.box;
    let start = null;
    box.addEventListener("wheel", (event) => {
      event.preventDefault();
      zoom(panel, event.offsetX, event.offsetY, Math.exp(-Math.max(-120, Math.min(120, event.deltaY)) * 0.0025));
    }, {passive: false});
    box.addEventListener("pointerdown", (event) => {
      start = {left: event.offsetX, top: event.offsetY, x: view.x, y: view.y, moved: false};
      box.setPointerCapture(event.pointerId);
    });
    box.addEventListener("pointermove", (event) => {
      const [x, y] = toImage(panel, event.offsetX, event.offsetY);
      find(".readout").textContent = `x ${(x + data.origin[0]).toFixed(1)}  y ${(y + data.origin[1]).toFixed(1)}${sky(x, y)}`;
      if (!start || !event.buttons) return;
      const right = event.offsetX - start.left, down = event.offsetY - start.top;
      start.moved = start.moved || Math.hypot(right, down) > 3;
      if (!start.moved) return;
      Object.assign(view, {x: start.x - right / view.scale, y: start.y + down / view.scale});
      draw();
    });
    box.addEventListener("pointerup", (event) => {
      if (start && !start.moved) select(nearest(panel, event.offsetX, event.offsetY), false);
      start = null;
    });
    box.addEventListener("dblclick", () => { fit(); draw(); });
  }

  function modeButtons() {
    const names = panels.length > 1 ? ["all", ...panels.map((panel) => panel.plane.name)] : [];
    for (const name of names) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name === "all" ? "Side by side" : name;
      button.classList.toggle("chosen", name === mode);
      button.addEventListener("click", () => {
        const before = shown()[0].box.clientWidth;
        mode = name;
        for (const other of find(".modes").children) other.classList.toggle("chosen", other === button);
        layout();
        view.scale *= shown()[0].box.clientWidth / before;
        draw();
      });
      find(".modes").append(button);
    }
  }

  function connect() {
    // the plots' library sets up its documents when the page is loaded
    const found = window.Bokeh && Bokeh.documents.map((doc) => doc.get_model_by_name("sources")).find((model) => model);
    if (!found) { requestAnimationFrame(connect); return; }
    source = found;
    columns = source.data;
    source.selected.properties.indices.change.connect(() => {
      const rows = [...source.selected.indices];
      if (rows.length > 1) {
        // a box of points in a plot: all are marked, and the view stays
        selected = -1;
        marked = rows;
        showRow();
        draw();
      } else if (rows.length !== marked.length || rows[0] !== marked[0]) select(rows.length ? rows[0] : -1, true);
    });
    root.dataset.ready = "yes";
    draw();
  }

  panels.push(...data.planes.map(panelOf));
  panels.forEach(listen);
  modeButtons();
  layout();
  fit();
  for (const name of [".brightness", ".contrast", ".which"]) find(name).addEventListener("input", draw);
  find(".row-number").addEventListener("change", (event) => select(event.target.value === "" ? -1 : Number(event.target.value), true));
  find(".whole").addEventListener("click", () => { fit(); draw(); });
  window.addEventListener("resize", () => { layout(); draw(); });
  for (const cutout of document.querySelectorAll(".cutout[data-x]")) {
    const go = () => {
      select(cutout.dataset.row === undefined ? -1 : Number(cutout.dataset.row), false);
      Object.assign(view, {x: Number(cutout.dataset.x), y: Number(cutout.dataset.y), scale: Math.max(view.scale, 5)});
      root.scrollIntoView();
      draw();
    };
    cutout.addEventListener("click", go);
    cutout.addEventListener("keydown", (event) => { if (event.key === "Enter") go(); });
  }
  // what tests and consoles may ask for
  window.crowdsourceViewer = {view, select: (row) => select(row, true), selected: () => selected, draw};
  connect();
})();
