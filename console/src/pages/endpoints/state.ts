/** What an endpoint is doing, in one word. */

import type { Endpoint, LastHour, Worker } from '../../lib/api';

export function waiting(endpoint: Endpoint): number {
    return endpoint.jobs.queued + endpoint.jobs.queued_low + endpoint.jobs.ahead;
}

const TROUBLES = ['no_capacity', 'launch_backoff', 'crash_loop', 'runtime_unavailable'];

export function stateOf(endpoint: Endpoint): string {
    if (endpoint.paused_ms !== null) return 'paused';
    if (TROUBLES.includes(endpoint.decision?.reason ?? '')) return 'failing';
    if (endpoint.workers.busy > 0) return 'running';
    if (endpoint.workers.starting > 0) return 'starting';
    if (waiting(endpoint) > 0) return 'waiting';
    return endpoint.workers.idle > 0 ? 'idle' : 'asleep';
}

/** What a worker does, as endpoints count it. */
export function does(worker: Worker): string {
    if (worker.state === 'ready') return worker.held ? 'busy' : 'idle';
    if (worker.state === 'decided') return 'starting';
    return worker.state === 'stopping' ? 'draining' : worker.state;
}

/** For how long the job has waited that waits longest, in milliseconds; null when none does, or nobody knows yet. */
export function oldest(one: Endpoint, hour: LastHour | undefined, now_ms: number): number | null {
    const since = hour?.oldest_queued_ms;
    return since && waiting(one) ? Math.max(0, now_ms - since) : null;
}
