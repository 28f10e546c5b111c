/** Which jobs are looked for: from the address to the parameters of the API and the options of the command line. Pure. */

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

/** What the address may say. */
export const NAMES = ['q', 'state', 'reason', 'waited_s', 'longer_s', 'worker', 'release', 'key'] as const;

/** Parameters of the API, as texts. */
export type Wanted = Record<string, string>;

export function wantedOf(get: (name: string) => string): Wanted {
    const wanted: Wanted = {};
    for (const name of ['state', 'reason', 'worker', 'release', 'key']) if (get(name)) wanted[name] = get(name);
    if (get('q')) wanted.text = get('q');
    for (const [name, field] of [
        ['waited_s', 'waited_least_ms'],
        ['longer_s', 'ran_least_ms'],
    ] as const) {
        if (get(name)) wanted[field] = String(Math.round(Number(get(name)) * 1000));
    }
    return wanted;
}

/** As the address says it, what a view chooses; what it does not say is empty. */
export function inAddress(filters: Record<string, string | number>): Record<string, string> {
    const seconds = (field: string): string => (field in filters ? String(Number(filters[field]) / 1000) : '');
    const word = (field: string): string => String(filters[field] ?? '');
    const words = ['state', 'reason', 'worker', 'release', 'key'].map((name) => [name, word(name)]);
    return {
        ...(Object.fromEntries(words) as Record<string, string>),
        q: word('text'),
        waited_s: seconds('waited_least_ms'),
        longer_s: seconds('ran_least_ms'),
    };
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
    return Object.entries(wanted).flatMap(([name, value]) =>
        name.endsWith('_least_ms')
            ? [`--${name.replace('_least_ms', '')}`, String(Number(value) / 1000)]
            : [`--${name}`, value],
    );
}
