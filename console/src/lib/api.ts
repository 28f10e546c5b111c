/** The server's API, typed by its own description. What goes wrong is thrown as an `ApiError`, in the server's words. */

import createClient from 'openapi-fetch';
import type { components, paths } from '../api/schema';

type Shapes = components['schemas'];
export type Me = Shapes['Me'];
export type Scope = Shapes['Scope'];
export type Role = Shapes['Role'];
export type Endpoint = Shapes['EndpointShown'];
export type Release = Shapes['ReleaseShown'];
export type Worker = Shapes['WorkerShown'];
export type WorkerInFull = Shapes['WorkerInFull'];
export type Job = Shapes['JobShown'];
export type ManyChanged = Shapes['ManyChanged'];
export type JobInFull = Shapes['JobInFull'];
export type StoryLine = Shapes['StoryLine'];
export type Key = Shapes['Key'];
export type NewKey = Shapes['NewKey'];
export type Member = Shapes['MemberShown'];
export type Template = Shapes['TemplateShown'];
export type Credential = Shapes['CredentialShown'];
export type AuditLine = Shapes['AuditLine'];
export type Volume = Shapes['VolumeShown'];
export type VolumeFile = Shapes['FileShown'];
export type Planned = Shapes['Planned'];
export type Gpu = Shapes['GpuShown'];
export type Specification = Shapes['SpecificationShown'];
export type Limit = Shapes['Limit'];

export type LastHour = Shapes['LastHourShown'];
export type Notice = Shapes['NoticeShown'];
export type View = Shapes['ViewShown'];
export type NoticeListed = Shapes['NoticeListed'];
export type Budget = Shapes['BudgetShown'];
export type UsageLine = Shapes['UsageLine'];
export type Setting = Shapes['SettingShown'];
export type Licence = Shapes['Licence'];
export type Image = Shapes['ImageShown'];
export type WebhookSecretMade = Shapes['WebhookSecretMade'];

/** A refusal, as the server puts it; status 0 when the server was not reached. */
export class ApiError extends Error {
    constructor(
        readonly status: number,
        readonly code: string,
        message: string,
        readonly field: string | null = null,
        readonly nextStep: string | null = null,
        /** The whole answer. */
        readonly said: unknown = null,
    ) {
        super(message);
    }
}

/** Every request carries it: a cookie alone could have been sent by another site. */
export const HEADERS = { 'x-stoker-console': '1' };

/** Called when nobody is signed in any more. */
let onSignedOut = (): void => undefined;

export function whenSignedOut(tell: () => void): void {
    onSignedOut = tell;
}

async function reach(request: Request): Promise<Response> {
    try {
        return await fetch(request);
    } catch {
        throw new ApiError(0, 'unreachable', 'the server does not answer', null, 'the page tries again by itself');
    }
}

export const api = createClient<paths>({ baseUrl: location.origin, headers: HEADERS, fetch: reach });

interface Outcome<T> {
    data?: T;
    error?: unknown;
    response: Response;
}

/** The data of an answer. Throws `ApiError`. */
export async function ask<T>(outcome: Promise<Outcome<T>>): Promise<NonNullable<T>> {
    const { data, error, response } = await outcome;
    if (response.ok && data !== undefined && data !== null) return data;
    throw refusal(response, error);
}

function refusal(response: { status: number }, said: unknown): ApiError {
    const body = (said ?? {}) as Record<string, string | null | undefined>;
    const error = new ApiError(
        response.status,
        body.code ?? 'internal',
        body.error ?? `the server answered ${response.status}`,
        body.field ?? null,
        body.next_step ?? null,
        said,
    );
    if (response.status === 401) onSignedOut();
    return error;
}

/** Any route by its path, for what is told as a curl line too. Throws `ApiError`. */
export async function send(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await reach(
        new Request(new URL(path, location.origin), {
            method,
            headers: { ...HEADERS, 'content-type': 'application/json' },
            body: body === undefined ? undefined : JSON.stringify(body),
        }),
    );
    const text = await response.text();
    const said: unknown = text ? JSON.parse(text) : {};
    if (!response.ok) throw refusal(response, said);
    return said;
}

/** A file as the body of a PUT; `fetch` would not say how much of it is sent. Throws `ApiError`. */
export function upload(path: string, file: Blob, progress: (sent: number) => void, signal: AbortSignal): Promise<void> {
    return new Promise((done, failed) => {
        const request = new XMLHttpRequest();
        request.open('PUT', path);
        for (const [name, value] of Object.entries(HEADERS)) request.setRequestHeader(name, value);
        request.upload.onprogress = (event) => progress(event.loaded);
        request.onload = () => {
            if (request.status < 300) return done();
            const said: unknown = request.responseText.startsWith('{') ? JSON.parse(request.responseText) : null;
            failed(refusal({ status: request.status }, said));
        };
        request.onerror = () => failed(new ApiError(0, 'unreachable', 'the server does not answer'));
        request.onabort = () => failed(new ApiError(0, 'stopped', 'it was stopped'));
        signal.addEventListener('abort', () => request.abort());
        request.send(file);
    });
}

/** Objects of an answer that comes as one JSON object a line, as they arrive. Throws `ApiError`. */
export async function* lines<T>(path: string, signal: AbortSignal): AsyncGenerator<T> {
    const response = await reach(new Request(new URL(path, location.origin), { headers: HEADERS, signal }));
    if (!response.ok || !response.body) throw refusal(response, await response.json().catch(() => null));
    let rest = '';
    for await (const piece of pieces(response.body)) {
        const found = (rest + piece).split('\n');
        rest = found.pop() ?? '';
        for (const line of found) if (line) yield JSON.parse(line) as T;
    }
}

async function* pieces(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    try {
        for (;;) {
            const { done, value } = await reader.read();
            if (done) return;
            yield value;
        }
    } finally {
        void reader.cancel().catch(() => undefined);
    }
}
