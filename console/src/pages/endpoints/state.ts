/** What an endpoint is doing, in one word. */

import type { Endpoint, LastHour } from '../../lib/api';

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

/** For how long the job has waited that waits longest, in milliseconds; null when none does, or nobody knows yet. */
export function oldest(one: Endpoint, hour: LastHour | undefined, now_ms: number): number | null {
    const since = hour?.oldest_queued_ms;
    return since && waiting(one) ? Math.max(0, now_ms - since) : null;
}
