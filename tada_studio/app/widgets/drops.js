// On the Open tab files may be dropped anywhere: folders and zips of adapters, or readings, find their field. The fields themselves
// stay what they are: gradio uploads what is put into them.
(() => {
  const ADAPTER = 'adapter_config.json';
  const KINDS = /\.(zip|safetensors|json|bin)$/i;
  const isOpenTab = () => Boolean(document.getElementById('own-zips')?.offsetParent);
  const ownField = (target) => target.closest?.('.upload-container, input[type=file]');
  const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes('Files');

  function say(words) {
    const place = document.getElementById('drop-note') ?? document.body.appendChild(Object.assign(document.createElement('div'), { id: 'drop-note' }));
    place.setAttribute('role', 'status');
    place.textContent = words;
    clearTimeout(say.timer);
    say.timer = setTimeout(() => { place.textContent = ''; }, 8000);
  }

  // -- what was dropped -----------------------------------------------------------------------------------------------

  const listed = (reader) => new Promise((done, failed) => { reader.readEntries(done, failed); });
  const fileOf = (entry) => new Promise((done, failed) => { entry.file(done, failed); });

  // A browser gives a folder in parts. Groups of files that lie in one folder, with its name; folders two levels down are looked into.
  async function inFolder(folder, deep = 0) {
    const [reader, entries] = [folder.createReader(), []];
    for (let some = await listed(reader); some.length; some = await listed(reader)) entries.push(...some);
    const files = await Promise.all(entries.filter((one) => one.isFile && KINDS.test(one.name)).map(fileOf));
    const inner = deep < 2 ? await Promise.all(entries.filter((one) => one.isDirectory).map((one) => inFolder(one, deep + 1))) : [];
    const zips = files.filter(isZip).map((file) => ({ name: file.name, files: [file] }));
    return [{ name: folder.name, files: files.filter((file) => !isZip(file)) }, ...zips, ...inner.flat()];
  }

  const isZip = (file) => /\.zip$/i.test(file.name);

  async function groups(items) {
    const entries = items.map((item) => item.webkitGetAsEntry?.() ?? null);
    const loose = items.filter((_, n) => !entries[n]?.isDirectory).map((item) => item.getAsFile()).filter(Boolean);
    const found = (await Promise.all(entries.filter((one) => one?.isDirectory).map((one) => inFolder(one)))).flat();
    const zips = loose.filter(isZip).map((file) => ({ name: file.name, files: [file] }));
    return [...zips, { name: 'files', files: loose.filter((file) => !isZip(file)) }, ...found];
  }

  const isAdapter = ({ files }) => files.some((file) => file.name === ADAPTER || isZip(file));
  const isReadings = ({ files }) => !isAdapter({ files }) && ['.json', '.safetensors'].every((end) => files.some(({ name }) => name.endsWith(end)));

  // -- where it goes ----------------------------------------------------------------------------------------------------

  const until = async (found) => {
    for (let tries = 0; tries < 60; tries += 1) {
      const one = found();
      if (one) return one;
      await new Promise((next) => setTimeout(next, 50));
    }
    return null;
  };
  const isFull = (field) => Boolean(document.querySelector(`#${field} .file-preview`));
  const inputOf = (field) => document.querySelector(`#${field} input[type=file]`);

  async function put(field, box, files) {
    if (!document.getElementById(field)?.offsetParent) document.querySelector(`#${box} > button`)?.click();
    if (isFull(field)) document.querySelector(`#${field} [aria-label="Clear"]`)?.click();  // what was there would be kept beside it
    const input = await until(() => !isFull(field) && inputOf(field));
    if (!input) return false;
    const list = new window.DataTransfer();
    files.forEach((file) => list.items.add(file));
    input.files = list.files;
    input.dispatchEvent(new window.Event('change', { bubbles: true }));
    document.getElementById(field).scrollIntoView({ block: 'center' });
    return true;
  }

  // Two that say which they are go there; others in their order, into the first field that is free.
  function roles(adapters) {
    const says = adapters.map(({ name }) => (/domain/i.test(name) ? 'domain' : /task/i.test(name) ? 'task' : ''));
    const isTurned = says[0] !== says[1] && (says[0] === 'domain' || says[1] === 'task');
    if (adapters.length === 2) return isTurned ? ['domain', 'task'] : ['task', 'domain'];
    return [says[0] || (isFull('task-zip') ? 'domain' : 'task')];
  }

  async function take(items) {
    const all = await groups(items);
    const readings = all.find(isReadings);
    const adapters = all.filter(isAdapter);
    if (readings && !adapters.length) {
      say(await put('given-readings', 'readings-box', readings.files.filter(({ name }) => /\.(json|safetensors)$/.test(name))) ? 'Readings: they are being read.' : '');
      return;
    }
    if (!adapters.length || adapters.length > 2) {
      say(adapters.length ? `${adapters.length} adapters at once: drop one or two, or name their folder in the rack.` : `No adapter and no readings among what was dropped. Drop a folder with ${ADAPTER}, a zip of one, or readings.json with readings.safetensors.`);
      return;
    }
    const to = roles(adapters);
    for (const [n, { files }] of adapters.entries()) await put(`${to[n]}-zip`, 'own-zips', files);
    say(`${adapters.map(({ name }, n) => `${name}: the ${to[n]} adapter`).join('; ')}. Press Open when both are there.`);
  }

  document.addEventListener('dragover', (event) => {
    if (!holdsFiles(event) || !isOpenTab() || ownField(event.target)) return;
    event.preventDefault();
    document.body.classList.add('dropping');
  });
  ['dragleave', 'drop', 'dragend'].forEach((kind) => document.addEventListener(kind, (event) => {
    if (kind !== 'dragleave' || !event.relatedTarget) document.body.classList.remove('dropping');
  }));
  document.addEventListener('drop', (event) => {
    if (!holdsFiles(event) || !isOpenTab() || ownField(event.target)) return;
    event.preventDefault();
    take([...event.dataTransfer.items].filter(({ kind }) => kind === 'file')).catch((problem) => say(`What was dropped could not be read: ${problem.message}`));
  });
})();
