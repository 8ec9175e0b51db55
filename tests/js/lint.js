// Lints the app's scripts as the page runs them: files that are one script together are linted together.
const fs = require('node:fs');
const path = require('node:path');
const { ESLint } = require('eslint');

const app = path.join(__dirname, '../../tada_studio');
const SCRIPTS = {
  'the gate map': ['gate_looks', 'gate_map', 'gate_groups', 'gate_table', 'gate_save', 'gate_input'].map((name) => `app/widgets/${name}.js`),
  'the charts': ['figures/themed.js', 'app/widgets/plot_panel.js', 'app/widgets/plot_panel_load.js'],
  'tables of directions': ['app/widgets/direction_table.js'],
  'the card of a cell': ['app/widgets/cell_card.js'],
  'links': ['app/widgets/links.js'],
  'answers': ['app/widgets/answers.js'],
  'lists': ['app/widgets/lists.js'],
  'drops': ['app/widgets/drops.js'],
};

(async () => {
  const eslint = new ESLint({ cwd: __dirname, overrideConfigFile: path.join(__dirname, 'eslint.config.js') });
  let problems = 0;
  for (const [name, files] of Object.entries(SCRIPTS)) {
    const text = files.map((file) => fs.readFileSync(path.join(app, file), 'utf8')).join('\n');
    const [result] = await eslint.lintText(text, { filePath: path.join(__dirname, `${name}.js`) });
    for (const { line, message, ruleId } of result.messages) console.log(`${name}:${line}: ${message} (${ruleId})`);
    problems += result.messages.length;
  }
  process.exitCode = problems ? 1 : 0;
})();
