// The map as a figure to take home: the view in sight with its scale, its numbers and its marks, as plotly draws it. The scripts of
// the charts, which are on the page before anybody can ask for it, save it like any other figure.

/* global asText, captionOf, csvOf, fileName, savePage, savePicture, saveText */

// How to read each view. What only a hand on this screen can do is in gate_input.js.
const ABOUT = {
  gate: '',
  difference: 'How far the domain’s part of each merged update is from that in another merge: orange more, blue less, pale the same.',
  split: 'Who speaks on which inputs: above the diagonal on task inputs, below it on domain inputs; blue the task, orange the domain. The further the halves differ, the more a module gates itself by its input.',
  asymmetry: 'The paper’s picture: which adapter, as trained, reacts more to the domain inputs, whatever the merge makes of it.',
  strength: 'How strongly each adapter speaks in a cell, on top of the share: x 1 as trained, x 0 not at all, below 0 subtracted. Where two colours meet, the upper is the task, the lower the domain.',
  separation: 'How far each adapter is kept to its own inputs in a cell: 1 fully, 0 not at all.',
  merged: 'What comes out: how much of each merged update’s energy is the domain’s.',
  conflict: 'How much of its own energy each adapter loses where directions oppose each other: the task above the diagonal, the domain below, on one fixed scale.',
};
const SHARES = 'Each cell is one projection of one layer: blue where the merge leans to the task, orange where it leans to the domain.';
const MARKS = 'A dot: set by hand. A square: locked.';

const NUMBERS = 'The number: the gate on domain inputs less that on task inputs.';
// What stands at a scale: [value, text] from one end to the other, as the map's own legend has it.
const LEANING = ([low, high]) => [[low, `task ${number(low, 2)}`], [(low + high) / 2, number((low + high) / 2, 2)], [high, `${number(high, 2)} domain`]];
const SCALES = {
  strength: ([low, high]) => [low, low / 2, 0, high / 2, high].map((v) => [v, `x ${number(v, 2)}`]),
  separation: ([low, high]) => [[low, 'not at all'], [high, high === 1 ? 'fully' : number(high, 2)]],
  conflict: ([, high]) => [[0, '0'], [0.01, '1%'], [0.1, '10%'], [0.5, '50%'], [1, 'all']].filter(([v]) => v <= high),
  difference: ([low, high]) => [[low, `less domain ${number(low, 2)}`], [0, '0'], [high, `more ${number(high, 2)}`]],
};

// Both numbers of a cell, by name, of views that show two halves; the task's is the upper one.
const HALVES = {
  split: { 'on task inputs': (i, j) => map.split.task[i][j], 'on domain inputs': (i, j) => map.split.domain[i][j] },
  strength: { task: (i, j) => times(i, j)[0], domain: (i, j) => times(i, j)[1] },
  conflict: { task: (i, j) => map.lost?.[i]?.[j]?.[0] ?? 0, domain: (i, j) => map.lost?.[i]?.[j]?.[1] ?? 0 },
};
const seenAs = () => (isTable() ? 'gate' : tools.shows);
const isHalved = () => seenAs() in HALVES && !(seenAs() === 'strength' && tools.whose !== 'both');
const parts = () => (isHalved() ? HALVES[seenAs()] : { '': (i, j) => view().of(i, j) });
const shade = (shown) => (seenAs() === 'split' ? fitGate : view().chip)(shown);

// The ends of the scale of the view in sight.
function ends() {
  const full = { strength: [-2, 2], difference: [-0.5, 0.5] }[seenAs()] ?? [0, 1];
  if (!reach) return full;
  const middle = MIDDLE[seenAs()] ?? 0;
  return middle || full[0] < 0 ? [middle - reach, middle + reach] : [0, reach];
}

// A colour of the page as plotly and other programs read it: it may be mixed from the page's own.
function plainColour(css) {
  const probe = root.appendChild(node(''));
  probe.style.background = css;
  const pen = document.createElement('canvas').getContext('2d');
  pen.fillStyle = getComputedStyle(probe).backgroundColor;
  probe.remove();
  pen.fillRect(0, 0, 1, 1);
  return `rgb(${[...pen.getImageData(0, 0, 1, 1).data.slice(0, 3)].join()})`;
}

const STOPS = 20;
function scaleOf([low, high]) {
  const at = (k) => (seenAs() === 'conflict' ? (k / STOPS) ** 2 : k / STOPS);  // its colours follow the root
  return Array.from({ length: STOPS + 1 }, (_, k) => [at(k), plainColour(shade(low + at(k) * (high - low)))]);
}

// Every row of the figure: its tower's layers, its projection, where it stands; towers stand a little apart.
function lines() {
  return towers().flatMap(({ name, rows, columns }, k) => columns.map((j) => ({ tower: name, rows, j, k })))
    .map((one, at) => ({ ...one, y: at + 0.8 * one.k }));
}

function heat(all, [name, of], first) {
  const range = ends();
  const ticks = (SCALES[seenAs()] ?? LEANING)(range);
  return [...new Set(all.map(({ k }) => k))].map((k) => {
    const mine = all.filter((one) => one.k === k);
    return {
      type: 'heatmap', name: [mine[0].tower, name].filter(Boolean).join(' '), x: mine[0].rows.map((_, x) => x), y: mine.map(({ y }) => y),
      z: mine.map(({ rows, j }) => rows.map((i) => (isThere(i, j) ? of(i, j) : null))), zmin: range[0], zmax: range[1],
      colorscale: scaleOf(range), xgap: 2, ygap: 2, showscale: first && !k,
      colorbar: { thickness: 10, outlinewidth: 0, tickvals: ticks.map(([v]) => v), ticktext: ticks.map(([, text]) => text) },
      text: mine.map(({ rows, j }) => rows.map((i) => whatItShows(i, j))), hovertemplate: '%{text}<extra></extra>',
    };
  });
}

