import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
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

/** Writes down what of other people's is in the script, and the licences that have to go with it. */
function licences(): Plugin {
    return {
        name: 'licences',
        generateBundle() {
            const folders = [...this.getModuleIds()].flatMap((id) => packageOf(id) ?? []);
            const named = [...new Set(folders)].sort().map((folder) => {
                const told = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
                const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one));
                const text = file ? readFileSync(join(folder, file), 'utf8') : '';
                return { name: told.name, version: told.version, licence: told.license ?? '', text };
            });
            this.emitFile({ type: 'asset', fileName: 'licences.json', source: JSON.stringify(named) });
        },
    };
}

/** The folder of the package that a module is from. */
function packageOf(id: string): string | null {
    const path = id.replace(/^\0/, '').replace(/\?.*$/, '');
    if (!path.includes('/node_modules/')) return null;
    for (let folder = dirname(path); !folder.endsWith('/node_modules'); folder = dirname(folder)) {
        const file = join(folder, 'package.json');
        if (existsSync(file) && JSON.parse(readFileSync(file, 'utf8')).name) return folder;
    }
    return null;
}

/** Where a server runs while the console is worked on: `npm run dev`. */
const server = process.env.STOKER_URL ?? 'http://127.0.0.1:8700';

export default defineConfig({
    plugins: [svelte(), addresses(), licences()],
    build: {
        outDir: '../src/stoker/web/built',
        emptyOutDir: true,
        assetsInlineLimit: 0,
        modulePreload: { polyfill: false },
        target: ['chrome123', 'firefox121', 'safari17.5'],
        reportCompressedSize: false,
    },
    server: { proxy: { '^/(api|v1|v2|healthz|readyz)': { target: server, changeOrigin: true } } },
    test: { include: ['tests/**/*.test.ts'] },
});
