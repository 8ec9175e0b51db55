// Links to tabs: <a href="#inspect" data-tab="inspect" data-place="an element's id">. One listener for the whole page.
document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[data-tab]');
  if (!link) return;
  event.preventDefault();
  document.getElementById(`tab-${link.dataset.tab}-button`)?.click();
  const sidebar = link.closest('.sidebar');
  if (sidebar && window.innerWidth < 768) sidebar.querySelector('.toggle-button')?.click();  // it lies over the page there
  const place = link.dataset.place;
  const show = () => (place ? document.getElementById(place) : document.getElementById('tabs'))
    ?.scrollIntoView({ block: place ? 'center' : 'start' });
  setTimeout(show, 80);  // once the tab is laid out
});
