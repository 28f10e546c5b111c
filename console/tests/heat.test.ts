import { describe, expect, test } from 'vitest';
import { bands, byName, columnOf, percentile, sum } from '../src/lib/heat';
import { attemptsOf, stagesOfTries } from '../src/lib/stages';
import { percent } from '../src/lib/words';

describe('heat maps', () => {
    test('a moment lies in one column, the last one included; what is outside in none', () => {
        expect([99, 100, 149, 150, 200, 201].map((at) => columnOf(at, 100, 200, 2))).toEqual([null, 0, 0, 1, 1, null]);
        expect(columnOf(5, 5, 5, 2)).toBeNull();
    });

    test('rows reach from the shortest to the longest that is there, the longest first, and lose nothing', () => {
        const points = [50, 99, 100, 2_000].map((value, index) => ({ at: index * 10, value }));
        const rows = bands(points, 0, 30, 3);
        expect(rows.map((row) => row.label)).toEqual(['from 1 s', 'from 300 ms', 'from 100 ms', 'under 100 ms']);
        expect(rows.map((row) => row.cells)).toEqual([
            [0, 0, 1],
            [0, 0, 0],
            [0, 0, 1],
            [1, 1, 0],
        ]);
        expect(bands([], 0, 1, 3)).toEqual([]);
    });

    test('causes have rows of their own, the most frequent first', () => {
        const points = ['a', 'b', 'b'].map((name, at) => ({ at, name }));
        expect(byName(points, 0, 2, 2).map((row) => [row.label, sum(row.cells)])).toEqual([
            ['b', 2],
            ['a', 1],
        ]);
    });

    test('a percentile is a value that is there', () => {
        const values = Array.from({ length: 100 }, (_, index) => 100 - index);
        expect([0.5, 0.95, 1].map((share) => percentile(values, share))).toEqual([50, 95, 100]);
        expect(percentile([], 0.5)).toBeNull();
    });

    test('a share is whole only when nothing is missing', () => {
        expect([0, 0.5, 0.9999, 1].map(percent)).toEqual(['0%', '50%', '99.9%', '100%']);
    });
});

describe('the life of a job', () => {
    const line = { kind: '', reason: '', attempt: null, worker: null, text: '' };

    test('each attempt has its worker, and the end that it came to', () => {
        const story = [
            { ...line, at_ms: 0, state: 'queued', kind: 'submitted' },
            { ...line, at_ms: 1, state: 'running', kind: 'claimed', attempt: 1, worker: 'one' },
            { ...line, at_ms: 2, state: 'running', kind: 'confirmed', attempt: 1, worker: 'one' },
            { ...line, at_ms: 5, state: 'queued', reason: 'worker_lost' },
            { ...line, at_ms: 7, state: 'running', kind: 'claimed', attempt: 2, worker: 'two' },
        ];
        expect(attemptsOf(story)).toEqual([
            { number: 1, worker: 'one', began: 1, ended: 5, end: 'worker_lost' },
            { number: 2, worker: 'two', began: 7, ended: null, end: '' },
        ]);
    });

    test('every call of a webhook is a stage, told apart by how it was answered', () => {
        const tries = [
            { at_ms: 10, status: null, duration_ms: 5, error: 'refused' },
            { at_ms: 20, status: 200, duration_ms: 2, error: '' },
        ];
        const notice = { id: 'n', url: 'u', dialect: 'v2', job_state: 'completed', ended_ms: 1, state: 'delivered' };
        const stages = stagesOfTries([{ ...notice, next_try_ms: null, delivered_ms: 20, tries } as never]);
        expect(stages.map((one) => [one.name, one.from, one.to, one.hue, one.detail])).toEqual([
            ['Webhook, try 1', 10, 15, 'orange', 'refused'],
            ['Webhook, try 2', 20, 22, 'green', '200'],
        ]);
    });
});
