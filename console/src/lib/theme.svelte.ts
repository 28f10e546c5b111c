/** Light, dark, or as the system has it. */

export type Theme = 'system' | 'light' | 'dark';

const NAME = 'stoker-theme';
const DARK = matchMedia('(prefers-color-scheme: dark)');

class Themes {
    chosen = $state<Theme>((localStorage.getItem(NAME) as Theme | null) ?? 'system');

    /** Whether the system is dark, which may change while a page is open. */
    systemIsDark = $state(DARK.matches);

    constructor() {
        DARK.addEventListener('change', () => (this.systemIsDark = DARK.matches));
        this.#show();
    }

    choose(theme: Theme): void {
        this.chosen = theme;
        if (theme === 'system') localStorage.removeItem(NAME);
        else localStorage.setItem(NAME, theme);
        this.#show();
    }

    next(): void {
        const order: Theme[] = ['system', 'light', 'dark'];
        this.choose(order[(order.indexOf(this.chosen) + 1) % order.length] ?? 'system');
    }

    #show(): void {
        if (this.chosen === 'system') delete document.documentElement.dataset.theme;
        else document.documentElement.dataset.theme = this.chosen;
    }
}

export const themes = new Themes();
