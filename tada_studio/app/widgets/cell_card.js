// The card of a cell: buttons and arrow keys that go on to the next, and cells that are pinned beside it. Python answers with a
// new card; whoever works by keyboard stays where they were.
let last = null;

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-what]');
  if (!button) return;
  const { what, i, j } = button.dataset;
  last = what === 'step' ? `button[data-what='step'][data-i='${i}'][data-j='${j}']` : `button[data-what='${what}']`;
  trigger('act', { what, at: [Number(i), Number(j)] });
});

element.addEventListener('keydown', (event) => {
  const by = STEPS[event.key];
  if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  last = '.cell-card';
  trigger('act', { what: 'step', at: by });
});

watch('value', () => {
  if (last) requestAnimationFrame(() => element.querySelector(last)?.focus({ preventScroll: true }));
});
