// A plotly figure that follows light and dark, updates in place and never leaves this machine. ``themed`` and its helpers
// stand above this file when it runs.
//
// plotly.js is the copy inside the installed Python package, served as one static file and loaded once for all panels.
const root = ((window.gradio_config && window.gradio_config.root) || location.origin).replace(/\/$/, '') + '/';
// from the page and not from props: a panel that is filled before it is first seen has lost all props but its value
const files = JSON.parse(element.querySelector('.pp').dataset.files);
const served = (name) => root + 'gradio_api/file=' + files[name];
window.__tadaPlotly ??= new Promise((resolve, reject) => {
  const before = window.Plotly;
  const script = document.createElement('script');
  script.src = served('plotly');
  script.onload = () => { const mine = window.Plotly; if (before) window.Plotly = before; resolve(mine); };
  script.onerror = () => reject(new Error('plotly.min.js was not served'));
  document.head.appendChild(script);
});

const panel = element.querySelector('.pp');
const chart = element.querySelector('.pp-chart');
const title = element.querySelector('.pp-title').textContent;
const css = (name) => getComputedStyle(element).getPropertyValue(name).trim();
const SETTINGS = { responsive: true, displayModeBar: false };
let Plotly = null;
let drawn = false;
let hooked = false;

async function draw() {
  if (!Plotly) return;
  panel.classList.toggle('empty', !props.value);
  if (!props.value) { if (drawn) Plotly.purge(chart); drawn = hooked = false; return; }
  const { data, layout } = themed(JSON.parse(props.value), css);
  await Plotly.react(chart, data, layout, SETTINGS);
  drawn = true;
  hook();
  chart.dataset.draws = Number(chart.dataset.draws || 0) + 1;
  delete chart.dataset.error;
}

function hook() {  // a chart can be listened to only once something was drawn in it
  if (hooked) return;
  hooked = true;
  chart.on('plotly_click', ({ points: [point] }) => {
    trigger('point_click', { x: point.x, y: point.y, curve: point.curveNumber, data: point.customdata ?? null });
  });
}

// -- saving ---------------------------------------------------------------------------------------------------------

async function savePage() {
  const read = async (name) => (await fetch(served(name))).text();
  const [template, style, script, plotly] = await Promise.all(['template', 'css', 'themed', 'plotly'].map(read));
  const escaped = (text) => Object.assign(document.createElement('i'), { textContent: text }).innerHTML;
  const body = element.querySelector('.pp-page').innerHTML.replace('%figure%', () => escaped(props.value));
  const gaps = { title: escaped(title), body, css: style, themed: script, plotly };
  const page = template.replace(/%(title|css|body|plotly|themed)%/g, (_, gap) => gaps[gap]);
  const url = URL.createObjectURL(new Blob([page], { type: 'text/html' }));
  saveAs(url, fileName(title) + '.html');
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

element.addEventListener('click', (event) => {
  const format = event.target.dataset?.save;
  if (!format || !drawn) return;
  const saved = format === 'html' ? savePage()
    : savePicture(Plotly, JSON.parse(props.value), title, fileName(title), format, chart.offsetWidth, css);
  saved.catch(complain);
});

// -------------------------------------------------------------------------------------------------------------------

const complain = (problem) => { console.warn('plot_panel', problem); chart.dataset.error = problem.message; };
const safely = () => draw().catch(complain);

window.__tadaPlotly.then((loaded) => { Plotly = loaded; return safely(); }).then(() => {
  chart.dataset.ready = '1';
  new ResizeObserver(() => { if (drawn && chart.offsetWidth) Plotly.Plots.resize(chart); }).observe(chart);
}).catch((problem) => { chart.textContent = 'This chart cannot be shown: ' + problem.message; });

watch('value', safely);
new MutationObserver(safely).observe(document.body, { attributes: true, attributeFilter: ['class'] });
