/** A life as stages on an axis of time, from its story. Pure. */

import type { JobInFull, Notice, StoryLine, WorkerInFull } from './api';
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
 * Received, waited, ran, waited again, …, ended. A wait during which the worker that then ran the job was still on its way has
 * the stages of its start: `workers` are those that are known, with their stories.
 */
export function stagesOfJob(job: JobInFull, now: number, workers: WorkerInFull[] = []): Stage[] {
    const stages: Stage[] = [];
    for (const [index, line] of job.story.entries()) {
        const next = job.story[index + 1];
        const to = next?.at_ms ?? now;
        if (line.kind === 'submitted') stages.push(moment('Received', line.at_ms));
        if (line.state === 'queued' || line.state === 'ahead') {
            const worker = workers.find((one) => one.id === next?.worker);
            stages.push(wait(line, to, !next), ...(worker ? start(worker, line.at_ms, to) : []));
        } else if (line.state === 'running') stages.push(run(line, to, !next));
        else stages.push(end(line));
    }
    return stages;
}

function moment(name: string, at: number): Stage {
    return { name, from: at, to: at, hue: 'grey', detail: '', open: false };
}

function wait(line: StoryLine, to: number, open: boolean): Stage {
    const name =
        line.state === 'ahead' ? 'Waited at the worker' : line.kind === 'submitted' ? 'Queued' : 'Queued again';
    const detail = line.kind === 'submitted' ? '' : words(line.text || line.reason);
    return { name, from: line.at_ms, to, hue: 'grey', detail, open };
}

/** What goes on until a line of a worker's story, by the line's kind. Containers and pods have more of them than processes. */
export const UNTIL: Record<string, string> = {
    scheduled: 'Node chosen',
    pulled: 'Image pulled',
    created: 'Worker created',
    started: 'Worker started',
    launched: 'Worker launched',
    ready: 'First take',
};

interface Told {
    kind: string;
    at_ms: number;
}

/** The stages of a worker's start, each from the end of the one before. A runtime that tells none has one launch. */
export function startOf(
    story: Told[],
    decided: number,
    ready: number | null,
): { kind: string; name: string; from: number; to: number }[] {
    const ends = story
        .filter((line) => line.kind in UNTIL && line.at_ms <= (ready ?? Infinity))
        .filter(
            (one, index, all) =>
                one.kind !== 'launched' || !all.slice(0, index).some((other) => other.kind === 'started'),
        );
    return ends.map((one, index) => ({
        kind: one.kind,
        name: UNTIL[one.kind] ?? '',
        from: ends[index - 1]?.at_ms ?? decided,
        to: one.at_ms,
    }));
}

/** What of a worker's start lay within a wait: until it was chosen, and each stage from then on. */
function start(worker: WorkerInFull, from: number, to: number): Stage[] {
    const chosen = { name: 'Worker chosen', from, to: Math.max(from, worker.decided_ms) };
    return [chosen, ...startOf(worker.story, worker.decided_ms, worker.ready_ms)].flatMap((one) => {
        if (one.to <= from || one.from >= to) return [];
        const detail = one === chosen ? `worker ${worker.id}` : '';
        const hue = one === chosen ? ('grey' as const) : ('sky' as const);
        return [{ name: one.name, from: Math.max(from, one.from), to: Math.min(to, one.to), hue, detail, open: false }];
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
    const word = words(line.state);
    const name = ['completed', 'failed'].includes(word)
        ? `Result: ${word}`
        : word.replace(/^./, (letter) => letter.toUpperCase());
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

const LATER: Record<string, Stage['hue']> = { ready: 'green', draining: 'orange', stopping: 'orange', gone: 'grey' };

/** The stages of a worker's start, then each of its states until the next. What the one before said is not said again. */
export function stagesOfWorker(worker: WorkerInFull, now: number): Stage[] {
    const begun = startOf(worker.story, worker.decided_ms, worker.ready_ms).map(({ name, from, to }): Stage => ({
        name,
        from,
        to,
        hue: 'sky',
        detail: '',
        open: false,
    }));
    const lines = worker.story.filter(
        (line, index, all) => line.state in LATER && line.state !== all[index - 1]?.state,
    );
    const reached = begun.at(-1)?.to ?? worker.decided_ms;
    const until = lines[0]?.at_ms;
    if (until === undefined || until > reached) {
        const name = worker.launched_ms === null ? 'Being launched' : 'Starting';
        const open = until === undefined;
        begun.push({ name, from: reached, to: until ?? now, hue: 'sky', detail: open ? worker.detail : '', open });
    }
    const why = worker.story[0];
    if (begun[0] && why && !begun[0].detail) begun[0].detail = why.text || words(why.reason);
    let told = begun[0]?.detail ?? '';
    const later = lines.map((line, index): Stage => {
        const next = lines[index + 1];
        const open = !next && worker.state !== 'gone';
        const says = line.text || words(line.reason);
        const detail = says === told ? '' : says;
        told = says;
        const name = line.state.replace(/^./, (letter) => letter.toUpperCase());
        const to = next?.at_ms ?? (open ? now : line.at_ms);
        return { name, from: line.at_ms, to, hue: LATER[line.state] ?? 'grey', detail, open };
    });
    return [...begun, ...later];
}
