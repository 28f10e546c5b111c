/**
 * The pages of the console. A folder of `pages/` holds those whose addresses begin with its name (`home` those of `/`), and
 * says which in its `page.ts`; that is all it takes to add one.
 */

import type { Component } from 'svelte';
import type { Scope } from './api';
import { match } from './router.svelte';

export interface Page {
    /** Such as `/endpoints/:endpoint/:tab?`; the component gets the parameters as properties. */
    path: string;
    title: string;
    load: () => Promise<{ default: Component<Record<string, string>> }>;
    /** Where the page stands in the navigation; pages without it are reached from others. */
    nav?: Navigation;
}

export interface Navigation {
    group: 'Run' | 'Configure' | 'Team' | 'Server';
    /** Within the group, from small to large. */
    order: number;
    /** The letter after `g`. */
    key: string;
    /** Path of a 16 by 16 pixel drawing. */
    icon: string;
    /** Whom it is shown to; everybody when left out. */
    scope?: Scope;
    /** Whether keys of some endpoints only are shown nothing there. */
    wholeTeam?: boolean;
}

/** Whatever a component asks for, it gets as texts: the parameters of the address. */
type Loaded = Promise<{ default: unknown }>;

/** The address of a page without the parameters that may be missing. */
export function homeOf(page: Page): string {
    return page.path.replace(/\/:\w+\?/g, '');
}

export function page(path: string, title: string, load: () => Loaded, nav?: Navigation): Page {
    return { path, title, load: load as Page['load'], nav };
}

const folders = import.meta.glob<{ default: Page[] }>('../pages/*/page.ts', { eager: true });
export const pages: Page[] = Object.values(folders).flatMap((folder) => folder.default);

export interface Found {
    page: Page;
    parameters: Record<string, string>;
}

/** The page at an address. Words go before parameters. */
export function pageAt(path: string): Found | null {
    const found = pages
        .map((page) => ({ page, parameters: match(page.path, path) }))
        .filter((one): one is Found => one.parameters !== null);
    found.sort((a, b) => Object.keys(a.parameters).length - Object.keys(b.parameters).length);
    return found[0] ?? null;
}