function whatItShows(i, j) {
  const numbers = isThere(i, j) ? Object.entries(parts()).map(([name, of]) => `${name || seenAs()} ${number(of(i, j))}`) : ['neither adapter changes it'];
  return asText(`${layerName(i)} ${map.projections[j]}: ${numbers.join(', ')}`);
}

const everyCell = (all, act) => all.flatMap(({ rows, j, y }) => rows.flatMap((i, x) => (isThere(i, j) ? act(i, j, x, y) : [])));

// The domain's half of a cell, over the task's.
function lowerHalves(all) {
  const [[, upper], [, lower]] = Object.entries(parts());
  const path = (x, y) => `M${x + 0.49},${y - 0.465} L${x + 0.49},${y + 0.465} L${x - 0.49},${y + 0.465} Z`;
  return everyCell(all, (i, j, x, y) => (lower(i, j) === null || lower(i, j) === upper(i, j) ? []
    : [{ type: 'path', path: path(x, y), fillcolor: plainColour(shade(lower(i, j))), line: { width: 0 } }]));
}

function signs(all) {
  const numbers = root.classList.contains('numbers');
  return everyCell(all, (i, j, x, y) => {
    const says = [numbers ? labelOf(value(i, j)) : '', isSet(i, j) ? '●' : '', map.locked[i][j] ? '□' : ''].filter(Boolean).join(' ');
    const ink = cells[i][j].classList.contains('deep') ? { color: 'white' } : {};
    return says ? [{ x, y, text: says, showarrow: false, font: { size: 10, ...ink } }] : [];
  });
}

// { title, caption, figure } as a chart's panel has it.
function mapFigure() {
  const all = lines();
  const label = element.querySelector(`#shows input[value=${seenAs()}]`).parentElement.textContent.toLowerCase();
  const series = Object.entries(parts()).reverse();  // the task's is drawn last, and the domain's half over it
  const longest = all.reduce((most, one) => (one.rows.length > most.length ? one.rows : most), []);
  const every = Math.max(1, Math.ceil(longest.length / 16));
  const ticks = longest.map((_, x) => x).filter((x) => x % every === 0);
  const named = all.map(({ tower, j }) => asText([tower, map.projections[j]].filter(Boolean).join(' ')));
  const clean = { showgrid: false, zeroline: false };
  const says = [seenAs() === 'gate' ? SHARES : ABOUT[seenAs()], seenAs() === 'difference' && map.difference ? `Compared with ${map.difference.from}.` : '',
    seenAs() === 'split' && root.classList.contains('numbers') ? NUMBERS : '', element.querySelector('.gm-fitted').textContent && `Colours are fitted to this map.`, MARKS];
  return {
    title: `Map, ${label}${seenAs() === 'strength' && tools.whose !== 'both' ? ` of the ${tools.whose}` : ''}`,
    caption: says.filter(Boolean).join(' '),
    figure: {
      data: series.flatMap((one, n) => heat(all, one, n === 0)),
      layout: {
        height: 80 + 28 * all.length, margin: { l: 24 + 7 * Math.max(...named.map((one) => one.length)), r: 8, t: 12, b: 44 },
        shapes: isHalved() ? lowerHalves(all) : [], annotations: signs(all),
        xaxis: { ...clean, title: { text: 'layer' }, tickvals: ticks, ticktext: ticks.map((x) => String(map.layers[longest[x]])) },
        yaxis: { ...clean, tickvals: all.map(({ y }) => y), ticktext: named, range: [all.at(-1).y + 0.5, -0.5] },
      },
    },
  };
}

// A row for each cell, by its own names.
function mapRows() {
  const of = Object.entries(parts());
  const head = ['tower', 'layer', 'projection', ...of.map(([name]) => name || seenAs()), 'set by hand', 'locked'];
  return [head, ...everyCell(lines(), (i, j) => [[map.towers?.[i] ?? '', map.layers[i], map.projections[j], ...of.map(([, get]) => get(i, j) ?? ''), isSet(i, j), Boolean(map.locked[i][j])]])];
}

async function saveMap(format) {
  const Plotly = await window.__tadaPlotly;
  const shown = mapFigure();
  const [says, name] = [captionOf(shown.caption, shown.title), fileName(shown.title)];
  const { width, font } = window.tadaPicture || {};
  const css = (of) => getComputedStyle(element).getPropertyValue(of).trim();
  if (format === 'csv') saveText(csvOf(mapRows()), 'text/csv', `${name}.csv`);
  else if (format === 'html') await savePage(document, { ...shown, caption: says }, window.__tadaFile);
  else await savePicture(Plotly, shown.figure, shown.title, name, format, width || grid.offsetWidth, css, says, font);
}

element.querySelector('.gm-save').addEventListener('click', (event) => {
  const format = event.target.dataset.save;
  if (format && live()) saveMap(format).catch((problem) => { console.warn('gate map', problem); say(`It could not be saved: ${problem.message}`); });
});
