// A list of options closes when its field is left by the keyboard: gradio opens it again at the very Tab that leaves, and it would
// lie over the next field. Escape is the key that it obeys.
document.addEventListener('focusout', (event) => {
  const field = event.target;
  if (!field.matches?.('input[aria-controls], input[role="listbox"], input[role="combobox"]')) return;
  setTimeout(() => {
    if (document.activeElement === field) return;
    field.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }));
  }, 50);
});
