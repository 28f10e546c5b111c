/** Cold starts by stage, from the events of workers. Pure. */

import type { Happened } from '../../lib/live.svelte';
import { startOf, UNTIL } from '../../lib/stages';

const HUES: Record<string, string> = {
    pulled: 'purple',
    created: 'yellow',
    started: 'green',
    ready: 'sky',
};

export interface Stage {
    name: string;
    hue: string;
    /** Milliseconds. */
    took: number;
}

export interface Start {
    id: string;
    decided: number;
    ready: number;
    stages: Stage[];
}

/** Of each worker that was decided and became ready what it took, stage by stage; the newest first. */
export function startsOf(events: Happened[]): Start[] {
    const starts: Start[] = [];
    for (const [id, lines] of Map.groupBy(events, (one) => one.worker ?? '')) {
        const decided = lines.find((one) => one.kind === 'decided')?.at_ms;
        const ready = lines.find((one) => one.kind === 'ready')?.at_ms;
        if (!id || decided === undefined || ready === undefined) continue;
        const told = lines.toSorted((a, b) => a.at_ms - b.at_ms);
        const stages = startOf(told, decided, ready).map(({ kind, name, from, to }): Stage => {
            return { name, hue: HUES[kind] ?? 'grey', took: to - from };
        });
        starts.push({ id, decided, ready, stages });
    }
    return starts.toSorted((a, b) => b.decided - a.decided);
}

/** What each stage took, start by start; and all of them together. */
export function stagesOf(starts: Start[]): { name: string; hue: string; took: number[] }[] {
    const all = starts.flatMap((one) => one.stages);
    const found = Object.entries(UNTIL)
        .map(([kind, name]) => ({
            name,
            hue: HUES[kind] ?? 'grey',
            took: all.filter((one) => one.name === name).map((one) => one.took),
        }))
        .filter((one) => one.took.length);
    return [...found, { name: 'Together', hue: 'surface', took: starts.map((one) => one.ready - one.decided) }];
}
