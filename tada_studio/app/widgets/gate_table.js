// The gate map as a table: the same cells, one gate typed into each, some layers at a time. Edits are strokes like any other.
const PAGE = 24;
const table = element.querySelector('.gm-table');
let page = 0;
let fields = [];       // fields[row on this page][projection], <input>

const isTable = () => tools.shows === 'table';
const pages = () => Math.max(1, Math.ceil(map.layers.length / PAGE));
const text = (i, j) => (isThere(i, j) ? String(Number(map.gates[i][j].toFixed(4))) : '');

function drawTable() {
  if (!isTable() || !live()) return;
  page = Math.min(page, pages() - 1);
  const first = page * PAGE;
  const shape = [first, map.towers, map.layers, map.projections].join('|');
  if (table.dataset.shape !== shape) { buildTable(first); table.dataset.shape = shape; }
  fields.forEach((row, k) => row.forEach((field, j) => drawField(field, first + k, j)));
}

function drawField(field, i, j) {
  if (!field) return;
  if (document.activeElement !== field || !field.dataset.dirty) { field.value = text(i, j); delete field.dataset.dirty; }
  field.setAttribute('aria-invalid', 'false');
  const state = [map.edited[i][j] ? 'set by hand' : map.computes ? 'computed' : 'even', map.locked[i][j] ? 'locked' : ''].filter(Boolean).join(', ');
  field.setAttribute('aria-label', `${layerName(i)} ${map.projections[j]}, ${state}`);
  const spot = field.parentElement;
  spot.classList.toggle('edited', Boolean(map.edited[i][j]));
  spot.classList.toggle('locked', Boolean(map.locked[i][j]));
  spot.style.setProperty('--gm-chip', gateColour(map.gates[i][j]));
}

function buildTable(first) {
  const layers = map.layers.slice(first, first + PAGE);
  const head = node('', '', {}, 'tr');
  head.append(node('', 'layer', { scope: 'col' }, 'th'), ...map.projections.map((name) => node('', name, { scope: 'col' }, 'th')));
  const [top, body] = [node('', '', {}, 'thead'), node('', '', {}, 'tbody')];
  top.append(head);
  fields = layers.map((layer, k) => {
    const row = node('', '', {}, 'tr');
    row.append(node('', `${map.towers?.[first + k] ?? ''} ${layer}`.trim(), { scope: 'row' }, 'th'));
    const made = map.projections.map((_, j) => spot(row, first + k, j));
    body.append(row);
    return made;
  });
  const caption = node('gm-caption', `Domain's share, layers ${layers[0]} to ${layers[layers.length - 1]} of ${map.layers.length}`, {}, 'caption');
  const made = node('', '', {}, 'table');
  made.append(caption, top, body);
  table.replaceChildren(...(pages() > 1 ? [turner(), made] : [made]));
}

function spot(row, i, j) {
  const place = node('', '', {}, 'td');
  row.append(place);
  if (!isThere(i, j)) { place.append(node('gm-none-here', 'none', { title: 'neither adapter changes this module' }, 'span')); return null; }
  const field = node('gm-value', '', { type: 'text', inputmode: 'decimal', autocomplete: 'off', spellcheck: 'false' }, 'input');
  Object.assign(field.dataset, { i, j, value: cells[i]?.[j]?.dataset.cell ?? `${map.layers[i]}.${map.projections[j]}` });
  place.append(field);
  return field;
}

function turner() {
  const bar = node('gm-turner', '', { role: 'group', 'aria-label': 'layers shown' });
  for (let k = 0; k < pages(); k += 1) {
    const last = Math.min(map.layers.length, (k + 1) * PAGE) - 1;
    const button = node('', `${map.layers[k * PAGE]}–${map.layers[last]}`, { type: 'button', 'aria-pressed': String(k === page) }, 'button');
    button.addEventListener('click', () => { page = k; drawTable(); });
    bar.append(button);
  }
  return bar;
}

function take(field) {
  const [i, j] = [Number(field.dataset.i), Number(field.dataset.j)];
  if (!field.dataset.dirty) return true;
  if (unread()) { say(unread()); field.value = text(i, j); delete field.dataset.dirty; return false; }
  const stroke = typedStroke(field.value);
  if (!stroke) { field.setAttribute('aria-invalid', 'true'); say('Type a gate from 0 to 1, task, even, domain, lock, unlock, or nothing to give the cell back.'); return false; }
  delete field.dataset.dirty;
  if (map.locked[i][j] && stroke.tool !== 'lock') { say('This cell is locked. Type unlock first.'); field.value = text(i, j); return false; }
  begin([[i, j]], stroke.tool, stroke.value, stroke.on);
  commit();
  return true;
}

function move(field, down) {
  const [i, j] = [Number(field.dataset.i), Number(field.dataset.j)];
  const next = fields[i - page * PAGE + down]?.[j];
  next?.focus();
  next?.select();
}

table.addEventListener('input', (event) => { event.target.dataset.dirty = '1'; });
table.addEventListener('focusin', (event) => {
  if (!event.target.matches('.gm-value')) return;
  selected = anchor = [Number(event.target.dataset.i), Number(event.target.dataset.j)];
  trigger('cell_select', { index: selected });
});
table.addEventListener('focusout', (event) => { if (event.target.matches('.gm-value')) take(event.target); });
table.addEventListener('keydown', (event) => {
  const field = event.target;
  if (!field.matches('.gm-value')) return;
  if (event.key === 'Escape') { delete field.dataset.dirty; drawTable(); field.select(); return; }
  const down = { Enter: event.shiftKey ? -1 : 1, ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!down) return;
  event.preventDefault();
  if (take(field)) move(field, down);
});
