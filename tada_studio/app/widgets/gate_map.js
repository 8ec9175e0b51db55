// The gate map, first of three files that are one script: what is drawn. gate_table.js shows the same cells as a table,
// gate_hand.js takes strokes, keys and news from Python.
const root = element.querySelector('.gm');
const grid = element.querySelector('.gm-grid');
const scroller = element.querySelector('.gm-scroll');
const tip = element.querySelector('.gm-tip');

const tools = { tool: 'paint', brush: 1, shows: 'gate' };
let map = null;        // the last accepted payload; strokes in progress are drawn into it
let cells = [];        // cells[layer][projection], DOM nodes
let drawn = [];        // what each cell shows, to leave alone those that stay as they are
let most = 0;          // the largest loss of a cell, for the colours of conflict
let selected = [0, 0];
let anchor = [0, 0];   // the other corner of a selection made by keys

const live = () => Boolean(map && map.live && map.layers.length);
const isThere = (i, j) => map.gates[i] !== undefined && map.gates[i][j] !== null && map.gates[i][j] !== undefined;
const isInside = ([i, j]) => i < map.layers.length && j < map.projections.length;
const shortName = (name) => name.replace(/^(\w+)_proj$/, '$1');
const known = (name, i, j) => props.facts?.[name]?.[i]?.[j] ?? null;
const mean = (values) => { const some = values.filter((value) => value !== null && value !== undefined); return some.length ? some.reduce((a, b) => a + b, 0) / some.length : null; };

