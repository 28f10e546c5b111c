/** Rows that the server has page by page, newest first: the newest are read again when something happened, older ones as a list is
 * scrolled. */

import { untrack } from 'svelte';
import type { ApiError } from './api';
import { connection, type Happened } from './live.svelte';

type Place = string | number;

export interface Page<Row> {
    rows: Row[];
    /** Where the list goes on; null at its end. */
    next: Place | null;
}

/** At most so often are the newest read again, however much happens. */
const LEAST_MS = 1_000;

export class Paged<Row> {
    rows = $state.raw<Row[]>([]);
    error = $state.raw<ApiError | null>(null);
    known = $state(false);
    next = $state.raw<Place | null>(null);
    #read: (before?: Place) => Promise<Page<Row>>;
    #key: (row: Row) => string;
    #asked = 0;
    #reading = false;

    /** `read` is called in the component that makes this, and from the first page on when what it uses changes. */
    constructor(
        read: (before?: Place) => Promise<Page<Row>>,
        key: (row: Row) => string,
        concerns: (event: Happened) => boolean,
    ) {
        this.#read = read;
        this.#key = key;
        $effect(() => {
            this.#asked += 1;
            this.rows = [];
            this.known = false;
            this.next = null;
            void this.refresh();
            return untrack(() => this.#listen(concerns));
        });
    }

    get whole(): boolean {
        return this.known && this.next === null;
    }

    /** The next rows before a place: pages that looked at many rows and found none are passed over. */
    async page(before?: Place): Promise<Page<Row>> {
        const number = this.#asked;
        for (;;) {
            const found = await this.#read(before);
            if (found.rows.length || found.next === null || number !== this.#asked) return found;
            before = found.next;
        }
    }

    /** The newest page again; rows that were read before stay, unless they are newer there. */
    async refresh(): Promise<void> {
        const number = this.#asked;
        try {
            const first = await this.page();
            if (number !== this.#asked) return;
            const last = first.rows.at(-1);
            const at = last ? this.rows.findIndex((row) => this.#key(row) === this.#key(last)) : -1;
            if (first.next === null || at < 0) {
                this.rows = first.rows;
                this.next = first.next;
            } else {
                this.rows = [...first.rows, ...this.rows.slice(at + 1)];
            }
            this.known = true;
            this.error = null;
        } catch (failed) {
            if ((failed as ApiError).status !== 0 && number === this.#asked) this.error = failed as ApiError;
        }
    }

    async more(): Promise<void> {
        if (this.#reading || this.next === null || !this.rows.length) return;
        this.#reading = true;
        const number = this.#asked;
        try {
            const found = await this.page(this.next);
            if (number !== this.#asked) return;
            this.rows = [...this.rows, ...found.rows];
            this.next = found.next;
        } catch {
            // the next scroll asks again
        } finally {
            this.#reading = false;
        }
    }

    #listen(concerns: (event: Happened) => boolean): () => void {
        let due = 0;
        const stop = connection.listen((event) => {
            if (event && !concerns(event)) return;
            due ||= window.setTimeout(() => {
                due = 0;
                void this.refresh();
            }, LEAST_MS);
        });
        return () => {
            stop();
            clearTimeout(due);
        };
    }
}
