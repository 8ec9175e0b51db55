// A list of options is closed when its field is left by the keyboard. gradio opens the list a moment after any key in its field,
// Tab and Shift among them (6.31), which is after the field was left: it would lie open over the next one. So it does not hear
// of the keys that only move the focus. They do so all the same.
window.addEventListener('keydown', (event) => {
  const moves = event.key === 'Tab' || event.key === 'Shift';
  if (moves && event.target.matches?.('input[role="combobox"]')) event.stopPropagation();
}, true);
