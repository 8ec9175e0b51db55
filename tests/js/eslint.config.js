// The scripts of the app are bodies of functions that gradio calls with these names, or files that share one page.
const page = Object.fromEntries([
  'window', 'document', 'location', 'element', 'props', 'trigger', 'watch', 'ResizeObserver', 'MutationObserver', 'setTimeout',
  'clearTimeout', 'getComputedStyle', 'structuredClone', 'fetch', 'console', 'URL', 'Blob', 'Request', 'Response', 'ReadableStream',
  'TextDecoderStream', 'TextEncoder', 'requestAnimationFrame', 'Plotly',
].map((name) => [name, 'readonly']));

module.exports = [
  {
    languageOptions: { ecmaVersion: 2023, sourceType: 'script', globals: page },
    rules: {
      'no-undef': 'error', 'no-unused-vars': ['error', { vars: 'local' }], 'no-redeclare': 'error', 'no-const-assign': 'error',
      'no-dupe-keys': 'error', 'no-unreachable': 'error', eqeqeq: ['error', 'always', { null: 'ignore' }], 'no-var': 'error',
      'prefer-const': 'error', 'no-implicit-globals': 'off',
    },
  },
];
