/** What happened within a range of time: of a ledger that is long nothing else is read. */

import { send } from './api';
import type { Happened } from './live.svelte';

/** A bound, far beyond what is kept of an endpoint that is used. */
const PAGES_MOST = 1_000;

interface EventPage {
    events: Happened[];
    next: string;
    more: boolean;
}

/** Events that are like `query`, from a moment on (milliseconds) until now, page by page; the last page may be empty. Throws `ApiError`. */
export async function* eventsSince(
    since: number,
    query: Record<string, string | string[]>,
): AsyncGenerator<Happened[]> {
    const words = new URLSearchParams({ since_ms: String(Math.max(0, Math.floor(since))) });
    for (const [name, values] of Object.entries(query)) for (const one of [values].flat()) words.append(name, one);
    for (let page = 0; page < PAGES_MOST; page += 1) {
        const found = (await send('GET', `/api/events?${words}`)) as EventPage;
        yield found.events;
        if (!found.more) return;
        words.set('after', found.next);
    }
}
