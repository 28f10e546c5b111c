/** The present moment, for what is shown as an age; it moves once a second. */

class Now {
    ms = $state(Date.now());

    constructor() {
        setInterval(() => {
            if (!document.hidden) this.ms = Date.now();
        }, 1_000);
    }
}

export const now = new Now();
