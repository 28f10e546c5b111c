/** The fields of an endpoint as a form has them, and what of them is sent. Pure. */

import type { Endpoint } from '../../lib/api';

export interface Variable {
    name: string;
    value: string;
    secret: boolean;
    /** Whether a secret value is there already and stays, unless another is written. */
    kept: boolean;
}

/** Texts where the form has texts: a number that is being written is not one yet. */
export interface Form {
    name: string;
    /** Part of the id in the address; of a new endpoint only. */
    app_name: string;
    template: string;
    image: string;
    credential: string;
    entrypoint: string;
    command: string;
    env: Variable[];
    /** Ids, the preferred one first; none for any. */
    specifications: string[];
    gpus_per_worker: string;
    cuda: string;
    http_port: string;
    /** Empty: workers are not asked how they are. */
    health_path: string;
    health_initial_delay_s: string;
    health_period_s: string;
    health_timeout_s: string;
    health_successes: string;
    health_failures: string;
    volumes: string;
    disk_gb: string;
    min_workers: string;
    max_workers: string;
    idle_timeout_s: string;
    max_surge: string;
    weight: string;
    slots: string;
    policy_type: string;
    policy_value: string;
    execution_timeout_s: string;
    ttl_s: string;
    retries: string;
    retention_s: string;
    webhook: string;
    /** `auto`, `off` or a number. */
    deliver_ahead: string;
}

export const BLANK: Form = {
    name: '',
    app_name: '',
    template: '',
    image: '',
    credential: '',
    entrypoint: '',
    command: '',
    env: [],
    specifications: [],
    gpus_per_worker: '0',
    cuda: '',
    http_port: '0',
    health_path: '',
    health_initial_delay_s: '0',
    health_period_s: '10',
    health_timeout_s: '3',
    health_successes: '1',
    health_failures: '3',
    volumes: '',
    disk_gb: '0',
    min_workers: '0',
    max_workers: '3',
    idle_timeout_s: '60',
    max_surge: '1',
    weight: '1',
    slots: '1',
    policy_type: 'queue_requests',
    policy_value: '1',
    execution_timeout_s: '600',
    ttl_s: '86400',
    retries: '1',
    retention_s: '21600',
    webhook: '',
    deliver_ahead: 'auto',
};

export function formOf(endpoint: Endpoint): Form {
    return {
        ...BLANK,
        name: endpoint.name,
        image: endpoint.image,
        credential: endpoint.credential ?? '',
        entrypoint: endpoint.entrypoint,
        command: endpoint.command,
        env: Object.entries(endpoint.env).map(([name, value]) =>
            typeof value === 'string'
                ? { name, value, secret: false, kept: false }
                : { name, value: '', secret: true, kept: true },
        ),
        specifications: endpoint.specifications,
        gpus_per_worker: String(endpoint.gpus_per_worker),
        cuda: endpoint.cuda,
        http_port: String(endpoint.http_port),
        ...healthOf(endpoint.health),
        volumes: endpoint.volumes.join('\n'),
        disk_gb: String(endpoint.disk_gb),
        min_workers: String(endpoint.min_workers),
        max_workers: String(endpoint.max_workers),
        idle_timeout_s: String(endpoint.idle_timeout_s),
        max_surge: String(endpoint.max_surge),
        weight: String(endpoint.weight),
        slots: String(endpoint.slots),
        policy_type: endpoint.policy.type,
        policy_value: String(endpoint.policy.value),
        execution_timeout_s: String(endpoint.execution_timeout_ms / 1000),
        ttl_s: String(endpoint.ttl_ms / 1000),
        retries: String(endpoint.retries),
        retention_s: String(endpoint.retention_s),
        webhook: endpoint.webhook,
        deliver_ahead: String(endpoint.deliver_ahead),
    };
}

function healthOf(health: Endpoint['health']): Partial<Form> {
    const parts = Object.entries(health ?? {});
    return Object.fromEntries(parts.map(([name, value]) => [`health_${name}`, String(value)]));
}

type Value = string | { secret: string | true };
export type Fields = Record<string, unknown> & { env?: Record<string, Value> };

function number(text: string): number {
    return text.trim() === '' ? NaN : Number(text);
}

