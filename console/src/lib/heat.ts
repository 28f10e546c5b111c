/** How often something lay in a range of values at a range of times: cells of a heat map. Pure. */

export interface Point {
    /** Milliseconds since the epoch. */
    at: number;
    /** Milliseconds. */
    value: number;
}

export interface Row {
    label: string;
    /** Counts, oldest column first. */
    cells: number[];
    /** Of a band: its ends in milliseconds, the upper one not in it; null when it has none. */
    band?: [least: number, below: number | null];
}

/** Lower ends of the rows, in milliseconds. */
const BANDS = [0, 100, 300, 1_000, 3_000, 10_000, 30_000, 60_000, 300_000, 1_800_000];
const NAMES = ['0', '100 ms', '300 ms', '1 s', '3 s', '10 s', '30 s', '1 min', '5 min', '30 min'];

/** Which of `columns` equal parts of the time a moment lies in; null outside of it. */
export function columnOf(at: number, from: number, to: number, columns: number): number | null {
    if (at < from || at > to || to <= from) return null;
    return Math.min(columns - 1, Math.floor(((at - from) / (to - from)) * columns));
}

/** Rows for the bands that hold something and those between them, the longest first. */
export function bands(points: Point[], from: number, to: number, columns: number): Row[] {
    const rows: Row[] = BANDS.map((_, index) => ({
        label: index ? `from ${NAMES[index]}` : `under ${NAMES[1]}`,
        cells: Array.from({ length: columns }, () => 0),
        band: [BANDS[index] ?? 0, BANDS[index + 1] ?? null],
    }));
    for (const point of points) {
        const column = columnOf(point.at, from, to, columns);
        const row = rows[BANDS.findLastIndex((least) => point.value >= least)];
        if (column !== null && row) row.cells[column] = (row.cells[column] ?? 0) + 1;
    }
    const used = rows.map((row) => row.cells.some(Boolean));
    return rows.slice(Math.max(0, used.indexOf(true)), used.lastIndexOf(true) + 1).toReversed();
}

/** A row for each name, the most frequent first. */
export function byName(points: { at: number; name: string }[], from: number, to: number, columns: number): Row[] {
    const rows = new Map<string, number[]>();
    for (const point of points) {
        const column = columnOf(point.at, from, to, columns);
        if (column === null) continue;
        const cells = rows.get(point.name) ?? Array.from({ length: columns }, () => 0);
        cells[column] = (cells[column] ?? 0) + 1;
        rows.set(point.name, cells);
    }
    return [...rows].map(([label, cells]) => ({ label, cells })).toSorted((a, b) => sum(b.cells) - sum(a.cells));
}

export function sum(values: number[]): number {
    return values.reduce((total, value) => total + value, 0);
}

/** The smallest value that this share of the values does not exceed. */
export function percentile(values: number[], share: number): number | null {
    const ranked = values.toSorted((a, b) => a - b);
    return ranked[Math.max(0, Math.ceil(ranked.length * share) - 1)] ?? null;
}
