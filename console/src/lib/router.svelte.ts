/** The address is the state of a page: path and query. Everything that can be seen again has its own. */

class Address {
    path = $state(location.pathname);
    query = $state(new URLSearchParams(location.search));

    constructor() {
        addEventListener('popstate', () => this.#read());
        document.addEventListener('click', (event) => this.#follow(event));
    }

    #read(): void {
        this.path = location.pathname;
        this.query = new URLSearchParams(location.search);
    }

    /** Links within the console change the page without loading it again. */
    #follow(event: MouseEvent): void {
        if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
        const link = (event.target as Element).closest('a');
        if (!link?.href || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
        if (/^\/(api|v1|v2)\//.test(link.pathname)) return;
        event.preventDefault();
        this.go(link.pathname + link.search);
    }

    go(to: string, { replace = false } = {}): void {
        history[replace ? 'replaceState' : 'pushState'](null, '', to);
        const before = this.path;
        this.#read();
        if (before !== this.path) {
            scrollTo(0, 0);
            requestAnimationFrame(() => document.querySelector('main')?.focus({ preventScroll: true }));
        }
    }

    get(name: string, otherwise = ''): string {
        return this.query.get(name) ?? otherwise;
    }

    /** Change parameters of the query; empty ones are left out. */
    set(changes: Record<string, string>, { replace = true } = {}): void {
        this.go(this.path + this.with(changes), { replace });
    }

    /** The query with changes, as it stands behind a path. */
    with(changes: Record<string, string>): string {
        const query = new URLSearchParams(this.query);
        for (const [name, value] of Object.entries(changes)) {
            if (value) query.set(name, value);
            else query.delete(name);
        }
        const text = query.toString();
        return text ? `?${text}` : '';
    }
}

export const address = new Address();

/** What the parameters of a pattern stand for in a path, or null when it is another path. `:name?` may be missing. */
export function match(pattern: string, path: string): Record<string, string> | null {
    const words = path.split('/').filter(Boolean);
    const places = pattern.split('/').filter(Boolean);
    if (words.length > places.length) return null;
    const found: Record<string, string> = {};
    for (const [index, place] of places.entries()) {
        const word = words[index];
        if (!place.startsWith(':')) {
            if (word !== place) return null;
        } else if (word !== undefined) {
            found[place.slice(1).replace('?', '')] = decodeURIComponent(word);
        } else if (!place.endsWith('?')) {
            return null;
        }
    }
    return found;
}
