// A plotly figure that follows light and dark, updates in place and never leaves this machine. Served as one file and loaded
// once a page, after themed.js, whose functions it uses; each panel calls ``plotPanel`` with what gradio gives to it.
//
// host: { element, props, trigger, watch } of gradio's HTML component; get(name): the text of a served file; library: a promise
// of plotly.js.
'use strict';

const PLOT_SETTINGS = { responsive: true, displayModeBar: false };

// What the panel shows: { title, caption, figure }, or nothing.
function shownIn(value, title) {
  if (!value) return null;
  const news = JSON.parse(value);
  return { title: news.title || title, caption: news.caption ?? '', figure: news.figure };
}

// A page of its own from the template's gaps; what fills one gap is not searched for others.
function filledPage(template, gaps) {
  return template.replace(/%(title|css|body|plotly|themed)%/g, (_, gap) => gaps[gap]);
}

const asHtml = (text) => Object.assign(document.createElement('i'), { textContent: text }).innerHTML;

async function savePage(element, shown, get) {
  const [template, css, script, plotly] = await Promise.all(['template', 'css', 'themed', 'plotly'].map(get));
  const body = element.querySelector('.pp-page').innerHTML
    .replace(/%(heading|caption|figure)%/g, (_, gap) => asHtml({ heading: shown.title, caption: shown.caption, figure: JSON.stringify(shown.figure) }[gap]));
  saveText(filledPage(template, { title: asHtml(shown.title), body, css, themed: script, plotly }), 'text/html', `${fileName(shown.title)}.html`);
}

function saveText(text, type, name) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  saveAs(url, name);
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

// How to read it, and of what: the truth line says pair and recipe. What is of an earlier recipe has said so in its title.
function captionOf(says, title) {
  const about = (document.querySelector('#truth .truth-pair')?.textContent || '').replace(/\s+/g, ' ').trim();
  return `${says} ${/earlier recipe/.test(title) ? about.replace(/ ?recipe \w+$/, '') : about}`.trim();
}

// One chart at a time, and whatever a hand does meanwhile between two: all that follow a stroke, drawn at once, would hold up the next.
const inTurn = (draw) => {
  window.tadaDrawing = (window.tadaDrawing || Promise.resolve()).then(() => new Promise((next) => setTimeout(next))).then(draw);
  return window.tadaDrawing;
};

// A figure that needs so many pixels is moved sideways in a narrower panel, by finger or by arrow keys.
function keepReadable(chart, least) {
  const frame = chart.parentElement;
  chart.style.minWidth = least ? `${least}px` : '';
  frame.classList.toggle('wide', Boolean(least));
  if (least) frame.tabIndex = 0; else frame.removeAttribute('tabindex');
}

function plotPanel({ element, props, trigger, watch }, get, library) {
  const panel = element.querySelector('.pp');
  const chart = element.querySelector('.pp-chart');
  const heading = element.querySelector('.pp-title');
  const caption = element.querySelector('.pp-caption');
  const title = heading.textContent;
  const css = (name) => getComputedStyle(element).getPropertyValue(name).trim();
  let Plotly = null;
  let shown = null;
  let hooked = false;

  async function draw() {
    if (!Plotly) return;
    const drawn = shown;
    shown = shownIn(props.value, title);
    panel.classList.toggle('empty', !shown);
    heading.textContent = shown ? shown.title : title;
    chart.setAttribute('aria-label', heading.textContent);
    const says = shown?.caption ? `${shown.caption} ${caption.dataset.here}`.trim() : caption.textContent;
    if (caption.textContent !== says) caption.textContent = says;  // as it stands its words are explained
    if (!shown) { if (drawn) Plotly.purge(chart); hooked = false; return; }
    const { data, layout } = themed(shown.figure, css);
    chart.style.height = `${layout.height}px`;  // plotly takes a chart that is resized for as high as its frame, which would be 0
    keepReadable(chart, layout.meta?.least);
    await Plotly.react(chart, data, layout, PLOT_SETTINGS);
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

  // as the legend has it now
  const seen = () => ({
    ...shown.figure, data: shown.figure.data.map((trace, i) => ({ ...trace, visible: chart.data?.[i]?.visible ?? trace.visible })),
  });

  const complain = (problem) => { console.warn('plot_panel', problem); chart.dataset.error = problem.message; };
  const safely = () => draw().catch(complain);

  element.addEventListener('click', (event) => {
    const format = event.target.dataset?.save;
    if (!format || !shown || !hooked) return;
    const { width, font } = window.tadaPicture || {};  // as the Export tab has them; neither: as on the screen
    const name = fileName(shown.title);
    if (format === 'csv') { saveText(figureCsv(seen()), 'text/csv', `${name}.csv`); return; }
    const saved = format === 'html' ? savePage(element, shown, get)
      : savePicture(Plotly, seen(), shown.title, name, format, width || chart.offsetWidth, css, captionOf(caption.textContent, shown.title), font);
    saved.catch(complain);
  });
  library.then((loaded) => { Plotly = loaded; return safely(); }).then(() => {
    chart.dataset.ready = '1';
    new ResizeObserver(() => { if (hooked && chart.offsetWidth) Plotly.Plots.resize(chart); }).observe(chart);
  }).catch((problem) => { chart.textContent = 'This chart cannot be shown: ' + problem.message; });
  watch('value', () => inTurn(safely));
  new MutationObserver(() => inTurn(safely)).observe(document.body, { attributes: true, attributeFilter: ['class'] });
}
