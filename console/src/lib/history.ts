/**
 * The queue and the workers of an endpoint over a range of time, from the events of its ledger. Pure.
 *
 * Events say what came and went; how many there were before them follows from how many there are now.
 */

import type { Happened } from './live.svelte';

export interface Decision {
    at_ms: number;
    reason: string;
    text: string;
    wanted: number;
}

/** Jobs that wait, jobs that run, and workers. */
export type Level = readonly [waiting: number, running: number, workers: number];

const WAITS = ['queued', 'ahead'];
/** What a job did before an event of this kind, where that is certain. */
const BEFORE: Record<string, string> = {
    submitted: '',
    retried: '',
    claimed: 'queued',
    delivered_ahead: 'queued',
    taken_back: 'queued',
    confirmed: 'running',
    requeued: 'running',
    finished: 'running',
};

export class History {
    readonly decisions: Decision[] = [];
    /** Moments at which something changed, in seconds, and by how much since the first. */
    readonly #at: number[] = [];
    readonly #changed: Level[] = [];
    readonly #jobs = new Map<string, string>();
    readonly #gone = new Set<string>();
    readonly #alive = new Set<string>();
    #sum: Level = [0, 0, 0];
    #base: Level = [0, 0, 0];

    feed(event: Happened): void {
        if (event.about === 'job' && event.job) this.#job(event, event.job);
        else if (event.about === 'worker' && event.worker) this.#worker(event, event.worker);
        else if (event.kind === 'decision') {
            this.decisions.push({
                at_ms: event.at_ms,
                reason: event.reason,
                text: event.text,
                wanted: event.wanted ?? 0,
            });
        }
    }

    /** So many there are now. */
    anchor(now: Level): void {
        this.#base = [now[0] - this.#sum[0], now[1] - this.#sum[1], now[2] - this.#sum[2]];
    }

    #job(event: Happened, id: string): void {
        const otherwise = event.worker ? 'running' : 'queued';
        const before = this.#jobs.get(id) ?? BEFORE[event.kind] ?? otherwise;
        const waits = Number(WAITS.includes(event.state)) - Number(WAITS.includes(before));
        const runs = Number(event.state === 'running') - Number(before === 'running');
        this.#jobs.set(id, event.state);
        this.#note(event.at_ms, waits, runs, 0);
    }

    #worker(event: Happened, id: string): void {
        const was = this.#alive.has(id) || (event.kind !== 'decided' && !this.#gone.has(id));
        const is = event.state !== 'gone';
        (is ? this.#alive : this.#gone).add(id);
        if (!is) this.#alive.delete(id);
        this.#note(event.at_ms, 0, 0, Number(is) - Number(was));
    }

    #note(at_ms: number, waits: number, runs: number, workers: number): void {
        const at = at_ms / 1000;
        const last = this.#at.length - 1;
        const index = this.#at[last] === at ? last : last + 1;
        this.#sum = [this.#sum[0] + waits, this.#sum[1] + runs, this.#sum[2] + workers];
        this.#at[index] = Math.max(at, this.#at[last] ?? 0);
        this.#changed[index] = this.#sum;
    }

    /** The lines of a chart from one moment to another, in seconds: what held before is carried to its beginning. */
    lines(from: number, to: number): [number[], number[], number[], number[]] {
        const first = this.#at.findIndex((at) => at >= from);
        const begin = first < 0 ? this.#at.length : first;
        const levels = [this.#changed[begin - 1] ?? [0, 0, 0], ...this.#changed.slice(begin), this.#sum];
        const line = (which: 0 | 1 | 2): number[] => levels.map((one) => Math.max(0, one[which] + this.#base[which]));
        return [[from, ...this.#at.slice(begin), to], line(0), line(1), line(2)];
    }
}
