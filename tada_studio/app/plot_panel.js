// A plotly figure that follows light and dark, updates in place and never leaves this machine.
//
// plotly.js is the copy inside the installed Python package, served as one static file and loaded once for all panels.
const root = ((window.gradio_config && window.gradio_config.root) || location.origin).replace(/\/$/, '') + '/';
window.__tadaPlotly ??= new Promise((resolve, reject) => {
  const before = window.Plotly;
  const script = document.createElement('script');
  script.src = root + 'gradio_api/file=' + props.plotly_path;
  script.onload = () => { const mine = window.Plotly; if (before) window.Plotly = before; resolve(mine); };
  script.onerror = () => reject(new Error('plotly.min.js was not served'));
  document.head.appendChild(script);
});

const chart = element.querySelector('.pp-chart');
let Plotly = null;
let drawn = false;

const css = (name) => getComputedStyle(element).getPropertyValue(name).trim();
const isPlain = (value) => value && typeof value === 'object' && !Array.isArray(value);

function merged(below, above) {
  const out = { ...below };
  for (const key in above) out[key] = isPlain(below?.[key]) && isPlain(above[key]) ? merged(below[key], above[key]) : above[key];
  return out;
}

function axisTheme() {
  const line = css('--border-color-primary');
  return {
    gridcolor: line, zerolinecolor: css('--body-text-color-subdued'), linecolor: line,
    tickfont: { color: css('--body-text-color-subdued'), size: 11 },
    title: { font: { color: css('--body-text-color-subdued'), size: 12 } },
  };
}

function themed(layout) {
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
  for (const key of new Set([...axes, 'xaxis', 'yaxis'])) out[key] = merged(axisTheme(), layout[key] || {});
  return out;
}

// Interval lines must be seen on a bar of any colour, in light and in dark.
function visible(trace) {
  return trace.error_y ? { ...trace, error_y: { color: css('--body-text-color'), ...trace.error_y } } : trace;
}

const SETTINGS = {
  responsive: true, displaylogo: false,
  modeBarButtonsToRemove: ['select2d', 'lasso2d', 'autoScale2d', 'pan2d', 'zoom2d', 'zoomIn2d', 'zoomOut2d', 'resetScale2d'],
  toImageButtonOptions: { format: 'svg', filename: 'tada-studio' },
};

async function draw() {
  if (!Plotly) return;
  element.querySelector('.pp').classList.toggle('empty', !props.value);
  if (!props.value) { if (drawn) Plotly.purge(chart); drawn = false; return; }
  const figure = JSON.parse(props.value);
  await Plotly.react(chart, figure.data.map(visible), themed(figure.layout || {}), SETTINGS);
  drawn = true;
  chart.dataset.draws = Number(chart.dataset.draws || 0) + 1;
  delete chart.dataset.error;
}

const safely = () => draw().catch((problem) => { console.warn('plot_panel', problem); chart.dataset.error = problem.message; });

window.__tadaPlotly.then((loaded) => { Plotly = loaded; return safely(); }).then(() => {
  chart.dataset.ready = '1';
  new ResizeObserver(() => { if (drawn && chart.offsetWidth) Plotly.Plots.resize(chart); }).observe(chart);
}).catch((problem) => { chart.textContent = 'This chart cannot be shown: ' + problem.message; });

watch('value', safely);
new MutationObserver(safely).observe(document.body, { attributes: true, attributeFilter: ['class'] });
