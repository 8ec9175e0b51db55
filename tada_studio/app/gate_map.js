// The gate map: layers left to right, projections top to bottom, painted like a picture.
//
// Edits are drawn at once and sent to Python as numbered strokes; Python answers with the truth. An answer that is older than
// the last stroke is ignored, or cells would blink back while a hand is still painting.
const grid = element.querySelector('.gm-grid');
const hint = element.querySelector('.gm-hint');
const tip = element.querySelector('.gm-tip');
const GESTURES = {
  paint: 'Drag to paint. A layer number or a row name paints the whole line. Alt-drag or right-drag resets.',
  reset: 'Drag over cells to give them back to the readings.',
  lock: 'Drag over cells to lock them against later edits; drag over locked ones to unlock.',
  inspect: 'Click a cell to see which of its directions conflict.',
};
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const tools = { tool: props.tool, brush: props.brush, shows: props.shows };
let map = null;        // the last accepted payload; strokes in progress are drawn into it
let cells = [];        // cells[layer][projection], DOM nodes
let selected = [0, 0];
let stroke = null;
let sent = 0;

const live = () => Boolean(map && map.live && map.layers.length);
const isThere = (i, j) => map.gates[i] !== undefined && map.gates[i][j] !== null && map.gates[i][j] !== undefined;

// -- drawing ---------------------------------------------------------------------------------------------------------

