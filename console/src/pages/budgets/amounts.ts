/** Amounts of budgets, as they are shown and sent. Pure. */

import type { Budget } from '../../lib/api';

/** Where a budget is set. */
export function path(endpoint?: string): string {
    return endpoint ? `/api/endpoints/${encodeURIComponent(endpoint)}/budget` : '/api/budget';
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
