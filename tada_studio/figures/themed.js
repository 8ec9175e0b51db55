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
  const shown = trace.error_y ? { ...trace, error_y: { color: ink, ...trace.error_y } } : trace;
  return trace.meta === 'ink' ? merged(shown, { marker: { color: ink }, line: { color: ink } }) : shown;
}

// {data, layout} as plotly takes it; css(name) gives a variable of the page.
function themed(figure, css) {
  return { data: figure.data.map((trace) => visible(trace, css)), layout: themedLayout(figure.layout || {}, css) };
}

// Offers one figure as a file: format is png or svg. It carries its title, and the page's background instead of none.
async function savePicture(Plotly, figure, title, name, format, width, css) {
  const { data, layout } = themed(figure, css);
  const room = 30;
  const whole = {
    ...layout, width, height: layout.height + room, autosize: false, paper_bgcolor: css('--background-fill-primary') || '#fff',
    margin: { ...layout.margin, t: (layout.margin.t ?? 24) + room }, title: { text: title, x: 0.01, y: 0.985, yanchor: 'top', font: { size: 14 } },
  };
  saveAs(await Plotly.toImage({ data, layout: whole }, { format, width: whole.width, height: whole.height, scale: 2 }), `${name}.${format}`);
}

function saveAs(href, name) {
  const link = document.createElement('a');
  link.href = href;
  link.download = name;
  link.click();
}

const fileName = (title) => 'tada-studio-' + title.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '');
