// What a cell of the gate map looks like and is called: functions of numbers and names alone, first of the four files that
// are one script. tests/js has a test for each.

// The planes that a hand can set; a view of the map shows one of them, or something that follows from them.
const PLANES = { gate: 'share', table: 'share', strength: 'strength', separation: 'separation' };
const BRUSH_RANGE = { share: [0, 1], strength: [-2, 2], separation: [0, 1] };

const mean = (values) => {
  const some = values.filter((value) => value !== null && value !== undefined);
  return some.length ? some.reduce((a, b) => a + b, 0) / some.length : null;
};
// q of q_proj, self.q of self_attn.q_proj, enc.q of attention to an encoder; another name with a path stays whole.
const shortName = (name) => name.replace(/^(\w+?)_?(?:attn|attention)\.(\w+)$/i, '$1.$2').replace(/^(?:encoder|encdec)\./i, 'enc.').replace(/^(\w+\.)?(\w+)_proj$/, (whole, path, short) => (short === 'gate' || (path && whole === name) ? whole : (path ?? '') + short));
const number = (value, digits = 3) => (value === null ? 'unknown' : Number(value.toPrecision(digits)).toString());
const percent = (share) => (share > 0 && share < 0.0005 ? 'under 0.1%' : `${(100 * share).toFixed(1)}%`);
// A share of energy as people say it: the last half of a percent is not held against it.
const asPercent = (share) => (share === null ? 'unknown' : `${Math.round(100 * share)}%`);
const gateWord = (gate) => (gate < 0.45 ? 'leans to task' : gate > 0.55 ? 'leans to domain' : 'about even');
const within = (low, high, value) => Math.min(high, Math.max(low, value));

// -- colours: blue is task, orange is domain, red is conflict, green is how much of a merge --------------------------

const mixed = (name, share) => `color-mix(in oklab, var(--tada-${name}) ${Math.round(100 * within(0, 1, share))}%, var(--tada-even))`;
const gateColour = (gate) => mixed(gate < 0.5 ? 'task' : 'domain', 2 * Math.abs(within(0, 1, gate) - 0.5));
const strengthColour = (times) => mixed(times < 0 ? 'conflict' : 'merge', Math.abs(times) / 2);
// The same on every map: by the root of the share of energy, so that 1 % shows and 1 % is not taken for much.
const lostColour = (lost) => mixed('conflict', Math.sqrt(within(0, 1, lost)));
const separationColour = (how) => mixed('merge', how);
const signed = (value) => `${Number(value.toFixed(2)) < 0 ? '−' : '+'}${Math.abs(value).toFixed(2)}`;
// So full a colour that a number on it is read better in the ink of a button: both halves count.
const isDeep = (colour) => {
  const shares = [...String(colour).matchAll(/(\d+)%, var\(--tada-even/g)];
  return shares.length > 0 && shares.every(([, share]) => Number(share) >= 85);
};
// What is the task's, or of its inputs, above the diagonal; what is the domain's below.
const halves = (task, domain) => (task === domain ? task : `linear-gradient(135deg, ${task} 0 49%, ${domain} 51%)`);

const capital = (words) => words.charAt(0).toUpperCase() + words.slice(1);
// How far a value is from the middle of its scale, stretched so that the farthest of the map has the full colour. 0: as it is.
const stretched = (value, middle, reach, full) => (reach > 0 ? middle + ((value - middle) * full) / reach : value);

// Three thirds of so many columns, as selector lines divide them.
const thirdsOf = (n) => [0, 1, 2].map((t) => Array.from({ length: n }, (_, i) => i).filter((i) => Math.floor((3 * i) / n) === t));

// -- places ----------------------------------------------------------------------------------------------------------

function rectangle([a, b], [c, d]) {
  const found = [];
  for (let i = Math.min(a, c); i <= Math.max(a, c); i += 1) for (let j = Math.min(b, d); j <= Math.max(b, d); j += 1) found.push([i, j]);
  return found;
}

// Rows of the map by tower, and the columns in which each has any module; all of them where there is one tower.
function towersOf(names, columns, isThere) {
  const found = [];
  names.forEach((name, i) => (found.length && found[found.length - 1].name === name ? found[found.length - 1].rows.push(i) : found.push({ name, rows: [i] })));
  const all = Array.from({ length: columns }, (_, j) => j);
  return found.map((one) => ({ ...one, columns: found.length < 2 ? all : all.filter((j) => one.rows.some((i) => isThere(i, j))) }));
}

// The column nearest to one that a tower may not have; on from it in the direction of a step, if there is any.
function nearest(columns, j, down) {
  const onward = columns.filter((one) => (down > 0 ? one >= j : down < 0 ? one <= j : true));
  return (onward.length ? onward : columns).reduce((best, one) => (Math.abs(one - j) < Math.abs(best - j) ? one : best));
}

// Every cell on the way, for a pointer that moves faster than its events.
function between([x0, y0], [x1, y1]) {
  const steps = Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0), 1);
  return Array.from({ length: steps + 1 }, (_, k) => [Math.round(x0 + ((x1 - x0) * k) / steps), Math.round(y0 + ((y1 - y0) * k) / steps)]);
}

