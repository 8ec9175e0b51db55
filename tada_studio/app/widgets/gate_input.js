// The hand on the gate map: strokes, the brush, keys, and news from Python.
//
// Edits are drawn at once and sent to Python as numbered strokes; Python answers with the truth. An answer that is older than
// the last stroke is ignored, or cells would blink back while a hand is still painting.
const hint = element.querySelector('.gm-hint');
const brushBar = element.querySelector('.gm-brush input[type=range]');
const brushBox = element.querySelector('.gm-brush input[type=number]');
const KEYS = 'Keys: arrows move (with Shift they select), 0 to 9 set the brush (5 is .5), T, E and D set it to 0, .5 and 1, Enter uses the tool, Delete resets.';
const GESTURES = {
  paint: 'Rest on a cell to read it; Look opens it. Drag to paint; with Shift, a rectangle. A layer number or row name takes the whole line. Brush: keys 0 to 9 (5 is .5), or Shift and the wheel. Right-drag resets.',
  rectangle: 'Drag from corner to corner. Brush: keys 0 to 9 (5 is .5), or Shift and the wheel.',
  reset: 'Drag over cells to give them back to the readings.',
  lock: 'Drag over cells to lock them against later edits; start on a locked one to unlock.',
  smooth: 'Drag over cells to average each with the layers next to it. Do it again for more.',
  look: 'Click a cell: what its two adapters do there, and what is dropped, opens beside the map. Arrow keys go on to the next.',
};
// The same for a finger, which has no hover and no keys, and scrolls.
const TOUCH = {
  paint: 'Hold a cell until it is marked, then drag to paint; or switch “finger paints” on. One finger scrolls. Tap a cell to read it; a layer number or row name takes the whole line.',
  rectangle: 'Hold the first corner, then drag to the other.',
  reset: 'Hold a cell, then drag, to give cells back to the readings.',
  lock: 'Hold a cell, then drag, to lock; start on a locked one to unlock.',
  smooth: 'Hold a cell, then drag, to average each with the layers next to it.',
  look: 'Tap a cell: what its two adapters do there, and what is dropped, opens below the map.',
};
// What a hand can do on views that only tell.
const HERE = {
  difference: 'Below the map it is chosen what that is.', asymmetry: 'Click a cell to look into it.', merged: 'Click a cell to look into it.',
  conflict: 'Click a cell to look into it.',
};
const TYPING = 'Type a gate and press Enter. task, even, domain, lock and unlock are understood; an empty field goes back to the readings.';
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const BRUSHES = { t: 0, e: 0.5, d: 1 };

let stroke = null;
let sent = 0;
let over = false;      // whether a pointer rests on the map

// Why a map of shares may be all alike.
function evenly() {
  if (tools.shows !== 'gate' || !map?.layers.length || map.computes) return '';
  return map.split ? 'Shares are even until a hand sets one; what the probe has read is in the views Split and Asymmetry.' : 'Shares are even until a probe or a hand sets them.';
}

const say = (words) => { hint.textContent = words; };
function gestures() {
  const how = root.dataset.pointer === 'touch' ? TOUCH : GESTURES;
  const from = tools.shows === 'difference' && map?.difference ? `Compared with ${map.difference.from}.` : '';
  say(unread() || (isTable() ? TYPING : [ABOUT[tools.shows], evenly(), from, HERE[tools.shows], canPaint() ? how[tools.tool] : ''].filter(Boolean).join(' ')));
}

// -- strokes ---------------------------------------------------------------------------------------------------------

function touch(i, j) {
  const key = `${i},${j}`;
  if (stroke.before.has(key) || !isThere(i, j)) return;
  stroke.before.set(key, { at: [i, j], gate: map.gates[i][j], edited: map.edited[i][j], locked: map.locked[i][j], times: times(i, j), separation: map.separation?.[i]?.[j] });
  if (stroke.tool === 'lock') map.locked[i][j] = stroke.on;
  else if (!map.locked[i][j]) SET[stroke.plane](i, j);
  drawCell(i, j);
}

