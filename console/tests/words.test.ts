import { describe, expect, test } from 'vitest';
import { cli, curl, quote } from '../src/lib/lines';
import { ago, bytes, count, duration, several, short } from '../src/lib/words';

describe('numbers as people read them', () => {
    test('durations have at most two units, and none is lost', () => {
        const said = [null, 0, 999, 1_000, 4_230, 59_400, 60_000, 200_000, 7_500_000, 90_000_000];
        expect(said.map(duration)).toEqual([
            '–',
            '0 ms',
            '999 ms',
            '1 s',
            '4.2 s',
            '59 s',
            '1 min',
            '3 min 20 s',
            '2 h 5 min',
            '1 d 1 h',
        ]);
    });

    test('ages are told in whole seconds, and what is new is now', () => {
        expect([0, 1_499, 61_900].map((age) => ago(1_000_000 - age, 1_000_000))).toEqual([
            'now',
            'now',
            '1 min 1 s ago',
        ]);
        expect(ago(null, 1)).toBe('–');
    });

    test('sizes are in powers of 1024', () => {
        expect([0, 23.25, 1_023, 1_024, 1_572_864, 80 * 1024 ** 3].map(bytes)).toEqual([
            '0 B',
            '23 B',
            '1023 B',
            '1 KiB',
            '1.5 MiB',
            '80 GiB',
        ]);
    });

    test('large counts are grouped, and one is not several', () => {
        expect([count(10_000), several(1, 'worker'), several(0, 'worker'), several(2, 'reply', 'replies')]).toEqual([
            '10 000',
            '1 worker',
            '0 workers',
            '2 replies',
        ]);
    });

    test('long ids keep both ends', () => {
        expect([short('h7115c4oltennc'), short('019ac2f4-7b1e-7d34-9aaa-0123456789ab')]).toEqual([
            'h7115c4oltennc',
            '019ac2f4…89ab',
        ]);
    });
});

describe('lines for a terminal', () => {
    test('what a shell would take apart is quoted', () => {
        expect([quote('a-b/c:1'), quote('two words'), quote("it's"), quote('')]).toEqual([
            'a-b/c:1',
            "'two words'",
            "'it'\\''s'",
            "''",
        ]);
        expect(cli('job', 'run', 'a', '-d', '{"x":1}')).toBe(`stoker job run a -d '{"x":1}'`);
    });

    test('a curl line never holds the key', () => {
        expect(curl({ method: 'DELETE', path: '/api/endpoints/a' }, 'http://host')).toBe(
            'curl -X DELETE http://host/api/endpoints/a -H "Authorization: Bearer $STOKER_API_KEY"',
        );
        expect(curl({ method: 'POST', path: '/v2/a/run', body: { input: 1 } }, 'http://host')).toBe(
            `curl http://host/v2/a/run -H "Authorization: Bearer $STOKER_API_KEY" -d '{"input":1}'`,
        );
    });
});
