import { describe, expect, test } from 'vitest';
import { body, inAddress, options, wantedOf } from '../src/pages/jobs/wanted';

describe('filters of jobs', () => {
    const address: Record<string, string> = { q: 'memory', state: 'failed', release: '2', longer_s: '1.5' };
    const wanted = wantedOf((name) => address[name] ?? '');

    test('what the address says is asked of the server, and told in a terminal', () => {
        expect(body(wanted)).toEqual({ state: 'failed', release: 2, text: 'memory', ran_least_ms: 1500 });
        expect(options(wanted).join(' ')).toBe('--state failed --release 2 --text memory --ran 1.5');
    });
    test('what a view chooses stands in the address again', () => {
        const kept = inAddress(body(wanted));
        expect(wantedOf((name) => kept[name] ?? '')).toEqual(wanted);
    });
    test('an address that says nothing chooses nothing', () => {
        expect(wantedOf(() => '')).toEqual({});
    });
});
