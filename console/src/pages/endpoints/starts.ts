/** Cold starts by stage, from the events of workers. Pure. */

import type { Happened } from '../../lib/live.svelte';

/** What a stage is called by the event that ends it, and its hue. Containers and pods have more of them than processes. */
const STAGES: Record<string, [string, string]> = {
    scheduled: ['Placed', 'grey'],
    pulled: ['Image fetched', 'purple'],
    created: ['Container made', 'yellow'],
    started: ['Container started', 'green'],
    launched: ['Launched', 'grey'],
    ready: ['Loaded, until its first take', 'sky'],
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
        const until = lines.filter((one) => one.kind in STAGES && one.at_ms <= ready);
        let before = decided;
        const stages = until
            .toSorted((a, b) => a.at_ms - b.at_ms)
            .map((one): Stage => {
                const [name, hue] = STAGES[one.kind] ?? [one.kind, 'grey'];
                const took = one.at_ms - before;
                before = one.at_ms;
                return { name, hue, took };
            });
        starts.push({ id, decided, ready, stages });
    }
    return starts.toSorted((a, b) => b.decided - a.decided);
}

/** What each stage took, start by start; and all of them together. */
export function stagesOf(starts: Start[]): { name: string; hue: string; took: number[] }[] {
    const all = starts.flatMap((one) => one.stages);
    const found = Object.values(STAGES)
        .map(([name, hue]) => ({ name, hue, took: all.filter((one) => one.name === name).map((one) => one.took) }))
        .filter((one) => one.took.length);
    return [...found, { name: 'Together', hue: 'surface', took: starts.map((one) => one.ready - one.decided) }];
}
