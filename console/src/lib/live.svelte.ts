/**
 * What pages show is read from the API and read again when it may have changed. One connection says when; here it is a clock
 * that is asked every two seconds, and what it says is all that pages know.
 */

import { untrack } from 'svelte';
import { ApiError } from './api';

export type Connected = 'live' | 'paused' | 'reconnecting';

const EVERY_MS = 2_000;
const AGAIN_MS = 1_000;

class Connection {
    state = $state<Connected>('live');
    /** When something was last read. */
    heard = $state(0);
    #watchers = new Set<() => void>();
    #timer = 0;

    constructor() {
        document.addEventListener('visibilitychange', () => {
            if (!document.hidden) this.#round();
        });
        this.#wait();
    }

    #wait(): void {
        clearTimeout(this.#timer);
        this.#timer = window.setTimeout(() => this.#round(), this.state === 'reconnecting' ? AGAIN_MS : EVERY_MS);
    }

    #round(): void {
        if (this.state !== 'paused' && !document.hidden) for (const look of this.#watchers) look();
        this.#wait();
    }

    /** Call `look` whenever something may have changed; the answer ends that. */
    listen(look: () => void): () => void {
        this.#watchers.add(look);
        return () => this.#watchers.delete(look);
    }

    /** Keep what is shown as it is, or go on. */
    toggle(): void {
        this.state = this.state === 'paused' ? 'live' : 'paused';
        if (this.state === 'live') this.#round();
    }

    /** After something was done here: look at once. */
    changed(): void {
        for (const look of this.#watchers) look();
    }

    read(): void {
        this.heard = Date.now();
        if (this.state === 'reconnecting') this.state = 'live';
    }

    lost(): void {
        if (this.state === 'live') this.state = 'reconnecting';
    }
}

export const connection = new Connection();

/** A value that is read again when it may have changed. */
export class Watched<T> {
    value = $state.raw<T>();
    error = $state.raw<ApiError>();
    #load: () => Promise<T>;
    #asked = 0;
    #busy = false;

    /** `load` is called in the component that makes this, and again when what it uses changes. */
    constructor(load: () => Promise<T>) {
        this.#load = load;
        $effect(() => {
            this.#take(this.#load());
            return untrack(() => connection.listen(() => this.refresh()));
        });
    }

    refresh(): void {
        if (!this.#busy) this.#take(this.#load());
    }

    #take(coming: Promise<T>): void {
        const number = ++this.#asked;
        this.#busy = true;
        coming
            .then(
                (value) => {
                    if (number !== this.#asked) return;
                    this.value = value;
                    this.error = undefined;
                    connection.read();
                },
                (error: unknown) => {
                    if (number !== this.#asked) return;
                    const known = error instanceof ApiError ? error : new ApiError(0, 'internal', String(error));
                    if (known.status === 0 || known.status === 503) connection.lost();
                    else this.error = known;
                },
            )
            .finally(() => {
                if (number === this.#asked) this.#busy = false;
            });
    }
}

export function watch<T>(load: () => Promise<T>): Watched<T> {
    return new Watched(load);
}