function node(className, text = '', attributes = {}) {
  const made = document.createElement('div');
  made.className = className;
  made.textContent = text;                   // never innerHTML: the names come from other people's files
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function build() {
  const columns = map.layers.length;
  grid.style.setProperty('--gm-columns', columns);
  grid.replaceChildren();
  cells = map.layers.map(() => []);
  map.projections.forEach((name, j) => {
    const row = node('gm-row', '', { role: 'row' });
    const head = node('gm-name', name.replace(/^(\w+)_proj$/, '$1'), { role: 'rowheader', title: name });
    head.dataset.row = j;
    row.append(head);
    map.layers.forEach((layer, i) => row.append((cells[i][j] = cell(layer, name, i, j))));
    grid.append(row);
  });
  grid.append(footer(columns));
}

function cell(layer, name, i, j) {
  const made = node('gm-cell', '', { role: 'gridcell', tabindex: '-1' });
  Object.assign(made.dataset, { i, j, cell: `${layer}.${name}` });
  return made;
}

function footer(columns) {
  const foot = node('gm-row', '', { 'aria-hidden': 'true' });
  foot.append(node('gm-name', 'layer'));
  const step = Math.max(1, Math.ceil(columns / 16));
  map.layers.forEach((layer, i) => {
    const tick = node('gm-tick', i % step ? '' : String(layer));
    tick.dataset.column = i;
    foot.append(tick);
  });
  return foot;
}

function gateColour(gate) {
  const side = gate < 0.5 ? '--tada-task' : '--tada-domain';
  return `color-mix(in oklab, var(${side}) ${Math.round(200 * Math.abs(gate - 0.5))}%, var(--tada-even))`;
}

function conflictColour(lost) {
  const most = Math.max(1e-9, ...map.lost.flat().filter((value) => value !== null));
  return `color-mix(in oklab, var(--tada-conflict) ${Math.round((100 * lost) / most)}%, var(--tada-even))`;
}

function drawCell(i, j) {
  const shown = cells[i][j];
  const there = isThere(i, j);
  const conflict = tools.shows === 'conflict' && map.lost;
  shown.classList.toggle('absent', !there);
  shown.classList.toggle('edited', there && Boolean(map.edited[i][j]));
  shown.classList.toggle('locked', there && Boolean(map.locked[i][j]));
  shown.style.background = !there ? '' : conflict ? conflictColour(map.lost[i][j] ?? 0) : gateColour(map.gates[i][j]);
  shown.setAttribute('aria-label', facts(i, j).join(', '));
}

function facts(i, j) {
  const where = `layer ${map.layers[i]} ${map.projections[j]}`;
  if (!isThere(i, j)) return [`${where}: neither adapter changes this module`];
  const said = [`${where}: gate ${map.gates[i][j].toFixed(2)}`];
  if (map.edited[i][j]) said.push(`set by hand (computed ${map.computed[i][j].toFixed(2)})`);
  if (map.locked[i][j]) said.push('locked');
  if (map.task) said.push(`task response ${map.task[i][j].toPrecision(3)}`, `domain response ${map.domain[i][j].toPrecision(3)}`);
  if (map.lost) said.push(`dropping removes ${(100 * (map.lost[i][j] ?? 0)).toFixed(1)} % of its energy`);
  return said;
}

function drawAll() {
  map.layers.forEach((_, i) => map.projections.forEach((_, j) => drawCell(i, j)));
}

function select(i, j, focus) {
  const before = cells[selected[0]]?.[selected[1]];
  before?.classList.remove('selected');
  before?.setAttribute('tabindex', '-1');
  selected = [i, j];
  cells[i][j].classList.add('selected');
  cells[i][j].setAttribute('tabindex', '0');
  if (focus) cells[i][j].focus({ preventScroll: true });
}

let tipOf = null;
function showTip(i, j) {
  tipOf = [i, j];
  const box = cells[i][j].getBoundingClientRect();
  const frame = element.getBoundingClientRect();
  tip.textContent = facts(i, j).join('\n');
  tip.hidden = false;
  const left = Math.min(box.left - frame.left, frame.width - tip.offsetWidth - 4);
  tip.style.transform = `translate(${Math.max(0, left)}px, ${box.bottom - frame.top + 6}px)`;
}

function load() {
  const value = props.value;
  if (!value) return;
  const sameGrid = map && cells.length && String(map.layers) === String(value.layers) && String(map.projections) === String(value.projections);
  map = structuredClone(value);
  if (!sameGrid) build();
  element.querySelector('.gm').classList.toggle('empty', !map.layers.length);
  if (!map.layers.length) return;
  drawAll();
  select(...(isInside(selected) ? selected : [0, 0]), false);
}

const isInside = ([i, j]) => i < map.layers.length && j < map.projections.length;

// -- strokes ---------------------------------------------------------------------------------------------------------

function touch(i, j) {
  const key = `${i},${j}`;
  if (stroke.seen.has(key) || !isThere(i, j)) return;
  stroke.seen.add(key);
  stroke.cells.push([i, j]);
  if (stroke.tool === 'lock') map.locked[i][j] = stroke.on;
  else if (!map.locked[i][j]) {
    map.edited[i][j] = stroke.tool === 'paint';
    map.gates[i][j] = stroke.tool === 'paint' ? tools.brush : map.computed[i][j];
  }
  drawCell(i, j);
}

function begin(places, erase) {
  const [i, j] = places[0];
  const tool = erase ? 'reset' : tools.tool === 'inspect' ? 'paint' : tools.tool;
  stroke = { tool, cells: [], seen: new Set(), last: places[0], on: !(isThere(i, j) && map.locked[i][j]) };
  places.forEach((place) => touch(...place));
}

function commit() {
  if (!stroke) return;
  const { tool, cells: touched, on } = stroke;
  stroke = null;
  if (!touched.length) return;
  sent += 1;
  outbox.push({ tool, cells: touched, value: tools.brush, on, id: sent });
  post();
}

// One stroke is on its way at a time: two requests can overtake each other, and a cell that both painted would keep the older.
const outbox = [];
let underway = null;
let patience = null;
function post() {
  if (underway !== null || !outbox.length) return;
  underway = outbox[0].id;
  patience = setTimeout(answered, 5000);  // an answer that was lost must not silence the map
  trigger('stroke', outbox.shift());
}

function answered() {
  clearTimeout(patience);
  underway = null;
  post();
}

// Every cell on the way, for a pointer that moves faster than its events.
function between([x0, y0], [x1, y1]) {
  const steps = Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0), 1);
  return Array.from({ length: steps + 1 }, (_, k) => [Math.round(x0 + ((x1 - x0) * k) / steps), Math.round(y0 + ((y1 - y0) * k) / steps)]);
}

function under(event) {
  const hit = document.elementFromPoint(event.clientX, event.clientY);
  return hit && grid.contains(hit) ? hit : null;
}

const place = (hit) => (hit && hit.classList.contains('gm-cell') ? [+hit.dataset.i, +hit.dataset.j] : null);

