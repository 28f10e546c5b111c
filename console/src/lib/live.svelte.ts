/**
 * What pages show is read from the API, and read again when it may have changed: the server's events say when. A stream that
 * breaks goes on after the last event that was seen, so that nothing is missed; while it is broken, or a person has paused it,
 * every page says so.
 */

import { untrack } from 'svelte';
import { ApiError, HEADERS } from './api';

export type Connected = 'live' | 'paused' | 'reconnecting';

/** A line of the server's ledger. */
export interface Happened {
    id: string;
    at_ms: number;
    about: 'endpoint' | 'job' | 'worker';
    kind: string;
    endpoint: { id: string; name: string };
    job: string | null;
    worker: string | null;
    state: string;
    reason: string;
    attempt: number | null;
    wanted: number | null;
    text: string;
}

/** At most so often is something read again, however much happens. */
const LEAST_MS = 500;
/** What no event tells, such as the age of a worker's last ping, is read again this often. */
const ANYWAY_MS = 10_000;
const AGAIN_MS = 1_000;

type Listener = (event: Happened | null) => void;

class Connection {
    state = $state<Connected>('reconnecting');
    /** When the server was last heard. */
    heard = $state(0);
    /** Events that came since the page was loaded. */
    events = $state(0);
    #listeners = new Set<Listener>();
    #stream: AbortController | null = null;
    #last = '';

    constructor() {
        setInterval(() => {
            if (this.state === 'live' && !document.hidden) this.#tell(null);
        }, ANYWAY_MS);
        addEventListener('online', () => this.#again());
    }

    /** Begin to listen; again after somebody else has signed in. */
    start(): void {
        this.stop();
        this.#last = '';
        this.state = 'reconnecting';
        void this.#follow();
    }

    stop(): void {
        this.#stream?.abort();
        this.#stream = null;
    }

    /** Keep what is shown as it is, or go on from there. */
    toggle(): void {
        if (this.state === 'paused') {
            this.state = 'reconnecting';
            void this.#follow();
            this.#tell(null);
        } else {
            this.stop();
            this.state = 'paused';
        }
    }

    /** Call `hear` with every event; with null when anything may have changed. The answer ends that. */
    listen(hear: Listener): () => void {
        this.#listeners.add(hear);
        return () => this.#listeners.delete(hear);
    }

    /** After something was done here: look at once, even when paused. */
    changed(): void {
        this.#tell(null);
    }

    #tell(event: Happened | null): void {
        for (const hear of this.#listeners) hear(event);
    }

    #again(): void {
        if (this.state === 'reconnecting' && !this.#stream) void this.#follow();
    }

    async #follow(): Promise<void> {
        this.stop();
        const stream = new AbortController();
        this.#stream = stream;
        try {
            const headers: Record<string, string> = { ...HEADERS, accept: 'text/event-stream' };
            if (this.#last) headers['last-event-id'] = this.#last;
            const response = await fetch('/api/events', { headers, signal: stream.signal });
            if (response.status === 401) return this.#tell(null); // whoever reads next hears that nobody is signed in
            if (response.ok && response.body) await this.#read(response.body);
        } catch {
            // it broke: go on below
        }
        if (stream.signal.aborted) return;
        this.#stream = null;
        if (this.state !== 'paused') this.state = 'reconnecting';
        setTimeout(() => this.#again(), AGAIN_MS);
    }

    async #read(body: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
        const reader = body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = '';
        for (;;) {
            const { done, value } = await reader.read();
            if (done) return;
            this.heard = Date.now();
            const frames = (rest + value).split('\n\n');
            rest = frames.pop() ?? '';
            for (const frame of frames) this.#hear(frame);
        }
    }

    #hear(frame: string): void {
        const fields: Record<string, string> = {};
        for (const line of frame.split('\n')) {
            const colon = line.indexOf(': ');
            if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
        }
        if (fields.id) this.#last = fields.id;
        if (!fields.data) return;
        if (fields.event === 'open') {
            this.state = 'live';
            this.#tell(null); // what could not be read meanwhile, or happened where the stream could not go on
        } else {
            this.events += 1;
            this.#tell(JSON.parse(fields.data) as Happened);
        }
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
    #due = 0;

    /** `load` is called in the component that makes this, and again when what it uses changes, or an event `concerns` it. */
    constructor(load: () => Promise<T>, concerns: (event: Happened) => boolean) {
        this.#load = load;
        $effect(() => {
            this.#take(this.#load());
            return untrack(() =>
                connection.listen((event) => (event === null || concerns(event) ? this.#soon() : undefined)),
            );
        });
        $effect(() => () => clearTimeout(this.#due));
    }

    refresh(): void {
        this.#take(this.#load());
    }

    #soon(): void {
        if (this.#due) return;
        this.#due = window.setTimeout(() => {
            this.#due = 0;
            if (this.#busy) this.#soon();
            else this.refresh();
        }, LEAST_MS);
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
                },
                (error: unknown) => {
                    if (number !== this.#asked) return;
                    const known = error instanceof ApiError ? error : new ApiError(0, 'internal', String(error));
                    const passes = known.status === 0 || known.status === 503 || known.status === 401;
                    if (!passes) this.error = known;
                    else if (connection.state === 'live') this.#soon(); // else it is read again with the stream
                },
            )
            .finally(() => {
                if (number === this.#asked) this.#busy = false;
            });
    }
}

export function watch<T>(load: () => Promise<T>, concerns: (event: Happened) => boolean = () => true): Watched<T> {
    return new Watched(load, concerns);
}