// Where a step from a cell leads on a map of so many columns and rows: past what is folded, and at the edge back to what is not.
function stepped(from, [right, down], [columns, rows], isHidden) {
  const by = [Math.sign(right), Math.sign(down)];
  let [i, j] = [within(0, columns - 1, from[0] + right), within(0, rows - 1, from[1] + down)];
  const on = (sign) => { i += sign * by[0]; j += sign * by[1]; };
  const inside = () => i >= 0 && j >= 0 && i < columns && j < rows;
  while (inside() && isHidden(i, j)) on(1);
  if (inside()) return [i, j];
  do on(-1); while (isHidden(i, j) && `${[i, j]}` !== `${from}`);
  return [i, j];
}

// -- words -----------------------------------------------------------------------------------------------------------

// What was typed into the table, as a stroke; null for what cannot be read.
function typedStroke(typed) {
  const word = typed.trim().toLowerCase().replace(',', '.');
  if (word === '' || word === 'reset') return { tool: 'reset' };
  if (word === 'lock' || word === 'unlock') return { tool: 'lock', on: word === 'lock' };
  const named = { task: 0, even: 0.5, domain: 1 }[word];
  const gate = named ?? (/^\d*\.?\d+$/.test(word) ? Number(word) : NaN);
  return gate >= 0 && gate <= 1 ? { tool: 'paint', value: gate } : null;
}

// The brush as selector lines and Python call it.
const brushName = (plane, whose) => (plane === 'strength' && whose !== 'both' ? `${whose} strength` : plane);

// What one adapter keeps on its own inputs and is left with on the other's, of [own kept, foreign left].
const keeps = ([own, foreign], other) => `${asPercent(own)} on its own inputs, ${asPercent(foreign)} on the ${other}’s`;

// Where a cell's share comes from: of a method that computes none, and without readings, it is even until a hand sets it.
function shareFrom(computes, byHand, computed) {
  if (byHand) return computes ? `set by hand; computed ${computed.toFixed(2)}` : 'set by hand';
  return computes ? 'as computed' : 'even until a hand sets it';
}

// How a gate came about: what each adapter did with the inputs, by how much the domain's was more, and what counts as even.
function chain({ task, domain, even, gate }, where) {
  if (task === null || domain === null) return null;
  const rows = [['response', `task ${number(task)}, domain ${number(domain)}`]];
  if (even !== null && task > 0) rows.push(['ratio', `${number(domain / task)}; ${number(even)} counts as even ${where}`]);
  if (gate !== null) rows.push(['so the share', `${gate.toFixed(2)} as computed`]);
  return rows;
}
