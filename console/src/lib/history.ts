/** The queue and the workers of an endpoint over time, from the events of its ledger. Pure. */

import type { Happened } from './live.svelte';

export interface Decision {
    at_ms: number;
    reason: string;
    text: string;
    wanted: number;
}

const WAITS = ['queued', 'ahead'];

export class History {
    /** Moments at which something changed, in seconds, and what held from then on. */
    readonly at: number[] = [];
    readonly waiting: number[] = [];
    readonly running: number[] = [];
    readonly workers: number[] = [];
    readonly decisions: Decision[] = [];
    #jobs = new Map<string, string>();
    #alive = new Set<string>();
    #waits = 0;
    #runs = 0;

    feed(event: Happened): void {
        if (event.about === 'job' && event.job) this.#job(event.job, event.state);
        else if (event.about === 'worker' && event.worker) this.#worker(event.worker, event.state);
        else if (event.kind === 'decision') {
            this.decisions.push({
                at_ms: event.at_ms,
                reason: event.reason,
                text: event.text,
                wanted: event.wanted ?? 0,
            });
        } else return;
        this.#note(event.at_ms / 1000);
    }

    #job(id: string, state: string): void {
        const before = this.#jobs.get(id);
        this.#waits += Number(WAITS.includes(state)) - Number(before !== undefined && WAITS.includes(before));
        this.#runs += Number(state === 'running') - Number(before === 'running');
        if (WAITS.includes(state) || state === 'running') this.#jobs.set(id, state);
        else this.#jobs.delete(id);
    }

    #worker(id: string, state: string): void {
        if (state === 'gone') this.#alive.delete(id);
        else this.#alive.add(id);
    }

    #note(at: number): void {
        const last = this.at.length - 1;
        const index = this.at[last] === at ? last : last + 1;
        this.at[index] = Math.max(at, this.at[last] ?? 0);
        this.waiting[index] = this.#waits;
        this.running[index] = this.#runs;
        this.workers[index] = this.#alive.size;
    }

    /** The lines of a chart from one moment to another, in seconds: what held before is carried to its beginning. */
    lines(from: number, to: number): [number[], number[], number[], number[]] {
        const first = this.at.findIndex((at) => at >= from);
        const begin = first < 0 ? this.at.length : first;
        const cut = (values: number[]): number[] => [
            values[begin - 1] ?? 0,
            ...values.slice(begin),
            values.at(-1) ?? 0,
        ];
        return [[from, ...this.at.slice(begin), to], cut(this.waiting), cut(this.running), cut(this.workers)];
    }
}