// A row name stands for its row, a layer number for its column.
function line(hit) {
  if (hit?.dataset.row !== undefined) return map.layers.map((_, i) => [i, +hit.dataset.row]);
  if (hit?.dataset.column !== undefined) return map.projections.map((_, j) => [+hit.dataset.column, j]);
  return null;
}

grid.addEventListener('pointerdown', (event) => {
  if (!live() || (event.button !== 0 && event.button !== 2)) return;
  const hit = under(event);
  const at = place(hit);
  const whole = line(hit);
  if (!at && !whole) return;
  event.preventDefault();
  const erase = event.altKey || event.button === 2;
  if (whole) {
    if (tools.tool !== 'inspect') { begin(whole, erase); commit(); }
    return;
  }
  select(...at, true);
  if (tools.tool === 'inspect') { trigger('cell_select', { index: at }); return; }
  grid.setPointerCapture(event.pointerId);
  begin([at], erase);
});

grid.addEventListener('pointermove', (event) => {
  const at = live() ? place(under(event)) : null;
  if (!at) { if (!stroke) tip.hidden = true; return; }
  showTip(...at);
  if (!stroke) return;
  between(stroke.last, at).forEach((passed) => touch(...passed));
  stroke.last = at;
  select(...at, true);
});

grid.addEventListener('pointerleave', () => { tip.hidden = true; });
grid.addEventListener('pointerup', commit);
grid.addEventListener('pointercancel', commit);
grid.addEventListener('contextmenu', (event) => event.preventDefault());

// -- keys ------------------------------------------------------------------------------------------------------------

function step([right, down]) {
  const i = Math.min(map.layers.length - 1, Math.max(0, selected[0] + right));
  const j = Math.min(map.projections.length - 1, Math.max(0, selected[1] + down));
  select(i, j, true);
  showTip(i, j);
  trigger('cell_select', { index: [i, j] });
}

grid.addEventListener('keydown', (event) => {
  if (!live() || event.ctrlKey || event.metaKey) return;
  const act = {
    Home: () => step([-map.layers.length, 0]),
    End: () => step([map.layers.length, 0]),
    Enter: () => { begin([selected], false); commit(); },
    ' ': () => { begin([selected], false); commit(); },
    Delete: () => { begin([selected], true); commit(); },
    Backspace: () => { begin([selected], true); commit(); },
    Escape: () => { tip.hidden = true; },
  }[event.key] ?? (MOVES[event.key] && (() => step(MOVES[event.key])));
  if (!act) return;
  event.preventDefault();
  act();
});

// Undo and redo work anywhere on the screen that shows the map, except where a person is typing.
function shortcut(event) {
  if (!element.isConnected) { document.removeEventListener('keydown', shortcut); return; }
  if (!live() || !element.offsetParent || !(event.ctrlKey || event.metaKey)) return;
  if (event.target.closest?.('input:not([type=range]):not([type=radio]):not([type=checkbox]), textarea, [contenteditable=true]')) return;
  const key = event.key.toLowerCase();
  const redo = key === 'y' || (key === 'z' && event.shiftKey);
  if (key !== 'z' && !redo) return;
  event.preventDefault();
  if (redo) trigger('redo', {});
  else trigger('undo', {});
}
document.addEventListener('keydown', shortcut);

// -- news from Python ------------------------------------------------------------------------------------------------

let telling = null;
// Figures below the map follow once it has settled, so that a burst of strokes draws them once.
function tell() {
  clearTimeout(telling);
  telling = setTimeout(() => trigger('settled', { rev: map.rev }), 80);
}

function arrived() {
  const value = props.value;
  if (value && underway !== null && (value.ack === null || value.ack >= underway)) answered();
  const isStale = value && value.ack !== null && value.ack < sent;
  if (!value || stroke || isStale) return;
  load();
  if (!tip.hidden && cells[tipOf[0]]?.[tipOf[1]]) showTip(...tipOf);  // the hand still rests there: say what is true now
  if (!map.live) return;
  grid.dataset.ready = '1';
  grid.dataset.rev = map.rev;
  tell();
}

const gestures = () => { hint.textContent = GESTURES[tools.tool] ?? ''; };
watch('value', arrived);
document.addEventListener('tada:tools', (event) => {
  Object.assign(tools, event.detail);
  gestures();
  element.querySelector('.gm').classList.toggle('lost', tools.shows === 'conflict');
  if (live()) drawAll();
});
gestures();
arrived();
