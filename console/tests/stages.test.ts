import { describe, expect, test } from 'vitest';
import type { JobInFull, StoryLine, WorkerInFull } from '../src/lib/api';
import { stagesOfJob, stagesOfWorker, type Stage } from '../src/lib/stages';

function line(at_ms: number, kind: string, state: string, more: Partial<StoryLine> = {}): StoryLine {
    return { at_ms, kind, state, reason: kind, attempt: null, worker: null, text: '', ...more };
}

function worker(story: StoryLine[], more: Partial<WorkerInFull> = {}): WorkerInFull {
    return {
        id: 'w',
        state: 'ready',
        decided_ms: 110,
        launched_ms: 151,
        ready_ms: 190,
        detail: '',
        story,
        ...more,
    } as WorkerInFull;
}

function told(stages: Stage[]): [string, number, number][] {
    return stages.map((one) => [one.name, one.from, one.to]);
}

const IN_A_CONTAINER = [
    line(110, 'decided', 'decided', { text: 'a job waits' }),
    line(130, 'pulled', 'decided'),
    line(140, 'created', 'decided'),
    line(150, 'started', 'decided'),
    line(151, 'launched', 'starting'),
    line(190, 'ready', 'ready'),
];

describe('the waterfall of a job', () => {
    const job = {
        story: [
            line(100, 'submitted', 'queued'),
            line(191, 'claimed', 'running', { attempt: 1, worker: 'w' }),
            line(200, 'confirmed', 'running', { worker: 'w' }),
            line(300, 'finished', 'completed'),
        ],
    } as JobInFull;

    test('has every stage of the worker that it waited for', () => {
        expect(told(stagesOfJob(job, 300, [worker(IN_A_CONTAINER)]))).toEqual([
            ['Received', 100, 100],
            ['Queued', 100, 191],
            ['Worker chosen', 100, 110],
            ['Image pulled', 110, 130],
            ['Worker created', 130, 140],
            ['Worker started', 140, 150],
            ['First take', 150, 190],
            ['Attempt 1', 191, 200],
            ['Running, confirmed', 200, 300],
            ['Result: completed', 300, 300],
        ]);
    });

    test('has none of a worker that was there before', () => {
        const before = worker(
            [line(10, 'decided', 'decided'), line(20, 'launched', 'starting'), line(90, 'ready', 'ready')],
            {
                decided_ms: 10,
                ready_ms: 90,
            },
        );
        expect(told(stagesOfJob(job, 300, [before])).map(([name]) => name)).not.toContain('First take');
    });
});

describe('the life of a worker', () => {
    test('is its start by stages, then its states; a process has one launch', () => {
        const story = [line(110, 'decided', 'decided'), line(151, 'launched', 'starting'), line(190, 'ready', 'ready')];
        expect(told(stagesOfWorker(worker(story), 500))).toEqual([
            ['Worker launched', 110, 151],
            ['First take', 151, 190],
            ['Ready', 190, 500],
        ]);
        const gone = worker([...IN_A_CONTAINER, line(400, 'gone', 'gone')], { state: 'gone' });
        expect(told(stagesOfWorker(gone, 500)).slice(-2)).toEqual([
            ['Ready', 190, 400],
            ['Gone', 400, 400],
        ]);
    });

    test('that is on its way has a stage that goes on, and says what it waits for', () => {
        const story = [line(110, 'decided', 'decided'), line(120, 'decided', 'decided', { reason: 'image_pulling' })];
        const found = stagesOfWorker(worker(story, { launched_ms: null, ready_ms: null, detail: '3 of 9 GiB' }), 500);
        expect(found.map((one) => [one.name, one.open, one.detail])).toEqual([['Being launched', true, '3 of 9 GiB']]);
    });
});