function node(className, text = '', attributes = {}, kind = 'div') {
  const made = document.createElement(kind);
  made.className = className;
  made.textContent = text;                   // never innerHTML: the names come from other people's files
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// -- the grid --------------------------------------------------------------------------------------------------------

let margins = { rows: [], columns: [], whole: null };

function build() {
  grid.style.setProperty('--gm-columns', map.layers.length);
  grid.setAttribute('aria-rowcount', map.projections.length);
  grid.setAttribute('aria-colcount', map.layers.length);
  grid.replaceChildren();
  cells = map.layers.map(() => []);
  drawn = [];
  margins = { rows: [], columns: [], whole: null };
  map.projections.forEach((name, j) => {
    const row = node('gm-row', '', { role: 'row' });
    const head = node('gm-name', shortName(name), { role: 'rowheader', title: `${name}: a click uses the tool on the whole row` });
    head.dataset.row = j;
    row.append(head);
    map.layers.forEach((layer, i) => row.append((cells[i][j] = cell(layer, name, i, j))));
    row.append((margins.rows[j] = node('gm-mean', '', { 'aria-hidden': 'true' })));
    grid.append(row);
  });
  grid.append(footer());
}

function cell(layer, name, i, j) {
  const made = node('gm-cell', '', { role: 'gridcell', tabindex: '-1' });
  Object.assign(made.dataset, { i, j, cell: `${layer}.${name}` });
  return made;
}

// Under the cells: the mean of each layer, and the layers' numbers, which stand for their columns.
function footer() {
  const foot = node('gm-row', '', { 'aria-hidden': 'true' });
  foot.append(node('gm-name', 'mean'));
  map.layers.forEach((layer, i) => foot.append((margins.columns[i] = column('gm-layer', '', i, layer))));
  foot.append((margins.whole = node('gm-mean')), node('gm-name', 'layer'));
  const step = Math.max(1, Math.ceil(map.layers.length / 16));
  map.layers.forEach((layer, i) => foot.append(column('gm-tick', i % step ? '' : String(layer), i, layer)));
  foot.append(node('gm-mean-name', 'mean'));
  return foot;
}

function column(className, text, i, layer) {
  const made = node(className, text, { title: `layer ${layer}: a click uses the tool on the whole layer` });
  made.dataset.column = i;
  return made;
}

// -- colours ---------------------------------------------------------------------------------------------------------

const isConflict = () => tools.shows === 'conflict' && Boolean(map.lost);

function gateColour(gate) {
  const side = gate < 0.5 ? '--tada-task' : '--tada-domain';
  return `color-mix(in oklab, var(${side}) ${Math.round(200 * Math.abs(gate - 0.5))}%, var(--tada-even))`;
}

const lostColour = (lost) => `color-mix(in oklab, var(--tada-conflict) ${Math.round((100 * lost) / most)}%, var(--tada-even))`;
const colour = (value) => (value === null ? '' : isConflict() ? lostColour(value) : gateColour(value));
const value = (i, j) => (!isThere(i, j) ? null : isConflict() ? map.lost[i][j] ?? 0 : map.gates[i][j]);
const labelOf = (number) => (number === null ? '' : isConflict() ? `${(100 * number).toFixed(1)}%` : number.toFixed(2));

function drawCell(i, j) {
  const there = isThere(i, j);
  const looks = [value(i, j), map.edited[i][j], map.locked[i][j], map.computed[i][j], most, tools.shows].join();
  const key = `${i},${j}`;
  if (drawn[key] === looks) return;
  drawn[key] = looks;
  const shown = cells[i][j];
  shown.classList.toggle('absent', !there);
  shown.classList.toggle('edited', there && Boolean(map.edited[i][j]));
  shown.classList.toggle('locked', there && Boolean(map.locked[i][j]));
  shown.style.background = colour(value(i, j));
  shown.setAttribute('aria-label', facts(i, j).join(', '));
}

function drawMargins() {
  const all = map.layers.map((_, i) => map.projections.map((_, j) => value(i, j)));
  const show = (place, number, text) => { place.style.setProperty('--gm-chip', colour(number)); if (text) place.textContent = labelOf(number); };
  all.forEach((row, i) => show(margins.columns[i], mean(row), false));
  map.projections.forEach((_, j) => show(margins.rows[j], mean(all.map((row) => row[j])), true));
  show(margins.whole, mean(all.flat()), true);
}

function drawAll() {
  most = isConflict() ? Math.max(1e-9, ...map.lost.flat().filter((lost) => lost !== null)) : 0;
  map.layers.forEach((_, i) => map.projections.forEach((_, j) => drawCell(i, j)));
  drawMargins();
  drawTable();
}

function load() {
  if (!props.value) return;
  const news = props.value;
  const sameGrid = map && cells.length && String(map.layers) === String(news.layers) && String(map.projections) === String(news.projections);
  map = structuredClone(news);
  if (!sameGrid) build();
  root.classList.toggle('empty', !map.layers.length);
  if (!map.layers.length) return;
  drawAll();
  if (!isInside(selected) || !isInside(anchor)) select(0, 0, false);
  else select(...selected, false, true);
}

// -- words and the card ------------------------------------------------------------------------------------------------

const number = (value, digits = 3) => (value === null ? 'unknown' : Number(value.toPrecision(digits)).toString());
const gateWord = (gate) => (gate < 0.45 ? 'leans to task' : gate > 0.55 ? 'leans to domain' : 'about even');

function facts(i, j) {
  const where = `layer ${map.layers[i]} ${map.projections[j]}`;
  if (!isThere(i, j)) return [`${where}: neither adapter changes this module`];
  const words = [`${where}: gate ${map.gates[i][j].toFixed(2)}`];
  if (map.edited[i][j]) words.push(`set by hand (computed ${map.computed[i][j].toFixed(2)})`);
  if (map.locked[i][j]) words.push('locked');
  if (props.facts?.task) words.push(`task response ${number(known('task', i, j))}`, `domain response ${number(known('domain', i, j))}`);
  if (map.lost) words.push(dropped(i, j));
  return words;
}

function dropped(i, j) {
  const count = map.dropped[i][j] ?? 0;
  return count ? `${count} direction${count === 1 ? '' : 's'} dropped, ${(100 * map.lost[i][j]).toFixed(1)}% of its energy` : 'nothing dropped';
}

// Everything about a cell, as rows of a card: [name, value, colour of the name].
function details(i, j) {
  const by = map.edited[i][j] ? `set by hand; computed ${map.computed[i][j].toFixed(2)}` : 'as computed';
  const [low, high] = [known('low', i, j), known('high', i, j)];
  const rows = [['gate', `${map.gates[i][j].toFixed(2)}, ${gateWord(map.gates[i][j])}`], ['', map.locked[i][j] ? `${by}; locked` : by]];
  if (low !== null) rows.push(['95 % band', `${low.toFixed(2)} to ${high.toFixed(2)} (computed)`]);
  const read = (role) => (props.facts?.task ? `response ${number(known(role, i, j))}, ` : '');
  for (const role of ['task', 'domain']) rows.push([role, `${read(role)}norm ${number(known(`norm_${role}`, i, j))}`, role]);
  if (map.lost) rows.push(['conflict', dropped(i, j), 'conflict']);
  return rows;
}

let tipOf = null;
function showTip(i, j) {
  tipOf = [i, j];
  const head = node('gm-tip-head', `Layer ${map.layers[i]} · ${map.projections[j]}`);
  const rows = isThere(i, j) ? details(i, j) : [['', 'neither adapter changes this module']];
  const list = node('gm-tip-rows', '', {}, 'dl');
  for (const [name, text, role] of rows) list.append(node(role ? `gm-key ${role}` : 'gm-key', name, {}, 'dt'), node('', text, {}, 'dd'));
  tip.replaceChildren(head, list);
  tip.hidden = false;
  const box = cells[i][j].getBoundingClientRect();
  const frame = element.getBoundingClientRect();
  const left = Math.min(box.left - frame.left, frame.width - tip.offsetWidth - 4);
  const below = box.bottom + 6 + tip.offsetHeight < window.innerHeight;
  const top = below ? box.bottom - frame.top + 6 : box.top - frame.top - tip.offsetHeight - 6;
  tip.style.transform = `translate(${Math.max(0, left)}px, ${top}px)`;
}

function hideTip() { tip.hidden = true; tipOf = null; }

// -- the selection -----------------------------------------------------------------------------------------------------

function ranged() {
  const [[a, b], [c, d]] = [anchor, selected];
  return rectangle([a, b], [c, d]);
}

function rectangle([a, b], [c, d]) {
  const found = [];
  for (let i = Math.min(a, c); i <= Math.max(a, c); i += 1) for (let j = Math.min(b, d); j <= Math.max(b, d); j += 1) found.push([i, j]);
  return found;
}

function select(i, j, focus, keepAnchor = false) {
  grid.querySelectorAll('.selected, .ranged').forEach((other) => { other.classList.remove('selected', 'ranged'); other.setAttribute('tabindex', '-1'); });
  selected = [i, j];
  if (!keepAnchor) anchor = selected;
  const many = ranged();
  if (many.length > 1) many.forEach(([a, b]) => cells[a][b].classList.add('ranged'));
  cells[i][j].classList.add('selected');
  cells[i][j].setAttribute('tabindex', '0');
  if (focus) { cells[i][j].focus({ preventScroll: true }); keepInView(cells[i][j]); }
}

// Inside the map only: the page itself never moves under a hand.
function keepInView(shown) {
  const [box, frame] = [shown.getBoundingClientRect(), scroller.getBoundingClientRect()];
  const start = frame.left + (grid.querySelector('.gm-name')?.offsetWidth ?? 0);
  if (box.left < start) scroller.scrollLeft -= start - box.left + 4;
  else if (box.right > frame.right) scroller.scrollLeft += box.right - frame.right + 4;
}
