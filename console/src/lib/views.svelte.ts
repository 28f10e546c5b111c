/** Filters that a person gave a name, kept in this browser: they are somebody's habit, not the team's. */

const NAME = 'stoker-views';

export type View = Record<string, string>;

class Views {
    all = $state.raw<Record<string, View>>(read());

    constructor() {
        addEventListener('storage', (event) => {
            if (event.key === NAME) this.all = read();
        });
    }

    /** The name of a view with exactly these filters; empty if there is none. */
    named(filters: View): string {
        const wanted = text(filters);
        return Object.entries(this.all).find(([, view]) => text(view) === wanted)?.[0] ?? '';
    }

    save(name: string, filters: View): void {
        this.#keep({ ...this.all, [name]: filters });
    }

    forget(name: string): void {
        this.#keep(Object.fromEntries(Object.entries(this.all).filter(([one]) => one !== name)));
    }

    #keep(all: Record<string, View>): void {
        this.all = all;
        localStorage.setItem(NAME, JSON.stringify(all));
    }
}

function text(filters: View): string {
    return JSON.stringify(Object.entries(filters).sort());
}

/** What is kept; whatever else stands there is nobody's view. */
function read(): Record<string, View> {
    try {
        const found: unknown = JSON.parse(localStorage.getItem(NAME) ?? '{}');
        return Object.fromEntries(
            Object.entries(found as object).filter(([, view]) => view !== null && typeof view === 'object'),
        ) as Record<string, View>;
    } catch {
        return {};
    }
}

export const views = new Views();
