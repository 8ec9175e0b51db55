// Ticks that drop or keep a direction. Python answers with new rows; whoever works by keyboard stays where they were.
let last = null;

element.addEventListener('change', (event) => {
  const { row, side, number } = event.target.dataset;
  if (number === undefined) return;
  last = `[data-side='${side}'][data-number='${number}']`;
  trigger('pick', { row: Number(row), side, number: Number(number) });
});

watch('value', () => {
  if (last) requestAnimationFrame(() => element.querySelector(last)?.focus({ preventScroll: true }));
});
