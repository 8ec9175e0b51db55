// What a cell of the gate map looks like and is called. Run by `node --test tests/js`; pytest does it too.
const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const test = require('node:test');
const vm = require('node:vm');

// The files are scripts of a page and export nothing: each is run in a context of its own, and its names are asked for.
function script(file, names, globals = {}) {
  const source = fs.readFileSync(path.join(__dirname, '../../tada_studio', file), 'utf8');
  return vm.runInNewContext(`${source}\n;({${names}})`, globals);
}

const plain = (value) => JSON.parse(JSON.stringify(value));  // from the other context into this one
const looks = script('app/widgets/gate_looks.js', [
  'mean', 'shortName', 'number', 'percent', 'gateColour', 'strengthColour', 'lostColour', 'halves', 'rectangle', 'between',
  'typedStroke', 'brushName', 'chain', 'shareFrom', 'PLANES', 'signed', 'keeps', 'towersOf', 'nearest', 'stretched', 'thirdsOf', 'stepped', 'isDeep',
]);

test('a mean passes over what is not known, and of nothing is not known', () => {
  assert.equal(looks.mean([1, null, 3, undefined]), 2);
  assert.equal(looks.mean([null]), null);
});

test('gate_proj keeps its name, others are short', () => {
  assert.deepEqual(['q_proj', 'gate_proj', 'attn.c_proj', 'fc1', 'self_attn.q_proj', 'EncDecAttention.q'].map(looks.shortName), ['q', 'gate_proj', 'attn.c_proj', 'fc1', 'self.q', 'enc.q']);
});

test('a number on a full colour changes its ink, on half a colour and on none it does not', () => {
  assert.deepEqual([0, 0.05, 0.3, 0.5, 0.95, 1].map((gate) => looks.isDeep(looks.gateColour(gate))), [true, true, false, false, true, true]);
  assert.deepEqual([looks.isDeep(looks.halves(looks.gateColour(0), looks.gateColour(0.5))), looks.isDeep(''), looks.isDeep('transparent')], [false, false, false]);
});

test('an even gate has no colour, its ends are whole', () => {
  assert.match(looks.gateColour(0.5), / 0%/);
  assert.match(looks.gateColour(0), /--tada-task\) 100%/);
  assert.match(looks.gateColour(1), /--tada-domain\) 100%/);
  assert.match(looks.gateColour(1.4), /--tada-domain\) 100%/);
});

test('a little conflict is not red, whatever the map', () => {
  const share = (colour) => Number(/(\d+)%/.exec(colour)[1]);
  assert.equal(share(looks.lostColour(0)), 0);
  assert.equal(share(looks.lostColour(0.014)), 12);
  assert.equal(share(looks.lostColour(0.5)), 71);
  assert.equal(share(looks.lostColour(1)), 100);
});

test('an adapter that is subtracted has another colour than one that is added', () => {
  assert.match(looks.strengthColour(-1), /conflict/);
  assert.match(looks.strengthColour(1), /merge\) 50%/);
});

test('two halves only where the two differ', () => {
  assert.equal(looks.halves('a', 'a'), 'a');
  assert.match(looks.halves('a', 'b'), /^linear-gradient/);
});

test('a fast pointer leaves no gaps', () => {
  const way = plain(looks.between([0, 0], [5, 2]));
  assert.deepEqual([way[0], way.at(-1), way.length], [[0, 0], [5, 2], 6]);
  for (let k = 1; k < way.length; k += 1) assert.ok(Math.abs(way[k][0] - way[k - 1][0]) <= 1 && Math.abs(way[k][1] - way[k - 1][1]) <= 1);
});

test('a rectangle from any corner', () => {
  assert.deepEqual(plain(looks.rectangle([1, 1], [0, 0])), [[0, 0], [0, 1], [1, 0], [1, 1]]);
});

test('what is typed into the table', () => {
  const means = (typed) => plain(looks.typedStroke(typed));
  assert.deepEqual(means(' 0,25 '), { tool: 'paint', value: 0.25 });
  assert.deepEqual(means('Domain'), { tool: 'paint', value: 1 });
  assert.deepEqual(means(''), { tool: 'reset' });
  assert.deepEqual(means('unlock'), { tool: 'lock', on: false });
  for (const wrong of ['1.1', '-1', 'x', '1e9', 'NaN']) assert.equal(means(wrong), null);
});

