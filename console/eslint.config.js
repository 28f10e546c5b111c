import globals from 'globals';
import svelte from 'eslint-plugin-svelte';
import ts from 'typescript-eslint';
import svelteConfig from './svelte.config.js';

export default ts.config(
    { ignores: ['node_modules/', 'src/api/'] },
    ...ts.configs.strict,
    ...svelte.configs.recommended,
    { languageOptions: { globals: globals.browser } },
    {
        files: ['**/*.svelte', '**/*.svelte.ts'],
        languageOptions: { parserOptions: { extraFileExtensions: ['.svelte'], parser: ts.parser, svelteConfig } },
    },
    {
        rules: {
            'no-undef': 'off', // TypeScript knows
            'svelte/prefer-svelte-reactivity': 'off', // the query is replaced as a whole, never changed
            'svelte/no-unused-svelte-ignore': 'off', // svelte-check knows which are needed
            'svelte/no-dom-manipulating': 'off', // the chart's library draws into an element that Svelte leaves alone
            'svelte/no-navigation-without-resolve': 'off', // SvelteKit's; our router takes plain addresses
        },
    },
);
