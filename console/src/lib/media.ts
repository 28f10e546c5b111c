/** What a text in an output may be besides a text: a picture, sound or film, inside it or behind a link. Pure. */

export interface Media {
    kind: string;
    source: string;
    /** Loading it would tell another server that somebody looks. */
    foreign: boolean;
}

/** What the first bytes of a file say. */
const MAGIC: [RegExp, string][] = [
    [/^\x89PNG/, 'image/png'],
    [/^\xff\xd8\xff/, 'image/jpeg'],
    [/^GIF8/, 'image/gif'],
    [/^RIFF....WEBP/s, 'image/webp'],
    [/^....ftypavi[fs]/s, 'image/avif'],
    [/^RIFF....WAVE/s, 'audio/wav'],
    [/^(ID3|\xff[\xf2\xf3\xfa\xfb])/, 'audio/mpeg'],
    [/^OggS/, 'audio/ogg'],
    [/^fLaC/, 'audio/flac'],
    [/^....ftypM4A/s, 'audio/mp4'],
    [/^....ftyp/s, 'video/mp4'],
    [/^.E\xdf\xa3/s, 'video/webm'],
];
const ENDINGS: Record<string, string> = {
    png: 'image/png',
    jpg: 'image/jpeg',
    jpeg: 'image/jpeg',
    gif: 'image/gif',
    webp: 'image/webp',
    avif: 'image/avif',
    mp3: 'audio/mpeg',
    wav: 'audio/wav',
    ogg: 'audio/ogg',
    flac: 'audio/flac',
    m4a: 'audio/mp4',
    mp4: 'video/mp4',
    webm: 'video/webm',
};
/** Less is a word that happens to begin like a picture. */
const SHORTEST = 60;
const LONGEST_LINK = 2_048;

/** Whether the whole text is a link that a browser may follow. */
export function isLink(text: string): boolean {
    return text.length < LONGEST_LINK && /^https?:\/\/[^\s/]\S*$/.test(text);
}

export function mediaIn(text: string): Media | null {
    const given = /^data:((?:image|audio|video)\/[\w.+-]+);base64,/.exec(text);
    if (given?.[1]) return { kind: given[1], source: text, foreign: false };
    if (isLink(text)) {
        const ending = /\.(\w{3,4})(?:[?#]|$)/.exec(text)?.[1]?.toLowerCase() ?? '';
        return ENDINGS[ending] ? { kind: ENDINGS[ending], source: text, foreign: true } : null;
    }
    if (text.length < SHORTEST || !/^[A-Za-z0-9+/\s]+=*\s*$/.test(text)) return null;
    const kind = kindOf(text);
    return kind ? { kind, source: `data:${kind};base64,${text.replace(/\s/g, '')}`, foreign: false } : null;
}

function kindOf(text: string): string | undefined {
    const begin = atob(text.replace(/\s/g, '').slice(0, 16)); // four letters are three bytes
    return MAGIC.find(([magic]) => magic.test(begin))?.[1];
}
