/** The same action in a terminal. */

/** Quoted for a shell, where it needs to be. */
export function quote(text: string): string {
    return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

export interface Call {
    method: string;
    path: string;
    body?: unknown;
}

/** A call as a curl line; the key stays in its variable. */
export function curl({ method, path, body }: Call, origin = location.origin): string {
    const words = ['curl'];
    if (method !== 'GET' && !(method === 'POST' && body !== undefined)) words.push('-X', method);
    words.push(quote(origin + path), '-H "Authorization: Bearer $STOKER_API_KEY"');
    if (body !== undefined) words.push('-d', quote(JSON.stringify(body)));
    return words.join(' ');
}

/** A line of our command, from words. */
export function cli(...words: (string | number)[]): string {
    return ['stoker', ...words].map((word) => quote(String(word))).join(' ');
}
