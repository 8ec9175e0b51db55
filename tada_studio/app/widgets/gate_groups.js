// Groups of cells: attention and feed-forward as rows that fold, thirds of depth as columns that fold. A folded group is one cell
// that shows the mean of its cells, and that a hand can use like all of them.
const folded = new Set();        // names of what is folded: g0, g1, t0, t1, t2
let sums = new Map();            // node -> the cells it stands for

const THIRDS = ['shallow third', 'middle third', 'deep third'];
let groupMeans = [];             // the mean of each group's row
// Of a base with several towers, each of which is a map of its own, nothing folds.
const thirds = () => (map.layers.length < 6 || !single ? [] : thirdsOf(map.layers.length));
const groups = () => (single ? map.groups ?? [] : []);

function sum(className, cellsOf, says) {
  const made = node(`gm-sum ${className}`, '', { role: 'gridcell', title: `${says}: the mean of ${cellsOf.length} cells; a click uses the tool on all` });
  sums.set(made, cellsOf);
  return made;
}

// The nodes of one row between its name and its mean: `one(i)` for each column, then a sum for each third.
function inThirds(rows, one, of) {
  const parts = thirds().length ? thirds() : [rows];
  return parts.flatMap((columns, t) => {
    const nodes = columns.map((i) => { const made = one(i); made.classList.add(`in-t${t}`); return made; });
    return thirds().length ? [...nodes, of(columns, t)] : nodes;
  });
}

function groupRow([name, members], g) {
  const row = node('gm-row gm-group-row', '', { role: 'row' });
  row.dataset.fold = `g${g}`;
  const head = node('gm-name gm-group-head', '', { role: 'rowheader' });
  head.append(foldButton(`g${g}`, name, `${members.length} rows`));
  row.append(head);
  const all = (columns) => columns.flatMap((i) => members.map((j) => [i, j]));
  row.append(...inThirds(map.layers.map((_, i) => i), (i) => sum('gm-strip', all([i]), `${name}, ${layerName(i)}`), (columns, t) => sum(`gm-strip sum-t${t}`, all(columns), `${name}, ${THIRDS[t]}`)));
  row.append((groupMeans[g] = node('gm-mean', '', { 'aria-hidden': 'true' })));
  return row;
}

function thirdsRow() {
  const row = node('gm-row', '', { role: 'row' });
  row.append(node('gm-name', 'thirds', { role: 'rowheader' }));
  thirds().forEach((columns, t) => {
    const cellOf = node('gm-third', '', { role: 'columnheader' });
    cellOf.dataset.fold = `t${t}`;
    cellOf.append(foldButton(`t${t}`, THIRDS[t], `${columns.length} layers`));
    row.append(cellOf);
  });
  row.append(node('gm-mean', '', { 'aria-hidden': 'true' }));
  return row;
}

function foldButton(what, name, size) {
  const made = node('gm-fold', name, { type: 'button', 'data-fold': what, title: `${name}: fold ${size} into one, or unfold` }, 'button');
  made.addEventListener('click', () => { if (folded.has(what)) folded.delete(what); else folded.add(what); fold(); });
  return made;
}

const isFolded = (i, j) => groups().some(([, members], g) => folded.has(`g${g}`) && members.includes(j)) || thirds().some((columns, t) => folded.has(`t${t}`) && columns.includes(i));

// What is folded, on the page: classes hide cells and show sums; a third spans the columns that it has left.
function fold() {
  const parts = thirds();
  const there = (what) => (what[0] === 'g' ? groups().length : parts.length) > 0;
  ['g0', 'g1', 't0', 't1', 't2'].forEach((what) => grid.classList.toggle(`fold-${what}`, there(what) && folded.has(what)));
  const widths = parts.map((columns, t) => (folded.has(`t${t}`) ? 1 : columns.length));
  if (widths.length) grid.querySelector('.gm-tower').style.setProperty('--gm-columns', widths.reduce((a, b) => a + b));
  grid.querySelectorAll('.gm-third').forEach((place, t) => { place.style.gridColumn = `span ${widths[t]}`; });
  grid.querySelectorAll('.gm-fold').forEach((button) => button.setAttribute('aria-expanded', String(!folded.has(button.dataset.fold))));
  if (isFolded(...selected)) { const next = firstInSight(); if (next) select(...next, false); }
}

function firstInSight() {
  for (let i = 0; i < map.layers.length; i += 1) for (let j = 0; j < map.projections.length; j += 1) if (isInside([i, j]) && !isFolded(i, j)) return [i, j];
  return null;
}

function drawSums() {
  for (const [place, of] of sums) {
    const shown = mean(of.map(([i, j]) => value(i, j)));
    place.style.background = shown === null ? '' : view().many?.(of) ?? view().chip(shown);
    place.setAttribute('aria-label', `${place.title.split(':')[0]}: mean ${labelOf(shown) || 'unknown'}`);
    place.textContent = root.classList.contains('numbers') ? labelOf(shown) : '';
  }
  groups().forEach(([, members], g) => {
    const shown = mean(members.flatMap((j) => map.layers.map((_, i) => value(i, j))));
    groupMeans[g].style.setProperty('--gm-chip', shown === null ? '' : view().chip(shown));
    groupMeans[g].textContent = labelOf(shown);
  });
}
