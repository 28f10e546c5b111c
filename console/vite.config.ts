import { readdirSync } from 'node:fs';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

/** Tells the server which words the console's addresses begin with: the names of the folders of pages. */
function addresses(): Plugin {
    return {
        name: 'addresses',
        generateBundle() {
            const words = readdirSync('src/pages').filter((word) => word !== 'home');
            this.emitFile({ type: 'asset', fileName: 'addresses.json', source: JSON.stringify(words) });
        },
    };
}

/** Where a server runs while the console is worked on: `npm run dev`. */
const server = process.env.STOKER_URL ?? 'http://127.0.0.1:8700';

export default defineConfig({
    plugins: [svelte(), addresses()],
    build: {
        outDir: '../src/stoker/web/built',
        emptyOutDir: true,
        assetsInlineLimit: 0,
        modulePreload: { polyfill: false },
        target: ['chrome123', 'firefox121', 'safari17.5'],
        reportCompressedSize: false,
    },
    server: { proxy: { '^/(api|v1|v2|healthz)': { target: server, changeOrigin: true } } },
    test: { include: ['tests/**/*.test.ts'] },
});
