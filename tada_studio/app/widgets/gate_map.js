// The gate map, after gate_looks.js: what is drawn. gate_table.js shows the same cells as a table, gate_input.js takes
// strokes, keys and news from Python.
const root = element.querySelector('.gm');
const grid = element.querySelector('.gm-grid');
const scroller = element.querySelector('.gm-scroll');
const tip = element.querySelector('.gm-tip');

const tools = { tool: 'paint', shows: 'gate', whose: 'both', paints: 'share', chosen: false, fit: false, finger: false, brushes: { share: 1, strength: 0.5, separation: 0.5 } };
let map = null;        // the last accepted payload; strokes in progress are drawn into it
let taken = null;      // what was read of the cells, for the card
let cells = [];        // cells[layer][projection], DOM nodes
let drawn = [];        // what each cell shows, to leave alone those that stay as they are
let selected = [0, 0];
let anchor = [0, 0];   // the other corner of a selection made by keys

const live = () => Boolean(map && map.live && map.layers.length);
const isThere = (i, j) => map.gates[i] !== undefined && map.gates[i][j] !== null && map.gates[i][j] !== undefined;
const isInside = ([i, j]) => cells[i]?.[j] !== undefined;
// The towers of the base, one below the other: the rows and the columns of the map that each has.
const towers = () => towersOf(map.towers ?? map.layers.map(() => ''), map.projections.length, isThere);
const layerName = (i) => `${map.towers?.[i] ?? ''} layer ${map.layers[i]}`.trim();
const known = (name, i, j) => taken?.[name]?.[i]?.[j] ?? null;
// The plane that a hand would set: the one in view, or the one chosen where all meet; null for a view that only tells.
const plane = () => PLANES[tools.shows] ?? (tools.shows === 'split' ? tools.paints : null);
const unread = () => (plane() ? map?.unread?.[plane()] ?? '' : '');
const canPaint = () => plane() !== null && !unread();
const times = (i, j) => map.strength[i][j];  // [task's, domain's]
const both = (i, j) => mean(times(i, j));

