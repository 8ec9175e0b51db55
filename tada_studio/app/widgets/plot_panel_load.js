// In every panel; what it does is in plot_panel.js, which all of them share. It triggers 'point_click'.
// The addresses come from the page and not from props: a panel that is filled before it is first seen has lost all props but
// its value.
const files = JSON.parse(element.querySelector('.pp').dataset.files);
const root = ((window.gradio_config && window.gradio_config.root) || location.origin).replace(/\/$/, '') + '/';
const at = (name) => root + 'gradio_api/file=' + files[name];
const once = (name) => new Promise((resolve, reject) => {
  const script = Object.assign(document.createElement('script'), { src: at(name), onload: resolve });
  script.onerror = () => reject(new Error(files[name].split(/[\\/]/).pop() + ' was not served'));
  document.head.appendChild(script);
});
window.__tadaPlots ??= once('themed').then(() => once('panel'));
window.__tadaPlotly ??= (() => {
  const before = window.Plotly;  // gradio's own plots bring another version of it
  return once('plotly').then(() => { const mine = window.Plotly; if (before) window.Plotly = before; return mine; });
})();
window.__tadaFile ??= async (name) => (await fetch(at(name))).text();
window.__tadaPlots
  .then(() => plotPanel({ element, props, trigger, watch }, window.__tadaFile, window.__tadaPlotly))
  .catch((problem) => { element.querySelector('.pp-chart').textContent = 'This chart cannot be shown: ' + problem.message; });
