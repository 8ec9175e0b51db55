// How a figure looks on whatever page it is: text, grids and backgrounds are read from that page's CSS variables.
//
// Used by the app's panels and by the pages that are saved, so that both show the same picture in light and in dark.
const isPlain = (value) => value && typeof value === 'object' && !Array.isArray(value);

function merged(below, above) {
  const out = { ...below };
  for (const key in above) out[key] = isPlain(below?.[key]) && isPlain(above[key]) ? merged(below[key], above[key]) : above[key];
  return out;
}

function axisTheme(css) {
  const line = css('--border-color-primary');
  return {
    gridcolor: line, zerolinecolor: css('--body-text-color-subdued'), linecolor: line,
    tickfont: { color: css('--body-text-color-subdued'), size: 11 },
    title: { font: { color: css('--body-text-color-subdued'), size: 12 } },
  };
}

function themedLayout(layout, css) {
  const text = css('--body-text-color');
  const out = merged({
    paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', autosize: true, height: 260, uirevision: 'keep',
    dragmode: false, margin: { l: 48, r: 12, t: 24, b: 40 },
    font: { color: text, family: css('--font') || 'sans-serif', size: 12 },
    legend: { bgcolor: 'rgba(0,0,0,0)', font: { size: 11 } },
    hoverlabel: { bgcolor: css('--background-fill-primary'), bordercolor: css('--border-color-primary'), font: { color: text } },
  }, layout);
  delete out.template;
  const axes = Object.keys(layout).filter((key) => /^[xy]axis/.test(key));
  for (const key of new Set([...axes, 'xaxis', 'yaxis'])) out[key] = merged(axisTheme(css), layout[key] || {});
  return out;
}

// Interval lines must be seen on a bar of any colour, in light and in dark; so must whatever is drawn in "ink".
function visible(trace, css) {
  const ink = css('--body-text-color');
  const shown = { ...trace };
  const numbers = trace.texttemplate && css('--cell-ink');  // plotly takes what is behind a faint cell for white
  if (numbers) shown.textfont = { color: numbers, ...trace.textfont };
  for (const bars of ['error_x', 'error_y']) if (trace[bars]) shown[bars] = { color: ink, ...trace[bars] };
  return trace.meta === 'ink' ? merged(shown, { marker: { color: ink }, line: { color: ink } }) : shown;
}

// {data, layout} as plotly takes it; css(name) gives a variable of the page.
function themed(figure, css) {
  return { data: figure.data.map((trace) => visible(trace, css)), layout: themedLayout(figure.layout || {}, css) };
}

// A caption in lines of about so many letters.
function wrapped(text, letters) {
  const lines = [''];
  for (const word of text.split(/\s+/).filter(Boolean)) {
    if (lines.at(-1) && lines.at(-1).length + word.length >= letters) lines.push('');
    lines.push(`${lines.pop()} ${word}`.trim());
  }
  return lines;
}

const asText = (text) => text.replace(/[&<>]/g, (one) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[one]);

// Only what is seen: a series that was switched off in the legend is not taken home.
const shownSeries = (figure) => ({ ...figure, data: figure.data.filter(({ visible }) => visible !== false && visible !== 'legendonly') });

// Offers one figure as a file: format is png or svg. It carries its title and caption, and the page's background instead of none.
// font: of all its text; otherwise the page's.
async function savePicture(Plotly, figure, title, name, format, width, css, caption = '', font = '') {
  const { data, layout } = themed(shownSeries(figure), css);
  const lines = caption ? wrapped(asText(caption), Math.max(40, (width - (layout.margin.l ?? 48)) / 5.8)) : [];
  const [above, below] = [30, lines.length ? lines.length * 15 + 28 : 0];
  const plain = layout.height - (layout.margin.t ?? 24) - (layout.margin.b ?? 40);
  const base = Math.max(layout.margin.b ?? 40, layout.legend?.y < 0 ? 24 - layout.legend.y * plain : 0);  // the caption stands under the legend
  const under = {
    text: lines.join('<br>'), xref: 'paper', yref: 'paper', x: 0, y: 0, yshift: -base - 18, xanchor: 'left', yanchor: 'top', align: 'left',
    showarrow: false, font: { size: 11, color: css('--body-text-color-subdued') },
  };
  const whole = {
    ...layout, width, height: layout.height + above + below, autosize: false, font: { ...layout.font, ...(font && { family: font }) },
    paper_bgcolor: css('--background-fill-primary') || '#fff', annotations: [...(layout.annotations || []), ...(lines.length ? [under] : [])],
    margin: { ...layout.margin, t: (layout.margin.t ?? 24) + above, b: base + below },
    title: { text: title, x: 0.01, y: 0.985, yanchor: 'top', font: { size: 14 } },
  };
  saveAs(await Plotly.toImage({ data, layout: whole }, { format, width: whole.width, height: whole.height, scale: 2 }), `${name}.${format}`);
}

// The numbers of a figure: a row for each mark, or for each cell of a map; axes by the names that their ticks have.
function figureCsv(figure) {
  const { data, layout = {} } = shownSeries(figure);
  const axisName = (axis, otherwise) => layout[axis]?.title?.text || layout[`${axis}2`]?.title?.text || otherwise;
  const axisOf = (trace, which) => `${which}axis${(trace[`${which}axis`] ?? which).slice(1)}`;  // one tower below the other: xaxis2
  const label = (axis, value) => {
    const { tickvals = [], ticktext = [] } = layout[axis] || {};
    return ticktext[tickvals.indexOf(value)] ?? value;
  };
  const at = (list, i) => (Array.isArray(list) ? list[i] : list) ?? '';
  const rows = [['series', axisName('xaxis', 'x'), axisName('yaxis', 'y'), 'value', 'above', 'below']];
  for (const trace of data) {
    if (Array.isArray(trace.z)) {
      trace.z.forEach((line, j) => line.forEach((value, i) => rows.push(
        [trace.name ?? '', label('xaxis', at(trace.x, i) === '' ? i : at(trace.x, i)), label('yaxis', at(trace.y, j) === '' ? j : at(trace.y, j)), value ?? '', '', ''])));
      continue;
    }
    if (trace.mode === 'text') continue;
    const error = trace.orientation === 'h' ? trace.error_x : trace.error_y;
    (trace.x || trace.y || []).forEach((_, i) => rows.push([
      trace.name ?? '', label(axisOf(trace, 'x'), at(trace.x, i)), label(axisOf(trace, 'y'), at(trace.y, i)), '', at(error?.array, i), at(error?.arrayminus, i),
    ]));
  }
  return csvOf(rows);
}

// Rows as CSV; what a spreadsheet would take for a formula stays a text.
function csvOf(rows) {
  const cell = (value) => {
    const text = typeof value === 'string' && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  };
  return rows.map((row) => row.map(cell).join(',')).join('\n') + '\n';
}

function saveAs(href, name) {
  const link = document.createElement('a');
  link.href = href;
  link.download = name;
  link.click();
}

const fileName = (title) => 'tada-studio-' + title.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '');