function node(className, text = '', attributes = {}, kind = 'div') {
  const made = document.createElement(kind);
  made.className = className;
  made.textContent = text;                   // never innerHTML: the names come from other people's files
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// -- the grid --------------------------------------------------------------------------------------------------------

let margins = [];      // of each tower
let single = true;     // one tower: its rows and columns fold

function build() {
  const all = towers();
  single = all.length < 2;
  root.style.setProperty('--gm-margin', `${map.margin}px`);
  grid.setAttribute('aria-rowcount', all.reduce((n, one) => n + one.columns.length, 0));
  grid.setAttribute('aria-colcount', Math.max(0, ...all.map((one) => one.rows.length)));
  grid.replaceChildren();
  cells = map.layers.map(() => []);
  drawn = [];
  sums = new Map();
  groupMeans = [];
  margins = all.map((one) => buildTower(one, all.length > 1));
  fold();
}

function buildTower({ name: called, rows, columns }, named) {
  const made = { rows: [], columns: [], whole: null };
  const box = node('gm-tower', '', named ? { role: 'rowgroup', 'aria-label': called } : { role: 'rowgroup' });
  box.style.setProperty('--gm-columns', rows.length);
  if (named) box.append(node('gm-tower-name', called, { 'aria-hidden': 'true' }));
  columns.forEach((j) => {
    const name = map.projections[j];
    const g = groups().findIndex(([, members]) => members.includes(j));
    if (g >= 0 && groups()[g][1][0] === j) box.append(groupRow(groups()[g], g));
    const row = node(g >= 0 ? `gm-row in-g${g}` : 'gm-row', '', { role: 'row' });
    const head = node('gm-name', '', { role: 'rowheader', title: `${name}: a click uses the tool on the whole row` });
    head.append(breakable(name));
    Object.assign(head.dataset, { row: j, first: rows[0] });
    row.append(head);
    row.append(...inThirds(rows, (i) => (cells[i][j] = cell(name, i, j)), (some, t) => sum(`sum-t${t}`, some.map((i) => [i, j]), `${name}, ${THIRDS[t]}`)));
    row.append((made.rows[j] = node('gm-mean', '', { 'aria-hidden': 'true' })));
    box.append(row);
  });
  if (thirds().length) box.append(thirdsRow());
  box.append(footer(rows, made));
  grid.append(box);
  return made;
}

// A name that a narrow margin breaks behind a dot, and not within a word.
function breakable(name) {
  const made = document.createElement('span');
  name.split(/(?<=\.)/).forEach((part, k) => made.append(...(k ? [document.createElement('wbr')] : []), part));
  return made;
}

function cell(name, i, j) {
  const made = node('gm-cell', '', { role: 'gridcell', tabindex: '-1' });
  Object.assign(made.dataset, { i, j, cell: [map.towers?.[i], map.layers[i], name].filter((part) => part !== '' && part !== undefined).join('.') });
  return made;
}

// Under the cells: the mean of each layer, and the layers' numbers, which stand for their columns.
function footer(rows, made) {
  const foot = node('gm-row', '', { 'aria-hidden': 'true' });
  foot.append(node('gm-name', 'mean'));
  foot.append(...inThirds(rows, (i) => (made.columns[i] = column('gm-layer', '', i)), (some, t) => node(`gm-none-there sum-t${t}`)));
  foot.append((made.whole = node('gm-mean')), node('gm-name', 'layer'));
  const step = Math.max(1, Math.ceil(rows.length / 16));
  const span = (some) => `${map.layers[some[0]]}–${map.layers[some.at(-1)]}`;
  const tick = (i) => column('gm-tick', rows.indexOf(i) % step ? '' : String(map.layers[i]), i);
  foot.append(...inThirds(rows, tick, (some, t) => node(`gm-tick sum-t${t}`, span(some))));
  foot.append(node('gm-mean-name', 'mean'));
  return foot;
}

function column(className, text, i) {
  const made = node(className, text, { title: `${layerName(i)}: a click uses the tool on the whole layer` });
  made.dataset.column = i;
  return made;
}

// -- looks -----------------------------------------------------------------------------------------------------------

// The farthest from the middle of its scale that the view in sight has, if colours are fitted to it; else 0.
let reach = 0;
const MIDDLE = { gate: 0.5, merged: 0.5, asymmetry: 0.5, split: 0.5 };
function measureReach() {
  if (!tools.fit || !live()) { reach = 0; return; }
  const middle = MIDDLE[tools.shows] ?? 0;
  const each = (i, j) => ({ split: () => [map.split.task[i][j], map.split.domain[i][j]], conflict: () => map.lost?.[i]?.[j] ?? [], strength: () => times(i, j) }[tools.shows]?.() ?? [view().of(i, j)]);
  const all = map.layers.flatMap((_, i) => map.projections.flatMap((__, j) => (isThere(i, j) ? each(i, j) : [])));
  reach = Math.max(0, ...all.filter((one) => one !== null).map((one) => Math.abs(one - middle)));
}
const fitGate = (v) => gateColour(stretched(v, 0.5, reach, 0.5));
const fitTimes = (v) => strengthColour(stretched(v, 0, reach, 2));
const fitLost = (v) => lostColour(stretched(v, 0, reach, 1));
const fitApart = (v) => separationColour(stretched(v, 0, reach, 1));
const fitDifference = (v) => gateColour(0.5 + stretched(v, 0, reach, 0.5));

// What a view shows of a cell: its colour, a number for means and labels, how that number reads.
const VIEWS = {
  split: {
    colour: (i, j) => (apart(i, j) === null ? 'none' : halves(fitGate(map.split.task[i][j]), fitGate(map.split.domain[i][j]))),
    of: (i, j) => apart(i, j), label: signed, chip: separationColour,
    many: (of) => halves(...['task', 'domain'].map((kind) => fitGate(mean(of.map(([i, j]) => map.split[kind][i][j]))))),
  },
  asymmetry: {
    colour: (i, j) => (map.asymmetry?.[i]?.[j] == null ? 'none' : fitGate(map.asymmetry[i][j])), of: (i, j) => map.asymmetry?.[i]?.[j] ?? null,
    label: (v) => v.toFixed(2), chip: fitGate,
  },
  gate: { colour: (i, j) => fitGate(map.gates[i][j]), of: (i, j) => map.gates[i][j], label: (v) => v.toFixed(2), chip: fitGate },
  strength: {
    colour: (i, j) => (tools.whose === 'both' ? halves(...times(i, j).map(fitTimes)) : fitTimes(times(i, j)[tools.whose === 'task' ? 0 : 1])),
    of: (i, j) => (tools.whose === 'both' ? both(i, j) : times(i, j)[tools.whose === 'task' ? 0 : 1]), label: (v) => `x ${number(v, 2)}`, chip: fitTimes,
  },
  separation: { colour: (i, j) => fitApart(map.separation[i][j]), of: (i, j) => map.separation[i][j], label: (v) => v.toFixed(2), chip: fitApart },
  merged: {
    colour: (i, j) => (map.merged?.[i]?.[j] == null ? 'none' : fitGate(map.merged[i][j])), of: (i, j) => map.merged?.[i]?.[j] ?? null,
    label: (v) => `${Math.round(100 * v)}%`, chip: fitGate,
  },
  conflict: {
    colour: (i, j) => halves(...(map.lost?.[i]?.[j] ?? [0, 0]).map(fitLost)), of: (i, j) => Math.max(...(map.lost?.[i]?.[j] ?? [0, 0])),
    label: percent, chip: fitLost,
  },
  difference: {
    colour: (i, j) => (moved(i, j) === null ? 'none' : fitDifference(moved(i, j))), of: (i, j) => moved(i, j), label: signed, chip: fitDifference,
  },
};
// How a brush of each plane is coloured.
const CHIPS = { share: gateColour, strength: strengthColour, separation: separationColour };
// The gate on domain inputs less the gate on task inputs.
const apart = (i, j) => (map.split?.domain[i]?.[j] == null ? null : map.split.domain[i][j] - map.split.task[i][j]);
// How far the domain's part of a merged update is from that in what the map is compared with.
const moved = (i, j) => map.difference?.of?.[i]?.[j] ?? null;
const view = () => VIEWS[tools.shows] ?? VIEWS.gate;
const value = (i, j) => (isThere(i, j) ? view().of(i, j) : null);
const labelOf = (shown) => (shown === null ? '' : view().label(shown));

// Whether a hand set what this view shows; a view of what follows marks whatever a hand set.
function isSet(i, j) {
  const strong = times(i, j).some((one) => one !== 1);
  const kept = map.separation ? map.separation[i][j] !== 1 : false;
  return Boolean({ share: map.edited[i][j], strength: strong, separation: kept }[PLANES[tools.shows]] ?? (map.edited[i][j] || strong || kept));
}

function drawCell(i, j) {
  if (!isInside([i, j])) return;
  const there = isThere(i, j);
  const all = [map.gates, map.computed, map.edited, map.locked, map.strength, map.separation, map.merged, map.lost, map.dropped, map.split?.task, map.split?.domain, map.asymmetry, map.difference?.of];
  const looks = there ? [...all.map((grid) => grid?.[i]?.[j]), tools.shows, tools.whose, reach].join() : 'absent';
  const key = `${i},${j}`;
  if (drawn[key] === looks) return;
  drawn[key] = looks;
  const shown = cells[i][j];
  shown.classList.toggle('absent', !there);
  shown.classList.toggle('edited', there && isSet(i, j));
  shown.classList.toggle('locked', there && Boolean(map.locked[i][j]));
  const colour = there ? view().colour(i, j) : '';
  shown.style.background = colour;
  shown.classList.toggle('deep', isDeep(colour));
  shown.textContent = there && root.classList.contains('numbers') ? labelOf(value(i, j)) : '';
  shown.setAttribute('aria-label', facts(i, j).join(', '));
}

function drawMargins() {
  const show = (place, shown, text) => { place.style.setProperty('--gm-chip', shown === null ? '' : view().chip(shown)); if (text) place.textContent = labelOf(shown); };
  towers().forEach(({ rows, columns }, k) => {
    const all = rows.map((i) => columns.map((j) => value(i, j)));
    rows.forEach((i, a) => show(margins[k].columns[i], mean(all[a]), false));
    columns.forEach((j, b) => show(margins[k].rows[j], mean(all.map((row) => row[b])), true));
    show(margins[k].whole, mean(all.flat()), true);
  });
  drawSums();
}

function drawAll() {
  measureReach();
  map.layers.forEach((_, i) => map.projections.forEach((_, j) => drawCell(i, j)));
  drawMargins();
  drawTable();
}

function load(news) {
  const sameGrid = map && cells.length && String([map.towers, map.layers]) === String([news.towers, news.layers]) && String(map.projections) === String(news.projections);
  map = news;
  if (!sameGrid) build();
  root.classList.toggle('empty', !map.layers.length);
  for (const [name, there] of [['separates', map.separation], ['splits', map.split], ['asymmetric', map.asymmetry]]) root.classList.toggle(name, Boolean(there));
  if (!map.layers.length) return;
  drawAll();
  if (!isInside(selected) || !isInside(anchor)) select(0, towers()[0].columns[0], false);
  else select(...selected, false, true);
  if (!sameGrid) measure();
}

// -- words and the card ------------------------------------------------------------------------------------------------

function facts(i, j) {
  const where = `${layerName(i)} ${map.projections[j]}`;
  if (!isThere(i, j)) return [`${where}: neither adapter changes this module`];
  const words = [`${where}: share ${map.gates[i][j].toFixed(2)}`];
  if (map.edited[i][j]) words.push(map.computes ? `set by hand (computed ${map.computed[i][j].toFixed(2)})` : 'set by hand');
  const [task, domain] = times(i, j);
  if (task !== 1 || domain !== 1) words.push(`strength task x ${number(task)}, domain x ${number(domain)}`);
  if (map.separation && map.separation[i][j] !== 1) words.push(`separation ${map.separation[i][j].toFixed(2)}`);
  if (map.locked[i][j]) words.push('locked');
  if (apart(i, j) !== null) words.push(`gate ${map.split.domain[i][j].toFixed(2)} on domain inputs, ${map.split.task[i][j].toFixed(2)} on task inputs`);
  if (taken?.task) words.push(`task response ${number(known('task', i, j))}`, `domain response ${number(known('domain', i, j))}`);
  if (map.lost) words.push(dropped(i, j));
  return words;
}

function dropped(i, j) {
  const count = map.dropped[i][j] ?? 0;
  if (!count) return 'nothing dropped';
  const [task, domain] = map.lost[i][j];
  return `${count} direction${count === 1 ? '' : 's'} dropped: ${percent(task)} of the task's energy, ${percent(domain)} of the domain's`;
}

// Everything about a cell, as rows of a card: [name, value, colour of the name]. From what was read to what comes out.
function details(i, j) {
  const gate = map.gates[i][j];
  const rows = chain({ task: known('task', i, j), domain: known('domain', i, j), even: known('even', i, j), gate: known('even', i, j) === null ? null : map.computed[i][j] }, taken?.where ?? '') ?? [];
  const by = shareFrom(map.computes, map.edited[i][j], map.computed[i][j]);
  const [low, high] = [known('low', i, j), known('high', i, j)];
  if (low !== null) rows.push(['95 % band', `${low.toFixed(2)} to ${high.toFixed(2)} (computed)`]);
  rows.push(['share', `${gate.toFixed(2)}, ${gateWord(gate)}; ${map.locked[i][j] ? `${by}; locked` : by}`]);
  if (map.unread?.share) rows.push(['', `${map.method} does not read it`]);
  const [task, domain] = times(i, j);
  if (task !== 1 || domain !== 1) rows.push(['strength', `task x ${number(task)}, domain x ${number(domain)}`]);
  const weights = map.weights?.[i]?.[j];
  if (weights?.some((one) => one !== 1)) rows.push(['weights', `task ${number(weights[0])}, domain ${number(weights[1])}`]);
  rows.push(...splitRows(i, j));
  const out = map.merged?.[i]?.[j];
  if (out != null) rows.push(['in the merge', `${Math.round(100 * (1 - out))}% task, ${Math.round(100 * out)}% domain, of its energy`]);
  rows.push(['norms', `task ${number(known('norm_task', i, j))}, domain ${number(known('norm_domain', i, j))}`]);
  if (map.lost) rows.push(['conflict', dropped(i, j), 'conflict']);
  return rows;
}

// Who speaks on which inputs, and what each adapter keeps there.
function splitRows(i, j) {
  if (apart(i, j) === null) return [];
  const [domain, task] = [map.split.domain[i][j], map.split.task[i][j]];
  const of = (name) => ['own', 'foreign'].map((kind) => map.kept[`${name} ${kind}`][i][j]);
  const kept = [['task', 'domain'], ['domain', 'task']].filter(([name]) => of(name)[0] !== null);
  return [
    ['on domain inputs', `gate ${domain.toFixed(2)}, ${gateWord(domain)}`], ['on task inputs', `gate ${task.toFixed(2)}, ${gateWord(task)}`],
    ['separation', `${signed(domain - task)}, the first less the second`],
    ...kept.map(([name, other]) => [`${name} keeps`, keeps(of(name), other), name]),
  ];
}

let tipOf = null;
function showTip(i, j) {
  tipOf = [i, j];
  const head = node('gm-tip-head', `${capital(layerName(i))} · ${map.projections[j]}`);
  const rows = isThere(i, j) ? details(i, j) : [['', 'neither adapter changes this module']];
  const list = node('gm-tip-rows', '', {}, 'dl');
  for (const [name, text, role] of rows) list.append(node(role ? `gm-key ${role}` : 'gm-key', name, {}, 'dt'), node('', text, {}, 'dd'));
  tip.replaceChildren(head, list);
  tip.hidden = false;
  const [left, top] = clear(cells[i][j].getBoundingClientRect(), scroller.getBoundingClientRect());
  tip.style.transform = `translate(${left}px, ${top}px)`;
}

// A place for the card where it covers no cell: under the map, over it, or, of a map as high as the window, two cells aside.
function clear(box, cellsAt) {
  const frame = element.getBoundingClientRect();
  const [wide, high] = [tip.offsetWidth, tip.offsetHeight];
  const left = within(0, Math.max(0, frame.width - wide - 4), box.left - frame.left);
  if (cellsAt.bottom + high + 6 < window.innerHeight) return [left, cellsAt.bottom - frame.top + 6];
  if (cellsAt.top - high - 6 > 0) return [left, cellsAt.top - frame.top - high - 6];
  const aside = 2 * box.width + 6;
  const right = box.right - frame.left + aside;
  const top = within(0, Math.max(0, frame.height - high), box.top - frame.top - high / 2);
  return [right + wide < frame.width ? right : Math.max(0, box.left - frame.left - aside - wide), top];
}

function hideTip() { tip.hidden = true; tipOf = null; }

// -- the selection -----------------------------------------------------------------------------------------------------

function ranged() {
  const [[a, b], [c, d]] = [anchor, selected];
  return rectangle([a, b], [c, d]);
}

function select(i, j, focus, keepAnchor = false) {
  selected = [i, j];
  if (!keepAnchor) anchor = selected;
  const chosen = cells[i][j];
  const many = ranged();
  const inRange = new Set(many.length > 1 ? many.map(([a, b]) => cells[a][b]) : []);
  grid.querySelectorAll('.selected, .ranged').forEach((other) => {
    if (!inRange.has(other)) other.classList.remove('ranged');
    if (other !== chosen) { other.classList.remove('selected'); other.setAttribute('tabindex', '-1'); }
  });
  inRange.forEach((one) => one?.classList.add('ranged'));
  chosen.classList.add('selected');
  if (chosen.tabIndex !== 0) chosen.setAttribute('tabindex', '0');  // set as it is, it would lay out the page at every stroke
  if (focus) { chosen.focus({ preventScroll: true }); keepInView(chosen); }
}

// Inside the map only: the page itself never moves under a hand.
function keepInView(shown) {
  const [box, frame] = [shown.getBoundingClientRect(), scroller.getBoundingClientRect()];
  const start = frame.left + (grid.querySelector('.gm-name')?.offsetWidth ?? 0);
  if (box.left < start) scroller.scrollLeft -= start - box.left + 4;
  else if (box.right > frame.right) scroller.scrollLeft += box.right - frame.right + 4;
}
