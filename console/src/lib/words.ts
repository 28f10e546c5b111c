/** Numbers and times as people read them. */

import type { Gpu } from './api';

const UNITS: [number, string][] = [
    [86_400_000, 'd'],
    [3_600_000, 'h'],
    [60_000, 'min'],
];

/** A duration in at most two units: `850 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`. */
export function duration(ms: number | null | undefined): string {
    if (ms === null || ms === undefined) return '–';
    const length = Math.max(0, ms);
    if (length < 1_000) return `${Math.round(length)} ms`;
    if (length < 60_000) return `${trim(length / 1_000)} s`;
    for (const [index, [size, unit]] of UNITS.entries()) {
        if (length >= size) {
            const [below, word] = UNITS[index + 1] ?? [1_000, 's'];
            const rest = Math.floor((length % size) / below);
            return `${Math.floor(length / size)} ${unit}${rest ? ` ${rest} ${word}` : ''}`;
        }
    }
    return '';
}

function trim(value: number): string {
    return value < 10 ? value.toFixed(1).replace(/\.0$/, '') : String(Math.round(value));
}

/** How long ago a moment was. */
export function ago(then: number | null | undefined, now: number): string {
    if (then === null || then === undefined) return '–';
    return now - then < 1_500 ? 'now' : `${duration(Math.floor((now - then) / 1_000) * 1_000)} ago`;
}

const CLOCK = new Intl.DateTimeFormat(undefined, {
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hourCycle: 'h23',
});
const DAY = new Intl.DateTimeFormat(undefined, { year: 'numeric', month: 'short', day: 'numeric' });

/** The time of day, to the millisecond. */
export function clock(at: number): string {
    return `${CLOCK.format(at)}.${String(at % 1000).padStart(3, '0')}`;
}

/** The day alone. */
export function day(at: number): string {
    return DAY.format(at);
}

/** The day and the time of day. */
export function moment(at: number | null | undefined): string {
    return at === null || at === undefined ? '–' : `${DAY.format(at)}, ${CLOCK.format(at)}`;
}

const PLAIN = new Intl.NumberFormat('en');

export function count(value: number): string {
    return PLAIN.format(value).replaceAll(',', ' ');
}

/** `1 worker`, `3 workers`. */
export function several(value: number, one: string, many = `${one}s`): string {
    return `${count(value)} ${value === 1 ? one : many}`;
}

/** A share of one: `100%`, `99.4%`. */
export function percent(share: number): string {
    const text = (share * 100).toFixed(1);
    return `${share < 1 && text === '100.0' ? '99.9' : text.replace(/\.0$/, '')}%`;
}

/** A size in powers of 1024. */
export function bytes(value: number): string {
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
    let size = value;
    let unit = 0;
    while (size >= 1024 && unit < units.length - 1) {
        size /= 1024;
        unit += 1;
    }
    return `${unit ? trim(size) : Math.round(size)} ${units[unit]}`;
}

/** A code such as `handler_error`, as words. */
export function words(code: string): string {
    return code.replaceAll('_', ' ');
}

/** The beginning of a long id; what tells ids apart stands at their end as well. */
export function short(id: string): string {
    return id.length <= 14 ? id : `${id.slice(0, 8)}…${id.slice(-4)}`;
}

/** What the driver tells of a GPU: memory in use, and the power that it draws. */
export function measured(one: Gpu): string {
    const memory =
        one.memory_bytes === null || one.memory_used_bytes === null
            ? ''
            : `${bytes(one.memory_used_bytes)} of ${bytes(one.memory_bytes)}`;
    const power = one.power_w === null ? '' : `${Math.round(one.power_w)} W`;
    return [memory, power].filter(Boolean).join(' · ') || 'the driver tells nothing';
}
