/** Amounts of budgets, as they are shown and sent. Pure. */

import type { Budget } from '../../lib/api';

/** Where a budget is set: of an endpoint, or of a whole team, which is ours unless another is named. */
export function path(endpoint?: string, team = ''): string {
    if (endpoint) return `/api/endpoints/${encodeURIComponent(endpoint)}/budget`;
    return team ? `/api/budget?team=${encodeURIComponent(team)}` : '/api/budget';
}

/** The greatest amount that it has. */
export function most(one: Pick<Budget, 'warn' | 'queue' | 'refuse'>): number {
    return Math.max(one.warn ?? 0, one.queue ?? 0, one.refuse ?? 0);
}

export function price(value: number | null): string {
    return value === null ? '–' : String(Number(value.toFixed(value < 1 ? 4 : 2)));
}

/** What a level means for jobs. */
export function words(level: Budget['level']): string {
    return { free: 'within', warn: 'warns', queue: 'jobs wait', refuse: 'refuses' }[level];
}
