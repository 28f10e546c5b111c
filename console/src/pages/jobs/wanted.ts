/** Which jobs are looked for: from the address to the parameters of the API and the options of the command line. Pure. */

import { duration, moment } from '../../lib/words';

/** What is written as a word, and how it is called. */
export const WORDS = [
    ['worker', 'Worker'],
    ['release', 'Release'],
    ['key', 'Key'],
] as const;

/** Times in seconds, how they are called, and what stands for none. */
export const TIMES = [
    ['waited_s', 'waited', 'Waited any time'],
    ['longer_s', 'ran', 'Ran any time'],
] as const;

/** Bounds that only links set, and how each is told. */
export const BOUNDS: readonly (readonly [string, (value: number) => string])[] = [
    ['waited_below_s', (s) => `waited less than ${duration(s * 1000)}`],
    ['ran_below_s', (s) => `ran less than ${duration(s * 1000)}`],
    ['since', (ms) => `ended since ${moment(ms)}`],
    ['until', (ms) => `ended before ${moment(ms)}`],
];

/** In the address, in the API, by what a number is multiplied from the one to the other (0: it is a word), and as an option. */
const FILTERS = [
    ['state', 'state', 0, 'state'],
    ['reason', 'reason', 0, 'reason'],
    ['worker', 'worker', 0, 'worker'],
    ['release', 'release', 0, 'release'],
    ['key', 'key', 0, 'key'],
    ['q', 'text', 0, 'text'],
    ['waited_s', 'waited_least_ms', 1000, 'waited'],
    ['waited_below_s', 'waited_below_ms', 1000, 'waited-below'],
    ['longer_s', 'ran_least_ms', 1000, 'ran'],
    ['ran_below_s', 'ran_below_ms', 1000, 'ran-below'],
    ['since', 'ended_since_ms', 1, 'ended-since'],
    ['until', 'ended_before_ms', 1, 'ended-before'],
] as const;

/** What the address may say. */
export const NAMES = FILTERS.map(([name]) => name);

/** Parameters of the API, as texts. */
export type Wanted = Record<string, string>;

export function wantedOf(get: (name: string) => string): Wanted {
    return Object.fromEntries(
        FILTERS.filter(([name]) => get(name)).map(([name, field, times]) => [
            field,
            times ? String(Math.round(Number(get(name)) * times)) : get(name),
        ]),
    );
}

/** As the address says it, what a view chooses; what it does not say is empty. */
export function inAddress(filters: Record<string, string | number>): Record<string, string> {
    return Object.fromEntries(
        FILTERS.map(([name, field, times]) => {
            const value = filters[field] ?? '';
            return [name, value !== '' && times ? String(Number(value) / times) : String(value)];
        }),
    );
}

/** The same as a body, where numbers are numbers. */
export function body(wanted: Wanted): Record<string, string | number> {
    return Object.fromEntries(
        Object.entries(wanted).map(([name, value]) => [
            name,
            name === 'release' || name.endsWith('_ms') ? Number(value) : value,
        ]),
    );
}

/** The same as options of `stoker job ls`, `cancel-all` and `retry-all`. */
export function options(wanted: Wanted): string[] {
    return FILTERS.flatMap(([, field, times, option]) => {
        const value = wanted[field];
        if (value === undefined) return [];
        const told = times === 1 ? new Date(Number(value)).toISOString().slice(0, -1) : Number(value) / times;
        return [`--${option}`, times ? String(told) : value];
    });
}

/** The address of the jobs of an endpoint that are like this; names as the address has them. */
export function jobsAt(endpoint: string, filters: Record<string, string | number>): string {
    const query = new URLSearchParams(Object.entries(filters).map(([name, value]) => [name, String(value)]));
    return `/endpoints/${encodeURIComponent(endpoint)}/jobs?${query}`;
}