test('the brush is named as selector lines are', () => {
  assert.equal(looks.brushName('share', 'task'), 'share');
  assert.equal(looks.brushName('strength', 'both'), 'strength');
  assert.equal(looks.brushName('strength', 'domain'), 'domain strength');
});

test('what an adapter keeps and is left with, and a difference that rounds to nothing has no minus', () => {
  assert.equal(looks.keeps([0.998, 0.6049], 'domain'), '100% on its own inputs, 60% on the domain’s');
  assert.deepEqual([0.421, -0.421, -0.001].map(looks.signed), ['+0.42', '−0.42', '+0.00']);
});

test('a share that no readings give is not called computed', () => {
  assert.equal(looks.shareFrom(true, false, 0.66), 'as computed');
  assert.equal(looks.shareFrom(true, true, 0.66), 'set by hand; computed 0.66');
  assert.equal(looks.shareFrom(false, false, 0.5), 'even until a hand sets it');
  assert.equal(looks.shareFrom(false, true, 0.5), 'set by hand');
});

test('colours that are fitted reach their end at the farthest value, and stay as they are without one', () => {
  assert.equal(looks.stretched(0.75, 0.5, 0.25, 0.5), 1);
  assert.equal(looks.stretched(0.375, 0.5, 0.25, 0.5), 0.25);
  assert.equal(looks.stretched(0.6, 0.5, 0, 0.5), 0.6);
});

test('thirds of depth hold every layer once', () => {
  assert.deepEqual(plain(looks.thirdsOf(7)), [[0, 1, 2], [3, 4], [5, 6]]);
});

test('a step goes past what is folded, and at the edge stays with what is not', () => {
  const last = (i) => i >= 4;           // the last third of six is folded
  const step = (from, by, hidden) => plain(looks.stepped(from, by, [6, 7], hidden));
  assert.deepEqual(step([0, 4], [5, 0], last), [3, 4]);
  assert.deepEqual(step([3, 4], [1, 0], last), [3, 4]);
  assert.deepEqual(step([0, 1], [1, 0], (i) => i === 1 || i === 2), [3, 1]);
  assert.deepEqual(step([2, 4], [0, -1], (i, j) => j < 4), [2, 4]);
  assert.deepEqual(step([2, 4], [-9, 0], () => false), [0, 4]);
});

test('the chain from response to share, as far as it is known', () => {
  assert.equal(looks.chain({ task: null, domain: null, even: null, gate: 0.5 }, ''), null);
  const rows = plain(looks.chain({ task: 0.2, domain: 0.1, even: 0.25, gate: 0.66 }, 'in this row'));
  assert.deepEqual(rows.map((row) => row[0]), ['response', 'ratio', 'so the share']);
  assert.match(rows[1][1], /^0\.5; 0\.25 counts as even in this row$/);
});

// -- charts ----------------------------------------------------------------------------------------------------------

const panel = script('app/widgets/plot_panel.js', ['shownIn', 'filledPage', 'keepReadable']);
const themed = script('figures/themed.js', ['merged', 'themed', 'fileName']);

test('a panel shows the title that came with the figure, or its own', () => {
  assert.equal(panel.shownIn(null, 'Rank'), null);
  assert.equal(panel.shownIn('{"title": "Rank, layer 3", "figure": {}}', 'Rank').title, 'Rank, layer 3');
  assert.equal(panel.shownIn('{"title": "", "figure": {}}', 'Rank').title, 'Rank');
});

test('what fills one gap of a page is not searched for others', () => {
  assert.equal(panel.filledPage('<t>%title%</t>%body%', { title: '%body%', body: 'b' }), '<t>%body%</t>b');
});

test('a figure keeps what it says and takes the rest from the page', () => {
  const css = (name) => ({ '--body-text-color': '#111' })[name] ?? '';
  const shown = themed.themed({ data: [{ error_y: {}, error_x: { width: 5 } }], layout: { height: 90, yaxis: { title: { text: 'a' } }, template: {} } }, css);
  assert.equal(shown.layout.height, 90);
  assert.equal(shown.layout.template, undefined);
  assert.equal(shown.layout.yaxis.title.text, 'a');
  assert.equal(shown.data[0].error_y.color, '#111');
  assert.deepEqual({ ...shown.data[0].error_x }, { color: '#111', width: 5 });
});