// What a stroke does to a cell in each plane.
const SET = {
  share: (i, j) => {
    map.edited[i][j] = stroke.tool !== 'reset';
    map.gates[i][j] = { paint: stroke.value, reset: map.computed[i][j], smooth: averaged(i, j) }[stroke.tool];
  },
  strength: (i, j) => {
    const to = stroke.tool === 'reset' ? 1 : stroke.value;
    map.strength[i][j] = times(i, j).map((old, side) => (tools.whose === 'both' || side === (tools.whose === 'task' ? 0 : 1) ? to : old));
  },
  separation: (i, j) => { map.separation[i][j] = stroke.tool === 'reset' ? 1 : stroke.value; },
};

// With its neighbours in depth, as they were before the stroke.
const averaged = (i, j) => mean([i - 1, i, i + 1].map((k) => (map.towers?.[k] === map.towers?.[i] ? stroke.start[k]?.[j] ?? null : null)));

function putBack(key) {
  const { at: [i, j], gate, edited, locked, times: old, separation } = stroke.before.get(key);
  [map.gates[i][j], map.edited[i][j], map.locked[i][j], map.strength[i][j]] = [gate, edited, locked, old];
  if (map.separation) map.separation[i][j] = separation;
  stroke.before.delete(key);
  drawCell(i, j);
}

function begin(places, tool, value = brush(), on = undefined) {
  const [i, j] = places[0];
  const named = { rectangle: 'paint', look: 'paint' }[tool] ?? tool;
  const kind = named === 'smooth' && plane() !== 'share' ? 'paint' : named;
  const locking = on ?? !(isThere(i, j) && map.locked[i][j]);
  stroke = { plane: plane() ?? 'share', tool: kind, value, on: locking, before: new Map(), from: places[0], last: places[0], start: kind === 'smooth' ? structuredClone(map.gates) : [] };
  places.forEach((place) => touch(...place));
}

function stretch(to) {
  const inside = rectangle(stroke.from, to);
  const kept = new Set(inside.map(String));
  [...stroke.before.keys()].filter((key) => !kept.has(key)).forEach(putBack);
  inside.forEach((place) => touch(...place));
}

function commit() {
  if (!stroke) return;
  const { tool, value, on, before, plane: of } = stroke;
  stroke = null;
  grid.classList.remove('busy');
  if (!before.size) return;
  sent += 1;
  outbox.push({ tool, cells: [...before.values()].map((one) => one.at), value, on, brush: brushName(of, tools.whose), at: selected, id: sent });
  drawMargins();
  drawTable();
  post();
}

