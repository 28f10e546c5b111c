import { describe, expect, test } from 'vitest';
import { isLink, mediaIn } from '../src/lib/media';
import { python, snippets } from '../src/pages/playground/snippets';

function encoded(begin: string): string {
    return btoa(begin.padEnd(60, 'x'));
}

describe('media in an output', () => {
    test('are told by their first bytes, not by their length or their name', () => {
        const kinds: [string, string | undefined][] = [
            ['\x89PNG\r\n', 'image/png'],
            ['\xff\xd8\xff\xe0', 'image/jpeg'],
            ['RIFF\x10\x00\x00\x00WEBPVP8 ', 'image/webp'],
            ['RIFF\x10\x00\x00\x00WAVEfmt ', 'audio/wav'],
            ['\xff\xfb\x90\x00', 'audio/mpeg'],
            ['\x00\x00\x00\x18ftypisom', 'video/mp4'],
            ['\x1aE\xdf\xa3', 'video/webm'],
            ['only a text', undefined],
        ];
        for (const [begin, kind] of kinds) expect(mediaIn(encoded(begin))?.kind).toBe(kind);
        expect(mediaIn('a plain sentence that is longer than sixty letters, and no picture at all')).toBeNull();
    });

    test('lines of base64 are one picture, and a data URL is taken as it is', () => {
        const text = encoded('\x89PNG\r\n');
        expect(mediaIn(`${text.slice(0, 40)}\n${text.slice(40)}\n`)?.source).toBe(`data:image/png;base64,${text}`);
        expect(mediaIn('data:audio/ogg;base64,AAAA')).toMatchObject({ kind: 'audio/ogg', foreign: false });
    });

    test('links are told by their ending, also those of a bucket in the same network, and are foreign', () => {
        expect(mediaIn('https://bucket.example/out/a.png?sig=1')).toMatchObject({ kind: 'image/png', foreign: true });
        expect(mediaIn('http://minio.local:9000/b/film.mp4')).toMatchObject({ kind: 'video/mp4', foreign: true });
        expect(mediaIn('https://example.com/page')).toBeNull();
        expect(['https://example.com/page', 'javascript:alert(1)', 'see https://x.y'].map(isLink)).toEqual([
            true,
            false,
            false,
        ]);
    });
});

describe('the same call elsewhere', () => {
    test('an input is written as Python writes it', () => {
        const value = { a: [true, false, null, 1.5], 'b"': { c: 'é\n' } };
        expect(python(value)).toBe('{"a": [True, False, None, 1.5], "b\\"": {"c": "é\\n"}}');
    });

    test('every client is told where the server is, and none is told a key', () => {
        const lines = snippets('hello', { prompt: 'x' }, 'http://here:1');
        expect(Object.keys(lines)).toEqual(['CLI', 'curl', 'Runpod', 'Novita']);
        for (const name of ['curl', 'Runpod', 'Novita']) {
            expect(lines[name]).toContain('http://here:1/v');
            expect(lines[name]).toContain('STOKER_API_KEY');
        }
    });
});
