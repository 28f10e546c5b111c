import { expect, test } from 'vitest';
import { History } from '../src/lib/history';
import type { Happened } from '../src/lib/live.svelte';

function event(at_s: number, kind: string, state: string, more: Partial<Happened> = {}): Happened {
    const about = more.worker && !more.job ? 'worker' : more.job ? 'job' : 'endpoint';
    const nothing = { job: null, worker: null, reason: '', attempt: null, wanted: null, text: '' };
    return { id: '', at_ms: at_s * 1000, about, kind, endpoint: { id: '', name: '' }, state, ...nothing, ...more };
}

test('what was there before the first event that was read follows from what is there now', () => {
    const history = new History();
    history.feed(event(10, 'claimed', 'running', { job: 'a', worker: 'w' }));
    history.feed(event(11, 'submitted', 'queued', { job: 'b' }));
    history.feed(event(12, 'cancelled', 'cancelled', { job: 'c' }));
    history.feed(event(13, 'ready', 'ready', { worker: 'w' }));
    history.feed(event(14, 'gone', 'gone', { worker: 'v' }));
    history.anchor([5, 1, 1]);
    expect(history.lines(0, 20)).toEqual([
        [0, 10, 11, 12, 13, 14, 20],
        [6, 5, 6, 5, 5, 5, 5],
        [0, 1, 1, 1, 1, 1, 1],
        [2, 2, 2, 2, 2, 1, 1],
    ]);
});

test('a range begins with what held before it, and decisions are kept apart', () => {
    const history = new History();
    history.feed(event(1, 'decided', 'decided', { worker: 'w' }));
    history.feed(event(2, 'decision', 'active', { wanted: 3, text: 'three wait' }));
    expect(history.lines(5, 9)).toEqual([
        [5, 9],
        [0, 0],
        [0, 0],
        [1, 1],
    ]);
    expect(history.decisions.map((one) => [one.at_ms, one.wanted, one.text])).toEqual([[2000, 3, 'three wait']]);
});