function giveUp() {
  if (!stroke) return;
  [...stroke.before.keys()].forEach(putBack);
  stroke = null;
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

// -- the pointer -------------------------------------------------------------------------------------------------------

function under(event) {
  const hit = document.elementFromPoint(event.clientX, event.clientY);
  return hit && grid.contains(hit) ? hit : null;
}

const place = (hit) => (hit && hit.classList.contains('gm-cell') ? [+hit.dataset.i, +hit.dataset.j] : null);

const towerOf = (i) => towers().find(({ rows }) => rows.includes(i));

// A row name stands for its row, a layer number for its column.
function line(hit) {
  if (sums.has(hit)) return sums.get(hit);
  if (hit?.dataset.row !== undefined) return towerOf(+hit.dataset.first).rows.map((i) => [i, +hit.dataset.row]);
  if (hit?.dataset.column !== undefined) return map.projections.map((_, j) => [+hit.dataset.column, j]);
  return null;
}

const erases = (event) => event.altKey || event.button === 2;

function useOnLine(event, whole) {
  if (tools.tool === 'look' || !canPaint()) { gestures(); return; }
  begin(whole, erases(event) ? 'reset' : tools.tool);
  commit();
}

// A finger scrolls; it paints once it has rested on a cell, or at once where the switch says so.
const HOLD = 350;                // milliseconds
let holding = null;              // { at, x, y, timer } of a finger that rests
function hold(event, at) {
  const begun = () => { holding = null; grid.classList.add('held'); startStroke(at, event); };
  holding = { at, x: event.clientX, y: event.clientY, timer: setTimeout(begun, HOLD) };
}

function letGo() {
  if (holding) clearTimeout(holding.timer);
  holding = null;
}

function pointing(kind) {
  const device = kind === 'touch' ? 'touch' : 'mouse';
  if (root.dataset.pointer === device) return;
  root.dataset.pointer = device;
  gestures();
}

function startStroke(at, event) {
  select(...at, true);
  grid.setPointerCapture(event.pointerId);
  begin([at], erases(event) ? 'reset' : tools.tool);
  stroke.boxed = event.shiftKey || tools.tool === 'rectangle';
  showTip(...at);
}

grid.addEventListener('pointerdown', (event) => {
  pointing(event.pointerType);
  if (!live() || (event.button !== 0 && event.button !== 2)) return;
  const hit = under(event);
  const [at, whole] = [place(hit), line(hit)];
  if (whole && event.button === 2) useOnLine(event, whole);
  pressed = looks() ? at : null;
  if (!at || pressed) return;  // a finger that looks may also want to scroll: where it leaves the glass decides
  if (event.pointerType === 'touch' && !tools.finger) { hold(event, at); return; }
  event.preventDefault();
  startStroke(at, event);
});

// Once a stroke has begun the finger paints, and the page stands still.
grid.addEventListener('touchmove', (event) => { if (stroke) event.preventDefault(); }, { passive: false });

grid.addEventListener('click', (event) => {
  if (!live()) return;
  const hit = event.target;
  const [at, whole] = [place(hit), line(hit)];
  if (whole) useOnLine(event, whole);
  if (at && looks() && event.pointerType !== 'touch') lookInto(at);
});

// A hand with the tool Look looks; on a view that cannot be painted every hand does.
const looks = () => tools.tool === 'look' || !canPaint();

// The cell that a finger with the tool Look came down on. Browsers do not make a click of every tap, soon after another one.
let pressed = null;
function lookInto(at) {
  select(...at, true);
  trigger('look', { index: at });
}

function lift(event) {
  const tapped = holding?.at;
  letGo();
  commit();
  grid.classList.remove('held');
  if (event.pointerType !== 'touch') return;
  hideTip();
  if (tapped) { select(...tapped, true); showTip(...tapped); }
  const at = place(under(event));
  if (pressed && at && `${at}` === `${pressed}`) lookInto(at);
  pressed = null;
}

grid.addEventListener('pointermove', (event) => {
  over = true;
  if (holding && Math.hypot(event.clientX - holding.x, event.clientY - holding.y) > 8) letGo();
  const at = live() ? place(under(event)) : null;
  if (!at) { if (!stroke) hideTip(); return; }
  if (event.pointerType !== 'touch' || stroke) showTip(...at);
  if (!stroke) return;
  if (stroke.boxed) stretch(at);
  else between(stroke.last, at).forEach((passed) => touch(...passed));
  stroke.last = at;
  select(...at, true);
});

// A finger that was lifted leaves, too: what it has asked for stays until it touches something else.
grid.addEventListener('pointerleave', (event) => { over = false; if (!stroke && event.pointerType !== 'touch') hideTip(); });
onPage('pointerdown', (event) => { if (event.pointerType === 'touch' && !grid.contains(event.target)) hideTip(); });
grid.addEventListener('pointerup', lift);
grid.addEventListener('pointercancel', () => { pressed = null; letGo(); commit(); grid.classList.remove('held'); });
grid.addEventListener('focusin', (event) => { if (event.target.matches(':focus-visible') && !over && root.dataset.pointer !== 'touch') say(KEYS); });
grid.addEventListener('focusout', gestures);
grid.addEventListener('contextmenu', (event) => event.preventDefault());

// -- the tools ---------------------------------------------------------------------------------------------------------

const brush = () => tools.brushes[plane() ?? 'share'];

function setBrush(to) {
  const of = plane() ?? 'share';
  const [low, high] = BRUSH_RANGE[of];
  tools.brushes[of] = within(low, high, Math.round(to * 100) / 100);
  for (const control of [brushBar, brushBox]) Object.assign(control, { min: low, max: high, value: brush() });
  element.querySelector('.gm-brush').style.setProperty('--gm-chip', CHIPS[of](brush()));
  root.dataset.brush = brush();
}

function legend() {
  const shown = tools.fit && reach > 0;
  const middle = MIDDLE[tools.shows] ?? 0;
  const ends = tools.shows === 'difference' ? [-(reach || 0.5), reach || 0.5] : [0, 1];
  const [low, high] = shown ? [middle - reach, middle + reach] : ends;
  const words = tools.shows === 'difference' ? ['less domain', 'more'] : ['task', 'domain'];
  element.querySelector('.gm-low').textContent = `${words[0]} ${number(low, 2)}`;
  element.querySelector('.gm-high').textContent = `${number(high, 2)} ${words[1]}`;
  element.querySelector('.gm-fitted').textContent = shown ? `colours fitted: full at ${number(reach, 2)} from ${number(middle)}` : '';
  if (tools.shows === 'difference') gestures();  // it says from what
}

function look() {
  Object.assign(root.dataset, { tool: tools.tool, shows: tools.shows, whose: tools.whose, plane: plane() ?? '' });
  root.classList.toggle('unread', Boolean(unread()));
  root.classList.toggle('read-only', plane() === null);
  setBrush(brush());
  gestures();
  hideTip();
  if (live()) drawAll();
  legend();
}

element.querySelector('.gm-finger input').addEventListener('change', (event) => { tools.finger = event.target.checked; root.classList.toggle('finger', tools.finger); });
element.querySelector('.gm-fit input').addEventListener('change', (event) => { tools.fit = event.target.checked; look(); });
element.querySelectorAll('.gm-choice').forEach((group) => group.addEventListener('change', (event) => {
  tools[group.dataset.sets] = event.target.value;
  if (group.dataset.sets === 'shows') tools.chosen = true;
  if (tools.shows === 'difference' && !map.difference) trigger('compare', {});
  look();
}));

// The split map is what comes first where there is one; a view that there is nothing for is left.
function bestView() {
  const known = { split: map.split, separation: map.separation, asymmetry: map.asymmetry };
  const best = tools.shows in known && !known[tools.shows] ? 'gate' : !tools.chosen && map.split ? 'split' : tools.shows;
  if (tools.paints === 'separation' && !map.separation) tools.paints = 'share';
  if (best === tools.shows) return;
  tools.shows = best;
  element.querySelector(`#shows input[value=${best}]`).checked = true;
  look();
}
brushBar.addEventListener('input', () => setBrush(Number(brushBar.value)));
brushBox.addEventListener('change', () => setBrush(Number(brushBox.value) || 0));

// Only with Shift: a wheel alone scrolls the page, over the map too.
grid.addEventListener('wheel', (event) => {
  if (!event.shiftKey || !canPaint() || !['paint', 'rectangle'].includes(tools.tool)) return;
  event.preventDefault();
  setBrush(brush() - 0.05 * Math.sign(event.deltaY || event.deltaX));
}, { passive: false });

// A cell as wide as its number shows it; towers have cells of their own width, and the narrowest counts.
function measure() {
  const width = ({ rows, columns }) => rows.flatMap((i) => columns.map((j) => cells[i][j])).find((one) => one?.offsetWidth)?.offsetWidth ?? 0;
  const numbers = cells.length > 0 && Math.min(...towers().map(width)) >= 44;
  if (numbers !== root.classList.contains('numbers')) { root.classList.toggle('numbers', numbers); drawn = []; if (live()) drawAll(); }
  const scrolls = scroller.scrollWidth > scroller.clientWidth + 1;
  root.classList.toggle('scrolls', scrolls);
}

new ResizeObserver(measure).observe(scroller);

// -- keys ------------------------------------------------------------------------------------------------------------

function step([right, down], extend) {
  const [i, column] = stepped(selected, [right, down], [map.layers.length, map.projections.length], isFolded);
  const j = nearest(towerOf(i).columns, column, down);
  select(i, j, true, extend);
  showTip(i, j);
  if (!extend) trigger('cell_select', { index: [i, j] });
}

function use(tool) {
  if (tool === 'look' || !canPaint()) { if (tool !== 'reset') trigger('look', { index: selected }); return; }
  begin(ranged(), tool);
  commit();
}

function range(from, to) { anchor = from; select(...to, true, true); }

grid.addEventListener('keydown', (event) => {
  if (!live() || event.metaKey) return;
  const [last, lowest] = [map.layers.length - 1, map.projections.length - 1];
  const whole = event.ctrlKey && {
    a: () => range([0, 0], [last, lowest]),
    ' ': () => range([selected[0], 0], [selected[0], lowest]),
  }[event.key];
  const act = whole || (!event.ctrlKey && ({
    Home: () => step([-last, 0], event.shiftKey),
    End: () => step([last, 0], event.shiftKey),
    Enter: () => use(tools.tool),
    ' ': () => (event.shiftKey ? range([0, selected[1]], [last, selected[1]]) : use(tools.tool)),
    Delete: () => use('reset'),
    Backspace: () => use('reset'),
    Escape: () => { giveUp(); hideTip(); select(...selected, true); },
  }[event.key] ?? (MOVES[event.key] && (() => step(MOVES[event.key], event.shiftKey)))));
  if (!act) return;
  event.preventDefault();
  act();
});

const typing = (target) => target.closest?.('input:not([type=range]):not([type=radio]):not([type=checkbox]), textarea, [contenteditable=true]');

// On the document and not on a cell, so that they work wherever the focus is; a node that left the page takes its ears along.
function onPage(kind, listener) {
  const handle = (event) => { if (!element.isConnected) document.removeEventListener(kind, handle); else if (live() && element.offsetParent) listener(event); };
  document.addEventListener(kind, handle);
}

onPage('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || !(over || grid.contains(event.target))) return;
  const key = event.key.toLowerCase();
  const to = /^\d$/.test(key) ? Number(key) / 10 : BRUSHES[key];
  if (to === undefined) return;
  event.preventDefault();
  setBrush(to);
});