test('numbers in cells take the ink of a dark page, and elsewhere what plotly finds readable', () => {
  const shown = (ink, trace) => themed.themed({ data: [trace], layout: {} }, (name) => (name === '--cell-ink' ? ink : '')).data[0].textfont;
  assert.equal(shown('#eee', { texttemplate: '%{text}' }).color, '#eee');
  assert.equal(shown('', { texttemplate: '%{text}' }), undefined);
  assert.equal(shown('#eee', {}), undefined);
});

test('a figure that needs room keeps it and can be reached by keys, others take what there is', () => {
  const frame = { classes: new Set(), classList: { toggle: (name, on) => frame.classes[on ? 'add' : 'delete'](name) }, removeAttribute: () => delete frame.tabIndex };
  const chart = { style: {}, parentElement: frame };
  panel.keepReadable(chart, 484);
  assert.deepEqual([chart.style.minWidth, frame.tabIndex, frame.classes.has('wide')], ['484px', 0, true]);
  panel.keepReadable(chart, undefined);
  assert.deepEqual([chart.style.minWidth, frame.tabIndex, frame.classes.has('wide')], ['', undefined, false]);
});

test('a file name is plain', () => {
  assert.equal(themed.fileName('How sure, layer <3>!'), 'tada-studio-how-sure-layer-3');
});

const kit = script('figures/themed.js', ['figureCsv', 'wrapped', 'shownSeries']);

test('a figure goes home as numbers, by the names of its ticks, without what was switched off', () => {
  const layout = { xaxis: { title: { text: 'layer' }, tickvals: [0, 1], ticktext: [4, 9] }, yaxis: { title: { text: 'share' } } };
  const line = { name: 'a "b", c', x: [0, 1], y: [0.5, null], error_y: { array: [0.1, 0.2], arrayminus: [0.3, 0.4] } };
  const off = { name: 'off', x: [0], y: [1], visible: 'legendonly' };
  assert.equal(kit.figureCsv({ data: [line, off], layout }),
    'series,layer,share,value,above,below\n"a ""b"", c",4,0.5,,0.1,0.3\n"a ""b"", c",9,,,0.2,0.4\n');
  const map = { x: [0, 1], y: [0], z: [[0.25, null]] };
  assert.equal(kit.figureCsv({ data: [map], layout: { ...layout, yaxis: { tickvals: [0], ticktext: ['=q'] } } }),
    "series,layer,y,value,above,below\n,4,'=q,0.25,,\n,9,'=q,,,\n");
  const second = { name: 'decoder', x: [0], y: [1], xaxis: 'x2' };
  const towers = { xaxis: { tickvals: [0], ticktext: [3] }, xaxis2: { title: { text: 'layer' }, tickvals: [0], ticktext: [7] }, yaxis: {} };
  assert.equal(kit.figureCsv({ data: [second], layout: towers }), 'series,layer,y,value,above,below\ndecoder,7,1,,,\n');
});

test('a caption is wrapped between words', () => {
  assert.deepEqual([...kit.wrapped('one two  three four', 9)], ['one two', 'three', 'four']);
});

test('a tower has its own rows and the columns that are there; one alone keeps every column', () => {
  const isThere = (i, j) => (i < 2 ? j === 0 : j > 0);
  assert.deepEqual(plain(looks.towersOf(['encoder', 'encoder', 'decoder'], 3, isThere)), [
    { name: 'encoder', rows: [0, 1], columns: [0] }, { name: 'decoder', rows: [2], columns: [1, 2] },
  ]);
  assert.deepEqual(plain(looks.towersOf(['', ''], 3, isThere)), [{ name: '', rows: [0, 1], columns: [0, 1, 2] }]);
});

test('a step goes on to the next column that a tower has, and stays where there is none', () => {
  assert.deepEqual([looks.nearest([0, 4, 5], 1, 1), looks.nearest([0, 4, 5], 3, -1), looks.nearest([0, 4, 5], 9, 1), looks.nearest([2], 0, 0)], [4, 0, 5, 2]);
});
