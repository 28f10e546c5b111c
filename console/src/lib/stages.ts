/** A life as stages on an axis of time, from its story. Pure. */

import type { JobInFull, Notice, StoryLine, Worker } from './api';
import { words } from './words';

export interface Stage {
    name: string;
    from: number;
    to: number;
    hue: 'grey' | 'blue' | 'green' | 'orange' | 'sky' | 'purple';
    detail: string;
    /** Whether it goes on. */
    open: boolean;
}

const ENDS: Record<string, Stage['hue']> = {
    completed: 'green',
    failed: 'orange',
    timed_out: 'purple',
    cancelled: 'grey',
};

/**
 * Received, waited, ran, waited again, …, ended. A wait during which the worker that then ran the job was still on its way is
 * told apart: `worker` is that of the last attempt, when it is known.
 */
export function stagesOfJob(job: JobInFull, now: number, worker: Worker | null = null): Stage[] {
    const stages: Stage[] = [];
    for (const [index, line] of job.story.entries()) {
        const next = job.story[index + 1];
        const to = next?.at_ms ?? now;
        if (line.state === 'queued' || line.state === 'ahead') stages.push(...wait(line, to, !next, next, worker));
        else if (line.state === 'running') stages.push(run(line, to, !next));
        else stages.push(end(line));
    }
    return stages;
}

function wait(line: StoryLine, to: number, open: boolean, next: StoryLine | undefined, worker: Worker | null): Stage[] {
    const name =
        line.state === 'ahead' ? 'Waited at the worker' : line.kind === 'submitted' ? 'Queued' : `Queued again`;
    const stage: Stage = {
        name,
        from: line.at_ms,
        to,
        hue: 'grey',
        detail: line.kind === 'submitted' ? '' : words(line.text || line.reason),
        open,
    };
    if (!worker || !next?.worker || next.worker !== worker.id) return [stage];
    return [stage, ...start(worker, line.at_ms, to)];
}

/** What of a worker's start lay within a wait. */
function start(worker: Worker, from: number, to: number): Stage[] {
    const parts: [string, number | null, number | null][] = [
        ['Worker chosen', worker.decided_ms, worker.launched_ms],
        ['Worker started', worker.launched_ms, worker.ready_ms],
    ];
    return parts.flatMap(([name, began, ended]) => {
        if (began === null || ended === null || ended <= from || began >= to) return [];
        const detail = `worker ${worker.id}`;
        return [
            { name, from: Math.max(from, began), to: Math.min(to, ended), hue: 'sky' as const, detail, open: false },
        ];
    });
}

function run(line: StoryLine, to: number, open: boolean): Stage {
    const confirmed = line.kind !== 'claimed';
    const name = confirmed ? 'Running, confirmed' : `Attempt ${line.attempt ?? ''}`;
    return {
        name,
        from: line.at_ms,
        to,
        hue: 'blue',
        detail: line.worker && !confirmed ? `worker ${line.worker}` : '',
        open,
    };
}

function end(line: StoryLine): Stage {
    const name = words(line.state).replace(/^./, (letter) => letter.toUpperCase());
    return {
        name,
        from: line.at_ms,
        to: line.at_ms,
        hue: ENDS[line.state] ?? 'grey',
        detail: words(line.reason),
        open: false,
    };
}

/** Each time the webhook of a job was called. */
export function stagesOfTries(notices: Notice[]): Stage[] {
    return notices.flatMap((notice) =>
        notice.tries.map((one, index) => ({
            name: `Webhook, try ${index + 1}`,
            from: one.at_ms,
            to: one.at_ms + one.duration_ms,
            hue: one.status !== null && one.status < 300 ? ('green' as const) : ('orange' as const),
            detail: [one.status ?? '', one.error].filter(Boolean).join(', '),
            open: false,
        })),
    );
}

export interface Attempt {
    number: number;
    worker: string | null;
    began: number;
    ended: number | null;
    /** Why it is over; empty while it runs. */
    end: string;
}

/** The attempts of a job side by side, from its story. */
export function attemptsOf(story: StoryLine[]): Attempt[] {
    const attempts: Attempt[] = [];
    for (const line of story) {
        const last = attempts.at(-1);
        if (line.state === 'running' && line.kind === 'claimed') {
            const number = line.attempt ?? attempts.length + 1;
            attempts.push({ number, worker: line.worker, began: line.at_ms, ended: null, end: '' });
        } else if (line.state !== 'running' && last && last.ended === null) {
            last.ended = line.at_ms;
            last.end = line.text || line.reason;
        }
    }
    return attempts;
}

/** Decided, launched, ready, …: each state of a worker until the next. What the one before said is not said again. */
export function stagesOfWorker(worker: Worker, story: StoryLine[], now: number): Stage[] {
    const hues: Record<string, Stage['hue']> = {
        decided: 'grey',
        starting: 'sky',
        ready: 'green',
        draining: 'orange',
        stopping: 'orange',
        gone: 'grey',
    };
    const lines = story.filter((line, index) => index === 0 || line.state !== story[index - 1]?.state);
    return lines.map((line, index) => {
        const next = lines[index + 1];
        const open = !next && worker.state !== 'gone';
        const told = line.text || words(line.reason);
        const before = lines[index - 1];
        return {
            name: line.state.replace(/^./, (letter) => letter.toUpperCase()),
            from: line.at_ms,
            to: next?.at_ms ?? (open ? now : line.at_ms),
            hue: hues[line.state] ?? 'grey',
            detail: before && (before.text || words(before.reason)) === told ? '' : told,
            open,
        };
    });
}