onPage('keydown', (event) => {
  const field = typing(event.target);
  if (!(event.ctrlKey || event.metaKey) || (field && (!field.matches('.gm-value') || field.dataset.dirty))) return;
  const key = event.key.toLowerCase();
  const redo = key === 'y' || (key === 'z' && event.shiftKey);
  if (key !== 'z' && !redo) return;
  event.preventDefault();
  if (redo) trigger('redo', {});
  else trigger('undo', {});
});

// -- news from Python ------------------------------------------------------------------------------------------------

let telling = null;
// Figures below the map follow once it has settled, so that a burst of strokes draws them once.
function tell() {
  clearTimeout(telling);
  telling = setTimeout(() => trigger('settled', { rev: map.rev }), 80);
}

function retell() { if (tipOf && !tip.hidden && cells[tipOf[0]]?.[tipOf[1]]) showTip(...tipOf); }

function arrived() {
  const news = props.value && JSON.parse(props.value);
  if (news && underway !== null && (news.ack === null || news.ack >= underway)) answered();
  const isStale = news && news.ack !== null && news.ack < sent;
  if (!news || stroke || isStale) return;
  load(news);
  if (live()) bestView();
  root.classList.toggle('unread', Boolean(unread()));
  // a hint that stays as it is is not set: it would be read out again, over the keys that it names while the focus is here
  const hintOf = [map.method ?? '', evenly()].join();
  if (root.dataset.hintOf !== hintOf) { root.dataset.hintOf = hintOf; gestures(); }
  legend();
  retell();  // the hand still rests there: say what is true now
  if (!map.live) return;
  grid.dataset.ready = '1';
  grid.dataset.rev = map.rev;
  tell();
}

const takeFacts = () => { taken = props.facts && JSON.parse(props.facts); };

// Cells that the selector lines being typed would touch.
function previewed() {
  if (!live()) return;
  grid.querySelectorAll('.previewed').forEach((shown) => shown.classList.remove('previewed'));
  JSON.parse(props.preview ?? '[]').forEach(([i, j]) => cells[i]?.[j]?.classList.add('previewed'));
}

pointing(window.matchMedia('(pointer: coarse)').matches ? 'touch' : 'mouse');
watch('value', arrived);
watch('facts', () => { takeFacts(); drawn = []; if (live()) drawAll(); retell(); });  // cells are named by what was read of them
watch('preview', previewed);
watch('at', () => { if (live() && props.at && isInside(props.at)) select(...props.at, false); });
look();
takeFacts();
arrived();