/** Everything that the form says but names, as the API takes it. A number that is none is left to the API to refuse. */
export function fieldsOf(form: Form): Fields {
    return {
        image: form.image.trim(),
        credential: form.credential,
        entrypoint: form.entrypoint.trim(),
        command: form.command.trim(),
        env: Object.fromEntries(form.env.filter((one) => one.name).map((one) => [one.name, valueOf(one)])),
        specifications: form.specifications,
        gpus_per_worker: number(form.gpus_per_worker),
        cuda: form.cuda.trim(),
        http_port: number(form.http_port),
        health: checkOf(form),
        volumes: form.volumes
            .split('\n')
            .map((line) => line.trim())
            .filter(Boolean),
        disk_gb: number(form.disk_gb),
        min_workers: number(form.min_workers),
        max_workers: number(form.max_workers),
        idle_timeout_s: number(form.idle_timeout_s),
        max_surge: number(form.max_surge),
        weight: number(form.weight),
        slots: number(form.slots),
        policy: { type: form.policy_type, value: number(form.policy_value) },
        execution_timeout_ms: number(form.execution_timeout_s) * 1000,
        ttl_ms: number(form.ttl_s) * 1000,
        retries: number(form.retries),
        retention_s: number(form.retention_s),
        webhook: form.webhook.trim(),
        deliver_ahead: /^\d+$/.test(form.deliver_ahead.trim()) ? number(form.deliver_ahead) : form.deliver_ahead.trim(),
    };
}

function checkOf(form: Form): Record<string, unknown> {
    const path = form.health_path.trim();
    if (!path) return { path };
    return {
        path,
        initial_delay_s: number(form.health_initial_delay_s),
        period_s: number(form.health_period_s),
        timeout_s: number(form.health_timeout_s),
        successes: number(form.health_successes),
        failures: number(form.health_failures),
    };
}

function valueOf(one: Variable): Value {
    if (!one.secret) return one.value;
    return { secret: one.kept && !one.value ? true : one.value };
}

/** What is to be sent so that what `before` says becomes what `after` says; of a new endpoint, what is not as in `BLANK`. */
export function changed(before: Form, after: Form): Fields {
    const old = fieldsOf(before);
    const differs = Object.entries(fieldsOf(after)).filter(
        ([name, value]) => JSON.stringify(value) !== JSON.stringify(old[name]),
    );
    const names = (['name', 'app_name', 'template'] as const).filter((name) => after[name].trim() !== before[name]);
    return { ...Object.fromEntries(names.map((name) => [name, after[name].trim()])), ...Object.fromEntries(differs) };
}

/** The same without secrets, for a line that is shown. */
export function told(fields: Fields): Fields {
    if (!fields.env) return fields;
    const shown = Object.entries(fields.env).map(([name, value]) => [
        name,
        typeof value === 'string' || value.secret === true ? value : { secret: '…' },
    ]);
    return { ...fields, env: Object.fromEntries(shown) as Record<string, Value> };
}

/** Fields as words of the command line. Secrets stay out of it: their variables are named. */
export function options(fields: Fields): string[] {
    return Object.entries(fields).flatMap(([name, value]) => {
        if (name === 'env') return variables(fields.env ?? {});
        if (name === 'policy') {
            const policy = value as { type: string; value: number };
            return ['--policy', policy.type, '--policy-value', String(policy.value)];
        }
        if (name === 'health') {
            const parts = Object.entries(value as Record<string, unknown>);
            return parts.flatMap(([part, one]) => [`--health-${CHECK[part] ?? part}`, String(one)]);
        }
        if (Array.isArray(value)) {
            const option = name === 'volumes' ? '--volume' : '--specification';
            return (value.length ? value : ['']).flatMap((one) => [option, String(one)]);
        }
        const [option, divisor] = OPTIONS[name] ?? [name.replaceAll('_', '-'), 1];
        return [`--${option}`, String(divisor === 1 ? value : (value as number) / divisor)];
    });
}

function variables(env: Record<string, Value>): string[] {
    return Object.entries(env).flatMap(([name, one]) =>
        typeof one === 'string' ? ['--env', `${name}=${one}`] : ['--secret', name],
    );
}

/** Parts of the health check that are called otherwise as options. */
const CHECK: Record<string, string> = { initial_delay_s: 'delay', period_s: 'period', timeout_s: 'timeout' };

/** What an option is called, and by what the API's number is divided for it. */
const OPTIONS: Record<string, [string, number]> = {
    gpus_per_worker: ['gpus', 1],
    idle_timeout_s: ['idle-timeout', 1],
    retention_s: ['retention', 1],
    execution_timeout_ms: ['execution-timeout', 1000],
    ttl_ms: ['ttl', 1000],
};
