import { expect, test } from 'vitest';
import type { Happened } from '../src/lib/live.svelte';
import { stagesOf, startsOf } from '../src/pages/endpoints/starts';

function event(at_ms: number, kind: string, worker: string): Happened {
    const nothing = { id: '', job: null, reason: '', attempt: null, wanted: null, text: '', state: '' };
    return { at_ms, about: 'worker', kind, worker, endpoint: { id: '', name: '' }, ...nothing };
}

test('each stage takes from the end of the one before; who never became ready is no start', () => {
    const starts = startsOf([
        event(0, 'decided', 'a'),
        event(40, 'pulled', 'a'),
        event(50, 'launched', 'a'),
        event(90, 'ready', 'a'),
        event(60, 'decided', 'b'),
        event(70, 'launched', 'b'),
        event(95, 'draining', 'a'),
    ]);
    expect(starts.map((one) => [one.id, one.stages.map((stage) => stage.took)])).toEqual([['a', [40, 10, 40]]]);
    expect(stagesOf(starts).map((one) => [one.name, one.took])).toEqual([
        ['Image pulled', [40]],
        ['Worker launched', [10]],
        ['First take', [40]],
        ['Together', [90]],
    ]);
});
